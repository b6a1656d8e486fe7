"""Marginal means of a fit: the grid, what is averaged, what is compared, what cannot be estimated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.errors import DataError, UnsupportedError


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(11)
    n = 240
    frame = pd.DataFrame(
        {
            "a": rng.choice(["low", "mid", "high"], n, p=[0.5, 0.3, 0.2]),
            "b": rng.integers(1, 4, n),
            "x": rng.uniform(1.0, 9.0, n),
            "z": rng.normal(100.0, 3.0, n),
            "g": np.repeat(np.arange(24), 10),
        }
    )
    effect = frame["a"].map({"low": 0.0, "mid": 1.0, "high": 3.0}) * (1 + 0.1 * frame["x"])
    frame["y"] = effect + np.log(frame["x"]) + frame["b"] + rng.normal(0, 1, 24)[frame["g"]]
    frame["y"] += rng.normal(0, 1, n)
    return frame


@pytest.fixture(scope="module")
def crossed(data):
    return mf.fit("y ~ a*C(b) + log(x) + z + (1 | g)", data)


def test_means_are_predictions_at_the_means_of_the_covariates(crossed, data):
    cells = pd.DataFrame(
        [(a, b) for b in (1, 2, 3) for a in ("high", "low", "mid")], columns=["a", "b"]
    )
    cells["x"], cells["z"] = data["x"].mean(), data["z"].mean()
    wanted = crossed.predict(cells.assign(g=0), random=False)
    found = crossed.emmeans(["a", "b"]).table
    assert list(found.columns) == ["a", "b", "estimate", "se", "df", "lower", "upper", "note"]
    assert found["a"].tolist() == cells["a"].tolist()
    np.testing.assert_allclose(found["estimate"], wanted, rtol=1e-12)
    margin = crossed.emmeans("a").table.set_index("a")["estimate"]
    by_a = found.groupby("a")["estimate"].mean()
    np.testing.assert_allclose(margin, by_a[margin.index], rtol=1e-12)


def test_specs_may_be_said_in_several_ways(crossed):
    wanted = crossed.emmeans("a", by="b").table
    for specs in ("a | b", "~ a | b", " a|b ", "~`a` | `b`"):
        pd.testing.assert_frame_equal(crossed.emmeans(specs).table, wanted)
    assert crossed.emmeans("a * b").specs == crossed.emmeans("a + b").specs == ("a", "b")
    assert len(crossed.emmeans("1").table) == len(crossed.emmeans([]).table) == 1
    assert repr(crossed.emmeans("a | b")) == "<MarginalMeans: 9 means over a by b>"


def test_at_takes_levels_and_values(crossed):
    found = crossed.emmeans("a", at={"b": 2, "x": [1.0, 4.0], "a": ["mid", "low"]}).table
    assert found["a"].tolist() == ["mid", "low"]
    parts = [crossed.emmeans("a", at={"b": [2], "x": x}).table.set_index("a") for x in (1.0, 4.0)]
    both = (parts[0]["estimate"] + parts[1]["estimate"]) / 2
    np.testing.assert_allclose(found["estimate"], both[["mid", "low"]], rtol=1e-12)
    text = crossed.emmeans("b", at={"b": ["1", 3]}).table
    assert text["b"].tolist() == [1, 3]


def test_contrasts_are_within_by_unless_asked_otherwise(crossed):
    means = crossed.emmeans("a | b")
    assert means.pairs()["b"].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert len(means.pairs(by=[])) == 36
    across = means.pairs(by="a", adjust="none")
    assert across["contrast"].tolist() == ["b1 - b2", "b1 - b3", "b2 - b3"] * 3
    assert len(means.joint()) == 3
    assert means.joint(by=[])["num_df"].tolist() == [8]


def test_a_reference_may_be_named(crossed):
    found = crossed.emmeans("a").contrast("trt.vs.ctrl", reference="low", adjust="none")
    assert found["contrast"].tolist() == ["high - low", "mid - low"]
    numbered = crossed.emmeans("b").contrast("trt.vs.ctrl", reference=3, adjust="none")
    assert numbered["contrast"].tolist() == ["b1 - b3", "b2 - b3"]
    with pytest.raises(DataError, match="did you mean 'low'"):
        crossed.emmeans("a").contrast("trt.vs.ctrl", reference="loww")


def test_own_weights(crossed):
    means = crossed.emmeans("a")
    named = means.contrast({"high - rest": [1, -0.5, -0.5], "mid - low": [0, -1, 1]})
    plain = means.contrast([[1, -0.5, -0.5], [0, -1, 1]])
    np.testing.assert_array_equal(named["estimate"], plain["estimate"])
    assert named["contrast"].tolist() == ["high - rest", "mid - low"]
    assert plain["contrast"].tolist() == ["contrast 1", "contrast 2"]
    estimate = means.table["estimate"]
    assert named["estimate"][0] == pytest.approx(estimate[0] - (estimate[1] + estimate[2]) / 2)
    assert len(means.contrast([0, -1, 1])) == 1


def test_every_method_of_degrees_of_freedom_serves(crossed):
    for ddf in ("satterthwaite", "kenward-roger", "residual", "asymptotic"):
        inference = crossed.infer(ddf)
        pairs = inference.emmeans("b").pairs("none")
        L = np.zeros(len(crossed.fixef))
        names = list(crossed.fixef.index)
        for name, weight in (
            ("C(b)[T.2]", -1.0),
            ("a[T.low]:C(b)[T.2]", -1 / 3),
            ("a[T.mid]:C(b)[T.2]", -1 / 3),
        ):
            L[names.index(name)] = weight
        wanted = inference.contrast(L).iloc[0]
        for column in ("estimate", "se", "df", "statistic", "p", "lower", "upper"):
            assert pairs[column][0] == pytest.approx(wanted[column], rel=1e-9), (ddf, column)


def test_slopes(data):
    fit = mf.fit("y ~ a*poly(x, 3) + C(b) + z + (1 | g)", data)
    h = 1e-4
    for x in (2.0, 6.5):
        low, high = (fit.emmeans("a", at={"x": x + d}).table["estimate"] for d in (-h, h))
        found = fit.emtrends("a", "x", at={"x": x})
        np.testing.assert_allclose(found.table["estimate"], (high - low) / (2 * h), rtol=1e-6)
    line = mf.fit("y ~ a*x + (1 | g)", data)
    slopes = line.emtrends("a", "x").table.set_index("a")["estimate"]
    assert slopes["high"] == pytest.approx(line.fixef["x"], rel=1e-9)
    assert slopes["low"] == pytest.approx(line.fixef["x"] + line.fixef["a[T.low]:x"], rel=1e-9)
    pair = line.emtrends("a", "x").pairs()
    assert pair["estimate"][0] == pytest.approx(-line.fixef["a[T.low]:x"], rel=1e-9)


def test_slopes_at_the_ends_of_a_spline(data):
    fit = mf.fit("y ~ a*bs(x, df=5) + (1 | g)", data)
    low, high = data["x"].min(), data["x"].max()
    h = 1e-5
    ends = fit.emmeans("a", at={"x": low}).table, fit.emmeans("a", at={"x": low + h}).table
    found = fit.emtrends("a", "x", at={"x": [low]}).table["estimate"]
    wanted = (ends[1]["estimate"] - ends[0]["estimate"]) / h
    np.testing.assert_allclose(found, wanted, rtol=1e-3)
    both = fit.emtrends("x", "x", at={"x": [low, high], "a": "mid"}).table
    assert both["estimate"][0] == pytest.approx(found[2], rel=1e-9)


def test_all_pairs_of_many_levels_are_too_many(data):
    means = mf.fit("y ~ x + (1 | g)", data).infer("residual").emmeans("x", at={"x": range(500)})
    with pytest.raises(UnsupportedError, match="124,750 contrasts"):
        means.pairs()
    assert len(means.contrast("trt.vs.ctrl", adjust="none")) == 499


def test_functions_are_taken_of_the_mean(data):
    for term in ("bs(x, df=5)", "I(x^2)", "scale(x)", "cr(x, df=4)"):
        fit = mf.fit(f"y ~ a + {term} + (1 | g)", data)
        rows = pd.DataFrame({"a": ["high", "low", "mid"], "x": data["x"].mean(), "g": 0})
        wanted = fit.predict(rows, random=False)
        np.testing.assert_allclose(fit.emmeans("a").table["estimate"], wanted, rtol=1e-10)


def test_an_offset_counts_in_means_and_cancels_in_contrasts(data):
    plain = mf.fit("y ~ a + (1 | g)", data.assign(y=data["y"] - 0.3 * data["z"]))
    shifted = mf.fit("y ~ a + offset(0.3*z) + (1 | g)", data)
    gap = shifted.emmeans("a").table["estimate"] - plain.emmeans("a").table["estimate"]
    np.testing.assert_allclose(gap, 0.3 * data["z"].mean(), rtol=1e-8)
    both = [fit.emmeans("a").pairs()["estimate"] for fit in (shifted, plain)]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-6)
    by_z = shifted.emmeans("z", at={"z": [90.0, 110.0]})
    np.testing.assert_allclose(by_z.pairs("none")["estimate"], -6.0, rtol=1e-9)


@pytest.fixture(scope="module")
def gap(data):
    return data[~((data["a"] == "high") & (data["b"] == 3))]


@pytest.mark.parametrize("residual", ["iid", "cs(1 | g)"])
def test_cells_without_rows_have_no_mean(gap, residual):
    random = " + (1 | g)" if residual == "iid" else ""
    fit = mf.fit(f"y ~ a*C(b) + x + z{random}", gap, residual=residual)
    table = fit.emmeans("a | b").table
    gone = (table["a"] == "high") & (table["b"] == 3)
    assert table["estimate"].isna().tolist() == gone.tolist()
    assert table["note"][gone].tolist() == ["not estimable"]
    margin = fit.emmeans("a").table.set_index("a")["estimate"]
    assert np.isnan(margin["high"])
    assert np.isfinite(margin["low"])
    pairs = fit.emmeans("a | b").pairs()
    assert pairs["p"].isna().sum() == 2
    assert fit.emmeans("a | b").joint()["num_df"].tolist() == [2, 2, 1]
    assert fit.emmeans("a | b").joint()["note"].tolist()[2] == "without what is not estimable"
    if residual == "iid":
        cells = fit.emmeans("a", weights="cells").table
        assert cells["estimate"].notna().all()


def test_weights_are_numbers_of_rows(crossed, data):
    counts = pd.crosstab(data["a"], data["b"])
    means = crossed.emmeans("a | b").table.pivot_table("estimate", "a", "b")
    cells = crossed.emmeans("a", weights="cells").table.set_index("a")["estimate"]
    wanted = (means * counts).sum(axis=1) / counts.sum(axis=1)
    np.testing.assert_allclose(cells, wanted[cells.index], rtol=1e-9)
    share = counts.sum(axis=0) / len(data)
    proportional = crossed.emmeans("a", weights="proportional").table.set_index("a")["estimate"]
    np.testing.assert_allclose(proportional, (means * share).sum(axis=1)[cells.index], rtol=1e-9)


def test_weights_that_the_sums_do_not_tell(data):
    frame = data.assign(c=np.where(data["x"] > 4, "p", "q"))
    fit = mf.fit("y ~ a + C(b) + c + (1 | g)", frame)
    with pytest.raises(UnsupportedError, match="weights='equal'"):
        fit.emmeans("a", weights="cells")


def test_a_fit_from_disk_and_a_sharded_one_say_the_same(crossed, data, tmp_path):
    wanted = crossed.emmeans("a | b")
    crossed.save(tmp_path / "fit")
    stored = mf.load(tmp_path / "fit").emmeans("a | b")
    pd.testing.assert_frame_equal(stored.table, wanted.table)
    pd.testing.assert_frame_equal(stored.pairs("mvt"), wanted.pairs("mvt"))
    sharded = mf.fit("y ~ a*C(b) + log(x) + z + (1 | g)", data, sharded=True)
    found = sharded.infer("residual").emmeans("a | b").table
    plain = crossed.infer("residual").emmeans("a | b").table
    np.testing.assert_allclose(found["estimate"], plain["estimate"], rtol=1e-7)
    np.testing.assert_allclose(found["se"], plain["se"], rtol=1e-5)


def test_a_schema_without_means_asks_for_values(crossed):
    old = replace(crossed, schema=replace(crossed.schema, means={}))
    with pytest.raises(DataError, match="is not known: these sums"):
        old.emmeans("a")
    assert len(old.emmeans("a", at={"x": 3, "z": 100}).table) == 3
