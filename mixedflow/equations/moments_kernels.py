"""The pass of an E-step over one grouping factor's levels, compiled: several levels side by side.

Stands at "One grouping factor" in ``docs/algorithm.md``. Matrices of a level are small, so a loop over
their entries is over before it has begun; here every number is a row of levels, lanes, which the
processor takes several at a time. Arrays of the pass are (numbers, lanes), a matrix's by rows; their
width is no constant, as the compiler would write a loop of known length out, number by number.
The levels that fill up the last rows have sums of zero, and add nothing.
"""

from __future__ import annotations

import numpy as np

from mixedflow.design.types import Float
from mixedflow.linalg.jit import compiled

LANES = 128
"""Levels side by side: loops over them are long enough to pay for their start."""

FEWER_LANES = 64
"""Levels side by side where the sums of products of four effects would leave the second cache."""

FEWER_ABOVE = 4
"""Effects of a level above which they do."""


def lanes_of(effects: int) -> int:
    """Return how many levels go side by side."""
    return LANES if effects <= FEWER_ABOVE else FEWER_LANES


@compiled
def _clear(y: Float, i: int) -> None:
    for k in range(y.shape[1]):
        y[i, k] = 0.0


@compiled
def _copy(x: Float, y: Float) -> None:
    for i in range(len(x)):
        for k in range(y.shape[1]):
            y[i, k] = x[i, k]


@compiled
def _scale(by: float, x: Float, j: int, y: Float, i: int) -> None:
    for k in range(y.shape[1]):
        y[i, k] = by * x[j, k]


@compiled
def _add(y: Float, i: int, by: float, x: Float, j: int) -> None:
    for k in range(y.shape[1]):
        y[i, k] += by * x[j, k]


@compiled
def _add_product(y: Float, i: int, x: Float, j: int, z: Float, m: int) -> None:
    for k in range(y.shape[1]):
        y[i, k] += x[j, k] * z[m, k]


@compiled
def _take_product(y: Float, i: int, x: Float, j: int, z: Float, m: int) -> None:
    for k in range(y.shape[1]):
        y[i, k] -= x[j, k] * z[m, k]


@compiled
def _multiply(y: Float, i: int, x: Float, j: int) -> None:
    for k in range(y.shape[1]):
        y[i, k] *= x[j, k]


@compiled
def _fetch(start: int, stop: int, sums: Float, lanes: Float) -> None:
    """Turn sums (L, numbers) of levels ``start`` to ``stop`` into lanes."""
    for k in range(lanes.shape[1]):
        for i in range(len(lanes)):
            lanes[i, k] = sums[start + k, i] if start + k < stop else 0.0


@compiled
def _loaded(A: Float, T: Float, f: float, columns: int, out: Float) -> None:
    """Write f T'A, A (Q, columns), to ``out``."""
    Q, q = T.shape
    for i in range(q):
        for c in range(columns):
            _clear(out, i * columns + c)
            for a in range(Q):
                _add(out, i * columns + c, f * T[a, i], A, a * columns + c)


@compiled
def _squared(half: Float, T: Float, N: Float) -> None:
    """N = (f T'A) T."""
    Q, q = T.shape
    for i in range(q):
        for j in range(i + 1):
            _clear(N, i * q + j)
            for a in range(Q):
                _add(N, i * q + j, T[a, j], half, i * Q + a)
            for k in range(N.shape[1]):
                N[j * q + i, k] = N[i * q + j, k]


@compiled
def _decomposed(N: Float, q: int, L: Float) -> None:
    """L L' = N + I; L's diagonal is stored as its reciprocal."""
    for j in range(q):
        for i in range(j, q):
            at = i * q + j
            _clear(L, at)
            _add(L, at, 1.0, N, at)
            if i == j:
                for k in range(L.shape[1]):
                    L[at, k] += 1.0
            for m in range(j):
                _take_product(L, at, L, i * q + m, L, j * q + m)
            if i > j:
                _multiply(L, at, L, j * q + j)
            else:
                for k in range(L.shape[1]):
                    L[at, k] = 1.0 / np.sqrt(L[at, k])


@compiled
def _solve(L: Float, q: int, columns: int, E: Float) -> None:
    """E <- L^-T L^-1 E, E (q, columns)."""
    for i in range(q):
        for c in range(columns):
            for m in range(i):
                _take_product(E, i * columns + c, L, i * q + m, E, m * columns + c)
            _multiply(E, i * columns + c, L, i * q + i)
    for i in range(q - 1, -1, -1):
        for c in range(columns):
            for m in range(i + 1, q):
                _take_product(E, i * columns + c, L, m * q + i, E, m * columns + c)
            _multiply(E, i * columns + c, L, i * q + i)


@compiled
def _identity(q: int, M: Float) -> None:
    for i in range(q):
        for j in range(q):
            for k in range(M.shape[1]):
                M[i * q + j, k] = 1.0 if i == j else 0.0


@compiled
def _less_fixed(y: Float, X: Float, beta: Float, out: Float) -> None:
    """Write y - X beta, y (rows,), X (rows, p), to ``out``."""
    p = len(beta)
    for i in range(len(y)):
        for k in range(out.shape[1]):
            out[i, k] = y[i, k]
        for c in range(p):
            _add(out, i, -beta[c], X, i * p + c)


@compiled
def level_moments(
    span: tuple[int, int],
    sums: tuple[Float, Float, Float],
    scale: tuple[Float, float],
    fixed: tuple[Float, Float],
    out: tuple[Float, ...],
    variates: tuple[Float, ...],
) -> None:
    """Add up what an E-step and the average information need, over levels span[0] to span[1].

    Parameters
    ----------
    span : first level and the one after the last
    sums : ZZ (L, Q, Q), ZX (L, Q, p), Zy (L, Q)
    scale : loadings T (Q, q) and precision f
    fixed : beta (p,) and (X'V^-1X)^-1 (p, p), zeros in its place for ML
    out : bb (q, q), trace (q, q), tensor (q, q, q, q), right (q, q), each (numbers, lanes): what
        the lanes add up to is the sum
    variates : with t = Z'R^-1e, H = Z'V^-1Z and U = Z'V^-1X of a level: t_a t_b H_cd where a >= b
        (Q, Q, Q, Q), t_a (t - f ZZ T M^-1 b)_b (Q, Q), U_ac t_b (p, Q, Q); and E_X'b (p + 1,) with
        E_X = M^-1 R_X, b'M^-1 b last; in lanes too
    """
    ZZ, ZX, Zy = sums
    T, f = scale
    beta, S = fixed
    Q, q = T.shape
    p = ZX.shape[2]
    n = out[0].shape[1]
    flat = ZZ.reshape(len(ZZ), Q * Q), ZX.reshape(len(ZX), Q * p), Zy
    A, AX, Ay = np.empty((Q * Q, n)), np.empty((Q * p, n)), np.empty((Q, n))
    half, N, L = np.empty((q * Q, n)), np.empty((q * q, n)), np.empty((q * q, n))
    RX, Ry, M = np.empty((q * p, n)), np.empty((q, n)), np.empty((q * q, n))
    EX, b, e, HS = np.empty((q * p, n)), np.empty((q, n)), np.empty((q, n)), np.empty((q * p, n))
    room = (
        np.empty((q, n)), np.empty((Q, n)), np.empty((Q, n)),
        np.empty((q * Q, n)), np.empty((Q * Q, n)), np.empty((Q * p, n)),
    )  # fmt: skip
    for start in range(span[0], span[1], n):
        _fetch(start, span[1], flat[0], A)
        _fetch(start, span[1], flat[1], AX)
        _fetch(start, span[1], flat[2], Ay)
        _loaded(A, T, f, Q, half)
        _squared(half, T, N)
        _decomposed(N, q, L)
        _loaded(AX, T, f, p, RX)
        _loaded(Ay, T, f, 1, Ry)
        _less_fixed(Ry, RX, beta, e)
        _copy(RX, EX)
        _solve(L, q, p, EX)
        _copy(e, b)
        _solve(L, q, 1, b)
        _identity(q, M)
        _solve(L, q, q, M)
        _add_variates((A, AX, Ay), f, beta, (half, EX, M, b), room, variates)
        _add_covariance(EX, S, HS, M)
        _add_moments((N, RX, e, M, b), HS, out)


@compiled
def _add_covariance(E: Float, S: Float, HS: Float, M: Float) -> None:
    """HS = E_X S, M <- M + E_X S E_X'."""
    p = len(S)
    q = len(E) // p
    for i in range(q):
        for c in range(p):
            _clear(HS, i * p + c)
            for d in range(p):
                _add(HS, i * p + c, S[d, c], E, i * p + d)
        for j in range(q):
            for c in range(p):
                _add_product(M, i * q + j, HS, i * p + c, E, j * p + c)


@compiled
def _add_moments(
    level: tuple[Float, Float, Float, Float, Float],
    HS: Float,
    out: tuple[Float, ...],
) -> None:
    """Add b b', T, PX-EM's tensor and right side; M holds the covariance, and takes b b' on."""
    N, R, e, M, b = level
    bb, trace, tensor, right = out
    q = len(b)
    p = len(R) // q
    for i in range(q):
        for j in range(q):
            at = i * q + j
            _add_product(bb, at, b, i, b, j)
            _add_product(right, at, e, i, b, j)
            for m in range(q):
                _add_product(trace, at, N, i * q + m, M, m * q + j)
            for c in range(p):
                _take_product(trace, at, R, i * p + c, HS, j * p + c)
                _add_product(right, at, R, i * p + c, HS, j * p + c)
    for i in range(q):
        for j in range(q):
            _add_product(M, i * q + j, b, i, b, j)
    for i in range(q * q):
        for j in range(q * q):
            _add_product(tensor, i * q * q + j, N, i, M, j)


@compiled
def _add_variates(
    level: tuple[Float, Float, Float],
    f: float,
    beta: Float,
    solved: tuple[Float, Float, Float, Float],
    room: tuple[Float, Float, Float, Float, Float, Float],
    variates: tuple[Float, ...],
) -> None:
    """Add what the working variates q = Z K t of any K need of a level; M holds M^-1."""
    A, AX, Ay = level
    half, E, M, b = solved
    Mb, t, v, G, H, U = room
    of_phi = variates[3]
    q, Q, p = len(b), len(Ay), len(beta)
    for i in range(q):
        _clear(Mb, i)
        for j in range(q):
            _add_product(Mb, i, M, i * q + j, b, j)
        _add_product(of_phi, p, b, i, Mb, i)
        for d in range(p):
            _add_product(of_phi, d, E, i * p + d, b, i)
        for a in range(Q):
            _clear(G, i * Q + a)
            for j in range(q):
                _add_product(G, i * Q + a, M, i * q + j, half, j * Q + a)
    _less_fixed(Ay, AX, beta, t)
    for a in range(Q):
        for k in range(t.shape[1]):
            t[a, k] *= f
        for j in range(q):
            _take_product(t, a, half, j * Q + a, b, j)
        for k in range(t.shape[1]):
            v[a, k] = t[a, k]
        for j in range(q):
            _take_product(v, a, half, j * Q + a, Mb, j)
        for c in range(a + 1):
            _scale(f, A, a * Q + c, H, a * Q + c)
            for j in range(q):
                _take_product(H, a * Q + c, G, j * Q + a, half, j * Q + c)
            for k in range(t.shape[1]):
                H[c * Q + a, k] = H[a * Q + c, k]
        for d in range(p):
            _scale(f, AX, a * p + d, U, a * p + d)
            for j in range(q):
                _take_product(U, a * p + d, half, j * Q + a, E, j * p + d)
    _add_outer((t, v, H, U), p, variates)


@compiled
def _add_outer(
    level: tuple[Float, Float, Float, Float],
    p: int,
    variates: tuple[Float, ...],
) -> None:
    """Add t v', t t' times H and U times t of a level."""
    t, v, H, U = level
    spread, cross, drift, _ = variates
    Q = len(t)
    both = np.empty((1, t.shape[1]))
    for a in range(Q):
        for c in range(Q):
            _add_product(cross, a * Q + c, t, a, v, c)
            for d in range(p):
                _add_product(drift, (d * Q + c) * Q + a, U, c * p + d, t, a)
        for c in range(a + 1):
            for k in range(t.shape[1]):
                both[0, k] = t[a, k] * t[c, k]
            for i in range(Q * Q):
                _add_product(spread, (a * Q + c) * Q * Q + i, both, 0, H, i)
