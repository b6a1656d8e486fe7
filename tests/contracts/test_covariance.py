"""What every covariance structure must do, whoever adds it: one list of statements for all.

The registry is walked, so a new structure is tested from the moment it is registered. Central
differences of G(theta) are the other route; where G is quadratic in theta they are exact.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from mixedflow.covariance.registry import structures

DIMS = (1, 2, 3, 4)
CASES = [(name, dim) for name in structures() for dim in DIMS]
every = pytest.mark.parametrize(("name", "dim"), CASES)


def covariance(dim, seed):
    root = np.random.default_rng([seed, dim]).normal(size=(dim, dim + 2))
    return root @ root.T / (dim + 2)


def typical(name, dim, seed=1):
    """Return the structure and an interior theta."""
    structure = structures()[name]
    return structure, structure.start(covariance(dim, seed))


@every
def test_matrix_is_symmetric_semidefinite_and_the_square_of_its_factor(name, dim):
    structure, theta = typical(name, dim)
    theta = theta + 0.1 * np.random.default_rng(dim).normal(size=theta.shape)
    F, G = structure.factor(theta, dim), structure.matrix(theta, dim)
    assert F.shape == G.shape == (dim, dim)
    np.testing.assert_allclose(G, F @ F.T, rtol=1e-15, atol=1e-15)
    assert np.linalg.eigvalsh(G)[0] >= -1e-14 * np.trace(G)


@every
def test_factor_is_lower_triangular(name, dim):
    """The score divides by F with triangular solves."""
    structure, theta = typical(name, dim)
    F = structure.factor(theta + 0.3, dim)
    np.testing.assert_array_equal(F, np.tril(F))


@every
def test_parameters_are_counted_and_named(name, dim):
    structure, theta = typical(name, dim)
    columns = tuple("abcd"[:dim])
    assert theta.shape == (structure.n_params(dim),)
    names = structure.param_names(columns)
    assert len(set(names)) == len(names) == structure.n_params(dim)
    assert all(any(f"{column}" in label for column in columns) for label in names)
    assert structure.name == name
    assert structure.title


@every
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_derivatives(name, dim, shift):
    structure, theta = typical(name, dim)
    theta = theta + shift * np.random.default_rng(3).normal(size=theta.shape)
    step = 1e-4
    for i, unit in enumerate(np.eye(len(theta))):
        up, down = (structure.matrix(theta + s * step * unit, dim) for s in (1, -1))
        found = structure.derivatives(theta, dim)[i]
        np.testing.assert_allclose(found, (up - down) / (2 * step), rtol=1e-8, atol=1e-9)
        np.testing.assert_array_equal(found, found.T)


@every
def test_second_derivatives(name, dim):
    structure, theta = typical(name, dim)
    second = structure.second_derivatives(theta, dim)
    step = 1e-4
    for i, unit in enumerate(np.eye(len(theta))):
        up, down = (structure.derivatives(theta + s * step * unit, dim) for s in (1, -1))
        np.testing.assert_allclose(second[i], (up - down) / (2 * step), rtol=1e-7, atol=1e-8)
    np.testing.assert_array_equal(second, second.transpose(1, 0, 2, 3))
    np.testing.assert_array_equal(second, second.transpose(0, 1, 3, 2))


@every
def test_derivatives_are_smooth_through_the_boundary(name, dim):
    """At G = 0 they are finite, and G is zero there."""
    structure = structures()[name]
    theta = np.zeros(structure.n_params(dim))
    assert np.isfinite(structure.derivatives(theta, dim)).all()
    assert np.isfinite(structure.second_derivatives(theta, dim)).all()
    np.testing.assert_array_equal(structure.matrix(theta, dim), np.zeros((dim, dim)))


@every
def test_start_gives_the_guess_back_where_the_structure_holds_it(name, dim):
    structure, theta = typical(name, dim)
    G = structure.matrix(theta, dim)
    again = structure.matrix(structure.start(G), dim)
    np.testing.assert_allclose(again, G, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(np.diag(G), np.diag(covariance(dim, 1)), rtol=1e-13)


@every
def test_start_takes_a_singular_guess(name, dim):
    structure = structures()[name]
    v = np.arange(dim, dtype=float)  # the first column has no variance at all
    G = structure.matrix(structure.start(np.outer(v, v)), dim)
    np.testing.assert_allclose(np.diag(G), v**2, atol=1e-12)


def expected_loglik(G, S, n):
    """-1/2 [n log|G| + tr(G^-1 S)]"""
    return -0.5 * (n * np.linalg.slogdet(G)[1] + np.trace(np.linalg.solve(G, S)))


@every
@pytest.mark.parametrize("n", [1, 7, 400])
def test_m_step_is_stationary_and_no_worse_than_a_search(name, dim, n):
    structure = structures()[name]
    S = n * covariance(dim, 5)
    theta = structure.m_step(S, n)
    G = structure.matrix(theta, dim)
    inverse = np.linalg.inv(G)
    slope = -0.5 * (n * inverse - inverse @ S @ inverse)
    gradient = np.einsum("iab,ab->i", structure.derivatives(theta, dim), slope)
    np.testing.assert_allclose(gradient / n, 0.0, atol=1e-9)
    rng = np.random.default_rng(n)
    best = expected_loglik(G, S, n)
    for start in theta + 0.2 * rng.normal(size=(3, len(theta))):
        found = minimize(
            lambda t: -expected_loglik(structure.matrix(t, dim), S, n) / n, start, method="BFGS"
        )
        assert -found.fun * n <= best + 1e-9 * n


@every
def test_m_step_takes_a_singular_moment(name, dim):
    structure = structures()[name]
    v = 1.0 + np.arange(dim)
    G = structure.matrix(structure.m_step(6 * np.outer(v, v), 3), dim)
    assert np.isfinite(G).all()
    np.testing.assert_allclose(np.diag(G), 2 * v**2, rtol=1e-12)


@every
def test_lifted_leaves_an_interior_point_and_raises_a_low_pivot(name, dim):
    structure, theta = typical(name, dim)
    floor = np.full(dim, 1e-6)
    kept = structure.lifted(theta, floor)
    before, after = structure.matrix(theta, dim), structure.matrix(kept, dim)
    np.testing.assert_allclose(after, before, rtol=1e-12, atol=1e-14)
    for at in range(dim):
        low = structure.without_pivot(theta, dim, at)
        raised = structure.lifted(low, floor)
        assert (structure.pivots(raised, dim) ** 2 >= floor * (1 - 1e-12)).all()
        assert (structure.pivots(raised, dim) > 0).all()
        change = structure.matrix(raised, dim) - structure.matrix(low, dim)
        size = np.sqrt(np.trace(structure.matrix(low, dim)))
        assert np.abs(change).max() <= 3 * np.sqrt(floor[0]) * (size + 1e-3)


@every
def test_lifted_ignores_signs_that_do_not_matter(name, dim):
    structure, theta = typical(name, dim)
    turned = structure.lifted(-theta, np.full(dim, 1e-12))
    np.testing.assert_allclose(
        structure.matrix(turned, dim), structure.matrix(theta, dim), rtol=1e-12, atol=1e-14
    )


@every
def test_lifted_does_not_change_its_argument(name, dim):
    structure, theta = typical(name, dim)
    copy = theta.copy()
    structure.lifted(theta, np.full(dim, 10.0))
    structure.without_pivot(theta, dim, 0)
    structure.factor(theta, dim)
    np.testing.assert_array_equal(theta, copy)


@every
def test_a_zero_pivot_makes_G_singular_and_only_that(name, dim):
    structure, theta = typical(name, dim)
    assert len(structure.pivot_index(dim)) == len(structure.pivots(theta, dim)) == dim
    assert np.linalg.matrix_rank(structure.matrix(theta, dim), tol=1e-10) == dim
    np.testing.assert_allclose(
        np.prod(structure.pivots(theta, dim)) ** 2,
        np.linalg.det(structure.matrix(theta, dim)),
        rtol=1e-10,
    )
    for at in range(dim):
        zeroed = structure.without_pivot(theta, dim, at)
        assert structure.pivots(zeroed, dim)[at] == 0.0
        G = structure.matrix(zeroed, dim)
        assert np.linalg.matrix_rank(G, tol=1e-10 * np.trace(G)) < dim or dim == 1
        assert abs(np.linalg.det(G)) <= 1e-13 * np.prod(np.diag(G) + 1e-300)


@every
def test_expansion_keeps_the_structure(name, dim):
    """F alpha S alpha' F' goes through the M-step: any alpha of the pattern may be a scaling of u.

    The identity must be in the pattern, and (F alpha)(F alpha)' must be a G of the structure.
    """
    structure, theta = typical(name, dim)
    free = structure.expansion(dim)
    assert free.shape == (dim, dim)
    assert free.dtype == np.bool_
    assert free.diagonal().all()
    alpha = np.where(free, np.random.default_rng(dim).normal(size=(dim, dim)), 0.0)
    FA = structure.factor(theta, dim) @ alpha
    G = FA @ FA.T
    again = structure.matrix(structure.start(G), dim)
    np.testing.assert_allclose(again, G, rtol=1e-11, atol=1e-12)


def test_a_newcomer_is_picked_up():
    assert {"us", "diag"} <= set(structures())
    assert {name for name, _ in CASES} == set(structures())
