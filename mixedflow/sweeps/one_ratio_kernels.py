"""One random effect a level, many responses, compiled: the whole search of each in the one ratio.

Stands at "Sweeps" in ``docs/algorithm.md``. With G = sigma2 theta^2 a level's share in X'V0^-1X is
theta^2 / (1 + theta^2 z'z) times (z'X)'(z'X), so that slopes and curvatures are sums over the levels
with other weights. The twin is the search by NumPy in :mod:`mixedflow.sweeps.one_factor`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.linalg.jit import compiled
from mixedflow.sweeps.one_factor_kernels import solve_fixed


class Rules(NamedTuple):
    """How the search goes; see the constants of :mod:`mixedflow.sweeps.one_factor`."""

    starts: tuple[float, float, float]
    longest: float
    armijo: float
    halvings: int
    decrement: float
    polished: float
    most: int
    small_pivot: float
    slack: float
    vanishing: float


@compiled
def _packed(B: Float, c: Float, G: Float) -> None:
    """Fill the lower triangles of [b c]'[b c] of every level, (L, e), row by row."""
    L, p = B.shape
    for level in range(L):
        e = 0
        for i in range(p):
            for j in range(i + 1):
                G[level, e] = B[level, i] * B[level, j]
                e += 1
        for j in range(p):
            G[level, e] = c[level] * B[level, j]
            e += 1
        G[level, e] = c[level] * c[level]


@compiled
def _weighted(theta: float, K: Float, G: Float, sums: Float, logs: Float) -> None:
    """Add the levels' shares to [X y]'V0^-1[X y] and its two derivatives in theta.

    sums : (3, e); logs : (3,), log|I + theta^2 Z'Z| and its derivatives
    """
    L, e = G.shape
    S, S1, S2 = sums[0], sums[1], sums[2]
    square = theta * theta
    product, value, first, second = 1.0, 0.0, 0.0, 0.0
    for level in range(L):
        k = K[level]
        share = square * k
        whole = 1.0 + share
        part = 1.0 / whole
        w = square * part
        w1 = 2.0 * theta * part * part
        w2 = (2.0 - 6.0 * share) * part * part * part
        for j in range(e):
            S[j] -= w * G[level, j]
            S1[j] -= w1 * G[level, j]
            S2[j] -= w2 * G[level, j]
        product *= whole
        if level % 8 == 7:
            value += np.log(product)
            product = 1.0
        first += k * part
        second += k * (1.0 - share) * part * part
    logs[0] = value + np.log(product)
    logs[1] = 2.0 * theta * first
    logs[2] = 2.0 * second


@compiled
def _unpacked(packed: Float, S: Float) -> None:
    """Fill both triangles."""
    e = 0
    for i in range(len(S)):
        for j in range(i + 1):
            S[i, j] = packed[e]
            S[j, i] = packed[e]
            e += 1


@compiled
def _fixed_slopes(
    sums: Float, beta: Float, inverse: Float, S: Float, work: Float, out: Float
) -> None:
    """Fill out (6,) with the first and second derivatives of log|C|, y'P0y; work[1] with C^-1 C' C^-1.

    C = X'V0^-1X; S : (p + 1, p + 1) scratch, work : (2, p, p); out[0:2] of log|C|, out[2:4] of y'P0y.
    """
    p = len(beta)
    left, sandwich = work[0], work[1]
    for order in range(1, 3):
        _unpacked(sums[order], S)
        through, trace = S[p, p], 0.0
        for i in range(p):
            through -= 2.0 * beta[i] * S[p, i]
            for j in range(p):
                through += beta[i] * beta[j] * S[i, j]
                trace += inverse[i, j] * S[i, j]
        out[order - 1] = trace
        out[1 + order] = through
    _unpacked(sums[1], S)
    for i in range(p):
        for j in range(p):
            total = 0.0
            for k in range(p):
                total += inverse[i, k] * S[k, j]
            left[i, j] = total
    for i in range(p):
        for j in range(p):
            out[1] -= left[i, j] * left[j, i]
            total = 0.0
            for k in range(p):
                total += left[i, k] * inverse[k, j]
            sandwich[i, j] = total
    for i in range(p):  # C' beta - s', in the place of the response's own row
        total = S[p, i]
        for j in range(p):
            total -= S[i, j] * beta[j]
        S[i, p] = total
    for i in range(p):
        for j in range(p):
            out[3] -= 2.0 * S[i, p] * inverse[i, j] * S[j, p]


@compiled
def _look(
    theta: float,
    K: Float,
    G: Float,
    base: Float,
    reml: bool,
    sums: Float,
    S: Float,
    work: Float,
    beta: Float,
    inverse: Float,
    parts: Float,
) -> None:
    """Fill parts (6,) with log|.| and y'P0y, then their slopes, then their curvatures."""
    p = len(beta)
    logs, more = work[2, 0], work[2, 1]
    sums[0] = base
    sums[1:] = 0.0
    _weighted(theta, K, G, sums, logs)
    _unpacked(sums[0], S)
    fixed = solve_fixed(S, p, inverse, beta)
    rest = S[p, p]
    for i in range(p):
        rest -= S[p, i] * S[p, i]
    _fixed_slopes(sums, beta, inverse, S, work, more)
    share = 1.0 if reml else 0.0
    parts[0] = logs[0] + share * fixed
    parts[1] = rest
    parts[2] = logs[1] + share * more[0]
    parts[3] = more[2]
    parts[4] = logs[2] + share * more[1]
    parts[5] = more[3]
    if np.isnan(fixed):
        parts[:] = np.nan


@compiled
def _objective(parts: Float, m: float) -> float:
    """Return -2l less constants, infinite where it has no value."""
    value = parts[0] + m * np.log(parts[1])
    return value if np.isfinite(value) else np.inf


@compiled
def search(
    which: Int,
    ZtZ: Float,
    ZtX: Float,
    XtX: Float,
    Zty: Float,
    Xty: Float,
    yty: Float,
    m: Float,
    unit: Float,
    reml: bool,
    rules: Rules,
    theta: Float,
    value: Float,
    parts: Float,
    beta: Float,
    inverse: Float,
    sandwich: Float,
    converged: Int,
    iterations: Int,
) -> None:
    """Find theta of every response, and fill its row of every output.

    Parameters
    ----------
    which : (T,); ZtZ : (D, L); ZtX : (D, L, p); XtX : (D, p, p)
    Zty : (T, L); Xty : (T, p); yty : (T,); m : (T,); unit : (D,)
    theta, value : (T,); parts : (T, 6), see :func:`_look`; beta : (T, p)
    inverse, sandwich : (T, p, p), C^-1 and C^-1 C' C^-1; converged, iterations : (T,)
    """
    T, p = Xty.shape
    L = ZtZ.shape[1]
    e = (p + 1) * (p + 2) // 2
    G, base, sums = np.empty((L, e)), np.empty(e), np.empty((3, e))
    S, work = np.empty((p + 1, p + 1)), np.empty((3, max(p, 2), max(p, 6)))
    here, there = np.empty(6), np.empty(6)
    for t in range(T):
        d = which[t]
        K, own = ZtZ[d], unit[d]
        _packed(ZtX[d], Zty[t], G)
        k = 0
        for i in range(p):
            for j in range(i + 1):
                base[k] = XtX[d, i, j]
                k += 1
        for j in range(p):
            base[k] = Xty[t, j]
            k += 1
        base[k] = yty[t]
        now, at = np.inf, rules.starts[0] * own
        for number in range(len(rules.starts)):
            start = rules.starts[number] * own
            inverse[t] = 0.0
            _look(start, K, G, base, reml, sums, S, work, beta[t], inverse[t], there)
            found = _objective(there, m[t])
            if number == 0 or found < now:
                now, at = found, start
                here[:] = there
        active = np.isfinite(now) and here[1] > rules.vanishing * yty[t]
        while active and iterations[t] < rules.most:
            ratio = m[t] / here[1]
            slope = here[2] + ratio * here[3]
            curvature = here[4] + ratio * here[5] - ratio / here[1] * here[3] * here[3]
            size = abs(curvature)
            left = 0.5 * slope * slope / size
            iterations[t] += 1
            near = curvature > 0.0 and left < rules.decrement
            converged[t] = near
            if not np.isfinite(left) or (curvature > 0.0 and left < rules.polished):
                break
            step = -slope / size
            longest = rules.longest * max(own, abs(at))
            step = min(max(step, -longest), longest)
            gain, moved = rules.armijo * slope * step, False
            for _ in range(rules.halvings):
                _look(at + step, K, G, base, reml, sums, S, work, beta[t], inverse[t], there)
                found = _objective(there, m[t])
                allowed = 1e-12 * abs(now) if near else gain
                if found <= now + allowed and there[1] > 0.0:
                    moved = True
                    break
                step, gain = 0.5 * step, 0.5 * gain
            if not moved:
                break
            at, now = at + step, found
            here[:] = there
            if here[1] <= rules.vanishing * yty[t]:
                converged[t], active = 0, False
        if abs(at) < rules.small_pivot * own and np.isfinite(now):
            _look(0.0, K, G, base, reml, sums, S, work, beta[t], inverse[t], there)
            found = _objective(there, m[t])
            if found <= now + rules.slack + 1e-12 * abs(now):
                at, now = 0.0, found
        inverse[t] = 0.0
        _look(at, K, G, base, reml, sums, S, work, beta[t], inverse[t], parts[t])
        theta[t], value[t] = at, now
        for i in range(p):
            for j in range(p):
                sandwich[t, i, j] = work[1, i, j]
