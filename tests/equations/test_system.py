"""From sums to the model's own equations: ranks, spans, units, and what cannot be solved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dense_problems import RECIPES, problem

from mixedflow.covariance.registry import get_structure
from mixedflow.crossproducts.condense import condense_block
from mixedflow.design.types import TermDesign
from mixedflow.equations.engines import stack
from mixedflow.equations.expand import expanded, expanded_diagonal, positions
from mixedflow.equations.mme import assemble_mme, solve_mme, solve_system
from mixedflow.equations.system import model_system
from mixedflow.errors import FitError, UnsupportedError
from mixedflow.estimation.parameters import term_factors

recipes = pytest.mark.parametrize("name", list(RECIPES))


def test_aliased_columns_are_the_later_ones():
    system = problem("aliased").system
    assert system.kept.tolist() == [0, 1, 3]
    assert system.aliased.tolist() == [2, 4]
    assert system.p == 3


@pytest.mark.parametrize(("name", "spans"), [("constant in span", True), ("no constant", False)])
def test_whether_x_spans_the_constant(name, spans):
    """Where it does, coefficients take y's shift; where not, the sums are those of y unshifted."""
    p = problem(name)
    raw = p.block.y[:, 0] / p.y_scale
    shifted = raw - p.info.pilots.y_shift[0] / p.y_scale
    wanted = shifted if spans else raw
    assert p.system.ytBy == pytest.approx(wanted @ wanted, rel=1e-11)
    assert bool(np.any(p.system.fixed_scale.constant)) is spans


@recipes
def test_the_columns_of_the_equations_are_the_users(name):
    """Z (units F) = Z~ (basis F): both sides row by row."""
    p = problem(name)
    pilots = p.info.pilots
    for f, factor in enumerate(p.system.factors):
        columns = [c for term in p.terms if term.factor == f for c in term.columns]
        stored = (p.block.Z[f] - pilots.z_shift[f]) / pilots.z_scale[f]
        users = p.block.Z[f][:, columns] @ factor.units
        np.testing.assert_allclose(stored @ factor.basis, users, rtol=1e-12, atol=1e-12)


@recipes
def test_only_terms_of_any_basis_leave_the_users_columns(name):
    p = problem(name)
    for factor in p.system.factors:
        for term, where in zip(factor.terms, factor.slices, strict=True):
            T = factor.units[where, where]
            structure = get_structure(p.terms[term].structure)
            if not structure.expansion(len(T)).all():
                np.testing.assert_array_equal(T, np.eye(len(T)))
            np.testing.assert_allclose(T, p.units(p.terms[term]), rtol=1e-14)


@recipes
def test_further_right_hand_sides(name):
    p = problem(name)
    params = p.params(1)
    mme = assemble_mme(p.system, term_factors(p.system, params), params.sigma2)
    solution = solve_mme(mme, p.engine)
    rng = np.random.default_rng(0)
    right_x = rng.normal(size=(p.system.p, 2))
    right_z = tuple(rng.normal(size=(L, q, 2)) for L, q in mme.random.shapes)
    x, z = solve_system(solution, right_x, right_z)
    M = dense_system(p, mme)
    wanted = np.linalg.solve(M, np.vstack([right_x, stack(right_z)]))
    found = np.vstack([x, stack(z)])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10 * np.abs(wanted).max())


def dense_system(p, mme):
    """Return M from dense W = [X Z F] in stored columns."""
    pilots = p.info.pilots
    X = ((p.block.X - pilots.x_shift) / pilots.x_scale)[:, p.system.kept]
    parts = [X]
    for f, (factor, F) in enumerate(zip(p.system.factors, mme.factors, strict=True)):
        columns = [c for term in p.terms if term.factor == f for c in term.columns]
        Z = p.block.Z[f][:, columns] @ factor.units @ F
        hot = np.eye(factor.n_levels)[p.block.codes[f]]
        parts.append((hot[:, :, None] * Z[:, None, :]).reshape(len(Z), -1))
    W = np.hstack(parts)
    w = np.ones(len(W)) if p.block.weights is None else p.block.weights
    M = mme.precision * (W * w[:, None]).T @ W
    at = np.arange(p.system.p, len(M))
    M[at, at] += 1.0
    return M


def test_terms_may_use_some_of_the_factors_and_columns():
    """Sums of a larger design serve a smaller model: the same as its own sums."""
    p = problem("crossed slopes")
    small = (TermDesign("h", 1, (0,)),)
    system = model_system(p.sums, small)
    assert [factor.name for factor in system.factors] == ["h"]
    assert system.pairs == {}
    assert system.terms[0].factor == 0
    assert system.dims == (1,)


def test_too_few_rows():
    p = problem("one")
    rows = slice(0, 3)
    block = replace(
        p.block, X=p.block.X[rows], y=p.block.y[rows], Z=tuple(z[rows] for z in p.block.Z),
        codes=tuple(c[rows] for c in p.block.codes), rows_in=3, kept=np.ones(3, dtype=bool),
    )  # fmt: skip
    with pytest.raises(FitError, match="3 rows are too few for 3 fixed-effect coefficients"):
        model_system(condense_block(block, p.info), p.terms)


def test_no_fixed_effect():
    p = problem("no constant")
    info = replace(
        p.info,
        x_columns=(),
        pilots=replace(p.info.pilots, x_shift=np.zeros(0), x_scale=np.ones(0)),
    )
    block = replace(p.block, X=p.block.X[:, :0])
    with pytest.raises(FitError, match="no fixed-effect column"):
        model_system(condense_block(block, info), p.terms)


def test_sums_of_other_residual_structures_are_not_taken_for_independent_ones():
    p = problem("one")
    part = p.sums.keyed[0, 0]
    with pytest.raises(UnsupportedError, match="independent or weighted residuals"):
        model_system(replace(p.sums, keyed={(0, 0): part, (0, 1): part}), p.terms)


def test_small_matrices_in_a_large_one():
    rng = np.random.default_rng(1)
    rows, cols, values = np.array([0, 2, 2]), np.array([1, 0, 1]), rng.normal(size=(3, 2, 3))
    dense = np.zeros((6, 6))
    for r, c, v in zip(rows, cols, values, strict=True):
        dense[2 * r : 2 * r + 2, 3 * c : 3 * c + 3] = v
    np.testing.assert_array_equal(expanded(rows, cols, values, (3, 2)).toarray(), dense)
    row, col = positions(rows, cols, (2, 3))
    np.testing.assert_array_equal(dense[row, col], values)
    square = rng.normal(size=(3, 2, 2))
    from scipy.linalg import block_diag

    np.testing.assert_array_equal(expanded_diagonal(square).toarray(), block_diag(*square))
