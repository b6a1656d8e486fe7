"""Fits with a residual structure against the dense n x n twin.

Three statements a fit: at our estimates everything equals the textbook's; the slope of our
likelihood in [theta, psi, phi] is that of the twin's, at the optimum (where it is zero) and away
from it; E[e'B_k e] of every key of the sums is the dense one. Then: all methods agree.
"""

from __future__ import annotations

import numpy as np
import pytest
from residual_problems import ResidualCase

from mixedflow.covariance.registry import residual_structures

NONE = ()
CLINIC = (("clinic", ("1",)),)
GROUP = (("g", ("1",)),)
SLOPE = (("g", ("1", "x")),)
SLOPE_ONLY = (("g", ("0", "x")),)
CROSSED = (("g", ("1",)), ("h", ("1",)))

VISITS = "x + visit"
# With a free covariance over visits an intercept a group is not identified; a clinic's is.
CASES = [
    ResidualCase("x", NONE, "us(visit | g)"),
    ResidualCase("x", CLINIC, "us(visit | g)", weighted=True),
    ResidualCase("x", SLOPE_ONLY, "us(visit | g)", reml=False),
    ResidualCase("x", NONE, "us(visit | arm/g)", reml=False),
    ResidualCase("x", NONE, "cs(visit | g)", weighted=True),
    ResidualCase("x", CLINIC, "cs(1 | g)"),
    ResidualCase("x", SLOPE_ONLY, "cs(1 | arm/g)", reml=False),
    ResidualCase(VISITS, NONE, "csh(visit | g)", weighted=True, reml=False),
    ResidualCase("x", CLINIC, "csh(visit | arm/g)"),
    ResidualCase("x", NONE, "ar1(t | g)"),
    ResidualCase("x", GROUP, "ar1(visit | g)", reml=False),
    ResidualCase("x", SLOPE, "ar1(1 | g)", weighted=True),
    ResidualCase("x", CLINIC, "ar1(t | arm/g)", reml=False),
    ResidualCase("x", GROUP, "strata(arm) * ar1(t | g)"),
    ResidualCase(VISITS, NONE, "ar1h(visit | g)", reml=False),
    ResidualCase("x", CLINIC, "ar1h(visit | g)", weighted=True),
    ResidualCase("x", NONE, "car1(time | g)", weighted=True),
    ResidualCase("x", SLOPE, "car1(time | g)", reml=False),
    ResidualCase("x", CLINIC, "sp_exp(time | arm/g)"),
    ResidualCase("x", NONE, "sp_exp(time, east | g)"),
    ResidualCase("x", CLINIC, "sp_exp(time, east | arm/g)", reml=False),
    ResidualCase("x", SLOPE, "sp_exp(t, east | g)", weighted=True),
    ResidualCase("x", NONE, "ad(visit | g)", reml=False),
    ResidualCase("x", SLOPE_ONLY, "ad(visit | g)", weighted=True),
    ResidualCase(VISITS, CLINIC, "adh(visit | g)"),
    ResidualCase("x", NONE, "toep(visit | g)", weighted=True),
    ResidualCase("x", CLINIC, "toep(visit | arm/g)", reml=False),
    ResidualCase("x", SLOPE_ONLY, "toeph(visit | g)"),
    ResidualCase("x", NONE, "strata(lab)"),
    ResidualCase("x", SLOPE, "strata(lab)", weighted=True),
    ResidualCase("x", CROSSED, "strata(lab)", reml=False),
    ResidualCase(VISITS, CROSSED, "strata(lab)", weighted=True),
]


def name(case):
    random = ",".join(f"{'+'.join(c)}|{g}" for g, c in case.random) or "-"
    more = ("reml" if case.reml else "ml") + (" w" if case.weighted else "")
    return f"{case.residual.replace(' ', '')} {random} {more}"


cases = pytest.mark.parametrize("case", CASES, ids=name)


def away(case, seed=1):
    """Return parameters that are not the optimum."""
    at = case.fit().estimates.params
    step = 0.2 * np.random.default_rng(seed).normal(size=len(at.vector()))
    return at.with_vector(at.vector() * (1 + 0.3 * step) + 0.5 * step)


def test_every_structure_is_here():
    tested = {case.residual.split("(")[0] for case in CASES} | {"iid"}
    assert set(residual_structures()) == tested


@cases
def test_the_algebra(case):
    fit = case.fit()
    twin, G, sigma2 = case.at(fit.estimates.params)
    point = twin.at(G, sigma2)
    assert fit.deviance == pytest.approx(twin.minus2ll(G, sigma2, reml=case.reml), rel=1e-10)
    se = np.sqrt(np.diag(point.vcov))
    np.testing.assert_allclose(fit.fixef.to_numpy() / se, point.beta / se, rtol=1e-8, atol=1e-7)
    outer = np.outer(se, se)
    np.testing.assert_allclose(fit.vcov.to_numpy() / outer, point.vcov / outer, atol=1e-7)
    for u, blup, G_j in zip(fit.estimates.u, twin.blup(G, sigma2), G, strict=True):
        scale = np.sqrt(np.diag(G_j)) + 1e-8 * np.sqrt(sigma2)
        np.testing.assert_allclose(u / scale, blup / scale, atol=1e-7)


@cases
def test_the_optimum(case):
    fit = case.fit()
    assert fit.converged
    assert not fit.singular
    score = case.numeric_score(fit.estimates.params)
    assert np.max(np.abs(score)) < 2e-5


@cases
def test_the_score_away_from_the_optimum(case):
    params = away(case)
    ours = case.problem.score_at(params)
    twins = case.numeric_score(params)
    np.testing.assert_allclose(ours, twins, rtol=1e-6, atol=1e-6 * np.max(np.abs(twins)))


@cases
def test_the_likelihood_away_from_the_optimum(case):
    params = away(case, seed=2)
    evaluation = case.problem.evaluate_at(params)
    assert -0.5 * evaluation.minus2ll == pytest.approx(case.loglik(params), rel=1e-11)


@cases
def test_expected_sums_of_residuals(case):
    """s_k = e'B_k e + tr(B_k Var(e | y)), Var(e | y) = R - R P R (REML) or R - R V^-1 R (ML)."""
    params = away(case)
    evaluation = case.problem.evaluate_at(params)
    ours = case.problem.residual.expected(evaluation.solution, evaluation.moments())
    twin, G, sigma2 = case.at(params)
    point = twin.at(G, sigma2)
    R = sigma2 * twin.R0
    e = R @ point.Py
    second = np.outer(e, e) + R - R @ (point.P if case.reml else point.Vinv) @ R
    root = np.sqrt(case.weights)
    second = second * np.outer(root, root) / evaluation.system.fixed_scale.y_scale**2
    keys = sorted(case.fit().crossproducts.keyed)
    wanted = np.array([np.sum(case.B(key) * second) for key in keys])
    np.testing.assert_allclose(ours, wanted, rtol=1e-9, atol=1e-9 * np.max(np.abs(wanted)))


@cases
def test_the_curvature(case):
    """The information that psi's steps and standard errors come from is minus the Hessian."""
    params = away(case)
    evaluation = case.problem.evaluate_at(params)
    ours = case.problem.information(evaluation, evaluation.moments()).hessian
    h, at = 1e-4, params.vector()
    eye = np.eye(len(at))
    slopes = [
        (case.problem.score_at(params.with_vector(at + h * d))
         - case.problem.score_at(params.with_vector(at - h * d))) / (2 * h)
        for d in eye
    ]  # fmt: skip
    wanted = -0.5 * (np.array(slopes) + np.array(slopes).T)
    where = params.psi_places
    scale = np.sqrt(np.abs(np.outer(np.diag(wanted), np.diag(wanted)))) + 1.0
    gap = np.abs(ours - wanted) / scale
    assert gap[where].max(initial=0) < 1e-5
    assert gap[:, where].max(initial=0) < 1e-5


QUICK = ("us(visit | g)", "ar1(t | g)", "cs(1 | g)", "strata(lab)")
quick_cases = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case.residual in QUICK else pytest.mark.slow, id=name(case))
        for case in CASES
    ],
)


@pytest.mark.parametrize("method", ["em", "px-em", "ai"])
@quick_cases
def test_every_method_ends_there(case, method):
    best, fit = case.fit(), case.fit(method)
    assert fit.converged
    assert fit.loglik == pytest.approx(best.loglik, abs=1e-6)


@pytest.mark.parametrize("method", ["em", "px-em"])
@quick_cases
def test_em_never_falls(case, method):
    trace = case.fit(method).trace["minus2ll"].to_numpy()
    assert np.all(np.diff(trace) <= 1e-9 * np.abs(trace[:-1]))
