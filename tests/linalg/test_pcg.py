"""Conjugate gradients and the eliminated matrix against dense algebra; both sets of loops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from mixedflow.errors import FitError
from mixedflow.linalg.compressed import compressed_rows
from mixedflow.linalg.eliminated import EliminatedMatrix, SchurComplement
from mixedflow.linalg.pcg import quadrature, solve_pcg

both = pytest.mark.parametrize("compiled", [False, True], ids=["numpy", "compiled"])


@dataclass(frozen=True)
class Dense:
    """A written-down matrix with a diagonal preconditioner."""

    A: np.ndarray
    compiled: bool

    @property
    def order(self):
        return len(self.A)

    def multiply(self, X):
        return np.ascontiguousarray(self.A @ X)

    def precondition(self, R):
        return R / np.diag(self.A)[:, None]


def positive(n, seed=0, spread=3.0):
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    return Q @ np.diag(np.exp(rng.uniform(0, spread, n))) @ Q.T


def lengths(A, R):
    return np.sqrt((R**2 / np.diag(A)[:, None]).sum(axis=0))


@both
@pytest.mark.parametrize("k", [1, 5])
def test_solve(compiled, k):
    A = positive(40)
    right = np.random.default_rng(1).normal(size=(40, k))
    copy = right.copy()
    found = solve_pcg(Dense(A, compiled), right, tolerance=1e-12, max_steps=200)
    np.testing.assert_allclose(found.X, np.linalg.solve(A, right), rtol=0, atol=1e-10)
    np.testing.assert_array_equal(right, copy)
    assert found.converged.all()
    assert (found.residuals <= 1e-12).all()
    left = lengths(A, right - A @ found.X) / lengths(A, right)
    np.testing.assert_allclose(left, found.residuals, rtol=0, atol=1e-13)


@both
def test_the_tolerance_is_a_column_s_own(compiled):
    A = positive(60, spread=5.0)
    right = np.random.default_rng(1).normal(size=(60, 3)) * [1.0, 1e-8, 1e8]
    found = solve_pcg(Dense(A, compiled), right, tolerance=1e-6, max_steps=200)
    left = lengths(A, right - A @ found.X) / lengths(A, right)
    assert (left <= 1.01e-6).all()
    assert (left > 1e-9).all()


@both
def test_columns_without_anything_to_do(compiled):
    A = positive(20)
    right = np.zeros((20, 3))
    right[:, 1] = 1.0
    found = solve_pcg(Dense(A, compiled), right, tolerance=1e-10, max_steps=50)
    assert found.iterations[0] == found.iterations[2] == 0
    np.testing.assert_array_equal(found.X[:, [0, 2]], 0.0)
    assert found.converged.all()
    none = solve_pcg(Dense(A, compiled), right[:, :1], tolerance=1e-10, max_steps=50)
    assert none.alpha.shape == (0, 1)


@both
def test_steps_that_run_out(compiled):
    A = positive(60, spread=8.0)
    right = np.ones((60, 2))
    found = solve_pcg(Dense(A, compiled), right, tolerance=1e-12, max_steps=3)
    assert not found.converged.any()
    assert found.iterations.tolist() == [3, 3]
    assert (found.residuals > 1e-12).all()


@both
def test_an_indefinite_matrix_is_refused(compiled):
    A = positive(20)
    A[:5] *= -1.0
    with pytest.raises(FitError, match="positive definite"):
        solve_pcg(Dense(A + A.T, compiled), np.ones((20, 1)), tolerance=1e-12, max_steps=50)


@both
def test_a_missing_value_is_refused(compiled):
    A = positive(10)
    A[0, 0] = np.nan
    with pytest.raises(FitError, match="positive definite"):
        solve_pcg(Dense(A, compiled), np.ones((10, 1)), tolerance=1e-12, max_steps=50)


@both
@pytest.mark.parametrize("function", [np.log, lambda x: 1.0 / x, np.sqrt])
def test_quadrature(compiled, function):
    A = positive(50)
    z = np.random.default_rng(1).choice([-1.0, 1.0], size=(50, 4))
    root = np.sqrt(np.diag(A))
    found = solve_pcg(Dense(A, compiled), root[:, None] * z, tolerance=1e-12, max_steps=200)
    values, vectors = np.linalg.eigh(A / np.outer(root, root))
    wanted = ((vectors.T @ z) ** 2 * function(values)[:, None]).sum(axis=0)
    np.testing.assert_allclose(quadrature(found, function), wanted, rtol=1e-10)


def eliminated(seed=0, q=2, zero=False):
    """Return parts of sizes 3 and 1 on the side of D, and the whole as one array."""
    rng = np.random.default_rng([seed, q])
    shapes = ((9, 3), (5, 1))
    starts, order, L = (0, 27), 32, 12
    n = 300
    level = rng.integers(0, L, n)
    at = [rng.integers(0, M, n) for M, _ in shapes]
    W = np.zeros((n, L * q + order))
    for i in range(n):
        W[i, level[i] * q : level[i] * q + q] = 0.0 if zero else rng.normal(size=q)
        for start, (_, r), codes in zip(starts, shapes, at, strict=True):
            place = L * q + start + codes[i] * r
            W[i, place : place + r] = rng.normal(size=r)
    M = W.T @ W + np.eye(W.shape[1])
    head = np.array([M[i * q : i * q + q, i * q : i * q + q] for i in range(L)])
    D = M[L * q :, L * q :]
    parts = tuple(
        np.array([D[s + i * r : s + (i + 1) * r, s + i * r : s + (i + 1) * r] for i in range(m)])
        for s, (m, r) in zip(starts, shapes, strict=True)
    )
    rest = D.copy()
    for start, (m, r) in zip(starts, shapes, strict=True):
        for i in range(m):
            rest[start + i * r : start + (i + 1) * r, start + i * r : start + (i + 1) * r] = 0.0
    pointers, columns, coupling = [0], [], []
    for i in range(L):
        for start, (m, r), codes in zip(starts, shapes, at, strict=True):
            for j in np.unique(codes[level == i]):
                columns += list(range(start + j * r, start + (j + 1) * r))
                block = M[i * q : i * q + q, L * q + start + j * r : L * q + start + (j + 1) * r]
                coupling += list(block.T)
            assert m
        pointers.append(len(columns))
    matrix = EliminatedMatrix(
        head, parts, np.array(pointers), np.array(columns, dtype=np.int32),
        np.array(coupling), compressed_rows(*np.nonzero(rest), rest[np.nonzero(rest)], rest.shape),
    )  # fmt: skip
    return matrix, M


@both
@pytest.mark.parametrize("q", [1, 2, 3])
@pytest.mark.parametrize("zero", [False, True], ids=["", "nothing to eliminate"])
def test_schur_complement(compiled, q, zero):
    matrix, M = eliminated(q=q, zero=zero)
    size = len(matrix.head) * q
    N, B, D = M[:size, :size], M[:size, size:], M[size:, size:]
    H = np.linalg.solve(N, B)
    S = D - B.T @ H
    schur = SchurComplement(matrix, compiled=compiled)
    assert schur.order == len(S)
    X = np.random.default_rng(3).normal(size=(len(S), 5))
    close = {"rtol": 0, "atol": 1e-11 * np.abs(M).max()}
    np.testing.assert_allclose(schur.multiply(X), S @ X, **close)
    diagonal = np.zeros_like(S)
    at = 0
    for part in matrix.parts:
        for _ in range(len(part)):
            where = slice(at, at + part.shape[1])
            diagonal[where, where] = S[where, where]
            at += part.shape[1]
    np.testing.assert_allclose(schur.off_diagonal(X), (S - diagonal) @ X, **close)
    np.testing.assert_allclose(schur.precondition(X), np.linalg.solve(diagonal, X), **close)
    assert schur.head_logdet == pytest.approx(np.linalg.slogdet(N)[1], rel=1e-12)
    assert schur.jacobi_logdet == pytest.approx(np.linalg.slogdet(diagonal)[1], rel=1e-12)
    first = np.random.default_rng(4).normal(size=(size, 5))
    np.testing.assert_allclose(schur.reduced(first, X), X - H.T @ first, **close)
    np.testing.assert_allclose(schur.back(first, X), np.linalg.solve(N, first) - H @ X, **close)
    levels = H.reshape(-1, q, len(S))
    V = np.random.default_rng(5).normal(size=X.shape)
    wanted = np.einsum("laj,jk,lbi,ik->kab", levels, X, levels, V)
    np.testing.assert_allclose(schur.head_products(X, V), wanted, **close)
    middle = np.linalg.inv(diagonal)
    wanted = np.einsum("lai,ij,lbj->ab", levels, middle, levels)
    np.testing.assert_allclose(schur.head_parts(schur.jacobi_inverse), wanted, **close)
    right = S @ X
    found = solve_pcg(schur, right, tolerance=1e-13, max_steps=500)
    np.testing.assert_allclose(found.X, X, rtol=0, atol=1e-9)


def test_a_column_s_bits_are_its_own():
    """Whichever columns are solved together: threads and batches cannot change a fit."""
    schur = SchurComplement(eliminated(q=2)[0], compiled=True)
    right = np.random.default_rng(3).normal(size=(schur.order, 7))
    together = solve_pcg(schur, right, tolerance=1e-10, max_steps=500)
    for t in range(7):
        alone = solve_pcg(schur, right[:, t : t + 1], tolerance=1e-10, max_steps=500)
        np.testing.assert_array_equal(alone.X[:, 0], together.X[:, t])


@both
def test_parts_that_are_not_positive_definite_are_refused(compiled):
    matrix, _ = eliminated()
    matrix.head[3] = -np.eye(2)
    with pytest.raises(FitError, match="not positive definite"):
        SchurComplement(matrix, compiled=compiled)
