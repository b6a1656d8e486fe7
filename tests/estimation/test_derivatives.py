"""Score, average information and Newton matrix against dense formulas and finite differences.

Two other routes: the textbook's score and information in the elements of G (tests/oracle.py),
carried to theta by the chain rule, and central differences of -2 log-likelihood itself. G is
quadratic in theta, so its own central differences have no truncation error, whatever the step.
"""

from __future__ import annotations

import numpy as np
import pytest
from dense_problems import RECIPES, problem

from mixedflow.estimation.information import information
from mixedflow.estimation.likelihood import evaluate

recipes = pytest.mark.parametrize("name", list(RECIPES))
both = pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])


def ours(p, params, reml):
    found = p.at(params, reml=reml)
    return information(found, found.moments())


def jacobian(p, params):
    """Return d(elements of G, sigma2) / d(theta, phi), exact up to rounding."""
    at = params.vector()
    out = np.zeros((len(p.packed(params)), len(at)))
    for i in range(len(at) - 1):
        up, down = at.copy(), at.copy()
        up[i], down[i] = at[i] + 1.0, at[i] - 1.0
        out[:, i] = (p.packed(params.with_vector(up)) - p.packed(params.with_vector(down))) / 2.0
    out[-1, :-1] = 0.0
    out[-1, -1] = p.user(params)[1]  # d exp(phi) / d phi
    return out


def curvature(p, params, slopes):
    """Return sum_k dl/dv_k d2v_k/dtheta dtheta' for the elements v of G and sigma2."""
    at = params.vector()
    r = len(at)
    out = np.zeros((r, r))

    def value(*moves):
        where = at.copy()
        for i, by in moves:
            where[i] += by
        return p.packed(params.with_vector(where))[:-1] @ slopes[:-1]

    for i in range(r - 1):
        for k in range(r - 1):
            out[i, k] = sum(s * t * value((i, s), (k, t)) for s in (1.0, -1.0) for t in (1.0, -1.0))
    out /= 4.0
    out[-1, -1] = slopes[-1] * p.user(params)[1]
    return out


@recipes
@both
def test_score_is_the_textbooks(name, reml):
    p = problem(name)
    params = p.params(1)
    wanted = p.twin.score(*p.user(params), reml=reml) @ jacobian(p, params)
    found = ours(p, params, reml).score
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())


@recipes
@both
def test_score_is_the_slope_of_the_likelihood(name, reml):
    """Five-point differences with a step of 1e-3: error 1e-12 |l'''''|, rounding 1e-10."""
    p = problem(name)
    params = p.params(2)
    at, step = params.vector(), 1e-3
    found = ours(p, params, reml).score
    for i, unit in enumerate(np.eye(len(at))):
        f = [
            -0.5
            * evaluate(
                p.system, params.with_vector(at + k * step * unit), p.engine, reml=reml
            ).minus2ll
            for k in (-2, -1, 1, 2)
        ]
        slope = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)
        assert found[i] == pytest.approx(slope, rel=1e-7, abs=1e-7)


@recipes
@both
def test_average_information_is_half_qPq(name, reml):
    p = problem(name)
    params = p.params(3)
    J = jacobian(p, params)
    wanted = J.T @ p.twin.average_information(*p.user(params)) @ J
    found = ours(p, params, reml).average
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10 * np.abs(wanted).max())
    np.testing.assert_allclose(found, found.T, rtol=0, atol=1e-13 * np.abs(wanted).max())


@recipes
@both
def test_newton_matrix_is_average_information_less_curvature(name, reml):
    p = problem(name)
    params = p.params(4)
    J = jacobian(p, params)
    slopes = p.twin.score(*p.user(params), reml=reml)
    wanted = J.T @ p.twin.average_information(*p.user(params)) @ J - curvature(p, params, slopes)
    found = ours(p, params, reml).hessian
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())


@recipes
@both
def test_observed_information_is_twice_the_average_less_the_expected(name, reml):
    """-d2l = 2 AI - E - curvature: the average information is the mean of both in linear V.

    The left side is central differences of the score, the expected information the twin's.
    """
    p = problem(name)
    params = p.params(5)
    at, step = params.vector(), 1e-4
    found = ours(p, params, reml)
    J = jacobian(p, params)
    expected = J.T @ p.twin.expected_information(*p.user(params), reml=reml) @ J
    for i, unit in enumerate(np.eye(len(at))):
        up, down = (
            ours(p, params.with_vector(at + s * step * unit), reml).score for s in (1.0, -1.0)
        )
        observed = -(up - down) / (2 * step)
        right = found.hessian[i] + found.average[i] - expected[i]
        np.testing.assert_allclose(observed, right, rtol=0, atol=2e-6 * np.abs(found.average).max())


@pytest.mark.parametrize("name", ["slope", "crossed slopes", "weighted", "diagonal", "nested"])
@both
def test_at_the_optimum_the_newton_matrix_is_close_to_the_observed_one(name, reml):
    """Where the score is zero both are positive definite, and Newton steps with one suit the other.

    Asked of interior optima: the eigenvalues of AI^-1 times the observed lie within a factor of 10.
    """
    from mixedflow.estimation.fit import estimate

    p = problem(name)
    fit = estimate(p.sums, p.terms, reml=reml)
    assert fit.converged
    if any(fit.singular):
        pytest.skip("on the boundary")
    found = ours(p, fit.params, reml)
    assert np.linalg.eigvalsh(found.hessian)[0] > 0
    np.testing.assert_allclose(found.score / np.sqrt(np.diag(found.average)), 0.0, atol=1e-4)
    at, step = fit.params.vector(), 1e-4
    observed = np.array(
        [
            (
                ours(p, fit.params.with_vector(at - step * unit), reml).score
                - ours(p, fit.params.with_vector(at + step * unit), reml).score
            )
            / (2 * step)
            for unit in np.eye(len(at))
        ]
    )
    ratio = np.linalg.eigvals(np.linalg.solve(found.hessian, observed)).real
    assert ((ratio > 0.1) & (ratio < 10)).all()
