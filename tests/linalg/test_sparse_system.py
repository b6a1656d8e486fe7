import doctest
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

from mixedflow.linalg import sparse_system
from mixedflow.linalg.errors import NotPositiveDefinite
from mixedflow.linalg.sparse_system import SparseSystem

METHODS = ["full", "sparse"]


def closeness(found, expected):
    return np.abs(found - expected).max(initial=0.0) / np.abs(expected).max(initial=1e-300)


def check_against_dense(matrix, stored, method):
    """Everything a factor offers, held against numpy.linalg."""
    n = matrix.shape[0]
    A = matrix.toarray()
    inverse = np.linalg.inv(A)
    tol = max(1e-12, np.finfo(float).eps * np.linalg.norm(A, 1) * np.linalg.norm(inverse, 1))
    B = np.random.default_rng(n).normal(size=(n, 3))
    system = SparseSystem(stored, method=method)
    factor = system.factorize(stored.data)
    assert closeness(factor.solve(B), inverse @ B) < tol
    assert closeness(factor.solve(B[:, 0]), inverse @ B[:, 0]) < tol
    assert factor.logdet() == pytest.approx(np.linalg.slogdet(A)[1], rel=tol, abs=tol)
    half = factor.half_solve(B)
    assert closeness(half.T @ half, B.T @ inverse @ B) < tol
    root = factor.half_solve_transposed(np.eye(n))
    assert closeness(root @ root.T, inverse) < tol
    assert np.log(factor.pivots()).sum() == pytest.approx(factor.logdet(), rel=tol, abs=tol)
    rows, columns = stored.indices, np.repeat(np.arange(n), np.diff(stored.indptr))
    assert closeness(system.inverse_on_pattern(), inverse[rows, columns]) < tol
    selected = factor.inverse()
    assert closeness(selected.diagonal(), np.diagonal(inverse)) < tol
    assert closeness(selected.at(columns[::-1], rows[::-1]), inverse[columns, rows][::-1]) < tol


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(40))
def test_random_systems(systems, seed, method):
    matrix = systems.random(np.random.default_rng(seed))
    stored = [matrix, sp.tril(matrix, format="csc"), sp.triu(matrix, format="csc")][seed % 3]
    check_against_dense(matrix, stored, method)


@pytest.mark.parametrize("name", ["nested", "crossed", "pedigree", "grid"])
def test_patterns_of_the_trade(systems, name):
    matrix = getattr(systems, name)()
    check_against_dense(matrix, sp.tril(matrix, format="csc"), "sparse")


@pytest.mark.parametrize("method", METHODS)
def test_one_equation(method):
    system = SparseSystem(sp.csc_matrix([[4.0]]), method=method)
    factor = system.factorize([4.0])
    assert factor.solve([2.0]) == pytest.approx(0.5)
    assert system.inverse_on_pattern() == pytest.approx(0.25)


@pytest.mark.parametrize("method", METHODS)
def test_a_diagonal_matrix(method):
    diagonal = np.arange(1.0, 8.0)
    system = SparseSystem(sp.csc_matrix(np.diag(diagonal)), method=method)
    system.factorize(diagonal)
    assert system.inverse_on_pattern() == pytest.approx(1.0 / diagonal)
    assert system.logdet() == pytest.approx(np.log(diagonal).sum())


@pytest.mark.parametrize("method", METHODS)
def test_entries_given_twice_add_up(method):
    rows, columns = np.array([0, 0, 1, 1, 1]), np.array([0, 0, 0, 0, 1])
    values = np.array([1.0, 3.0, 0.5, 0.5, 2.0])
    pattern = sp.csc_matrix((values, rows, np.array([0, 4, 5])), shape=(2, 2))
    system = SparseSystem(pattern, method=method)
    system.factorize(values)
    inverse = np.linalg.inv([[4.0, 1.0], [1.0, 2.0]])
    assert system.inverse_on_pattern() == pytest.approx(inverse[rows, columns])


@pytest.mark.parametrize("method", METHODS)
def test_new_values_on_the_same_pattern(systems, method):
    matrix = sp.tril(systems.crossed(500, (40, 12)), format="csc")
    system = SparseSystem(matrix, method=method)
    rows, columns = matrix.indices, np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    first = system.factorize(matrix.data)
    for ridge in (0.1, 10.0):
        values = matrix.data + ridge * (rows == columns)
        system.factorize(values)
        lower = sp.csc_matrix((values, matrix.indices, matrix.indptr)).toarray()
        inverse = np.linalg.inv(lower + np.tril(lower, -1).T)
        assert closeness(system.inverse_on_pattern(), inverse[rows, columns]) < 1e-12
    assert first.logdet() < system.logdet()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("column", [0, 3, 59])
def test_a_matrix_that_is_not_positive_definite_is_named(method, column):
    values = np.ones(60)
    values[column] = -1.0
    system = SparseSystem(sp.csc_matrix(np.eye(60)), method=method)
    with pytest.raises(NotPositiveDefinite, match=f"column {column}") as caught:
        system.factorize(values)
    assert caught.value.column == column
    assert pickle.loads(pickle.dumps(caught.value)).column == column
    with pytest.raises(ValueError, match="no factor"):
        system.logdet()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -50.0])
@pytest.mark.parametrize("size", [3, 90])
def test_numbers_that_cannot_be_factorised(method, bad, size):
    matrix = np.full((size, size), 0.5) + np.eye(size)
    matrix[-1, 0] = matrix[0, -1] = bad
    pattern = sp.csc_matrix(matrix)
    with pytest.raises(NotPositiveDefinite):
        SparseSystem(pattern, method=method).factorize(pattern.data)


@pytest.mark.parametrize("method", METHODS)
def test_an_overwritten_factor_refuses_to_go_on(method, systems):
    matrix = systems.grid(8)
    system = SparseSystem(matrix, method=method)
    kept = system.factorize(matrix.data).inverse().on_pattern()
    factor = system.factorize(matrix.data)
    assert np.array_equal(factor.inverse(overwrite=True).on_pattern(), kept)
    with pytest.raises(ValueError, match="overwritten"):
        factor.solve(np.ones(64))


def test_the_choice_of_method(systems):
    assert SparseSystem(systems.grid(10)).method == "full"
    crossed = SparseSystem(systems.crossed(4000, (1500, 90)))
    assert crossed.method == "sparse"
    assert crossed.cost.nnz < crossed.n**2 / 4
    assert SparseSystem(sp.csc_matrix(np.ones((700, 700)))).method == "full"


def test_the_predicted_cost_is_that_of_the_factor(systems):
    matrix = systems.pedigree()
    from mixedflow.linalg.symbolic import Relaxation, analyze

    symbolic = analyze(matrix, relaxation=Relaxation((0,), (0.0,)))
    permuted = matrix[symbolic.order][:, symbolic.order].toarray()
    pattern = np.linalg.cholesky(permuted) != 0.0
    assert symbolic.nnz == pattern.sum()
    assert symbolic.flops == pytest.approx((pattern.sum(axis=0) ** 2.0).sum())
    relaxed = analyze(matrix)
    assert relaxed.nnz == symbolic.nnz
    assert relaxed.flops >= symbolic.flops
    assert relaxed.peak_bytes > relaxed.factor_bytes > 8 * relaxed.stored


def test_only_entries_of_the_factor_can_be_asked_for(systems):
    matrix = systems.nested(10, 5)
    system = SparseSystem(matrix, method="sparse")
    inverse = system.factorize(matrix.data).inverse()
    with pytest.raises(ValueError, match=r"entry \(0, 49\) is not on the pattern"):
        inverse.at([0, 0], [0, 49])
    with pytest.raises(ValueError, match="must lie in 0"):
        inverse.at([0], [matrix.shape[0]])
    with pytest.raises(ValueError, match="two equal lists"):
        inverse.at([0, 1], [0])


@pytest.mark.parametrize("method", METHODS)
def test_wrong_shapes_are_refused(method):
    pattern = sp.csc_matrix(np.eye(3))
    system = SparseSystem(pattern, method=method)
    with pytest.raises(ValueError, match="3 entries"):
        system.factorize(np.ones(2))
    system.factorize(np.ones(3))
    with pytest.raises(ValueError, match="3 rows"):
        system.solve(np.ones(4))


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (sp.csr_matrix(np.eye(2)), "CSC"),
        (sp.csc_matrix(np.ones((2, 3))), "square"),
        (sp.csc_matrix((0, 0)), "not empty"),
        (sp.csc_matrix([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]), "symmetric"),
    ],
)
def test_what_is_no_symmetric_pattern_is_refused(pattern, words):
    with pytest.raises(ValueError, match=words):
        SparseSystem(pattern)


def test_a_misspelt_method_is_refused():
    with pytest.raises(ValueError, match="did you mean 'sparse'"):
        SparseSystem(sp.csc_matrix(np.eye(2)), method="sparce")


def test_the_examples_of_the_documentation():
    assert doctest.testmod(sparse_system).failed == 0


def test_small_systems_never_load_the_compiler():
    code = (
        "import sys, numpy as np, scipy.sparse as sp\n"
        "from mixedflow.linalg.sparse_system import SparseSystem\n"
        "from mixedflow.linalg.batched import batched_cholesky\n"
        "s = SparseSystem(sp.csc_matrix(np.eye(3)))\n"
        "s.factorize(np.ones(3)); s.inverse_on_pattern()\n"
        "batched_cholesky(np.broadcast_to(np.eye(2), (5, 2, 2)))\n"
        "sys.exit('numba' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], check=False).returncode == 0
