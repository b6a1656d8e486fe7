"""What every covariance structure must do, whoever adds it: one list of statements for all.

The registry is walked, so a new structure is tested from the moment it is registered. Central
differences of G(theta) are the other route; where G is quadratic in theta they are exact.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from mixedflow.covariance.registry import get_structure, structure_names, structures
from mixedflow.covariance.structured import CorrelatedColumns
from mixedflow.errors import FormulaError

DIMS = (1, 2, 3, 4, 5)
SPELLED = [
    (one.spelled, dim) for s in structures().values() for dim in DIMS for one in s.examples(dim)
]
CASES = [(spelled, dim) for spelled, dim in SPELLED if get_structure(spelled).n_params(dim)]
every = pytest.mark.parametrize(("name", "dim"), CASES)
known_too = pytest.mark.parametrize(("name", "dim"), SPELLED)


def covariance(dim, seed):
    root = np.random.default_rng([seed, dim]).normal(size=(dim, dim + 2))
    return root @ root.T / (dim + 2)


def moment(structure, dim, seed):
    """Return any covariance; one that common factors nearly explain where several maxima loom."""
    C = covariance(dim, seed)
    if structure.name != "fa":
        return C
    rng = np.random.default_rng([seed, dim, 1])
    loadings = rng.uniform(0.4, 1.0, (dim, structure.k)) * np.sign(C[:, :1])
    loadings[:, 1:] *= np.where(np.arange(dim) % 2, 1.0, -1.0)[:, None]
    return loadings @ loadings.T + np.diag(rng.uniform(0.3, 0.6, dim)) + 0.02 * C


def difference(function, theta, unit, step=1e-3):
    """Return the derivative along a unit vector by five points."""
    f = [function(theta + k * step * unit) for k in (-2, -1, 1, 2)]
    return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)


def typical(name, dim, seed=1):
    """Return the structure and an interior theta."""
    structure = get_structure(name)
    return structure, structure.start(moment(structure, dim, seed))


@known_too
def test_matrix_is_symmetric_semidefinite_and_the_square_of_its_factor(name, dim):
    structure, theta = typical(name, dim)
    theta = theta + 0.1 * np.random.default_rng(dim).normal(size=theta.shape)
    F, G = structure.factor(theta, dim), structure.matrix(theta, dim)
    np.testing.assert_array_equal(G, G.T)
    assert F.shape == G.shape == (dim, dim)
    np.testing.assert_allclose(G, F @ F.T, rtol=1e-14, atol=1e-14)
    assert np.linalg.eigvalsh(G)[0] >= -1e-14 * np.trace(G)


@known_too
def test_factor_is_lower_triangular(name, dim):
    """The score divides by F with triangular solves."""
    structure, theta = typical(name, dim)
    F = structure.factor(theta + 0.3, dim)
    np.testing.assert_array_equal(F, np.tril(F))


@every
def test_parameters_are_counted_and_named(name, dim):
    structure, theta = typical(name, dim)
    columns = tuple("abcde"[:dim])
    assert theta.shape == (structure.n_params(dim),)
    names = structure.param_names(columns)
    assert len(set(names)) == len(names) == structure.n_params(dim)
    assert structure.spelled == name
    assert structure.title
    assert structure.formula


@every
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_derivatives(name, dim, shift):
    structure, theta = typical(name, dim)
    theta = theta + shift * np.random.default_rng(3).normal(size=theta.shape)
    for i, unit in enumerate(np.eye(len(theta))):
        found = structure.derivatives(theta, dim)[i]
        slope = difference(lambda t: structure.matrix(t, dim), theta, unit)
        np.testing.assert_allclose(found, slope, rtol=1e-8, atol=1e-9)
        np.testing.assert_array_equal(found, found.T)


@every
def test_second_derivatives(name, dim):
    structure, theta = typical(name, dim)
    second = structure.second_derivatives(theta, dim)
    for i, unit in enumerate(np.eye(len(theta))):
        slope = difference(lambda t: structure.derivatives(t, dim), theta, unit)
        np.testing.assert_allclose(second[i], slope, rtol=1e-7, atol=1e-8)
    np.testing.assert_array_equal(second, second.transpose(1, 0, 2, 3))
    np.testing.assert_array_equal(second, second.transpose(0, 1, 3, 2))


@every
def test_derivatives_are_smooth_through_the_boundary(name, dim):
    """At G = 0 they are finite, and G is zero there."""
    structure = get_structure(name)
    theta = np.zeros(structure.n_params(dim))
    assert np.isfinite(structure.derivatives(theta, dim)).all()
    assert np.isfinite(structure.second_derivatives(theta, dim)).all()
    np.testing.assert_array_equal(structure.matrix(theta, dim), np.zeros((dim, dim)))


@every
def test_start_gives_the_guess_back_where_the_structure_holds_it(name, dim):
    structure, theta = typical(name, dim)
    G = structure.matrix(theta, dim)
    again = structure.matrix(structure.start(G), dim)
    by_search = structure.name == "fa"
    np.testing.assert_allclose(again, G, *((1e-7, 1e-8) if by_search else (1e-13, 1e-14)))
    guess = np.trace(moment(structure, dim, 1))
    np.testing.assert_allclose(np.trace(G), guess, rtol=1e-6 if by_search else 1e-13)


@every
def test_start_takes_a_singular_guess(name, dim):
    structure = get_structure(name)
    v = np.arange(dim, dtype=float)  # the first column has no variance at all
    G = structure.matrix(structure.start(np.outer(v, v)), dim)
    np.testing.assert_allclose(np.trace(G), np.sum(v**2), atol=1e-12)
    assert np.linalg.eigvalsh(G)[0] >= -1e-14 * np.trace(G)


@every
def test_any_parameters_give_a_covariance_matrix(name, dim):
    structure, rng = get_structure(name), np.random.default_rng(9)
    for size in (0.1, 1.0, 3.0):
        theta = size * rng.normal(size=structure.n_params(dim))
        raised = structure.lifted(theta, np.full(dim, 1e-10))
        G = structure.matrix(raised, dim)
        assert np.linalg.eigvalsh(G)[0] > 0
        assert (np.diag(structure.factor(raised, dim)) > 0).all()
        assert size > 1.0 or not structure.singular(raised, dim)


def expected_loglik(G, S, n):
    """-1/2 [n log|G| + tr(G^-1 S)]"""
    return -0.5 * (n * np.linalg.slogdet(G)[1] + np.trace(np.linalg.solve(G, S)))


@every
@pytest.mark.parametrize("n", [1, 7, 400])
def test_m_step_is_stationary_and_no_worse_than_a_search(name, dim, n):
    structure = get_structure(name)
    S = n * moment(structure, dim, 5)
    theta = structure.m_step(S, n)
    G = structure.matrix(theta, dim)
    inverse = np.linalg.inv(G)
    slope = -0.5 * (n * inverse - inverse @ S @ inverse)
    gradient = np.einsum("iab,ab->i", structure.derivatives(theta, dim), slope)
    np.testing.assert_allclose(gradient / n, 0.0, atol=1e-9)
    rng = np.random.default_rng(n)
    best = expected_loglik(G, S, n)
    np.testing.assert_allclose(
        structure.matrix(structure.m_step(S, n, theta), dim), G, rtol=1e-8, atol=1e-9
    )
    for start in theta + 0.2 * rng.normal(size=(3, len(theta))):
        found = minimize(
            lambda t: -expected_loglik(structure.matrix(t, dim), S, n) / n, start, method="BFGS"
        )
        assert -found.fun * n <= best + 1e-9 * n


@every
def test_m_step_never_ends_below_where_em_comes_from(name, dim):
    structure, rng = get_structure(name), np.random.default_rng(4)
    for seed in range(6):
        S = 9 * covariance(dim, seed)
        near = structure.lifted(rng.normal(size=structure.n_params(dim)), np.full(dim, 1e-4))
        before = expected_loglik(structure.matrix(near, dim), S, 9)
        after = expected_loglik(structure.matrix(structure.m_step(S, 9, near), dim), S, 9)
        assert after >= before - 1e-12 * abs(before)


@every
@pytest.mark.parametrize("power", [-6, 6])
def test_m_step_knows_no_units(name, dim, power):
    structure = get_structure(name)
    S, unit = 7 * moment(structure, dim, 5), 10.0**power
    G = structure.matrix(structure.m_step(S, 7), dim)
    scaled = structure.matrix(structure.m_step(S * unit**2, 7), dim)
    np.testing.assert_allclose(scaled / unit**2, G, rtol=1e-7, atol=1e-8)


@every
def test_m_step_takes_a_singular_moment(name, dim):
    structure = get_structure(name)
    v = 1.0 + np.arange(dim)
    theta = structure.m_step(6 * np.outer(v, v), 3)
    G = structure.matrix(structure.lifted(theta, np.full(dim, 1e-14)), dim)
    assert np.isfinite(G).all()
    np.testing.assert_allclose(np.trace(G), np.sum(2 * v**2), rtol=0.5)


@every
def test_lifted_leaves_an_interior_point_and_raises_a_low_pivot(name, dim):
    structure, theta = typical(name, dim)
    floor = np.full(dim, 1e-8)
    kept = structure.lifted(theta, floor)
    before, after = structure.matrix(theta, dim), structure.matrix(kept, dim)
    np.testing.assert_allclose(after, before, rtol=1e-12, atol=1e-14)
    for at in range(dim):
        low = structure.without_pivot(theta, dim, at)
        raised = structure.lifted(low, floor)
        assert (structure.pivots(raised, dim) ** 2 >= floor * (1 - 1e-12)).all()
        assert (structure.pivots(raised, dim) > 0).all()
        assert (structure.bounds(raised, floor)[structure.pivot_index(dim)[at]]) == 1
        change = structure.matrix(raised, dim) - structure.matrix(low, dim)
        size = np.sqrt(np.trace(structure.matrix(low, dim)))
        assert np.abs(change).max() <= 3 * np.sqrt(floor[0]) * (size + 1e-3)
    assert not structure.bounds(kept, np.full(dim, 1e-14)).any()


@every
def test_lifted_ignores_signs_that_do_not_matter(name, dim):
    structure, theta = typical(name, dim)
    turned = -theta
    if isinstance(structure, CorrelatedColumns):
        turned = np.where(np.isin(np.arange(len(theta)), structure.pivot_index(dim)), turned, theta)
    turned = structure.lifted(turned, np.full(dim, 1e-12))
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
    """Of what a column has of its own beside common factors, it takes several zeros."""
    structure, theta = typical(name, dim)
    assert len(structure.pivot_index(dim)) == len(structure.pivots(theta, dim)) == dim
    assert np.linalg.matrix_rank(structure.matrix(theta, dim), tol=1e-10) == dim
    assert not structure.singular(theta, dim)
    assert not structure.bounds(theta, np.full(dim, 1e-14)).any()
    for at in range(dim):
        zeroed = structure.without_pivot(theta, dim, at)
        assert structure.pivots(zeroed, dim)[at] == 0.0
        F = structure.factor(zeroed, dim)
        G = structure.matrix(zeroed, dim)
        np.testing.assert_allclose(F @ F.T, G, atol=1e-13)
        if structure.name == "fa":
            continue
        assert structure.singular(zeroed, dim)
        assert np.linalg.matrix_rank(G, tol=1e-10 * np.trace(G)) < dim or dim == 1
        assert abs(np.linalg.det(G)) <= 1e-13 * np.prod(np.diag(G) + 1e-300)


@every
def test_a_correlation_that_runs_off_is_stopped_and_said_to_be_singular(name, dim):
    structure, theta = typical(name, dim)
    if not isinstance(structure, CorrelatedColumns) or len(theta) == len(
        set(structure.pivot_index(dim))
    ):
        return
    floor = np.full(dim, 1e-14)
    for sign in (-1.0, 1.0):
        far = theta.copy()
        far[-1] = sign * 50.0
        kept = structure.lifted(far, floor)
        assert structure.singular(kept, dim)
        assert structure.bounds(kept, floor)[-1] == -sign
        assert (np.diag(structure.factor(kept, dim)) > 0).all()
    vanished = theta.copy()
    vanished[structure.pivot_index(dim)] = 1e-7
    assert structure.bounds(vanished, floor)[-1] == 2


@known_too
def test_expansion_keeps_the_structure(name, dim):
    """F alpha S alpha' F' goes through the M-step: any alpha of the pattern may be a scaling of u.

    The identity must be among them, and (F alpha)(F alpha)' must be a G of the structure; a known
    matrix has none.
    """
    structure, theta = typical(name, dim)
    free, P = structure.expansion(dim), structure.working(theta, dim)
    assert free.shape == (dim, dim)
    assert free.dtype == np.bool_
    assert not P[:, ~free].any()
    if not structure.n_params(dim):
        assert not len(P)
        return
    F = structure.factor(theta, dim)
    flat = P.reshape(len(P), -1).T
    t = np.linalg.lstsq(flat, np.eye(dim).ravel(), rcond=None)[0]
    np.testing.assert_allclose(np.tensordot(t, P, axes=1), np.eye(dim), atol=1e-10)
    alpha = np.tensordot(np.random.default_rng(dim).uniform(0.5, 2.0, len(P)), P, axes=1)
    FA = F @ alpha
    G = FA @ FA.T
    again = structure.matrix(structure.start(G), dim)
    np.testing.assert_allclose(again, G, rtol=1e-7, atol=1e-7)


def test_a_newcomer_is_picked_up():
    names = ["us", "diag", "id", "cs", "csh", "ar1", "ar1h", "toep", "toeph", "fa", "fixed"]
    assert set(names) <= set(structures())
    assert set(structure_names()) == set(structures())
    assert {name.partition("(")[0] for name, _ in SPELLED} <= set(structures())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cs(2)", "'cs' takes no argument; found 2"),
        ("fa(0)", "needs its number of factors.*found 0"),
        ("fa(1.5)", "found 1.5"),
        ("fa(x)", "must be a number or a list.*found 'x'"),
        ("fixed([[1, 2], [3, 4]])", "not symmetric: row 1, column 2 holds 2, row 2.*holds 3"),
        ("fixed([[1, 2], [2, 1]])", "smallest eigenvalue is -1, and none may be negative"),
        ("fixed([[1, 2]])", r"needs a square matrix of numbers"),
        ("fixed(3)", r"needs a square matrix of numbers"),
        ("fixed([['a']])", r"needs a square matrix of numbers"),
    ],
)
def test_wrong_arguments_are_told_what_is_right(text, message):
    with pytest.raises(FormulaError, match=message):
        get_structure(text)


def test_a_known_matrix_is_in_the_users_units():
    structure = get_structure("fixed([[4, 1], [1, 2]])").scaled(2.0)
    np.testing.assert_array_equal(structure.matrix(np.empty(0), 2), [[1, 0.25], [0.25, 0.5]])
    singular = get_structure("fixed([[1, 1], [1, 1]])")
    F = singular.factor(np.empty(0), 2)
    assert (np.diag(F) > 0).all()
    np.testing.assert_allclose(F @ F.T, np.ones((2, 2)), atol=1e-13)
