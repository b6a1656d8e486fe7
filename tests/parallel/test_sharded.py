"""Shards against the fit in one place: the same estimates wherever the groups' sums are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.crossproducts import levels as stretches
from mixedflow.data import open_source
from mixedflow.errors import DataError, OutputError, UnsupportedError
from mixedflow.estimation import fit as fit_module
from mixedflow.parallel import Runner, WorkerError, prepare, rooms, whole_groups
from mixedflow.results import sharded as sharded_module
from mixedflow.results.sharded import ShardedFit

GROUPS, ROWS = 60, 5
N = GROUPS * ROWS


def make_frame(*, slopes: float = 0.5, spread: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(GROUPS), ROWS)
    x = rng.normal(size=N) + 3
    u = rng.normal(size=(GROUPS, 2)) * [spread, slopes]
    y = 100 + 2 * x + u[g, 0] + u[g, 1] * x + rng.normal(size=N)
    return pd.DataFrame(
        {
            "g": g,
            "x": x,
            "s": rng.choice(["a", "b"], N),
            "w": rng.uniform(0.5, 2.0, N),
            "off": rng.normal(size=N),
            "y": y,
        }
    )


def sharded(formula: str, frame: pd.DataFrame, shards: int, **options: Any) -> ShardedFit:
    source = open_source(frame, partition_rows=-(-len(frame) // shards))
    assert source.n_partitions == shards
    options = {"runner": Runner(), "sharded": True, **options}
    fit = mf.fit(formula, source, **options)
    assert isinstance(fit, ShardedFit)
    return fit


def close(a: Any, b: Any, tolerance: float = 1e-10) -> None:
    one, other = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    scale = max(1.0, float(np.nanmax(np.abs(one))))
    np.testing.assert_allclose(other, one, rtol=0, atol=tolerance * scale)


def same_fit(whole: Any, parts: Any) -> None:
    close(whole.deviance, parts.deviance)
    assert parts.coef_table.attrs["ddf"] == "asymptotic"
    close(*(fit.coef_table[["estimate", "se", "statistic"]] for fit in (whole, parts)))
    for name in ("fixef", "vcov"):
        pd.testing.assert_index_equal(getattr(whole, name).index, getattr(parts, name).index)
        close(getattr(whole, name), getattr(parts, name))
    close(whole.varcorr["vcov"], parts.varcorr["vcov"])
    assert list(whole.varcorr["term1"]) == list(parts.varcorr["term1"])
    for name in ("nobs", "df_model", "singular", "converged", "n_levels", "messages"):
        assert getattr(whole, name) == getattr(parts, name)
    for name in ("ranef", "ranef_se", "pev", "reliability"):
        one, other = getattr(whole, name)["g"], getattr(parts, name)["g"]
        pd.testing.assert_index_equal(one.index, other.index)
        assert list(one.columns) == list(other.columns)
        close(one, other)


FORMULAS = {
    "us": "y ~ x + s + (1 + x | g)",
    "diag": "y ~ x + s + (1 + x || g)",
    "two-terms": "y ~ x + (1 | g) + (0 + x | g)",
    "categories": "y ~ x + (0 + s | g)",
    "no-intercept": "y ~ 0 + x + (1 | g)",
    "offset": "y ~ x + offset(off) + (1 | g)",
    "aliased": "y ~ x + I(2 * x) + s + (1 | g)",
    "transform": "y ~ poly(x, 2) + scale(w) + (1 | g)",
}


@pytest.mark.parametrize("shards", [1, 2, 5])
@pytest.mark.parametrize("name", FORMULAS)
def test_estimates_are_those_of_one_place(name: str, shards: int) -> None:
    frame = make_frame()
    whole = mf.fit(FORMULAS[name], frame)
    same_fit(whole, sharded(FORMULAS[name], frame, shards))


@pytest.mark.parametrize("options", [{"reml": False}, {"weights": "w"}, {"method": "ai"}])
def test_options(options: dict[str, Any]) -> None:
    frame = make_frame()
    formula = FORMULAS["us"]
    same_fit(mf.fit(formula, frame, **options), sharded(formula, frame, 5, **options))


def test_em_by_itself() -> None:
    frame, formula = make_frame(), FORMULAS["us"]
    whole = mf.fit(formula, frame, method="px-em")
    parts = sharded(formula, frame, 5, method="px-em")
    close(whole.deviance, parts.deviance)
    assert parts.certificate.em_monotone
    close(whole.fixef, parts.fixef, 1e-7)


@pytest.mark.parametrize("name", ["us", "diag"])
def test_a_variance_of_zero(name: str) -> None:
    frame = make_frame(slopes=0.0, spread=0.0)
    whole, parts = mf.fit(FORMULAS[name], frame), sharded(FORMULAS[name], frame, 5)
    assert whole.singular
    close(whole.deviance, parts.deviance)
    close(whole.fixef, parts.fixef, 1e-7)
    assert [on for _, on in parts.certificate.boundary] == [
        on for _, on in whole.certificate.boundary
    ]


def test_text_groups_missing_values_and_a_partition_without_complete_rows() -> None:
    frame = make_frame()
    frame["g"] = [f"patient {k % 7}-{k}" for k in frame["g"]]
    frame.loc[3, "x"] = np.nan
    frame.loc[60:119, "y"] = np.nan
    same_fit(mf.fit(FORMULAS["us"], frame), sharded(FORMULAS["us"], frame, 5))


def test_groups_that_are_a_category() -> None:
    frame = make_frame()
    frame["g"] = frame["g"].map("g{:02d}".format).astype("category")
    same_fit(mf.fit(FORMULAS["us"], frame), sharded(FORMULAS["us"], frame, 5))


def test_the_certificate_has_its_second_path() -> None:
    certificate = sharded(FORMULAS["us"], make_frame(), 5).certificate
    assert certificate.check_path == "LU level by level"
    assert all(verdict == "ok" for _, _, verdict in certificate.as_rows())


def test_one_shard_gives_the_bits_of_the_passes_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "compiled_pays", lambda system: True)
    monkeypatch.setattr(stretches, "STRETCH", 16)
    frame, formula = make_frame(), "y ~ x + s + (1 + x | g)"
    whole, part = mf.fit(formula, frame), sharded(formula, frame, 1)
    np.testing.assert_array_equal(whole.estimates.params.vector(), part.estimates.params.vector())


def test_memory_maps_threads_and_workers_give_the_same_bits(
    workers: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, formula = make_frame(), FORMULAS["us"]
    begun = {"control": mf.FitControl(max_iter=4)}
    here = sharded(formula, frame, 5, **begun)
    threads = sharded(formula, frame, 5, runner=Runner("threads", 2), **begun)
    mapped = sharded(formula, frame, 5, sharded=tmp_path / "shards", **begun)
    there = sharded(formula, frame, 5, runner=workers, **begun)
    monkeypatch.setattr(rooms, "FOLDED_HERE", 2)
    both = sharded(formula, frame, 5, runner=workers, sharded=tmp_path / "both", **begun)
    for fit in (threads, mapped, there, both):
        np.testing.assert_array_equal(here.estimates.beta, fit.estimates.beta)
        np.testing.assert_array_equal(here.vcov, fit.vcov)
        assert here.deviance == fit.deviance
        np.testing.assert_array_equal(here.ranef["g"], fit.ranef["g"])
    assert here.ranef["g"].index.equals(there.ranef["g"].index)
    assert len(list((tmp_path / "shards").glob("shard-*/ZZ.npy"))) == 5


def test_prepared_data(workers: Runner, tmp_path: Path) -> None:
    frame = make_frame().sample(frac=1.0, random_state=1).reset_index(drop=True)
    prepare(open_source(frame, partition_rows=70), tmp_path / "data", group="g", partition_rows=64)
    fit = mf.fit(FORMULAS["us"], tmp_path / "data", sharded=True, runner=workers)
    same_fit(mf.fit(FORMULAS["us"], frame), fit)


@pytest.mark.parametrize("runner", ["here", "there"])
def test_random_effects_in_parts(runner: str, workers: Runner, tmp_path: Path) -> None:
    where = Runner() if runner == "here" else workers
    begun = mf.FitControl(max_iter=2)
    fit = sharded(FORMULAS["us"], make_frame(), 5, runner=where, control=begun)
    assert fit.ranef_parts(tmp_path / "ranef") == 2 * GROUPS
    assert len(list((tmp_path / "ranef").iterdir())) == 5
    read = pd.read_parquet(tmp_path / "ranef")
    assert list(read.columns) == ["factor", "level", "column", "blup", "sd"]
    wide = read.pivot_table(index="level", columns="column", values=["blup", "sd"], sort=False)
    np.testing.assert_array_equal(wide["blup"]["x"], fit.ranef["g"]["x"])
    np.testing.assert_array_equal(wide["sd"]["x"], fit.ranef_se["g"]["x"])
    at = fit.ranef_se_at("g", ["7", "59"])
    np.testing.assert_array_equal(at, fit.ranef_se["g"].loc[["7", "59"]])


def test_random_effects_are_gathered_only_where_they_are_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fit = sharded(FORMULAS["us"], make_frame(), 2)
    monkeypatch.setattr(sharded_module, "GATHER_LIMIT", 100)
    with pytest.raises(UnsupportedError, match=r"120 random effects of 'g'.*ranef_parts"):
        _ = fit.ranef


@pytest.mark.parametrize("portion", [4_000_000, 7])
@pytest.mark.parametrize("text", [False, True])
def test_partitions_must_hold_whole_groups(
    text: bool, portion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_groups, "PORTION", portion)
    frame = make_frame()
    if text:
        frame["g"] = frame["g"].map("g{:02d}".format)
    with pytest.raises(DataError, match=r"'g?20' of 'g' has rows in partitions 1 and 2 of"):
        sharded(FORMULAS["us"], frame.drop(index=range(3)), 3)
    with pytest.raises(DataError, match="group='g'"):
        sharded(FORMULAS["us"], frame.sample(frac=1.0, random_state=2), 3)
    mixed = pd.concat([frame[frame["g"].isin(frame["g"][k::50])] for k in (0, 5, 10)])
    rest = frame[~frame["g"].isin(mixed["g"])]
    order = pd.concat([mixed, rest])
    same_fit(mf.fit(FORMULAS["us"], order), sharded(FORMULAS["us"], order, 5))


def test_what_is_not_offered_says_what_is(tmp_path: Path) -> None:
    frame = make_frame()
    frame["h"] = frame["g"] % 7
    for formula, told in (
        ("y ~ x + (1 | g) + (1 | h)", "2 grouping factors"),
        ("y ~ x + (1 | g:h)", "combine columns"),
        ("y ~ x + g + (1 | g)", "stands elsewhere"),
    ):
        with pytest.raises(UnsupportedError, match=f"{told}.*one grouping factor"):
            sharded(formula, frame, 2)
    with pytest.raises(UnsupportedError, match="'auto' and 'grouped'"):
        sharded(FORMULAS["us"], frame, 2, control=mf.FitControl(solver="pcg"))
    fit = sharded(FORMULAS["us"], frame, 2)
    for call in (lambda: fit.predict(frame), lambda: fit.resid):
        with pytest.raises(UnsupportedError, match="ranef_parts"):
            call()
    fixed = fit.predict(frame, random=False)
    whole = mf.fit(FORMULAS["us"], frame).predict(frame, random=False)
    close(whole, fixed)
    assert "groups: g, 60" in fit.summary()
    assert fit.as_record()["n_levels"] == {"g": 60}
    with pytest.raises(DataError, match="fewer levels than rows"):
        sharded("y ~ x + (1 | g)", frame.assign(g=np.arange(N)), 2)
    sharded(FORMULAS["us"], frame, 2, sharded=tmp_path / "used")
    with pytest.raises(OutputError, match="shard-00000"):
        sharded(FORMULAS["us"], frame, 2, sharded=tmp_path / "used")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        sharded(FORMULAS["us"], frame, 2, sharded=tmp_path / "mine")


def test_shards_last_as_long_as_their_workers() -> None:
    fit = sharded(FORMULAS["us"], make_frame(), 2)
    gone = rooms.OnWorkers(SimpleNamespace(status="closed"))
    left = replace(fit, levels=replace(fit.levels, room=gone))
    assert left.converged
    with pytest.raises(WorkerError, match="while its runner is open"):
        _ = left.ranef
