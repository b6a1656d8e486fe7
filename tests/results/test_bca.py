"""BCa intervals: boot's limits of the same draws, and influence of groups against refits."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from helpers import REFERENCES, data_frame

import mixedflow as mf
from mixedflow.errors import ConfigError, UnsupportedError
from mixedflow.results import bootstrapping
from mixedflow.results.bca import acceleration, bca_limits, influence_values

BOOT = json.loads((REFERENCES / "bootstrap.json").read_text())["bca"]
FORMULA = "Reaction ~ Days + (1 | Subject)"


@pytest.mark.parametrize("wanted", BOOT, ids=lambda one: str(one["level"]))
def test_limits_are_boots(wanted):
    t, L = np.array(wanted["t"]), np.array(wanted["L"])
    found = bca_limits(t, wanted["t0"], L, wanted["level"])
    assert found == pytest.approx((wanted["lower"], wanted["upper"]), rel=1e-12)


def test_without_skewness_and_bias_they_are_percentiles():
    t = np.arange(1.0, 1000.0)
    L = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert acceleration(L) == 0.0
    low, high = bca_limits(t, 500.5, L, 0.9)
    w = 500 / 999
    assert low == pytest.approx(50 + 1000 * (w - 0.5) * 0.2, abs=0.5)
    assert high == pytest.approx(950, abs=0.5)


def test_draws_on_one_side_have_no_interval():
    assert np.isnan(bca_limits(np.arange(5.0), -1.0, np.ones(3), 0.95)).all()


def test_influence_is_that_of_fits_without_each_group():
    frame = data_frame("sleepstudy")
    fit = mf.fit(FORMULA, frame)
    found = fit.bootstrap(50, kind="group", seed=3, jackknife=True)
    subjects = sorted(frame["Subject"].unique())
    rows = []
    for subject in subjects:
        one = mf.fit(FORMULA, frame[frame["Subject"] != subject])
        rows.append([*one.fixef, one.varcorr["sdcor"].iloc[0], one.sigma])
    left_out = np.array(rows)
    wanted = (len(subjects) - 1) * (left_out.mean(axis=0) - left_out)
    names = ["(Intercept)", "Days", "sd_(Intercept)|Subject", "sigma"]
    size = np.abs(wanted).max(axis=0)
    np.testing.assert_allclose(found.influence[names] / size, wanted / size, atol=1e-4)
    table = found.confint(0.9, "bca")
    assert (table["lower"] < table["estimate"]).all()
    assert (table["estimate"] < table["upper"]).all()
    draws = found.draws["Days"].to_numpy(dtype=float)
    limits = bca_limits(draws, fit.fixef["Days"], found.influence["Days"].to_numpy(), 0.9)
    assert tuple(table.loc["Days", ["lower", "upper"]]) == pytest.approx(limits)


def test_nested_levels_go_with_their_group():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"school": np.repeat(np.arange(8), 12), "x": rng.standard_normal(96)})
    frame["room"] = np.repeat(np.arange(32), 3)
    frame["y"] = frame["x"] + rng.standard_normal(8)[frame["school"]]
    frame["y"] += rng.standard_normal(32)[frame["room"]] + rng.standard_normal(96)
    formula = "y ~ x + (1 | school) + (1 | room)"
    fit = mf.fit(formula, frame)
    found = fit.bootstrap(5, kind="group", factor="school", seed=3, jackknife=True)
    beta = [mf.fit(formula, frame[frame["school"] != k]).fixef["x"] for k in range(8)]
    wanted = 7 * (np.mean(beta) - np.array(beta))
    np.testing.assert_allclose(found.influence["x"], wanted, rtol=1e-3, atol=1e-5)


def test_influence_is_taken_within_strata():
    left_out = np.array([[1.0], [2.0], [10.0], [11.0], [15.0]])
    found = influence_values(left_out, [np.array([0, 1]), np.array([2, 3, 4])])
    np.testing.assert_allclose(found[:, 0], [0.5, -0.5, 4.0, 2.0, -6.0])


def test_a_statistic_has_one_too():
    fit = mf.fit(FORMULA, data_frame("sleepstudy"))
    found = fit.bootstrap(
        20, kind="group", statistic=lambda one: {"icc": one.icc.iloc[0]}, jackknife=True
    )
    assert np.isfinite(found.influence["icc"]).all()
    assert np.isfinite(found.confint(method="bca").loc["icc"]).all()


def test_what_has_no_acceleration_is_refused(monkeypatch):
    fit = mf.fit(FORMULA, data_frame("sleepstudy"))
    with pytest.raises(UnsupportedError, match="jackknife=True"):
        fit.bootstrap(5, kind="group").confint(method="bca")
    with pytest.raises(ConfigError, match="kind='group'"):
        fit.bootstrap(5, jackknife=True)
    monkeypatch.setattr(bootstrapping, "MOST_LEFT_OUT", 10)
    with pytest.raises(UnsupportedError, match="here 18 times, and is for up to 10"):
        fit.bootstrap(5, kind="group", jackknife=True)
