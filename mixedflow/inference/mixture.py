"""Chi-bar-square: what a likelihood ratio is under a null hypothesis on the edge of a cone.

Stands at "Tests of variances" in ``docs/algorithm.md``. With Z ~ N(0, V) the ratio is the squared
length, in the metric V^-1, of Z's projection upon the cone of what may be estimated: a mixture of
chi2_0, ..., chi2_d (Self and Liang 1987; Shapiro 1988). Variances by themselves make an orthant, whose
weights are exact up to four; a covariance matrix makes the cone of semidefinite ones, whose weights are
found by projecting draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import pi

import numpy as np

from mixedflow.design.types import Float
from mixedflow.inference.ratio import chi2_p

EXACT = 4
"""Variances up to which the weights of an orthant are computed, not drawn."""

NODES = 64
"""Points of Gauss and Legendre's rule for the probability of an orthant in four dimensions."""

DRAWS = 50_000
"""Draws that other weights are found from."""

SEED = 20_261_122
"""Of the draws."""

STEPS = 400
"""Steps of the projection upon a cone, at most."""

SETTLED = 1e-7
"""Change of a projection, relative to its length, at which it is settled."""

NOTHING = 1e-7
"""Squared length that is taken for zero."""

CHANGE = 1e-6
"""Of a weight, at which EM ends."""

ROUNDS = 500
"""Rounds of EM for the weights, at most."""


def mixture_p(statistic: float, weights: Float, free: int) -> float:
    """Return sum_i w_i P(chi2_(i + free) >= x).

    Parameters
    ----------
    statistic : x
    weights : (d + 1,), of chi2_0, ..., chi2_d
    free : parameters tested besides that lie on no edge
    """
    return float(sum(w * chi2_p(statistic, i + free) for i, w in enumerate(weights)))


def cone_weights(V: Float, blocks: Sequence[int]) -> tuple[Float, bool]:
    """Return the weights of chi2_0, ..., chi2_d, and whether they are exact.

    Parameters
    ----------
    V : (d, d), covariance of the estimates, nuisance parameters taken into account; of a block its
        lower triangle row by row
    blocks : sizes of the covariance matrices that are tested, 1 for a variance by itself
    """
    if all(size == 1 for size in blocks):
        if len(blocks) <= EXACT:
            return orthant_weights(V), True
        return _drawn(V, blocks, polyhedral=True), False
    return _drawn(V, blocks, polyhedral=False), False


def orthant_weights(V: Float) -> Float:
    """Return w_i = sum over sets S of i of P(N(0, V_S|rest) > 0) P(N(0, (V_rest)^-1) > 0).

    Kudo (1963); Shapiro (1988). V is at most (4, 4).
    """
    d = len(V)
    precision = _inverse(V)
    out = np.zeros(d + 1)
    for i in range(d + 1):
        for chosen in combinations(range(d), i):
            S = list(chosen)
            rest = [k for k in range(d) if k not in chosen]
            inner = _inverse(precision[np.ix_(S, S)])
            outer = _inverse(V[np.ix_(rest, rest)])
            out[i] += orthant_probability(inner) * orthant_probability(outer)
    return out


def _inverse(V: Float) -> Float:
    """Return the inverse, (0, 0) too."""
    return np.asarray(np.linalg.inv(V)) if len(V) else V


def orthant_probability(V: Float) -> float:
    """Return P(N(0, V) > 0), V at most (4, 4); in four dimensions by Plackett's (1954) integral."""
    d = len(V)
    sd = np.sqrt(np.diag(V))
    R = V / np.outer(sd, sd)
    pairs = list(combinations(range(d), 2))
    angles = sum(np.arcsin(np.clip(R[a, b], -1.0, 1.0)) for a, b in pairs)
    if d < EXACT:
        return float((1.0, 0.5, 0.25 + angles / (2.0 * pi), 0.125 + angles / (4.0 * pi))[d])
    t, weight = np.polynomial.legendre.leggauss(NODES)
    total = 1.0 / 16.0
    for at, w in zip(0.5 * (t + 1.0), 0.5 * weight, strict=True):
        C = at * R + (1.0 - at) * np.eye(d)
        for a, b in pairs:
            rest = [k for k in range(d) if k not in (a, b)]
            inner = _inverse(_inverse(C)[np.ix_(rest, rest)])
            density = 1.0 / (2.0 * pi * np.sqrt(1.0 - C[a, b] ** 2))
            total += w * R[a, b] * density * orthant_probability(inner)
    return float(total)


def _drawn(V: Float, blocks: Sequence[int], *, polyhedral: bool) -> Float:
    """Return weights from the projections of draws; their sum over even and odd i is 1/2 each."""
    rng = np.random.default_rng(SEED)
    Z = rng.normal(size=(DRAWS, len(V))) @ np.linalg.cholesky(V).T
    metric = _inverse(V)
    near = projected(Z, metric, blocks)
    inside = np.einsum("ni,ij,nj->n", near, metric, near)
    outside = np.einsum("ni,ij,nj->n", Z - near, metric, Z - near)
    d = len(V)
    if polyhedral:
        scale = np.sqrt(np.diag(V))
        counts = np.bincount((near > 1e-6 * scale).sum(axis=1), minlength=d + 1)
        weights = np.asarray(counts / counts.sum(), dtype=float)
    else:
        weights = _by_em(inside, outside, d)
    even = weights[::2].sum()
    weights[::2] *= 0.5 / even
    weights[1::2] *= 0.5 / (1.0 - even)
    return weights


def _by_em(inside: Float, outside: Float, d: int) -> Float:
    """Return the weights under which (inside, outside) are chi2_i and chi2_(d-i), by EM.

    The two squared lengths are such a mixture for any convex cone (McCoy and Tropp 2014).
    """
    from scipy.special import gammaln

    density = np.zeros((len(inside), d + 1))
    none, all_ = inside < NOTHING, outside < NOTHING
    density[none, 0] = density[all_, d] = 1.0
    between = ~(none | all_)
    for i in range(1, d):
        a, b = inside[between], outside[between]
        logs = (0.5 * i - 1.0) * np.log(a) + (0.5 * (d - i) - 1.0) * np.log(b)
        density[between, i] = np.exp(logs - gammaln(0.5 * i) - gammaln(0.5 * (d - i)))
    weights = np.full(d + 1, 1.0 / (d + 1))
    for _ in range(ROUNDS):
        share = density * weights
        share /= share.sum(axis=1, keepdims=True)
        after = share.mean(axis=0)
        if np.abs(after - weights).max() < CHANGE:
            return np.asarray(after)
        weights = after
    return np.asarray(weights)


def projected(Z: Float, metric: Float, blocks: Sequence[int]) -> Float:
    """Return the nearest points of a product of semidefinite cones, (n, d), in a metric.

    Accelerated projected gradients (Beck and Teboulle 2009), columns scaled until their variances
    are estimated alike well, covariances sqrt(2) times.
    """
    scale = _scales(_inverse(metric), blocks)
    H = metric / np.outer(scale, scale)
    target = Z * scale
    step = 1.0 / float(np.linalg.eigvalsh(H)[-1])
    x = _onto(target, blocks)
    ahead, t = x, 1.0
    for _ in range(STEPS):
        after = _onto(ahead - step * (ahead - target) @ H, blocks)
        later = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * t * t))
        ahead = after + (t - 1.0) / later * (after - x)
        change = np.abs(after - x).max()
        x, t = after, later
        if change < SETTLED * (1.0 + np.abs(x).max()):
            break
    out: Float = x / scale
    return out


def _scales(V: Float, blocks: Sequence[int]) -> Float:
    """Return what entries are multiplied by, (d,)."""
    out, first = [], 0
    for size in blocks:
        rows, cols = np.tril_indices(size)
        own = np.diag(V)[first : first + len(rows)]
        column = own[rows == cols] ** -0.25
        out.append(column[rows] * column[cols] * np.where(rows == cols, 1.0, np.sqrt(2.0)))
        first += len(rows)
    return np.concatenate(out)


def _onto(x: Float, blocks: Sequence[int]) -> Float:
    """Return the nearest semidefinite matrices; covariances are there by sqrt(2) times."""
    out, first = x.copy(), 0
    for size in blocks:
        rows, cols = np.tril_indices(size)
        own = slice(first, first + len(rows))
        first += len(rows)
        if size == 1:
            out[:, own] = np.maximum(x[:, own], 0.0)
            continue
        if size == 2:
            out[:, own] = _onto_pairs(x[:, own])
            continue
        weight = np.where(rows == cols, 1.0, np.sqrt(0.5))
        M = np.zeros((len(x), size, size))
        M[:, rows, cols] = x[:, own] * weight
        M[:, cols, rows] = M[:, rows, cols]
        values, vectors = np.linalg.eigh(M)
        M = (vectors * np.maximum(values, 0.0)[:, None, :]) @ vectors.transpose(0, 2, 1)
        out[:, own] = M[:, rows, cols] / weight
    return out


def _onto_pairs(x: Float) -> Float:
    """Return the same for 2 x 2 matrices, rows (m11, sqrt(2) m21, m22), in closed form."""
    middle, half, off = 0.5 * (x[:, 0] + x[:, 2]), 0.5 * (x[:, 0] - x[:, 2]), x[:, 1] / np.sqrt(2.0)
    radius = np.hypot(half, off)
    high, low = np.maximum(middle + radius, 0.0), np.maximum(middle - radius, 0.0)
    share = 0.5 * (high - low) / np.where(radius > 0, radius, 1.0)
    mean = 0.5 * (high + low)
    return np.stack([mean + share * half, np.sqrt(2.0) * share * off, mean - share * half], axis=1)
