"""Influence by deletion on InstEval against fits of the data without the level (73,421 rows, crossed)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import helpers
import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.design.encode import Encoder
from mixedflow.estimation.fit import evaluate_at, fixed_effects

FORMULA = "y ~ service + (1 | s) + (1 | d) + (1 | dept)"
CHOSEN = {"s": 8, "d": 8, "dept": 4}

OFF = {"s": 1e-3, "d": 5e-3, "dept": 2e-2}
"""How far DFBETAS at the variances of the fit may be from those of refits: a dept is up to 10 % of rows."""

pytestmark = pytest.mark.slow


@cache
def data():
    return pd.read_csv(
        helpers.REFERENCES / "data/InstEval.csv.gz",
        dtype={"s": str, "d": str, "dept": str, "service": str},
    )


@cache
def fitted():
    return mf.fit(FORMULA, data())


def chosen(factor):
    labels = fitted().ranef[factor].index
    return list(np.random.default_rng(5).choice(labels, CHOSEN[factor], replace=False))


def at_these_variances(fit, rows):
    """Return beta-hat of other rows, and its covariance, at the variances of a fit."""
    condensed = mf.condense(FORMULA, rows)
    scale = [c.info.pilots.y_scale[0] for c in (fit.crossproducts, condensed.sums)]
    ratio, params = scale[0] / scale[1], fit.estimates.params
    moved = tuple(ratio * theta for theta in params.theta)
    params = replace(params, theta=moved, phi=params.phi + 2 * np.log(ratio))
    terms = Encoder(condensed.spec, condensed.schema).terms
    return fixed_effects(evaluate_at(condensed.sums, terms, params, reml=True))


@pytest.mark.parametrize("factor", CHOSEN)
def test_exact_at_the_variances_of_the_fit(factor):
    fit = fitted()
    found = fit.influence(factor, chosen(factor))
    for level, row in found.iterrows():
        beta, vcov = at_these_variances(fit, data()[data()[factor] != level])
        change = fit.fixef.to_numpy() - beta
        dfbetas = row.filter(like="dfbetas").to_numpy(dtype=float)
        np.testing.assert_allclose(dfbetas, change / np.sqrt(np.diag(vcov)), atol=1e-10)
        cook = change @ np.linalg.solve(fit.vcov, change) / 2
        np.testing.assert_allclose(row["cook"], cook, rtol=1e-9)
        ratio = np.linalg.det(vcov) / np.linalg.det(fit.vcov)
        np.testing.assert_allclose(row["covratio"], ratio, rtol=1e-9)


@pytest.mark.parametrize("factor", CHOSEN)
def test_refits_are_fits_of_the_other_rows(factor):
    fit, levels = fitted(), chosen(factor)
    found = fit.influence(factor, levels, refit=True)
    near = fit.influence(factor, levels)
    for level in levels[:2]:
        alone = mf.fit(FORMULA, data()[data()[factor] != level])
        change = (fit.fixef - alone.fixef).to_numpy()
        cook = change @ np.linalg.solve(fit.vcov, change) / 2
        np.testing.assert_allclose(found.loc[level, "cook"], cook, rtol=1e-4, atol=1e-10)
        np.testing.assert_allclose(
            found.loc[level, "rvc_sigma"], alone.sigma / fit.sigma - 1, atol=1e-8
        )
    names = [name for name in near if name.startswith("dfbetas")]
    off = np.abs(found[names] - near[names]).to_numpy()
    assert off.max() < OFF[factor]
