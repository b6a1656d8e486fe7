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


@compiled
def level_moments(
    span: tuple[int, int],
    sums: tuple[Float, Float, Float],
    scale: tuple[Float, float],
    fixed: tuple[Float, Float],
    out: tuple[Float, Float, Float, Float],
    variates: tuple[Float, Float, Float, Float],
) -> None:
    """Add up what an E-step and the average information need, over levels span[0] to span[1].

    Parameters
    ----------
    span : first level and the one after the last
    sums : ZZ (L, Q, Q), ZX (L, Q, p), Zy (L, Q)
    scale : loadings T (Q, q) and precision f
    fixed : beta (p,) and (X'V^-1X)^-1 (p, p), zeros in its place for ML
    out : bb (q, q), trace (q, q), tensor (q, q, q, q), right (q, q)
    variates : with t = Z'R^-1e, H = Z'V^-1Z and U = Z'V^-1X of a level: t_a t_b H_cd where a >= b
        (Q, Q, Q, Q), t_a (t - f ZZ T M^-1 b)_b (Q, Q), U_ac t_b (p, Q, Q); and E_X'b (p + 1,) with
        E_X = M^-1 R_X, b'M^-1 b last
    """
    ZZ, ZX, Zy = sums
    T, f = scale
    beta, S = fixed
    Q, q = T.shape
    p = ZX.shape[2]
    work, N, L = np.empty((Q, q)), np.empty((q, q)), np.zeros((q, q))
    R, E, M = np.empty((q, p + 1)), np.empty((q, p + 1)), np.empty((q, q))
    b = np.empty(q)
    small = np.empty((q, p)), np.empty(Q), np.empty(q), np.empty((Q, q)), np.empty((Q, Q))
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
        _add_variates((ZZ[g], ZX[g], Zy[g]), f, beta, (work, E, M, b), small, variates)
        _add_covariance(E, S, M, small[0])
        _add_moments((N, R, M, b, beta), small[0], out)


@compiled
def _add_covariance(E: Float, S: Float, M: Float, HS: Float) -> None:
    """HS = E_X S, M <- M + E_X S E_X'."""
    q, p = HS.shape
    for i in range(q):
        for c in range(p):
            HS[i, c] = 0.0
        for d in range(p):
            value = E[i, d]
            for c in range(p):
                HS[i, c] += value * S[d, c]
        for j in range(q):
            total = 0.0
            for c in range(p):
                total += HS[i, c] * E[j, c]
            M[i, j] += total


@compiled
def _add_moments(
    level: tuple[Float, Float, Float, Float, Float],
    HS: Float,
    out: tuple[Float, Float, Float, Float],
) -> None:
    """Add b b', T, PX-EM's tensor and right side of a level; M holds its covariance."""
    N, R, M, b, beta = level
    bb, trace, tensor, right = out
    q, p = HS.shape
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
            for k in range(q):
                for m in range(q):
                    tensor[i, j, k, m] += N[i, j] * (b[k] * b[m] + M[k, m])


@compiled
def _add_variates(
    level: tuple[Float, Float, Float],
    f: float,
    beta: Float,
    solved: tuple[Float, Float, Float, Float],
    small: tuple[Float, Float, Float, Float, Float],
    variates: tuple[Float, Float, Float, Float],
) -> None:
    """Add what the working variates q = Z K t of any K need of a level; M holds M^-1."""
    ZZ, ZX, Zy = level
    work, E, M, b = solved
    _, t, Mb, half, H = small
    spread, cross, drift, of_phi = variates
    Q, q = work.shape
    p = beta.shape[0]
    for i in range(q):
        total = 0.0
        for j in range(q):
            total += M[i, j] * b[j]
        Mb[i] = total
        of_phi[p] += b[i] * total
        for d in range(p):
            of_phi[d] += E[i, d] * b[i]
    for a in range(Q):
        value = Zy[a]
        for d in range(p):
            value -= ZX[a, d] * beta[d]
        value *= f
        for j in range(q):
            value -= work[a, j] * b[j]
            total = 0.0
            for k in range(q):
                total += work[a, k] * M[k, j]
            half[a, j] = total
        t[a] = value
    for a in range(Q):
        for c in range(a + 1):
            total = f * ZZ[a, c]
            for j in range(q):
                total -= half[a, j] * work[c, j]
            H[a, c] = total
            H[c, a] = total
    for c in range(Q):
        value = t[c]
        for j in range(q):
            value -= work[c, j] * Mb[j]
        for a in range(Q):
            cross[a, c] += t[a] * value
            if c <= a:
                both = t[a] * t[c]
                for i in range(Q):
                    for j in range(Q):
                        spread[a, c, i, j] += both * H[i, j]
        for d in range(p):
            value = f * ZX[c, d]
            for j in range(q):
                value -= work[c, j] * E[j, d]
            for a in range(Q):
                drift[d, c, a] += value * t[a]
