"""``fit.infer``: tables, contrasts, type III hypotheses, and what is refused."""

from __future__ import annotations

import dataclasses

import helpers
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mixedflow as mf
from mixedflow.errors import DataError, UnsupportedError
from mixedflow.estimation.control import FitControl

COLUMNS = ["estimate", "se", "df", "statistic", "p", "lower", "upper"]


def two_way(n=240, seed=5):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "a": rng.choice(list("pqr"), n, p=[0.5, 0.3, 0.2]),
            "b": rng.choice(list("uv"), n, p=[0.7, 0.3]),
            "x": rng.normal(3.0, 1.0, n),
            "g": rng.integers(0, 12, n),
        }
    )
    shift = {"p": 0.0, "q": 0.5, "r": 1.0}
    data["y"] = (
        data["a"].map(shift) * (1.0 + (data["b"] == "u")) + 0.3 * data["x"]
        + rng.normal(size=12)[data["g"]] + rng.normal(size=n)
    )  # fmt: skip
    return data


@pytest.fixture(scope="module")
def sleep():
    return mf.fit("Reaction ~ Days + (Days | Subject)", helpers.data_frame("sleepstudy"))


def test_the_table_and_its_limits(sleep):
    found = sleep.infer(level=0.9)
    table = found.coef_table
    assert list(table.columns) == COLUMNS
    assert list(table.index) == sleep.coefficient_names
    np.testing.assert_allclose(table["df"], 17.0, rtol=1e-6)
    t = stats.t(table["df"])
    np.testing.assert_allclose(table["p"], 2.0 * t.sf(table["statistic"].abs()), rtol=1e-10)
    np.testing.assert_allclose(table["upper"], table["estimate"] + t.ppf(0.95) * table["se"])
    np.testing.assert_allclose(table["lower"], table["estimate"] - t.ppf(0.95) * table["se"])
    assert "satterthwaite, 90 %" in repr(found)


def test_constant_degrees_of_freedom(sleep):
    residual, normal = sleep.infer("residual").coef_table, sleep.infer("asymptotic").coef_table
    assert set(residual["df"]) == {sleep.nobs - 2.0}
    assert set(normal["df"]) == {np.inf}
    statistic = normal["statistic"].abs()
    np.testing.assert_allclose(normal["p"], 2.0 * stats.norm.sf(statistic), rtol=1e-10)
    np.testing.assert_allclose(
        normal["upper"] - normal["lower"], 2 * 1.959963984540054 * normal["se"]
    )
    wald = sleep.infer("asymptotic").contrast(np.eye(2)).iloc[0]
    assert wald["p"] == pytest.approx(stats.chi2.sf(2 * wald["F"], 2), rel=1e-10)


def test_an_inference_is_frozen(sleep):
    with pytest.raises(dataclasses.FrozenInstanceError):
        sleep.infer().level = 0.5


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger", "residual", "asymptotic"])
def test_contrasts_of_one_row_and_of_several(ddf):
    fit = mf.fit("y ~ a + x + (1 | g)", two_way())
    found = fit.infer(ddf)
    row = found.contrast([0, 0, 0, 1]).iloc[0]
    pd.testing.assert_series_equal(row, found.coef_table.loc["x"], check_names=False)
    by_name = found.contrast({"a[T.q]": 1.0, "a[T.r]": -1.0})
    plain = found.contrast([0.0, 1.0, -1.0, 0.0])
    pd.testing.assert_frame_equal(by_name, plain)
    L = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 2, -1, 0]])
    joint = found.contrast(L)
    assert list(joint.columns) == ["num_df", "den_df", "F", "p"]
    assert joint["num_df"].iloc[0] == 2
    pd.testing.assert_frame_equal(
        joint.reset_index(drop=True), found.anova().loc[["a"]].reset_index(drop=True)
    )
    one = found.anova().loc["x"]
    assert one["F"] == pytest.approx(row["statistic"] ** 2, rel=1e-9)
    assert one["den_df"] == pytest.approx(row["df"], rel=1e-9)
    assert one["p"] == pytest.approx(row["p"], rel=1e-7)


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ C(a, contr.sum) * C(b, contr.sum) + x + (1 | g)",
        "y ~ C(a, contr.helmert) * b + x + (1 | g)",
        "y ~ 1 + a + b + a:b + x + (1 | g)",
    ],
)
def test_type_three_does_not_depend_on_the_contrasts(formula):
    data = two_way()
    ours = mf.fit("y ~ a * b + x + (1 | g)", data).infer("residual").anova()
    other = mf.fit(formula, data).infer("residual").anova()
    np.testing.assert_allclose(other, ours, rtol=1e-7)


def test_type_three_is_about_unweighted_means():
    fit = mf.fit("y ~ a * b + x + (1 | g)", two_way())
    found = fit.infer("residual")
    wanted = found.contrast(
        pd.DataFrame(
            [[1, 0, 0.5, 0], [0, 1, 0, 0.5]],
            columns=["a[T.q]", "a[T.r]", "a[T.q]:b[T.v]", "a[T.r]:b[T.v]"],
        )
    )
    np.testing.assert_allclose(found.anova().loc[["a"]], wanted, rtol=1e-10)
    assert list(found.anova().index) == ["a", "b", "x", "a:b"]
    assert list(found.anova()["num_df"]) == [2, 1, 1, 2]


@pytest.mark.parametrize(
    ("formula", "wanted"),
    [
        ("y ~ a * x + (1 | g)", {"a": 2, "x": 1, "a:x": 2}),
        ("y ~ a + a:b + (1 | g)", {"a": 2, "a:b": 3}),
        ("y ~ 0 + a + (1 | g)", {"a": 3}),
        ("y ~ a + a:x + (1 | g)", {"a": 2, "a:x": 3}),
        ("y ~ poly(x, 3) + b + (1 | g)", {"poly(x, 3)": 3, "b": 1}),
        ("y ~ 1 + (1 | g)", {}),
    ],
)
def test_numerator_degrees_of_freedom(formula, wanted):
    found = mf.fit(formula, two_way()).infer("residual").anova()
    assert found["num_df"].to_dict() == wanted


def test_a_continuous_term_beside_its_interaction_is_about_the_mean_slope():
    found = mf.fit("y ~ a * x + (1 | g)", two_way()).infer("residual")
    mean = found.contrast({"x": 1.0, "a[T.q]:x": 1 / 3, "a[T.r]:x": 1 / 3}).iloc[0]
    assert found.anova().loc["x", "F"] == pytest.approx(mean["statistic"] ** 2, rel=1e-9)


def test_satterthwaite_of_structures_of_G_and_R():
    """cs of one column is us; csh over two positions is us: the same model, the same df."""
    data = two_way()
    pairs = [("cs(1 | g)", "(1 | g)"), ("csh(1 + x | g)", "(x | g)")]
    for one, other in pairs:
        tables = [mf.fit(f"y ~ a + x + {term}", data).infer().coef_table for term in (one, other)]
        np.testing.assert_allclose(tables[0]["df"], tables[1]["df"], rtol=1e-4)


def test_units_of_the_response_and_of_a_covariate_change_no_df():
    data = two_way()
    ours = mf.fit("y ~ a + x + (x | g)", data).infer()
    other = mf.fit("y ~ a + x + (x | g)", data.assign(y=1e3 * data["y"], x=50 + 0.01 * data["x"]))
    np.testing.assert_allclose(
        other.infer().coef_table["df"][1:], ours.coef_table["df"][1:], rtol=1e-4
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: f.infer("satterthwait"), UnsupportedError, "did you mean 'satterthwaite'"),
        (lambda f: f.infer(level=95), DataError, "between 0 and 1"),
        (lambda f: f.infer().anova(type=4), UnsupportedError, r"offered are type=1, 2 and 3"),
        (lambda f: f.infer().contrast([1, 2, 3]), DataError, r"2 finite numbers a row"),
        (lambda f: f.infer().contrast([[0, 0]]), DataError, "row of zeros"),
        (lambda f: f.infer().contrast("Days"), DataError, "must be numbers"),
        (lambda f: f.infer().contrast({"Day": 1}), DataError, "did you mean 'Days'"),
    ],
)
def test_mistakes_are_named(sleep, call, error, message):
    with pytest.raises(error, match=message):
        call(sleep)


def test_a_fit_by_chance_has_no_slopes():
    data = two_way()
    control = FitControl(solver="pcg", mc_probes=20)
    fit = mf.fit("y ~ x + (1 | g) + (1 | a)", data, control=control)
    with pytest.raises(UnsupportedError, match=r"'pcg'.*'residual'"):
        fit.infer()
    assert np.isfinite(fit.infer("asymptotic").coef_table["p"]).all()


def test_a_sharded_fit_has_them_too(tmp_path):
    data = two_way()
    whole, parts = (mf.fit("y ~ a + x + (x | g)", data, sharded=k) for k in (False, True))
    np.testing.assert_allclose(
        parts.infer().coef_table["df"], whole.infer().coef_table["df"], rtol=1e-6
    )
    for ddf in ("kenward-roger", "kenward-roger-linear"):
        np.testing.assert_allclose(
            parts.infer(ddf).coef_table, whole.infer(ddf).coef_table, rtol=1e-9
        )
    parts.save(tmp_path / "fit")
    with pytest.raises(UnsupportedError, match=r"read from disk.*infer"):
        mf.load(tmp_path / "fit").infer()


def test_a_stored_fit_says_the_same(tmp_path, sleep):
    sleep.save(tmp_path / "fit")
    for ddf in ("satterthwaite", "kenward-roger"):
        again = mf.load(tmp_path / "fit").infer(ddf).coef_table
        pd.testing.assert_frame_equal(again, sleep.infer(ddf).coef_table, rtol=1e-7)


@pytest.mark.parametrize(("ddf", "vcov"), [("kenward-roger", "model"), ("satterthwaite", "CR2")])
def test_a_fit_can_be_asked_at_once(ddf, vcov):
    fit = mf.fit("y ~ a * b + x + (1 | g)", two_way())
    found = fit.infer(ddf, vcov=vcov)
    pd.testing.assert_frame_equal(fit.anova(2, ddf, vcov=vcov), found.anova(2))
    pd.testing.assert_frame_equal(fit.contrast({"x": 1}, ddf, vcov=vcov), found.contrast({"x": 1}))
