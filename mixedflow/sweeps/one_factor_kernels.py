"""One grouping factor, many responses, compiled: the profiled likelihood of each and its slope.

Stands at "Sweeps" in ``docs/algorithm.md``. One response after another, each at its own Lambda; the
NumPy twin is :mod:`mixedflow.sweeps.one_factor_twins`.
"""

from __future__ import annotations

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.linalg.jit import compiled


@compiled
def _cholesky(A: Float, n: int) -> float:
    """Overwrite the lower triangle by its factor; return log|A|, NaN if not positive definite."""
    logdet = 0.0
    for j in range(n):
        pivot = A[j, j]
        for k in range(j):
            pivot -= A[j, k] * A[j, k]
        if not pivot > 0.0:
            return np.nan
        logdet += np.log(pivot)
        root = np.sqrt(pivot)
        A[j, j] = root
        for i in range(j + 1, n):
            value = A[i, j]
            for k in range(j):
                value -= A[i, k] * A[j, k]
            A[i, j] = value / root
    return logdet


@compiled
def _level(K: Float, B: Float, c: Float, Lam: Float, M: Float, E: Float, work: Float) -> float:
    """M <- chol(I + Lam'K Lam), E <- M^-1 Lam'[B c]; return log|I + Lam'K Lam|."""
    q, p = B.shape
    for i in range(q):
        for j in range(q):
            total = 0.0
            for a in range(j, q):
                total += K[i, a] * Lam[a, j]
            work[i, j] = total
    for i in range(q):
        for j in range(i + 1):
            total = 1.0 if i == j else 0.0
            for a in range(i, q):
                total += Lam[a, i] * work[a, j]
            M[i, j] = total
    logdet = _cholesky(M, q)
    for i in range(q):
        for col in range(p):
            total = 0.0
            for a in range(i, q):
                total += Lam[a, i] * B[a, col]
            E[i, col] = total
        total = 0.0
        for a in range(i, q):
            total += Lam[a, i] * c[a]
        E[i, p] = total
        for k in range(i):
            factor = M[i, k]
            for col in range(p + 1):
                E[i, col] -= factor * E[k, col]
        scale = 1.0 / M[i, i]
        for col in range(p + 1):
            E[i, col] *= scale
    return logdet


@compiled
def solve_fixed(S: Float, p: int, inverse: Float, beta: Float) -> float:
    """Factorise X'V^-1X in S, (p + 1, p + 1) with the response last; fill inverse and beta.

    Returns log|X'V^-1X|, NaN where a column is a sum of others to rounding.
    """
    logdet = 0.0
    for j in range(p):
        size = S[j, j]
        pivot = size
        for k in range(j):
            pivot -= S[j, k] * S[j, k]
        if not pivot > 1e-12 * size:
            return np.nan
        logdet += np.log(pivot)
        root = np.sqrt(pivot)
        S[j, j] = root
        for i in range(j + 1, p + 1):
            value = S[i, j]
            for k in range(j):
                value -= S[i, k] * S[j, k]
            S[i, j] = value / root
    for col in range(p):  # inverse of the factor, column by column
        for i in range(col, p):
            total = 1.0 if i == col else 0.0
            for k in range(col, i):
                total -= S[i, k] * inverse[k, col]
            inverse[i, col] = total / S[i, i]
    for i in range(p):
        total = 0.0
        for k in range(i, p):
            total += inverse[k, i] * S[p, k]
        beta[i] = total
    for i in range(p):
        for j in range(i + 1):
            total = 0.0
            for k in range(i, p):
                total += inverse[k, i] * inverse[k, j]
            S[i, j] = total
    for i in range(p):
        for j in range(i + 1):
            inverse[i, j] = S[i, j]
            inverse[j, i] = S[i, j]
    return logdet


@compiled
def _slopes(
    K: Float,
    B: Float,
    c: Float,
    Lam: Float,
    M: Float,
    E: Float,
    beta: Float,
    inverse: Float,
    reml: bool,
    work: Float,
    of_log: Float,
    of_square: Float,
) -> None:
    """Add a level's share of the slopes in Lam of the log-determinants and of y'Py, (q, q)."""
    q, p = B.shape
    A = work[:, : p + 1]
    right = work[:, p + 1 : p + 1 + q]
    for i in range(q - 1, -1, -1):  # E <- M^-T E: M^-1 Lam'[B c]
        for k in range(i + 1, q):
            factor = M[k, i]
            for col in range(p + 1):
                E[i, col] -= factor * E[k, col]
        scale = 1.0 / M[i, i]
        for col in range(p + 1):
            E[i, col] *= scale
    for i in range(q):
        for j in range(q):
            total = 0.0
            for a in range(j, q):
                total += K[i, a] * Lam[a, j]
            right[i, j] = total
    for i in range(q):  # Z'V^-1[X y] = [B c] - K Lam E
        for col in range(p):
            total = B[i, col]
            for k in range(q):
                total -= right[i, k] * E[k, col]
            A[i, col] = total
        total = c[i]
        for k in range(q):
            total -= right[i, k] * E[k, p]
        for col in range(p):
            total -= A[i, col] * beta[col]
        A[i, p] = total
    for j in range(q):  # a'Lam
        total = 0.0
        for a in range(j, q):
            total += A[a, p] * Lam[a, j]
        for i in range(j, q):
            of_square[i, j] -= 2.0 * A[i, p] * total
    # 2 K Lam (M M')^-1, a row of K Lam at a time
    for i in range(q):
        for j in range(q):
            total = right[i, j]
            for k in range(j):
                total -= right[i, k] * M[j, k]
            right[i, j] = total / M[j, j]
        for j in range(q - 1, -1, -1):
            total = right[i, j]
            for k in range(j + 1, q):
                total -= right[i, k] * M[k, j]
            right[i, j] = total / M[j, j]
        for j in range(i + 1):
            of_log[i, j] += 2.0 * right[i, j]
    if reml:
        for j in range(q):
            for col in range(p):  # (A'Lam)_j by column, in E's place
                total = 0.0
                for a in range(j, q):
                    total += A[a, col] * Lam[a, j]
                E[j, col] = total
        for i in range(q):
            for col in range(p):
                total = 0.0
                for other in range(p):
                    total += A[i, other] * inverse[other, col]
                for j in range(i + 1):
                    of_log[i, j] -= 2.0 * total * E[j, col]


@compiled
def look_at(
    theta: Float,
    at: Int,
    which: Int,
    ZtZ: Float,
    ZtX: Float,
    XtX: Float,
    Zty: Float,
    Xty: Float,
    yty: Float,
    rows: Int,
    cols: Int,
    places: Int,
    reml: bool,
    logdet: Float,
    square: Float,
    of_log: Float,
    of_square: Float,
    beta: Float,
    inverse: Float,
) -> None:
    """Fill one row of every output for each response ``at``, at its theta.

    Parameters
    ----------
    theta : (m, k); at : (m,) responses; which : (T,) design of every response
    ZtZ : (D, L, q, q), ZtX : (D, L, q, p), XtX : (D, p, p)
    Zty : (T, L, q), Xty : (T, p), yty : (T,)
    rows, cols, places : (e,) entry of Lambda and its parameter
    logdet, square : (m,); of_log, of_square : (m, k); beta : (m, p); inverse : (m, p, p)
    """
    _, L, q, p = ZtX.shape
    Lam, slope_log, slope_square = np.zeros((q, q)), np.zeros((q, q)), np.zeros((q, q))
    E, M = np.zeros((L, q, p + 1)), np.zeros((L, q, q))
    S = np.zeros((p + 1, p + 1))
    work = np.zeros((q, p + 1 + q))
    for row in range(len(at)):
        t = at[row]
        d = which[t]
        for e in range(len(rows)):
            Lam[rows[e], cols[e]] = theta[row, places[e]]
        for i in range(p):
            for j in range(i + 1):
                S[i, j] = XtX[d, i, j]
            S[p, i] = Xty[t, i]
        S[p, p] = yty[t]
        value = 0.0
        for level in range(L):
            value += _level(
                ZtZ[d, level], ZtX[d, level], Zty[t, level], Lam, M[level], E[level], work
            )
            for k in range(q):
                for i in range(p + 1):
                    factor = E[level, k, i]
                    for j in range(i + 1):
                        S[i, j] -= factor * E[level, k, j]
        fixed = solve_fixed(S, p, inverse[row], beta[row])
        rest = S[p, p]
        for i in range(p):
            rest -= S[p, i] * S[p, i]
        logdet[row] = value + (fixed if reml else 0.0 * fixed)
        square[row] = rest + 0.0 * fixed
        slope_log[:] = 0.0
        slope_square[:] = 0.0
        for level in range(L):
            _slopes(
                ZtZ[d, level],
                ZtX[d, level],
                Zty[t, level],
                Lam,
                M[level],
                E[level],
                beta[row],
                inverse[row],
                reml,
                work,
                slope_log,
                slope_square,
            )
        for k in range(theta.shape[1]):
            of_log[row, k] = 0.0
            of_square[row, k] = 0.0
        for e in range(len(rows)):
            of_log[row, places[e]] += slope_log[rows[e], cols[e]]
            of_square[row, places[e]] += slope_square[rows[e], cols[e]]
