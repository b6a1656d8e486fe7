"""Accessors of a fit: what they hold, in which order, and how they relate to each other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from designs import random_design

import mixedflow as mf
from mixedflow.errors import DataError, UnknownLevelError


@pytest.fixture(scope="module")
def data():
    frame = random_design("crossed-slope", 3).data.copy()
    frame["off"] = np.linspace(-1.0, 1.0, len(frame))
    frame.index = pd.Index([f"row{i:03d}" for i in range(len(frame))])
    frame.loc[["row004", "row070"], "x"] = np.nan
    frame.loc["row011", "y"] = np.nan
    return frame


@pytest.fixture(scope="module")
def fit(data):
    return mf.fit("y ~ x + z + offset(off) + (x | g) + (1 | h)", data)


def by_hand(fit, rows):
    """Return X beta + offset + Z u, row by row, from the accessors' labels."""
    u, v = fit.ranef["g"], fit.ranef["h"]
    out = []
    for row in rows.itertuples():
        eta = fit.fixef["(Intercept)"] + fit.fixef["x"] * row.x + fit.fixef["z"] * row.z + row.off
        if row.g in u.index:
            eta += u.loc[row.g, "(Intercept)"] + u.loc[row.g, "x"] * row.x
        labels = {str(label): label for label in v.index}
        if str(row.h) in labels:
            eta += v.loc[labels[str(row.h)], "(Intercept)"]
        out.append(eta)
    return np.array(out)


def test_scalars_agree_with_each_other(fit, data):
    assert fit.nobs == len(data) - 3
    assert fit.deviance == -2.0 * fit.loglik
    assert fit.df_model == 3 + 3 + 1 + 1
    assert fit.aic == pytest.approx(fit.deviance + 2 * 8, rel=1e-15)
    assert fit.bic == pytest.approx(fit.deviance + 8 * np.log(fit.nobs), rel=1e-15)
    assert fit.sigma**2 == pytest.approx(fit.varcorr["vcov"].iloc[-1], rel=1e-14)
    assert fit.reml is True
    assert fit.method == "auto"
    assert fit.converged is True
    assert fit.n_iter == fit.trace["iteration"].iloc[-1] == len(fit.trace) - 1
    assert fit.n_levels == {"g": 14, "h": 6}
    assert fit.singular == any(on for _, on in fit.certificate.boundary)
    assert set(fit.conditions) == {"X'V^-1X", "information"}
    assert min(fit.conditions.values()) >= 1.0


def test_tables_have_the_names_of_the_model(fit):
    names = ["(Intercept)", "x", "z"]
    assert list(fit.fixef.index) == names
    assert list(fit.vcov.index) == list(fit.vcov.columns) == names
    assert list(fit.coef_table.index) == names
    columns = ["estimate", "se", "df", "statistic", "p", "lower", "upper"]
    assert list(fit.coef_table.columns) == columns
    np.testing.assert_allclose(fit.coef_table["se"], np.sqrt(np.diag(fit.vcov)), rtol=1e-15)
    assert list(fit.varcorr.columns) == ["group", "term1", "term2", "vcov", "sdcor"]
    assert list(fit.ranef) == list(fit.ranef_se)
    assert list(fit.ranef["g"].columns) == ["(Intercept)", "x"]
    assert fit.ranef["g"].index.name == "g"
    assert (fit.ranef_se["g"] > 0).all().all()
    assert list(fit.trace.columns) == [
        "iteration", "step", "minus2ll", "decrement", "rel_change", "halvings", "seconds",
    ]  # fmt: skip


def test_blups_of_a_term_with_intercept_sum_to_zero_over_rows_by_their_equations(fit, data):
    """X'e = 0: the intercept is among the fixed effects and residuals are iid."""
    used = fit.resid
    X = np.column_stack([np.ones(len(used)), data.loc[used.index, ["x", "z"]]])
    np.testing.assert_allclose(X.T @ used, 0.0, atol=1e-8)


def test_fitted_and_residuals_carry_the_index_of_the_rows_used(fit, data):
    used = data.dropna(subset=["x", "y"])
    assert list(fit.fitted.index) == list(used.index)
    assert list(fit.resid.index) == list(used.index)
    assert fit.fitted.name == "fitted"
    assert fit.resid.name == "resid"
    np.testing.assert_allclose(fit.fitted, by_hand(fit, used), rtol=1e-12)
    np.testing.assert_allclose(fit.fitted + fit.resid, used["y"], rtol=1e-13)


def test_an_index_with_repeats_and_in_any_order(data):
    frame = data.copy()
    frame.index = [7] * 5 + list(range(len(frame) - 5))[::-1]
    fit = mf.fit("y ~ x + (1 | g)", frame)
    used = frame.dropna(subset=["x", "y"])
    assert list(fit.resid.index) == list(used.index)
    np.testing.assert_allclose(fit.fitted + fit.resid, used["y"], rtol=1e-13)


def test_dropped_rows_are_accounted_for(fit, data):
    summary = fit.data_summary
    assert summary["rows_in"] == len(data)
    assert summary["rows_used"] == fit.nobs
    assert summary["rows_dropped"] == 3
    assert summary["missing"] == {"x": 2, "y": 1}


class TestPredict:
    def test_the_rows_of_the_fit_give_the_fitted_values(self, fit, data):
        found = fit.predict(data)
        assert list(found.index) == list(data.index)
        assert np.isnan(found.loc[["row004", "row070"]]).all()
        np.testing.assert_allclose(found[fit.fitted.index], fit.fitted, rtol=1e-13)
        assert np.isfinite(found["row011"])  # the response is not needed

    def test_without_the_response_and_with_other_columns(self, fit, data):
        rows = data.drop(columns="y").assign(extra="?").iloc[20:30]
        np.testing.assert_allclose(fit.predict(rows), by_hand(fit, rows), rtol=1e-12)

    def test_the_fixed_part_alone(self, fit, data):
        rows = data.iloc[20:30]
        wanted = by_hand(fit, rows.assign(g="nobody", h=-1))
        np.testing.assert_allclose(fit.predict(rows, random=False), wanted, rtol=1e-12)

    def test_new_levels(self, fit, data):
        rows = data.iloc[20:26].copy()
        rows.loc[rows.index[2], "g"] = "newcomer"
        with pytest.raises(UnknownLevelError, match="newcomer"):
            fit.predict(rows)
        found = fit.predict(rows, allow_new_levels=True)
        np.testing.assert_allclose(found, by_hand(fit, rows), rtol=1e-12)
        np.testing.assert_allclose(
            fit.predict(rows, random=False), fit.predict(data.iloc[20:26], random=False)
        )

    def test_a_new_level_of_a_fixed_factor_has_no_coefficient(self, data):
        fit = mf.fit("y ~ k + (1 | g)", data)
        rows = data.iloc[:3].assign(k="never seen")
        for random in (True, False):
            with pytest.raises(UnknownLevelError, match="never seen"):
                fit.predict(rows, random=random, allow_new_levels=True)

    def test_one_row_and_none(self, fit, data):
        row = data.iloc[[30]]
        assert fit.predict(row).iloc[0] == pytest.approx(by_hand(fit, row)[0], rel=1e-12)
        with pytest.raises(DataError, match="no rows"):
            fit.predict(data.iloc[:0])

    def test_a_missing_predictor_is_named(self, fit, data):
        with pytest.raises(DataError, match="'z'"):
            fit.predict(data.drop(columns="z"))

    def test_a_missing_group_is_an_incomplete_row(self, fit, data):
        rows = data.iloc[20:24].copy()
        rows.loc[rows.index[1], "g"] = None
        found = fit.predict(rows)
        assert np.isnan(found.iloc[1])
        assert np.isfinite(found.iloc[[0, 2, 3]]).all()


def test_weights_and_offset_together(data):
    """An offset is y less it; weights divide the residual variance."""
    formula = "y ~ x + {}(1 | g)"
    plain = mf.fit(formula.format(""), data.assign(y=data["y"] - data["off"]), weights="wt")
    offset = mf.fit(formula.format("offset(off) + "), data, weights="wt")
    assert offset.loglik == pytest.approx(plain.loglik, rel=1e-12)
    np.testing.assert_allclose(offset.fixef, plain.fixef, rtol=1e-9)
    np.testing.assert_allclose(
        offset.fitted - data.loc[offset.fitted.index, "off"], plain.fitted, rtol=1e-9
    )
    np.testing.assert_allclose(offset.resid, plain.resid, atol=1e-9)


def test_aliased_columns_are_left_out_and_named(data):
    frame = data.assign(twice=2 * data["x"] + 1)
    fit = mf.fit("y ~ x + twice + z + (1 | g)", frame)
    assert list(fit.fixef.index) == ["(Intercept)", "x", "z"]
    assert any("rank deficient" in text and "twice" in text for text in fit.messages)
    plain = mf.fit("y ~ x + z + (1 | g)", data)
    assert fit.loglik == pytest.approx(plain.loglik, rel=1e-12)
    assert fit.df_model == plain.df_model
    rows = frame.iloc[20:30]
    np.testing.assert_allclose(fit.predict(rows), plain.predict(rows), rtol=1e-9)


def test_one_line_and_many(fit):
    assert repr(fit).startswith("<FitResult 'y ~ x + z")
    assert "\n" not in repr(fit)
    assert str(fit) == fit.summary()
    assert "(Intercept)" in fit.summary()


def test_a_fit_is_frozen(fit):
    with pytest.raises(AttributeError):
        fit.messages = ()
    with pytest.raises(AttributeError):
        fit.estimates.beta = None
