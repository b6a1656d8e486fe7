"""Compiled loops of conjugate gradients and of products with a matrix one part of which is eliminated.

Serves :mod:`mixedflow.linalg.pcg` and :mod:`mixedflow.linalg.eliminated`; outside the equations of
``docs/algorithm.md``. Matrices of right-hand sides are (n, k), a row's k numbers side by side. Every
sum runs over the rows in order and a column never meets another, so a column's bits do not depend on
which others it is solved with.
"""

from __future__ import annotations

import numpy as np

from mixedflow.linalg.arrays import FloatArray, Int32Array, IntArray
from mixedflow.linalg.jit import compiled


@compiled
def column_products(A: FloatArray, B: FloatArray) -> FloatArray:
    """a_t'b_t of every column, (k,)."""
    n, k = A.shape
    out = np.zeros(k)
    for i in range(n):
        for t in range(k):
            out[t] += A[i, t] * B[i, t]
    return out


@compiled
def step_along(
    X: FloatArray, R: FloatArray, P: FloatArray, Q: FloatArray, alpha: FloatArray
) -> None:
    """X += P alpha, R -= Q alpha in place."""
    n, k = X.shape
    for i in range(n):
        for t in range(k):
            X[i, t] += alpha[t] * P[i, t]
            R[i, t] -= alpha[t] * Q[i, t]


@compiled
def new_direction(P: FloatArray, Z: FloatArray, beta: FloatArray) -> None:
    """P <- Z + P beta in place."""
    n, k = P.shape
    for i in range(n):
        for t in range(k):
            P[i, t] = Z[i, t] + beta[t] * P[i, t]


@compiled
def multiply_parts(parts: FloatArray, X: FloatArray, Y: FloatArray, start: int) -> None:
    """Y <- blockdiag(parts) X in the rows from ``start`` on; parts (L, q, q)."""
    L, q, _ = parts.shape
    k = X.shape[1]
    for i in range(L):
        at = start + i * q
        for a in range(q):
            for t in range(k):
                Y[at + a, t] = parts[i, a, 0] * X[at, t]
            for b in range(1, q):
                value = parts[i, a, b]
                for t in range(k):
                    Y[at + a, t] += value * X[at + b, t]


@compiled
def add_rows(
    pointers: Int32Array, columns: Int32Array, values: FloatArray, X: FloatArray, Y: FloatArray
) -> None:
    """Y += A X, A in compressed rows."""
    n = len(pointers) - 1
    k = X.shape[1]
    for i in range(n):
        for e in range(pointers[i], pointers[i + 1]):
            value, j = values[e], columns[e]
            for t in range(k):
                Y[i, t] += value * X[j, t]


@compiled
def subtract_eliminated(
    pointers: IntArray,
    columns: Int32Array,
    coupling: FloatArray,
    inverse: FloatArray,
    X: FloatArray,
    Y: FloatArray,
) -> None:
    """Y -= B'N^-1B X, one part of N after another; coupling (nnz, q), inverse (L, q, q)."""
    L, q, _ = inverse.shape
    k = X.shape[1]
    met = np.empty((q, k))
    solved = np.empty((q, k))
    for i in range(L):
        met[:] = 0.0
        for e in range(pointers[i], pointers[i + 1]):
            j = columns[e]
            for a in range(q):
                value = coupling[e, a]
                for t in range(k):
                    met[a, t] += value * X[j, t]
        solved[:] = 0.0
        for a in range(q):
            for b in range(q):
                value = inverse[i, a, b]
                for t in range(k):
                    solved[a, t] += value * met[b, t]
        for e in range(pointers[i], pointers[i + 1]):
            j = columns[e]
            for a in range(q):
                value = coupling[e, a]
                for t in range(k):
                    Y[j, t] -= value * solved[a, t]


@compiled
def subtract_single(
    pointers: IntArray,
    columns: Int32Array,
    coupling: FloatArray,
    inverse: FloatArray,
    X: FloatArray,
    Y: FloatArray,
) -> None:
    """:func:`subtract_eliminated` for parts of one row, in two thirds of its time."""
    L = len(pointers) - 1
    k = X.shape[1]
    met = np.empty(k)
    for i in range(L):
        met[:] = 0.0
        for e in range(pointers[i], pointers[i + 1]):
            j, value = columns[e], coupling[e, 0]
            for t in range(k):
                met[t] += value * X[j, t]
        scale = inverse[i, 0, 0]
        for t in range(k):
            met[t] *= scale
        for e in range(pointers[i], pointers[i + 1]):
            j, value = columns[e], coupling[e, 0]
            for t in range(k):
                Y[j, t] -= value * met[t]


@compiled
def gather(
    pointers: IntArray, columns: Int32Array, coupling: FloatArray, X: FloatArray, q: int
) -> FloatArray:
    """B X, (L q, k)."""
    L = len(pointers) - 1
    k = X.shape[1]
    out = np.zeros((L * q, k))
    for i in range(L):
        for e in range(pointers[i], pointers[i + 1]):
            j = columns[e]
            for a in range(q):
                value = coupling[e, a]
                for t in range(k):
                    out[i * q + a, t] += value * X[j, t]
    return out


@compiled
def scatter(
    pointers: IntArray, columns: Int32Array, coupling: FloatArray, W: FloatArray, n: int
) -> FloatArray:
    """B'W, (n, k); W (L q, k)."""
    L, q = len(pointers) - 1, coupling.shape[1]
    k = W.shape[1]
    out = np.zeros((n, k))
    for i in range(L):
        for e in range(pointers[i], pointers[i + 1]):
            j = columns[e]
            for a in range(q):
                value = coupling[e, a]
                for t in range(k):
                    out[j, t] += value * W[i * q + a, t]
    return out


@compiled
def eliminated_parts(
    pointers: IntArray,
    columns: Int32Array,
    coupling: FloatArray,
    inverse: FloatArray,
    start: int,
    out: FloatArray,
) -> None:
    """Add the diagonal parts of B'N^-1B for the columns from ``start`` on; out (M, r, r).

    The r columns of a part stand side by side in the list of every row that meets them.
    """
    L, q, _ = inverse.shape
    M, r, _ = out.shape
    for i in range(L):
        for e in range(pointers[i], pointers[i + 1]):
            j = columns[e] - start
            if j < 0 or j >= M * r or j % r != 0:
                continue
            for c in range(r):
                for d in range(r):
                    total = 0.0
                    for a in range(q):
                        for b in range(q):
                            total += coupling[e + c, a] * inverse[i, a, b] * coupling[e + d, b]
                    out[j // r, c, d] += total


@compiled
def head_parts(
    pointers: IntArray,
    columns: Int32Array,
    coupling: FloatArray,
    inverse: FloatArray,
    start: int,
    middle: FloatArray,
    out: FloatArray,
) -> None:
    """Add sum_l (N^-1 B blockdiag(middle) B'N^-1)_ll over one factor's columns; out (q, q)."""
    L, q, _ = inverse.shape
    M, r, _ = middle.shape
    inner = np.empty((q, q))
    for i in range(L):
        inner[:] = 0.0
        for e in range(pointers[i], pointers[i + 1]):
            j = columns[e] - start
            if j < 0 or j >= M * r or j % r != 0:
                continue
            for c in range(r):
                for d in range(r):
                    value = middle[j // r, c, d]
                    for a in range(q):
                        for b in range(q):
                            inner[a, b] += coupling[e + c, a] * value * coupling[e + d, b]
        out += inverse[i] @ inner @ inverse[i]


@compiled
def head_products(
    pointers: IntArray,
    columns: Int32Array,
    coupling: FloatArray,
    inverse: FloatArray,
    V: FloatArray,
    W: FloatArray,
) -> FloatArray:
    """sum_l (N^-1 B v)_l (N^-1 B w)_l' of every column, (k, q, q)."""
    L, q, _ = inverse.shape
    k = V.shape[1]
    out = np.zeros((k, q, q))
    left, right = np.empty((q, k)), np.empty((q, k))
    first, second = np.empty((q, k)), np.empty((q, k))
    for i in range(L):
        left[:] = 0.0
        right[:] = 0.0
        for e in range(pointers[i], pointers[i + 1]):
            j = columns[e]
            for a in range(q):
                value = coupling[e, a]
                for t in range(k):
                    left[a, t] += value * V[j, t]
                    right[a, t] += value * W[j, t]
        first[:] = 0.0
        second[:] = 0.0
        for a in range(q):
            for b in range(q):
                value = inverse[i, a, b]
                for t in range(k):
                    first[a, t] += value * left[b, t]
                    second[a, t] += value * right[b, t]
        for t in range(k):
            for a in range(q):
                for b in range(q):
                    out[t, a, b] += first[a, t] * second[b, t]
    return out
