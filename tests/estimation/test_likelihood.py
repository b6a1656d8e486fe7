"""-2 log-likelihood, BLUE, BLUP and their variances at arbitrary parameters, against dense V.

Not at the optimum, where errors of second order hide, but at whatever variances a seed gives. The
columns carry shifts and scales that are far from trivial, so the way back to the user's units is
tested with them. Tolerance: 1e-11 relative on -2l (n = 90), 1e-9 in standard errors on the rest.
"""

from __future__ import annotations

import numpy as np
import pytest
from dense_problems import RECIPES, problem, with_variance

from mixedflow.equations.choice import ENGINES, plan_engine
from mixedflow.errors import FitError, UnsupportedError
from mixedflow.estimation.fit import conditional_covariances, fixed_effects, random_effects

recipes = pytest.mark.parametrize("name", list(RECIPES))
both = pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])


@recipes
@both
@pytest.mark.parametrize("seed", [0, 1])
def test_minus2ll(name, reml, seed):
    p = problem(name, seed)
    params = p.params(seed)
    wanted = p.twin.minus2ll(*p.user(params), reml=reml)
    assert p.at(params, reml=reml).minus2ll == pytest.approx(wanted, rel=1e-11)


@recipes
@both
def test_minus2ll_with_a_variance_of_zero(name, reml):
    p = problem(name)
    for term in range(len(p.terms)):
        params = with_variance(p.params(2), term, 0.0)
        wanted = p.twin.minus2ll(*p.user(params), reml=reml)
        assert p.at(params, reml=reml).minus2ll == pytest.approx(wanted, rel=1e-11)


@recipes
def test_no_random_effect_at_all_is_least_squares(name):
    p = problem(name)
    params = p.params(3)
    for term in range(len(p.terms)):
        params = with_variance(params, term, 0.0)
    beta, vcov = fixed_effects(p.at(params, reml=True))
    w = np.ones(len(p.block.y)) if p.block.weights is None else p.block.weights
    X, y = p.twin.X * np.sqrt(w)[:, None], p.block.y[:, 0] * np.sqrt(w)
    wanted = np.linalg.lstsq(X, y, rcond=None)[0]
    spread = p.user(params)[1] * np.linalg.inv(X.T @ X)
    se = np.sqrt(np.diag(spread))
    np.testing.assert_allclose(beta / se, wanted / se, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(vcov / np.outer(se, se), spread / np.outer(se, se), atol=1e-9)


@recipes
@pytest.mark.parametrize("engine", list(ENGINES))
def test_every_engine_gives_the_same(name, engine):
    from mixedflow.estimation.control import FitControl
    from mixedflow.estimation.fit import plan_system

    p = problem(name)
    params = p.params(4)
    try:
        make = plan_system(p.system, FitControl(solver=engine)).make
    except UnsupportedError:
        pytest.skip(f"{engine} does not solve this system")
    from mixedflow.estimation.likelihood import evaluate

    found = evaluate(p.system, params, make, reml=True)
    wanted = p.twin.minus2ll(*p.user(params), reml=True)
    assert found.minus2ll == pytest.approx(wanted, rel=1e-11)


@recipes
@pytest.mark.parametrize("seed", [5, 6])
def test_estimates(name, seed):
    p = problem(name, seed)
    params = p.params(seed)
    G, sigma2 = p.user(params)
    found = p.at(params, reml=True)
    point = p.twin.at(G, sigma2)
    beta, vcov = fixed_effects(found)
    se = np.sqrt(np.diag(point.vcov))
    np.testing.assert_allclose(beta / se, point.beta / se, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(vcov / np.outer(se, se), point.vcov / np.outer(se, se), atol=1e-9)
    np.testing.assert_array_equal(vcov, vcov.T)
    u, spread = random_effects(found), conditional_covariances(found)
    blup, cond_var = p.twin.blup(G, sigma2), p.twin.cond_var(G, sigma2)
    for j, (f, columns) in enumerate(_columns_of_twin_terms(p)):
        scale = np.sqrt(np.diag(G[j]))
        np.testing.assert_allclose(u[f][:, columns] / scale, blup[j] / scale, atol=1e-9)
        ours = spread[f][:, columns][:, :, columns] / np.outer(scale, scale)
        np.testing.assert_allclose(ours, cond_var[j] / np.outer(scale, scale), atol=1e-9)


def _columns_of_twin_terms(p):
    """Return (factor among those used, columns among its q) for every term of the twin."""
    out = []
    for f, factor in enumerate(p.system.factors):
        for term, where in zip(factor.terms, factor.slices, strict=True):
            columns = list(range(where.start, where.stop))
            diagonal = p.terms[term].structure == "diag"
            out += [(term, f, [c]) for c in columns] if diagonal else [(term, f, columns)]
    return [(f, columns) for _, f, columns in sorted(out, key=lambda entry: entry[0])]


def test_levels_without_rows_have_no_effect_and_the_variance_of_their_own():
    p = problem("levels without rows, crossed")
    params = p.params(1)
    found = p.at(params, reml=True)
    for u, spread, G in zip(
        random_effects(found), conditional_covariances(found), p.user(params)[0], strict=True
    ):
        np.testing.assert_array_equal(u[-2:], 0.0)
        np.testing.assert_allclose(spread[-2:], np.stack([G, G]), rtol=1e-13)


def test_a_factor_with_no_rows_between_others_is_refused_by_no_engine():
    p = problem("levels without rows")
    for name in ("grouped", "dense", "sparse"):
        assert plan_engine(p.system.pattern, wanted=name).name == name


def test_equations_that_are_not_finite_are_an_error():
    p = problem("one")
    params = with_variance(p.params(0), 0, 1e200)
    with pytest.raises((FitError, FloatingPointError, RuntimeWarning)):
        p.at(params, reml=True)
