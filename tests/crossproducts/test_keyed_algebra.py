"""Keyed sums are added, taken away, rebased, narrowed and stored like those of independent rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.crossproducts.condensed import Condensed
from mixedflow.errors import DataError, UnsupportedError

FORMULA = "y ~ x + z + (1 + x | site) + (1 | arm)"
RESIDUALS = (
    "us(visit | arm/g)",
    "cs(1 | g)",
    "ar1(visit | g)",
    "car1(time | g)",
    "sp_exp(visit, time | g)",
    "strata(arm)",
)
residuals = pytest.mark.parametrize("residual", RESIDUALS)


def make_frame() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    frame = pd.DataFrame({"g": np.repeat(np.arange(60), 4), "visit": np.tile([1, 2, 3, 5], 60)})
    frame["time"] = frame["visit"] + np.repeat(rng.integers(0, 2, 60) / 4, 4) * (frame["visit"] > 2)
    frame["arm"] = np.array(["A", "B"])[frame["g"] % 2]
    frame["site"] = frame["g"] % 6
    frame["x"], frame["z"] = rng.normal(size=(2, len(frame))) + 10
    frame["y"] = rng.normal(size=len(frame)) + 50
    return frame[rng.uniform(size=len(frame)) < 0.85].reset_index(drop=True)


def numbers(condensed: Condensed) -> dict[Any, np.ndarray]:
    out = {}
    for key, part in condensed.sums.keyed.items():
        arrays = {"X": part.XtBX, "y": part.XtBy, "yy": part.ytBy, "n": np.array(part.n_obs)}
        for f, factor in enumerate(part.factors):
            arrays |= {(f, n): getattr(factor, n) for n in ("levels", "ZtBZ", "ZtBX", "ZtBy")}
        for pair, sums in part.pairs.items():
            arrays |= {(pair, n): getattr(sums, n) for n in ("rows", "cols", "ZtBZ")}
        out |= {(key, name): values for name, values in arrays.items()}
    return out


def close(a: Condensed, b: Condensed, limit: float = 1e-10) -> None:
    left, right = numbers(a), numbers(b)
    assert list(left) == list(right)
    size = max(np.abs(v).max(initial=1.0) for v in left.values())
    for name, values in left.items():
        np.testing.assert_allclose(right[name], values, rtol=0, atol=limit * size, err_msg=name)
    assert (a.n_obs, a.sums.rows_in) == (b.n_obs, b.sums.rows_in)
    assert a.sums.info.residual == b.sums.info.residual


def halves(residual: str) -> tuple[Condensed, Condensed, Condensed]:
    frame = make_frame()
    shared = mf.learn_schema(FORMULA, frame, residual=residual)
    first = frame["g"] < 25
    parts = (frame, frame[first], frame[~first])
    whole, one, other = (
        mf.condense(FORMULA, part, schema=shared, residual=residual) for part in parts
    )
    return whole, one, other


@residuals
def test_sums_add_up_and_are_taken_away(residual):
    whole, one, other = halves(residual)
    close(one + other, whole)
    close(whole - other, one.compact())
    close(whole - one, other.compact())
    with pytest.raises(DataError, match=r"fewer than none|have no rows|of their own"):
        one - whole


@residuals
def test_other_pilots_and_fewer_columns(residual):
    frame, formula = make_frame(), "y ~ x + (1 | site)"
    whole = mf.condense(FORMULA, frame, residual=residual)
    small = mf.condense(formula, frame, residual=residual)
    found = whole.submodel(formula)
    assert found.spec == small.spec
    close(found.rebase(small), small)
    without = whole.submodel("y ~ x")
    close(without.rebase(mf.condense("y ~ x", frame, residual=residual)),
          mf.condense("y ~ x", frame, residual=residual))  # fmt: skip


@residuals
def test_what_is_stored_is_read(residual, tmp_path):
    whole = mf.condense(FORMULA, make_frame(), residual=residual)
    whole.save(tmp_path / "sums")
    again = mf.load_crossproducts(tmp_path / "sums")
    assert again.spec == whole.spec
    close(whole, again, 0.0)
    close(whole + again, whole + whole, 0.0)


def test_structures_of_a_basis_share_the_sums():
    whole = mf.condense(FORMULA, make_frame(), residual="us(visit | arm/g)")
    other = whole.submodel(FORMULA, "toeph(visit | arm/g)")
    assert other.spec.residual == "toeph(visit | arm/g)"
    assert other.sums.info.residual.structure == "toeph"
    assert other.sums.keyed is whole.sums.keyed
    with pytest.raises(UnsupportedError, match="needs other sums of the rows; condense them again"):
        whole.submodel(FORMULA, "ar1(visit | arm/g)")
    with pytest.raises(UnsupportedError, match="needs other sums"):
        whole.submodel(FORMULA, "us(visit | g)")


def test_strata_may_share_their_correlations_from_the_same_sums():
    whole = mf.condense(FORMULA, make_frame(), residual="ar1(visit | arm/g)")
    assert not whole.sums.info.residual.common
    shared = whole.submodel(FORMULA, "strata(arm) * ar1(visit | g)")
    assert shared.sums.info.residual.common
    assert shared.sums.keyed is whole.sums.keyed
    direct = mf.condense(FORMULA, make_frame(), residual="strata(arm) * ar1(visit | g)")
    close(shared, direct, 0.0)


def test_groups_cannot_be_taken_from_keyed_sums():
    whole = mf.condense(FORMULA, make_frame(), residual="cs(1 | g)")
    for what in (whole.restrict, whole.without, whole.resample):
        with pytest.raises(UnsupportedError, match="residual='iid' only"):
            what([1, 2], factor="site")
    with pytest.raises(UnsupportedError, match=r"by_group='site' keeps sums .*='iid' only"):
        mf.condense(FORMULA, make_frame(), residual="cs(1 | g)", by_group="site")


def test_other_positions_cannot_be_added():
    frame = make_frame()
    both = [
        mf.condense("y ~ x", part, residual="us(visit | g)")
        for part in (frame, frame[frame["visit"] < 5])
    ]
    with pytest.raises(DataError, match="visit"):
        both[0] + both[1].rebase(both[0])
    large = mf.condense("y ~ x", frame, residual="cs(1 | g)")
    few = frame.groupby("g").head(2)
    small = mf.condense("y ~ x", few, residual="cs(1 | g)").rebase(large)
    assert (small + large).sums.info.residual.largest == 4
    assert (small + large).schema.residual.design.largest == 4


def test_sums_of_independent_rows_and_others_differ():
    frame = make_frame()
    keyed = mf.condense("y ~ x + (1 | site)", frame, residual="cs(1 | g)")
    plain = mf.condense("y ~ x + (1 | site)", frame)
    with pytest.raises(DataError, match="cannot be added"):
        keyed + plain
