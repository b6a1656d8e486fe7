"""One grouping factor, compiled: the equations of all levels in two passes that store nothing.

Stands at "Solving" in ``docs/algorithm.md``. A level's M_l = F'Z'R^-1ZF + I is factorised where it
is needed and forgotten; only sums of the size of p and q leave a pass. The NumPy twin is the general
route through :mod:`mixedflow.equations.mme`, which the tests compare.
"""

from __future__ import annotations

import numpy as np

from mixedflow.design.types import Float
from mixedflow.linalg.jit import compiled


@compiled
def _scaled(A: Float, T: Float, f: float, work: Float, N: Float) -> None:
    """N = f T'A T."""
    Q, q = T.shape
    for a in range(Q):
        for j in range(q):
            total = 0.0
            for b in range(Q):
                total += A[a, b] * T[b, j]
            work[a, j] = f * total
    for i in range(q):
        for j in range(i + 1):
            total = 0.0
            for a in range(Q):
                total += T[a, i] * work[a, j]
            N[i, j] = total
            N[j, i] = total


@compiled
def _cholesky(N: Float, L: Float) -> float:
    """L L' = N + I; return log|N + I|, NaN if it is not positive definite."""
    q = N.shape[0]
    logdet = 0.0
    for j in range(q):
        pivot = N[j, j] + 1.0
        for k in range(j):
            pivot -= L[j, k] * L[j, k]
        if not pivot > 0.0:
            return np.nan
        root = np.sqrt(pivot)
        L[j, j] = root
        logdet += np.log(pivot)
        for i in range(j + 1, q):
            value = N[i, j]
            for k in range(j):
                value -= L[i, k] * L[j, k]
            L[i, j] = value / root
    return logdet


@compiled
def _right(ZX: Float, Zy: Float, T: Float, f: float, E: Float) -> None:
    """E = f T'[ZX Zy], (q, p + 1)."""
    Q, p = ZX.shape
    q = T.shape[1]
    for i in range(q):
        for c in range(p):
            total = 0.0
            for a in range(Q):
                total += T[a, i] * ZX[a, c]
            E[i, c] = f * total
        total = 0.0
        for a in range(Q):
            total += T[a, i] * Zy[a]
        E[i, p] = f * total


@compiled
def _forward(L: Float, E: Float) -> None:
    """E <- L^-1 E."""
    q, width = E.shape
    for i in range(q):
        for k in range(i):
            factor = L[i, k]
            for c in range(width):
                E[i, c] -= factor * E[k, c]
        scale = 1.0 / L[i, i]
        for c in range(width):
            E[i, c] *= scale


@compiled
def _backward(L: Float, E: Float) -> None:
    """E <- L^-T E."""
    q, width = E.shape
    for i in range(q - 1, -1, -1):
        for k in range(i + 1, q):
            factor = L[k, i]
            for c in range(width):
                E[i, c] -= factor * E[k, c]
        scale = 1.0 / L[i, i]
        for c in range(width):
            E[i, c] *= scale


@compiled
def absorb_levels(
    span: tuple[int, int], ZZ: Float, ZX: Float, Zy: Float, T: Float, f: float, gram: Float
) -> float:
    """Take sum_l E_l'E_l, E = L^-1 F'Z'R^-1[X y], off ``gram`` (p + 1, p + 1); return sum log|M_l|.

    Shapes: ZZ (L, Q, Q), ZX (L, Q, p), Zy (L, Q), T (Q, q). Levels span[0] to span[1] only.
    """
    Q, q = T.shape
    p = ZX.shape[2]
    work, N, L = np.empty((Q, q)), np.empty((q, q)), np.zeros((q, q))
    E = np.empty((q, p + 1))
    total = 0.0
    for g in range(span[0], span[1]):
        _scaled(ZZ[g], T, f, work, N)
        total += _cholesky(N, L)
        _right(ZX[g], Zy[g], T, f, E)
        _forward(L, E)
        for i in range(q):
            for c in range(p + 1):
                value = E[i, c]
                for d in range(c + 1):
                    gram[c, d] -= value * E[i, d]
    return total


@compiled
def _identity(M: Float) -> None:
    M[:] = 0.0
    for i in range(M.shape[0]):
        M[i, i] = 1.0


@compiled
def _effects(E: Float, beta: Float, b: Float) -> None:
    """B = E_y - E_X beta."""
    q, width = E.shape
    for i in range(q):
        value = E[i, width - 1]
        for c in range(width - 1):
            value -= E[i, c] * beta[c]
        b[i] = value


@compiled
def level_moments(
    span: tuple[int, int],
    sums: tuple[Float, Float, Float],
    scale: tuple[Float, float],
    fixed: tuple[Float, Float],
    out: tuple[Float, Float, Float, Float],
) -> None:
    """Add up sum b b', T, and PX-EM's tensor and right side, over levels span[0] to span[1].

    Parameters
    ----------
    span : first level and the one after the last
    sums : ZZ (L, Q, Q), ZX (L, Q, p), Zy (L, Q)
    scale : loadings T (Q, q) and precision f
    fixed : beta (p,) and (X'V^-1X)^-1 (p, p), zeros in its place for ML
    out : bb (q, q), trace (q, q), tensor (q, q, q, q) or empty, right (q, q)
    """
    ZZ, ZX, Zy = sums
    T, f = scale
    beta, S = fixed
    bb, trace, tensor, right = out
    Q, q = T.shape
    p = ZX.shape[2]
    expanded = tensor.shape[0] > 0
    work, N, L = np.empty((Q, q)), np.empty((q, q)), np.zeros((q, q))
    R, E, M, HS = np.empty((q, p + 1)), np.empty((q, p + 1)), np.empty((q, q)), np.empty((q, p))
    b = np.empty(q)
    for g in range(span[0], span[1]):
        _scaled(ZZ[g], T, f, work, N)
        _cholesky(N, L)
        _right(ZX[g], Zy[g], T, f, R)
        E[:] = R
        _forward(L, E)
        _backward(L, E)
        _identity(M)
        _forward(L, M)
        _backward(L, M)
        _effects(E, beta, b)
        for i in range(q):
            for c in range(p):
                total = 0.0
                for d in range(p):
                    total += E[i, d] * S[d, c]
                HS[i, c] = total
        for i in range(q):
            for j in range(q):
                total = 0.0
                for c in range(p):
                    total += HS[i, c] * E[j, c]
                M[i, j] += total
        for i in range(q):
            value = R[i, p]
            for c in range(p):
                value -= R[i, c] * beta[c]
            for j in range(q):
                total = 0.0
                for k in range(q):
                    total += N[i, k] * M[k, j]
                cross = 0.0
                for c in range(p):
                    cross += R[i, c] * HS[j, c]
                bb[i, j] += b[i] * b[j]
                trace[i, j] += total - cross
                right[i, j] += value * b[j] + cross
        if expanded:
            for i in range(q):
                for j in range(q):
                    for k in range(q):
                        for m in range(q):
                            tensor[i, j, k, m] += N[i, j] * (b[k] * b[m] + M[k, m])


@compiled
def level_variates(
    span: tuple[int, int],
    sums: tuple[Float, Float, Float],
    scale: tuple[Float, float],
    fixed: tuple[Float, Float],
    out: tuple[Float, Float, Float, Float],
) -> None:
    """Add up what the average information needs of the working variates c_i = K_i t.

    Parameters
    ----------
    span : first level and the one after the last
    sums : ZZ (L, Q, Q), ZX (L, Q, p), Zy (L, Q)
    scale : loadings T (Q, q) and precision f
    fixed : beta (p,) and K (r, Q, Q), K_i = A dG_i A'
    out : gram (r, r) of c_i'R^-1c_j; last (r,) of c_i't; inner (r + 1, r + 1) of w_i'M^-1w_j with
        w the variates' right sides and the residual's, b; reduced (p, r + 1) of
        X'R^-1q - X'R^-1ZF M^-1 w
    """
    ZZ, ZX, Zy = sums
    T, f = scale
    beta, K = fixed
    gram, last, inner, reduced = out
    Q, q = T.shape
    p, r = ZX.shape[2], K.shape[0]
    work, N, L = np.empty((Q, q)), np.empty((q, q)), np.zeros((q, q))
    R, E, b = np.empty((q, p + 1)), np.empty((q, p + 1)), np.empty(q)
    t, c, prod = np.empty(Q), np.empty((r, Q)), np.empty((r, Q))
    W, V = np.empty((q, r + 1)), np.empty((q, r + 1))
    for g in range(span[0], span[1]):
        _scaled(ZZ[g], T, f, work, N)
        _cholesky(N, L)
        _right(ZX[g], Zy[g], T, f, R)
        E[:] = R
        _forward(L, E)
        _backward(L, E)
        _effects(E, beta, b)
        for a in range(Q):
            value = f * Zy[g, a]
            for d in range(p):
                value -= f * ZX[g, a, d] * beta[d]
            for j in range(q):
                value -= work[a, j] * b[j]
            t[a] = value
        for i in range(r):
            for a in range(Q):
                value = 0.0
                for d in range(Q):
                    value += K[i, a, d] * t[d]
                c[i, a] = value
            for a in range(Q):
                value = 0.0
                for d in range(Q):
                    value += ZZ[g, a, d] * c[i, d]
                prod[i, a] = f * value
        for i in range(r):
            for a in range(Q):
                last[i] += c[i, a] * t[a]
            for j in range(r):
                value = 0.0
                for a in range(Q):
                    value += c[i, a] * prod[j, a]
                gram[i, j] += value
            for k in range(q):
                value = 0.0
                for a in range(Q):
                    value += T[a, k] * prod[i, a]
                W[k, i] = value
            for d in range(p):
                value = 0.0
                for a in range(Q):
                    value += ZX[g, a, d] * c[i, a]
                reduced[d, i] += f * value
        for k in range(q):
            W[k, r] = b[k]
        V[:] = W
        _forward(L, V)
        _backward(L, V)
        for i in range(r + 1):
            for j in range(r + 1):
                value = 0.0
                for k in range(q):
                    value += W[k, i] * V[k, j]
                inner[i, j] += value
            for d in range(p):
                value = 0.0
                for k in range(q):
                    value += R[k, d] * V[k, i]
                reduced[d, i] -= value
