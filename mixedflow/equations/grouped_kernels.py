"""One grouping factor, compiled: the equations of all levels in passes that store nothing.

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
def level_effects(
    sums: tuple[Float, Float, Float], scale: tuple[Float, float], beta: Float, b: Float
) -> None:
    """Fill ``b`` (L, q) with the scaled effects M_l^-1 F'Z'R^-1(y - X beta)."""
    ZZ, ZX, Zy = sums
    T, f = scale
    Q, q = T.shape
    p = ZX.shape[2]
    work, N, L = np.empty((Q, q)), np.empty((q, q)), np.zeros((q, q))
    r, t = np.empty((q, 1)), np.empty(Q)
    for g in range(len(b)):
        _scaled(ZZ[g], T, f, work, N)
        _cholesky(N, L)
        for a in range(Q):
            value = Zy[g, a]
            for d in range(p):
                value -= ZX[g, a, d] * beta[d]
            t[a] = f * value
        for i in range(q):
            value = 0.0
            for a in range(Q):
                value += T[a, i] * t[a]
            r[i, 0] = value
        _forward(L, r)
        _backward(L, r)
        for i in range(q):
            b[g, i] = r[i, 0]
