"""Keyed sums of rows: against B_k written out from the rows, for every basis of R^-1."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mixedflow.crossproducts.condense import condense_block, condense_columns
from mixedflow.crossproducts.types import CrossProducts
from mixedflow.data import open_source
from mixedflow.design import Encoder, PartitionPlace, finish_schema, make_spec, summarize_partition
from mixedflow.design.schema import Schema
from mixedflow.design.spec import ModelSpec
from mixedflow.errors import DataError, UnsupportedError
from mixedflow.parallel import learn_schema

VISITS = ("one", "two", "three", "four")
RESIDUALS = (
    "us(visit | g)",
    "us(visit | arm/g)",
    "us(visit | arm:sex/g)",
    "us(1 | g)",
    "cs(1 | g)",
    "cs(1 | arm/g)",
    "ar1(step | g)",
    "ar1(1 | g)",
    "strata(arm) * ar1(step | g)",
    "ar1(visit | g)",
    "car1(time | arm/g)",
    "strata(sex)",
    "strata(sex, arm)",
)
FORMULAS = (
    "y ~ x + visit",
    "y ~ 0 + x + (1 | site)",
    "y ~ x + (1 + x | site) + (0 + x | g)",
)


def make_frame(n_groups: int = 24, seed: int = 5) -> pd.DataFrame:
    """Groups of up to four visits, some rows and values missing, in no order."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "g": np.repeat(np.arange(n_groups) * 7 % 83, 4),
            "number": np.tile(np.arange(4), n_groups),
        }
    )
    frame["visit"] = np.array(VISITS)[frame["number"]]
    frame["step"] = np.array([1, 2, 4, 9])[frame["number"]]
    frame["time"] = frame["number"] + np.round(rng.uniform(0, 0.9, len(frame)), 1)
    frame["arm"] = np.array(["A", "B"])[frame["g"] % 2]
    frame["sex"] = np.array(["f", "m", "x"])[frame["g"] % 3]
    frame["site"] = "s" + (frame["g"] % 5).astype(str)
    frame["x"] = rng.normal(size=len(frame)) + 3
    frame["w"] = rng.uniform(0.5, 2, len(frame))
    frame["y"] = rng.normal(size=len(frame)) + 50
    frame.loc[rng.choice(len(frame), 12, replace=False), "y"] = np.nan
    frame.loc[rng.choice(len(frame), 5, replace=False), "x"] = np.nan
    frame = frame.sample(frac=0.85, random_state=seed)
    return frame.reset_index(drop=True)


def labels_of(frame: pd.DataFrame, names: list[str]) -> list[str]:
    if not names:
        return [""] * len(frame)
    return [":".join(row) for row in frame[names].astype(str).to_numpy()]


def places_of(frame: pd.DataFrame, spec: ModelSpec, groups: Any) -> tuple[dict[int, Any], int]:
    """Return every row's position, and how many there are."""
    parsed = spec.parsed_residual
    if parsed.position is None:
        place = {i: k for rows in groups.values() for k, i in enumerate(rows)}
        return place, max(map(len, groups.values()))
    if parsed.basis == "pairs" or parsed.position == "visit":
        order = sorted(set(frame[parsed.position]))
        return {i: order.index(v) for i, v in enumerate(frame[parsed.position])}, len(order)
    return dict(enumerate(frame[parsed.position])), 0


def gap_code(gap: float, *, any_time: bool) -> int:
    return int(np.float64(gap).view(np.int64)) if any_time else int(gap)


def key_matrices(frame: pd.DataFrame, spec: ModelSpec) -> dict[tuple[int, int], Any]:
    """Return B_k for every key, written out from complete rows by the definitions."""
    parsed, n = spec.parsed_residual, len(frame)
    strata = labels_of(frame, list(parsed.strata))
    known = sorted(set(strata))
    groups: dict[Any, list[int]] = defaultdict(list)
    for i, key in enumerate(labels_of(frame, list(parsed.group))):
        groups[key].append(i)
    out: dict[tuple[int, int], Any] = defaultdict(lambda: np.zeros((n, n)))
    if parsed.basis == "strata":
        for i, stratum in enumerate(strata):
            out[known.index(stratum), 0][i, i] += 1
        return dict(out)
    place, m = places_of(frame, spec, groups)
    for members in groups.values():
        rows = sorted(members, key=lambda i: place[i])
        s = known.index(strata[rows[0]])
        if parsed.basis == "sizes":
            pattern = (s << 32) | len(rows)
            out[pattern, 0][rows, rows] += 1
            out[pattern, 1][np.ix_(rows, rows)] += 1
        elif parsed.basis == "pairs":
            pattern = (s << 62) | sum(1 << place[i] for i in rows)
            for k, i in enumerate(rows):
                for j in rows[k:]:
                    B = out[pattern, place[i] * m + place[j]]
                    B[i, j] = B[j, i] = 1
        else:
            out[s, 0][rows, rows] += 1
            for i, j in pairwise(rows):
                code = gap_code(place[j] - place[i], any_time=parsed.any_time)
                out[s, 1 + 2 * code][[i, j], [i, j]] += 1
                out[s, 2 + 2 * code][[i, j], [j, i]] += 1
    return dict(out)


def schema_of(spec: ModelSpec, frame: pd.DataFrame) -> Schema:
    return learn_schema(spec, open_source(frame))


def condensed(spec: ModelSpec, frame: pd.DataFrame, kernel: Any = "auto") -> CrossProducts:
    table = open_source(frame).read(0, spec.variables)
    encoder = Encoder(spec, schema_of(spec, frame))
    return condense_columns(encoder.columns(table), encoder.info, kernel=kernel)


def close(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-10)


def check_against_rows(spec: ModelSpec, frame: pd.DataFrame, sums: CrossProducts) -> None:
    encoder = Encoder(spec, schema_of(spec, frame))
    block = encoder.encode(open_source(frame).read(0, spec.variables))
    complete, info, pilots = frame[block.kept], encoder.info, encoder.info.pilots
    root = np.ones(len(complete)) if block.weights is None else np.sqrt(block.weights)
    X = (block.X - pilots.x_shift) / pilots.x_scale
    if info.intercept is None:
        X = np.column_stack([np.ones(len(X)), X])
    X = root[:, None] * X
    y = root[:, None] * (block.y - pilots.y_shift) / pilots.y_scale
    Z = [
        root[:, None] * (z - s) / c
        for z, s, c in zip(block.Z, pilots.z_shift, pilots.z_scale, strict=True)
    ]
    matrices = key_matrices(complete.reset_index(drop=True), spec)
    assert set(sums.keyed) == set(matrices)
    assert list(sums.keyed) == sorted(sums.keyed)
    assert sums.n_obs == len(complete)
    logs = sum(part.sum_log_weight for part in sums.keyed.values())
    assert logs == pytest.approx(2 * np.log(root).sum(), abs=1e-9)
    for key, B in matrices.items():
        part = sums.keyed[key]
        close(part.XtBX, X.T @ B @ X)
        close(part.XtBy, X.T @ B @ y)
        close(part.ytBy, y.T @ B @ y)
        here = B.any(axis=0)
        for f, factor in enumerate(part.factors):
            np.testing.assert_array_equal(factor.levels, np.unique(block.codes[f][here]))
            for k, level in enumerate(factor.levels):
                own = Z[f] * (block.codes[f] == level)[:, None]
                close(factor.ZtBZ[k], own.T @ B @ own)
                close(factor.ZtBX[k], own.T @ B @ X)
                close(factor.ZtBy[k], own.T @ B @ y)
        for (f, h), pair in part.pairs.items():
            met = np.unique(np.column_stack([block.codes[f], block.codes[h]])[here], axis=0)
            np.testing.assert_array_equal(np.column_stack([pair.rows, pair.cols]), met)
            for k, (a, b) in enumerate(met):
                left = Z[f] * (block.codes[f] == a)[:, None]
                right = Z[h] * (block.codes[h] == b)[:, None]
                close(pair.ZtBZ[k], left.T @ B @ right)


@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("weights", [None, "w"])
def test_against_matrices_written_out(residual, formula, weights):
    spec, frame = make_spec(formula, residual=residual, weights=weights), make_frame()
    check_against_rows(spec, frame, condensed(spec, frame))


@pytest.mark.parametrize("residual", RESIDUALS)
def test_compiled_loops_give_the_same(residual):
    spec, frame = make_spec(FORMULAS[2], residual=residual), make_frame()
    check_against_rows(spec, frame, condensed(spec, frame, "numba"))


@pytest.mark.parametrize("residual", ["us(visit | g)", "ar1(step | g)", "car1(time | g)"])
def test_the_order_of_the_rows_does_not_matter(residual):
    spec, frame = make_spec(FORMULAS[2], residual=residual), make_frame()
    schema = schema_of(spec, frame)

    def bits(rows: pd.DataFrame) -> list[bytes]:
        encoder = Encoder(spec, schema)
        table = open_source(rows).read(0, spec.variables)
        sums = condense_columns(encoder.columns(table), encoder.info)
        return [
            part.XtBX.tobytes() + part.factors[0].ZtBX.tobytes() for part in sums.keyed.values()
        ]

    first = bits(frame)
    assert first == bits(frame.sample(frac=1, random_state=1))
    assert first == bits(frame.sort_values(["g", "number"]))


@pytest.mark.parametrize("residual", RESIDUALS)
def test_whole_groups_add_up(residual):
    spec, frame = make_spec(FORMULAS[2], residual=residual), make_frame()
    schema, encoder = schema_of(spec, frame), None
    parts = []
    for rows in (frame["g"] < 20, (frame["g"] >= 20) & (frame["g"] < 60), frame["g"] >= 60):
        encoder = Encoder(spec, schema)
        table = open_source(frame[rows]).read(0, spec.variables)
        parts.append(condense_columns(encoder.columns(table), encoder.info))
    check_against_rows(spec, frame, parts[0] + (parts[1] + parts[2]))
    check_against_rows(spec, frame, (parts[2] + parts[0]) + parts[1])


@pytest.mark.parametrize("residual", RESIDUALS)
def test_matrices_of_rows_give_the_same(residual):
    spec, frame = make_spec(FORMULAS[1], residual=residual), make_frame()
    encoder = Encoder(spec, schema_of(spec, frame))
    block = encoder.encode(open_source(frame).read(0, spec.variables))
    check_against_rows(spec, frame, condense_block(block, encoder.info))


def encode(spec: ModelSpec, frame: pd.DataFrame) -> CrossProducts:
    table = open_source(frame).read(0, spec.variables)
    place = PartitionPlace("visits.csv", 0, 100)
    schema = finish_schema(spec, summarize_partition(spec, table, place))
    encoder = Encoder(spec, schema)
    return condense_columns(encoder.columns(table, where=place), encoder.info)


def test_a_repeated_position_names_both_rows():
    frame = make_frame().dropna().sort_values(["g", "number"]).reset_index(drop=True)
    again = pd.concat([frame, frame.iloc[[3]]], ignore_index=True)
    g = frame.loc[3, "g"]
    for residual in ("us(visit | g)", "ar1(step | g)", "car1(time | g)"):
        with pytest.raises(DataError) as found:
            encode(make_spec("y ~ x", residual=residual), again)
        for part in ("row 104 of visits.csv (line 105)", f"row {101 + len(frame)} of", f"g = {g};"):
            assert part in str(found.value)


def test_strata_are_constant_within_a_group():
    frame = make_frame().dropna().sort_values(["g", "number"]).reset_index(drop=True)
    frame.loc[1, "arm"] = {"A": "B", "B": "A"}[frame.loc[1, "arm"]]
    with pytest.raises(DataError, match=r"'arm' is .* in row 10. .* in row 10. .*constant within"):
        encode(make_spec("y ~ x", residual="us(visit | arm/g)"), frame)


def test_a_random_factor_that_changes_within_a_group_is_named():
    frame = make_frame()
    for residual in ("us(visit | g)", "cs(1 | g)", "ar1(step | g)"):
        with pytest.raises(UnsupportedError, match="the random factor 'visit' changes between row"):
            encode_any(make_spec("y ~ x + (1 | visit)", residual=residual), frame)
    spec = make_spec("y ~ x + (1 | visit)", residual="strata(sex)")
    check_against_rows(spec, frame, condensed(spec, frame))


def encode_any(spec: ModelSpec, frame: pd.DataFrame) -> CrossProducts:
    return condensed(spec, frame)


def test_positions_that_are_no_steps():
    frame = make_frame()
    with pytest.raises(DataError, match=r"ar1\(time \| g\) takes whole numbers.*car1\(time \| g\)"):
        condensed(make_spec("y ~ x", residual="ar1(time | g)"), frame)
    frame["time"] = np.inf
    with pytest.raises(DataError, match="'time' holds inf in row"):
        condensed(make_spec("y ~ x", residual="car1(time | g)"), frame)


def test_too_many_positions():
    frame = pd.DataFrame({"y": np.arange(130.0) % 7, "t": np.arange(130), "g": np.arange(130) % 2})
    with pytest.raises(
        UnsupportedError, match=r"at most 62, but 't' has 130 levels; .*ar1\(t \| g"
    ):
        condensed(make_spec("y ~ 1", residual="us(t | g)"), frame)
    with pytest.raises(UnsupportedError, match=r"at most 62, but the largest group has 65 rows"):
        condensed(make_spec("y ~ 1", residual="us(1 | g)"), frame)
    with pytest.raises(UnsupportedError, match=r"cs\(1 \| g\) needs no positions"):
        condensed(make_spec("y ~ 1", residual="cs(t | g)"), frame)


def test_too_many_gaps_say_how_many(monkeypatch):
    from mixedflow.crossproducts import patterned

    monkeypatch.setattr(patterned, "MOST_NUMBERS", 2_000)
    with pytest.raises(UnsupportedError, match=r"has \d+ distinct gaps.*round 'time'"):
        condensed(make_spec(FORMULAS[2], residual="car1(time | g)"), make_frame())
    with pytest.raises(UnsupportedError, match=r"has \d+ patterns of observed positions"):
        condensed(make_spec(FORMULAS[2], residual="us(visit | g)"), make_frame())


def test_many_positions_fit_in_a_pattern():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"t": np.tile(np.arange(62), 4), "g": np.repeat(np.arange(4), 62)})
    frame["arm"] = np.array(["A", "B", "C"])[frame["g"] % 3]
    frame["y"], frame["x"] = rng.normal(size=(2, len(frame)))
    spec = make_spec("y ~ x", residual="us(t | arm/g)")
    check_against_rows(spec, frame, condensed(spec, frame))


def test_groups_are_not_kept_apart():
    spec, frame = make_spec("y ~ x + (1 | site)", residual="us(visit | g)"), make_frame()
    encoder = Encoder(spec, schema_of(spec, frame))
    columns = encoder.columns(open_source(frame).read(0, spec.variables))
    with pytest.raises(UnsupportedError, match="for residual='iid' only"):
        condense_columns(columns, encoder.info, by_group=0)
