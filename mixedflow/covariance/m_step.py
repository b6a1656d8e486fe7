"""M-steps without a closed form: Newton on the expected log-likelihood of G(theta).

Stands at "Structures" in ``docs/algorithm.md``. With M = S/n and A = 1/2 (G^-1 M G^-1 - G^-1),

    l = -1/2 [log|G| + tr(G^-1 M)],    dl_i = tr(A dG_i),
    d2l_ij = tr(A d2G_ij) - tr(G^-1 dG_i G^-1 dG_j (G^-1 M - I/2)).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from mixedflow.covariance.correlation import Float

STEPS = 60
"""Newton steps, at most; a handful is usual."""

HALVINGS = 30

POLISHING = 4

SINGULAR = 1e-12
"""Share of its trace at which the smallest eigenvalue of M leaves l without a maximum."""

_EIGEN_FLOOR = 1e-8
_DECREMENT = 1e-28
_QUADRATIC = 1e-12


class Smooth(Protocol):
    """What Newton needs of a structure."""

    def matrix(self, theta: Float, dim: int) -> Float:
        """Return G."""

    def derivatives(self, theta: Float, dim: int) -> Float:
        """Return dG."""

    def second_derivatives(self, theta: Float, dim: int) -> Float:
        """Return d2G."""


def expected_loglik(G: Float, M: Float) -> float:
    """Return -1/2 [log|G| + tr(G^-1 M)], -inf where G is not positive definite."""
    try:
        L = np.linalg.cholesky(G)
    except np.linalg.LinAlgError:
        return -np.inf
    half = np.linalg.solve(L, np.linalg.solve(L, M).T)
    return float(-np.log(np.diag(L)).sum() - 0.5 * np.trace(half))


def maximise(
    structure: Smooth, M: Float, starts: list[Float], keep: Callable[[Float], Float]
) -> Float:
    """Return theta at the maximum, from the best of some starts and never below it.

    Where M is singular, l has no maximum, and the best start is the answer.

    Parameters
    ----------
    structure : G and its derivatives
    M : (q, q), S / n
    starts : parameters
    keep : carries parameters back within their bounds
    """
    dim = len(M)
    values = [expected_loglik(structure.matrix(t, dim), M) for t in starts]
    best = int(np.argmax(values))
    theta, value = starts[best], values[best]
    bounded = np.linalg.eigvalsh(M)[0] > SINGULAR * np.trace(M)
    for _ in range(STEPS if bounded and np.isfinite(value) else 0):
        step, decrement = _newton(structure, theta, M)
        if not decrement > _DECREMENT:
            break
        if decrement < _QUADRATIC:
            return _polished(structure, theta, M, step, decrement)
        moved = _search(structure, M, theta, step, value, keep)
        if moved is None:
            break
        theta, value = moved
    return theta


def _polished(structure: Smooth, theta: Float, M: Float, step: Float, decrement: float) -> Float:
    """Return the end of full steps that cut the decrement: l itself no longer tells them apart."""
    for _ in range(POLISHING):
        trial = theta + step
        again, left = _newton(structure, trial, M)
        if not left < 0.25 * decrement:
            break
        theta, step, decrement = trial, again, left
    return theta


def _newton(structure: Smooth, theta: Float, M: Float) -> tuple[Float, float]:
    """Return the uphill Newton step and twice the gain it promises."""
    dim = len(M)
    inverse = np.linalg.inv(structure.matrix(theta, dim))
    ratio = inverse @ M
    A = 0.5 * (ratio @ inverse - inverse)
    dG, d2G = structure.derivatives(theta, dim), structure.second_derivatives(theta, dim)
    g = np.einsum("iab,ab->i", dG, A)
    moved = inverse @ dG
    middle = ratio - 0.5 * np.eye(dim)
    H = np.einsum("iab,jbc,ca->ij", moved, moved, middle) - np.einsum("ijab,ab->ij", d2G, A)
    fisher = 0.5 * np.einsum("iab,jba->ij", moved, moved)
    scale = np.sqrt(np.maximum(np.diag(fisher), 1e-300))
    scaled = 0.5 * (H + H.T) / np.outer(scale, scale)
    values, vectors = np.linalg.eigh(scaled)
    size = np.maximum(np.abs(values), _EIGEN_FLOOR)
    step = (vectors @ ((vectors.T @ (g / scale)) / size)) / scale
    return step, float(g @ step)


def _search(
    structure: Smooth,
    M: Float,
    theta: Float,
    step: Float,
    value: float,
    keep: Callable[[Float], Float],
) -> tuple[Float, float] | None:
    for halving in range(HALVINGS):
        trial = keep(theta + step * 0.5**halving)
        found = expected_loglik(structure.matrix(trial, len(M)), M)
        if found > value:
            return trial, found
    return None
