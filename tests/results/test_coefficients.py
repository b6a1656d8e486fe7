"""``fit.coef_table``: the default table of ``infer``, and what it is where that is too much."""

from __future__ import annotations

import dataclasses

import helpers
import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.errors import FitError
from mixedflow.estimation.control import FitControl
from mixedflow.results import coefficients

COLUMNS = ["estimate", "se", "df", "statistic", "p", "lower", "upper"]


@pytest.fixture
def fit():
    return mf.fit("Reaction ~ Days + (Days | Subject)", helpers.data_frame("sleepstudy"))


def asymptotic(fit, note):
    table = fit.coef_table
    assert table.attrs["ddf"] == "asymptotic"
    assert note in table.attrs["note"]
    assert list(table.columns) == COLUMNS
    assert np.isinf(table["df"]).all()
    pd.testing.assert_frame_equal(table, fit.infer("asymptotic").coef_table)
    text = fit.summary()
    assert "Fixed effects, asymptotic tests:" in text
    assert f"No degrees of freedom: {table.attrs['note']}." in text
    return True


def test_it_is_the_table_of_infer(fit):
    assert fit.coef_table.attrs == {"ddf": "satterthwaite", "level": 0.95, "note": ""}
    pd.testing.assert_frame_equal(fit.coef_table, fit.infer().coef_table)
    assert "t tests with Satterthwaite's degrees of freedom" in fit.summary()


def test_it_is_computed_once(fit, monkeypatch):
    first = fit.coef_table
    monkeypatch.setattr(coefficients, "_default", None)
    assert fit.coef_table is first
    assert fit.summary() == str(fit)


def test_saving_computes_no_degrees_of_freedom(fit, monkeypatch, tmp_path):
    monkeypatch.setattr(coefficients, "_default", None)
    fit.save(tmp_path / "fit")
    monkeypatch.undo()
    again = mf.load(tmp_path / "fit").coef_table
    pd.testing.assert_frame_equal(again, fit.coef_table, rtol=1e-6)


def test_what_is_predicted_to_take_long_is_left_to_infer(fit, monkeypatch):
    monkeypatch.setattr(coefficients, "LONGEST", 0.0)
    assert asymptotic(fit, "infer() computes them")
    assert fit.infer().ddf == "satterthwaite"


def test_the_prediction_grows_with_levels_and_factors():
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"a": np.arange(4000) % 400, "b": rng.integers(0, 400, 4000)})
    data["y"] = rng.normal(size=4000)
    costs = []
    for formula in ("y ~ 1 + (1 | a)", "y ~ 1 + (1 | a) + (1 | b)"):
        found = mf.fit(formula, data)
        costs.append(coefficients.predicted_operations(found._problem(), found.estimates.solver))
    assert 0 < 2 * costs[0] < costs[1]
    assert 4 * costs[1] < coefficients.LONGEST


def test_a_flat_likelihood_has_asymptotic_tests(fit, monkeypatch):
    def flat(self, ddf="satterthwaite", **_):
        if ddf == "satterthwaite":
            raise FitError("the log-likelihood has no curvature at the estimates")
        return plain

    plain = fit.infer("asymptotic")
    monkeypatch.setattr(mf.FitResult, "infer", flat)
    assert asymptotic(fit, "no curvature")


def test_degrees_of_freedom_that_are_no_number_are_not_shown(fit, monkeypatch):
    known = {ddf: fit.infer(ddf) for ddf in ("satterthwaite", "asymptotic")}
    broken = known["satterthwaite"].coef_table.assign(df=np.nan)
    known["satterthwaite"] = dataclasses.replace(known["satterthwaite"], coef_table=broken)
    monkeypatch.setattr(mf.FitResult, "infer", lambda self, ddf, **_: known[ddf])
    assert asymptotic(fit, "no curvature")


def test_a_fit_by_chance_and_a_sharded_one_are_asymptotic():
    data = helpers.data_frame("factors_unb")
    control = FitControl(solver="pcg", mc_probes=20)
    assert asymptotic(mf.fit("y ~ x + (1 | g) + (1 | a)", data, control=control), "'pcg'")
    assert asymptotic(mf.fit("y ~ x + (1 | g)", data, sharded=True), "in shards")
