"""compare() and drop_random() against lme4's anova, and dense likelihoods of the rows."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from helpers import REFERENCES, data_frame

import mixedflow as mf
from mixedflow.errors import ConfigError, DataError, UnsupportedError
from mixedflow.inference.ratio import aicc, chi2_p, one_variance_p

SLOPES = "Reaction ~ Days + (Days | Subject)"
LEVELS = "Reaction ~ Days + (1 | Subject)"
CONSTANT = "Reaction ~ 1 + (1 | Subject)"

LME4 = json.loads((REFERENCES / "measures.json").read_text())


def fitted(formula: str, data: object = "sleepstudy", **options: object) -> mf.FitResult:
    return mf.fit(formula, data_frame(data) if isinstance(data, str) else data, **options)


def test_ml_fits_are_compared_as_by_lme4():
    fits = [fitted(formula, reml=False) for formula in (SLOPES, CONSTANT, LEVELS)]
    table = mf.compare(*fits)
    assert list(table.index) == [CONSTANT, LEVELS, SLOPES]
    for column, values in LME4["ml"].items():
        wanted = 1e-6 if column == "p" else 1e-8
        np.testing.assert_allclose(table[column], np.array(values, float), rtol=wanted)
    assert (table["note"] == "").all()


def test_only_a_variance_at_zero_has_a_mixture():
    fits = [fitted(formula, reml=False) for formula in (CONSTANT, LEVELS, SLOPES)]
    table = mf.compare(*fits, names=["constant", "levels", "slopes"])
    assert np.isnan(table.loc["levels", "p_mixture"])
    chisq = float(table.loc["slopes", "chisq"])
    mixture = 0.5 * np.exp(-chisq / 2) + 0.5 * chi2_p(chisq, 1)
    np.testing.assert_allclose(table.loc["slopes", "p_mixture"], mixture, rtol=1e-12)


def test_reml_fits_with_one_fixed_part_are_compared():
    table = mf.compare(fitted(SLOPES), fitted(LEVELS))
    for column, values in LME4["reml"].items():
        np.testing.assert_allclose(table[column], np.array(values, float), rtol=1e-6)


def test_reml_fits_with_other_fixed_parts_are_refused_or_refitted():
    fits = [fitted(formula) for formula in (SLOPES, CONSTANT, LEVELS)]
    with pytest.raises(UnsupportedError, match=r"differ in 'Days'.*refit='ml'"):
        mf.compare(*fits)
    table = mf.compare(*fits, refit="ml")
    np.testing.assert_allclose(table["logLik"], LME4["ml"]["logLik"], atol=1e-6)


def test_reml_and_ml_are_not_mixed():
    with pytest.raises(UnsupportedError, match="some of the fits are by REML"):
        mf.compare(fitted(SLOPES), fitted(LEVELS, reml=False))


def test_fits_of_other_rows_are_refused():
    frame = data_frame("sleepstudy")
    first = fitted(SLOPES)
    with pytest.raises(DataError, match=r"180 rows.* 179"):
        mf.compare(first, fitted(LEVELS, frame.iloc[1:]))
    changed = frame.assign(Reaction=frame["Reaction"].where(frame.index > 0, 0.0))
    with pytest.raises(DataError, match=r"fits of different data.*has mean"):
        mf.compare(first, fitted(LEVELS, changed))
    twice = fitted("Twice ~ Days + (1 | Subject)", frame.assign(Twice=2 * frame["Reaction"]))
    with pytest.raises(DataError, match="'Reaction' and 'Twice'"):
        mf.compare(first, twice)


def test_rows_are_known_whatever_the_constant():
    """The sums of y are those of the same rows with and without an intercept in the model."""
    fits = [fitted(f"Reaction ~ {part} + (1 | Subject)", reml=False) for part in ("0 + Days", "1")]
    table = mf.compare(*fits, fitted(LEVELS, reml=False))
    assert table["note"].tolist() == [
        "",
        "no parameter more; not seen to be nested; the larger model has the lower likelihood",
        "",
    ]


def test_bad_arguments_are_named():
    fit = fitted(LEVELS)
    with pytest.raises(ConfigError, match="two fits or more; 1 was given"):
        mf.compare(fit)
    with pytest.raises(ConfigError, match="refit='reml' is not known"):
        mf.compare(fit, fit, refit="reml")
    with pytest.raises(ConfigError, match="3 entries for 2 fits"):
        mf.compare(fit, fit, names=["a", "b", "c"])


def test_several_variances_at_zero_have_a_mixture():
    both = fitted("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin", reml=False)
    slopes = fitted("Reaction ~ Days + (Days || Subject)")
    none = fitted("Reaction ~ Days + (0 + Days | Subject)")
    assert mf.compare(none, slopes)["note"].iloc[1] == ""
    assert np.isfinite(both.drop_random()["p_mixture"].iloc[1:]).all()
    wide = fitted("score ~ Machine + (Machine | Worker)", "Machines")
    row = mf.compare(wide, fitted("score ~ Machine + (1 | Worker)", "Machines")).iloc[1]
    assert row["note"] == ""
    assert row["p_mixture"] < row["p"]
    assert row["df"] == 5


@pytest.mark.parametrize("reml", [True, False])
def test_dropping_a_slope_is_the_comparison_with_the_smaller_fit(reml):
    large, small = fitted(SLOPES, reml=reml), fitted(LEVELS, reml=reml)
    table = large.drop_random()
    assert list(table.index) == ["<none>", "Days in (1 + Days | Subject)"]
    pair = mf.compare(small, large).iloc[1]
    for column in ("chisq", "df", "p", "p_mixture"):
        np.testing.assert_allclose(table[column].iloc[1], pair[column], rtol=1e-7)


def test_dropping_crossed_terms_as_lme4():
    table = fitted("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin").drop_random()
    for factor, chisq in LME4["penicillin_drops"].items():
        name = f"(1 | {factor})"
        np.testing.assert_allclose(table.loc[name, "chisq"], chisq, rtol=1e-8)
        np.testing.assert_allclose(table.loc[name, "p_mixture"], chi2_p(chisq, 1) / 2, rtol=1e-6)


@pytest.mark.parametrize("reml", [True, False])
def test_dropping_the_only_term_leaves_least_squares(reml):
    frame = data_frame("sleepstudy")
    X = np.column_stack([np.ones(len(frame)), frame["Days"]])
    y = frame["Reaction"].to_numpy()
    n, p = X.shape
    rss = float(np.linalg.lstsq(X, y, rcond=None)[1][0])
    left = n - p if reml else n
    minus2ll = left * (1.0 + np.log(2.0 * np.pi * rss / left))
    minus2ll += np.linalg.slogdet(X.T @ X)[1] if reml else 0.0
    table = fitted(LEVELS, reml=reml).drop_random()
    np.testing.assert_allclose(table["logLik"].iloc[1], -0.5 * minus2ll, rtol=1e-10)
    assert table["npar"].iloc[1] == p + 1


def test_products_within_higher_ones_stay():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(200, 3)), columns=["y", "a", "b"])
    frame["g"] = np.arange(200) % 20
    with_both = fitted("y ~ a * b + (a * b | g)", frame, reml=False)
    assert list(with_both.drop_random().index[1:]) == ["a:b in (1 + a + b + a:b | g)"]


def test_models_with_a_residual_structure_lose_their_random_terms():
    frame = data_frame("sleepstudy")
    fit = fitted(LEVELS, frame, residual="ar1(Days | Subject)")
    alone = mf.fit("Reaction ~ Days", frame, residual="ar1(Days | Subject)")
    table = fit.drop_random()
    np.testing.assert_allclose(table["logLik"].iloc[1], alone.loglik, atol=1e-7)
    with pytest.raises(UnsupportedError, match="no random term to drop"):
        alone.drop_random()


def test_a_variance_of_zero_is_no_evidence():
    table = fitted("Yield ~ 1 + (1 | Batch)", "Dyestuff2").drop_random()
    assert table["chisq"].iloc[1] == pytest.approx(0.0, abs=1e-9)
    assert table["p_mixture"].iloc[1] == pytest.approx(1.0, abs=1e-4)


def test_p_values_in_closed_form():
    assert chi2_p(0.0, 0) == 1.0
    assert chi2_p(1e-3, 0) == 0.0
    np.testing.assert_allclose(chi2_p(3.0, 2), np.exp(-1.5), rtol=1e-14)
    np.testing.assert_allclose(one_variance_p(2.7055434540954, 1), 0.05, rtol=1e-10)
    assert aicc(10.0, 3, 10) == pytest.approx(10 + 6 + 24 / 6)
    assert aicc(10.0, 3, 4) == np.inf
