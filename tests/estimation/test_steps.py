"""EM and PX-EM steps against their definitions with dense matrices; Newton steps by their promises."""

from __future__ import annotations

import numpy as np
import pytest
from dense_problems import RECIPES, problem, with_variance

from mixedflow.estimation.information import Information, information
from mixedflow.estimation.parameters import at_floor, pivot_floors
from mixedflow.estimation.steps import ai_step, em_step, lifted, px_em_step

recipes = pytest.mark.parametrize("name", list(RECIPES))
both = pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])


def close(found, wanted):
    """Compare (G a term, sigma2) pairs to 1e-9 of their largest entries."""
    for ours, theirs in zip(found[0], wanted[0], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9 * np.abs(theirs).max())
    assert found[1] == pytest.approx(wanted[1], rel=1e-10)


@recipes
@both
def test_em_step_is_the_definition(name, reml):
    p = problem(name)
    params = p.params(1)
    found = p.at(params, reml=reml)
    close(p.user(em_step(found, found.moments())), p.twin.em_step(*p.user(params), reml=reml))


@recipes
@both
def test_px_em_step_is_the_definition(name, reml):
    p = problem(name)
    params = p.params(2)
    found = p.at(params, reml=reml)
    close(p.user(px_em_step(found, found.moments())), p.twin.px_em_step(*p.user(params), reml=reml))


@recipes
@both
@pytest.mark.parametrize("step", [em_step, px_em_step], ids=["em", "px-em"])
def test_steps_raise_the_likelihood(name, reml, step):
    p = problem(name)
    for seed in (3, 4):
        found = p.at(p.params(seed), reml=reml)
        for _ in range(15):
            after = p.at(step(found, found.moments()), reml=reml)
            assert after.minus2ll <= found.minus2ll + 1e-9 * abs(found.minus2ll)
            found = after


@both
@pytest.mark.parametrize("name", ["slope", "crossed slopes", "two terms", "three columns"])
@pytest.mark.parametrize("step", [em_step, px_em_step], ids=["em", "px-em"])
def test_a_variance_of_zero_stays_zero_and_nothing_is_nan(name, reml, step):
    p = problem(name)
    params = with_variance(p.params(1), 0, 0.0)
    found = p.at(params, reml=reml)
    after = step(found, found.moments())
    np.testing.assert_array_equal(after.theta[0], 0.0)
    assert np.isfinite(after.vector()).all()
    assert p.at(after, reml=reml).minus2ll <= found.minus2ll + 1e-9


@both
def test_moments_of_the_residuals(reml):
    """E[e'R^-1e] is E over (beta, u) given y, from the dense moments."""
    p = problem("crossed slopes")
    params = p.params(6)
    G, sigma2 = p.user(params)
    found = p.at(params, reml=reml).moments()
    mean, var = p.twin.moments(G, sigma2, reml=reml)
    W = np.hstack([p.twin.X, *p.twin.Z])
    e = p.twin.y - W @ mean
    assert found.residual == pytest.approx(e @ e / sigma2, rel=1e-10)
    assert found.residual_trace == pytest.approx(np.sum((W.T @ W) * var) / sigma2, rel=1e-10)


class TestNewtonStep:
    def info(self, score, average, hessian=None):
        average = np.asarray(average, dtype=float)
        hessian = average if hessian is None else np.asarray(hessian, dtype=float)
        return Information(np.asarray(score, dtype=float), average, hessian)

    def test_a_definite_matrix_gives_newtons_step(self):
        H = np.array([[4.0, 1.0], [1.0, 3.0]])
        step = ai_step(self.info([1.0, -2.0], H), np.zeros(2, dtype=bool))
        np.testing.assert_allclose(step.step, np.linalg.solve(H, [1.0, -2.0]), rtol=1e-12)
        wanted = np.array([1.0, -2.0]) @ np.linalg.solve(H, [1.0, -2.0])
        assert step.decrement == pytest.approx(wanted, rel=1e-12)
        assert step.smallest > 0
        assert step.scaled_score == pytest.approx(2.0 / np.sqrt(3.0), rel=1e-12)

    def test_an_indefinite_matrix_still_goes_uphill(self):
        H = np.array([[1.0, 3.0], [3.0, 1.0]])
        step = ai_step(self.info([1.0, -1.0], np.eye(2), H), np.zeros(2, dtype=bool))
        assert step.decrement > 0
        assert step.smallest < 0

    def test_a_variance_at_its_floor_is_held_only_if_the_score_points_down(self):
        H = np.diag([2.0, 5.0])
        floored = np.array([True, False])
        held = ai_step(self.info([-1.0, 1.0], H), floored)
        assert held.step[0] == 0.0
        assert held.step[1] == pytest.approx(0.2, rel=1e-14)
        assert held.free.tolist() == [False, True]
        assert held.decrement == pytest.approx(0.2)
        released = ai_step(self.info([1.0, 1.0], H), floored)
        np.testing.assert_allclose(released.step, [0.5, 0.2])

    def test_units_of_a_parameter_do_not_matter(self):
        rng = np.random.default_rng(1)
        root = rng.normal(size=(3, 3))
        H, g = root @ root.T + np.eye(3), rng.normal(size=3)
        plain = ai_step(self.info(g, H), np.zeros(3, dtype=bool))
        d = np.array([1e-8, 1.0, 1e8])
        scaled = ai_step(self.info(g * d, H * np.outer(d, d)), np.zeros(3, dtype=bool))
        np.testing.assert_allclose(scaled.step * d, plain.step, rtol=1e-9)
        assert scaled.decrement == pytest.approx(plain.decrement, rel=1e-9)
        assert scaled.smallest == pytest.approx(plain.smallest, rel=1e-9)


@recipes
def test_lifted_keeps_every_pivot_off_zero_and_the_likelihood_where_it_was(name):
    p = problem(name)
    params = p.params(1)
    for term in range(len(p.terms)):
        zero = with_variance(params, term, 0.0)
        raised = lifted(p.system, zero)
        assert at_floor(p.system, raised).any()
        for theta, floor, structure in zip(
            raised.theta, pivot_floors(p.system, raised.sigma2), _structures(p), strict=True
        ):
            assert (structure.pivots(theta, len(floor)) ** 2 >= floor * (1 - 1e-9)).all()
        before, after = (p.at(v, reml=True).minus2ll for v in (zero, raised))
        assert after == pytest.approx(before, abs=1e-9)
        info = information(p.at(raised, reml=True), p.at(raised, reml=True).moments())
        assert np.isfinite(info.hessian).all()


def _structures(p):
    from mixedflow.estimation.parameters import term_structures

    return term_structures(p.system)
