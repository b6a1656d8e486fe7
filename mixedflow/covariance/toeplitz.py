"""Toeplitz: the correlation depends on the distance of two positions, otherwise freely.

Stands at "Structures" in ``docs/algorithm.md``. The parameters are partial autocorrelations,
z_k = tanh psi_k, made into autocorrelations by the Durbin-Levinson recursion (Barndorff-Nielsen
and Schou 1973), so any psi gives a positive definite C.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.correlation import LIMIT, Correlation, Float, inverse_tanh
from mixedflow.covariance.registry import register, register_residual
from mixedflow.covariance.residual_base import CorrelatedResidual
from mixedflow.covariance.structured import CorrelatedColumns

START = 0.3
"""Correlation of neighbours at which a search begins."""


class Stationary(Correlation):
    """C_ab = r_|a - b|."""

    def n_params(self, m: int) -> int:
        """Return m - 1."""
        return m - 1

    def names(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``partial(lag 1)``, ``partial(lag 2)``, ..."""
        return tuple(f"partial(lag {k})" for k in range(1, len(labels)))

    def start(self, m: int) -> Float:
        """Return 0.3 at the first lag and autoregression from there."""
        psi = np.zeros(m - 1)
        psi[:1] = inverse_tanh(START)
        return psi

    def matrix(self, psi: NDArray[Any], m: int) -> NDArray[Any]:
        """Return the Toeplitz matrix of r."""
        at = np.arange(m)
        lagged: NDArray[Any] = _autocorrelations(np.tanh(psi), m)[np.abs(at[:, None] - at)]
        return lagged

    def pairs(self, m: int) -> NDArray[np.int64]:
        """Return the first position with every other: r_1, r_2, ..."""
        return np.column_stack([np.zeros(m - 1, dtype=np.int64), np.arange(1, m)])

    def nearest(self, C: Float) -> Float:
        """Return the partial autocorrelations of the mean correlation at every lag."""
        m = len(C)
        r = np.array([np.diag(C, k).mean() for k in range(m)])
        return inverse_tanh(_partial_autocorrelations(r))


def _autocorrelations(z: NDArray[Any], m: int) -> NDArray[Any]:
    """Return r_0 = 1, r_1, ..., r_(m-1) of partial autocorrelations z, by Durbin-Levinson."""
    r = np.ones(m, dtype=z.dtype)
    coefficients = np.zeros(0, dtype=z.dtype)
    variance = np.ones((), dtype=z.dtype)
    for k in range(1, m):
        r[k] = z[k - 1] * variance + coefficients @ r[k - 1 : 0 : -1]
        coefficients = np.append(coefficients - z[k - 1] * coefficients[::-1], z[k - 1])
        variance = variance * (1.0 - z[k - 1]) * (1.0 + z[k - 1])
    return r


def _partial_autocorrelations(r: Float) -> Float:
    """Return z of autocorrelations r; where r is of no positive definite C, |z| at its limit."""
    edge = np.tanh(LIMIT)
    z = np.zeros(len(r) - 1)
    coefficients = np.zeros(0)
    variance, reached = 1.0, r.copy()
    for k in range(1, len(r)):
        rest = reached[k] - coefficients @ reached[k - 1 : 0 : -1]
        z[k - 1] = np.clip(rest / variance, -edge, edge)
        reached[k] += z[k - 1] * variance - rest
        coefficients = np.append(coefficients - z[k - 1] * coefficients[::-1], z[k - 1])
        variance *= (1.0 - z[k - 1]) * (1.0 + z[k - 1])
    return z


@register
class Toeplitz(CorrelatedColumns):
    """G_ab = s^2 r_|a - b|, columns in order."""

    name = "toep"
    title = "Toeplitz: a correlation for every distance, one variance"
    linear = True
    formula = "G_ab = s^2 r_|a-b|"
    heterogeneous = False
    correlation = Stationary()


@register
class HeterogeneousToeplitz(CorrelatedColumns):
    """G_ab = s_a s_b r_|a - b|."""

    name = "toeph"
    title = "Toeplitz with a variance for every column"
    formula = "G_ab = s_a s_b r_|a-b|"
    correlation = Stationary()


@register_residual
class ToeplitzResidual(CorrelatedResidual):
    """R0_ab = r_|a - b|."""

    name = "toep"
    title = "Toeplitz"
    linear = True
    correlation = Stationary()
    nested_in = ("toeph", "us")


@register_residual
class HeterogeneousToeplitzResidual(CorrelatedResidual):
    """R0 = D C D, C_ab = r_|a - b|, a variance for every position."""

    name = "toeph"
    title = "Toeplitz, heterogeneous variances"
    heterogeneous = True
    correlation = Stationary()
    nested_in = ("us",)
