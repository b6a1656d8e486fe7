"""First-order autoregression: the correlation falls by the factor rho with every step.

Stands at "Structures" in ``docs/algorithm.md``. C_ab = rho^|a - b|, rho = tanh psi. Between
positions that a group has, only neighbours meet in R^-1, whatever the gap between them.
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


class FirstOrder(Correlation):
    """C_ab = rho^|a - b|."""

    def n_params(self, m: int) -> int:
        """Return 1; 0 for a single position."""
        return min(m - 1, 1)

    def names(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``rho``."""
        return ("rho",)[: self.n_params(len(labels))]

    def start(self, m: int) -> Float:
        """Return rho = 0.3."""
        return inverse_tanh(START)[: self.n_params(m)]

    def matrix(self, psi: NDArray[Any], m: int) -> NDArray[Any]:
        """Return rho^|a - b|."""
        if m < 2:
            return np.eye(m)
        powers = np.cumprod(np.concatenate([np.ones(1), np.full(m - 1, np.tanh(psi[0]))]))
        at = np.arange(m)
        lagged: NDArray[Any] = powers[np.abs(at[:, None] - at)]
        return lagged

    def pairs(self, m: int) -> NDArray[np.int64]:
        """Return the first two positions: rho."""
        return np.array([[0, 1]])[: self.n_params(m)]

    def nearest(self, C: Float) -> Float:
        """Return psi of the mean correlation of neighbours."""
        return inverse_tanh(np.diag(C, 1).mean()) if len(C) > 1 else np.empty(0)


@register
class Autoregressive(CorrelatedColumns):
    """G_ab = s^2 rho^|a - b|, columns in order."""

    name = "ar1"
    title = "first-order autoregressive: columns in order, one variance"
    formula = "G_ab = s^2 rho^|a-b|"
    heterogeneous = False
    correlation = FirstOrder()


@register
class HeterogeneousAutoregressive(CorrelatedColumns):
    """G_ab = s_a s_b rho^|a - b|."""

    name = "ar1h"
    title = "first-order autoregressive with a variance for every column"
    formula = "G_ab = s_a s_b rho^|a-b|"
    correlation = FirstOrder()


@register_residual
class AutoregressiveResidual(CorrelatedResidual):
    """R0 = rho^|a - b| over integer positions, gaps respected."""

    name = "ar1"
    title = "first-order autoregressive"
    bases = ("gaps", "pairs")
    correlation = FirstOrder()
    nested_in = ("ar1h", "ad", "toep", "us")

    def gap_correlation(self, psi: float, gaps: Float) -> tuple[Float, Float]:
        """Return rho^d and d rho^(d-1) (1 - rho^2)."""
        rho = np.tanh(psi)
        below = np.power(rho, gaps - 1.0)
        return rho * below, gaps * below * (1.0 - rho) * (1.0 + rho)

    def gap_bend(self, psi: float) -> float:
        """Return -2 rho: the coordinate is rho."""
        return float(-2.0 * np.tanh(psi))

    def gap_start(self, typical: float) -> float:
        """Return psi with a correlation of 0.3 over a typical gap."""
        return float(inverse_tanh(START ** (1.0 / typical))[0])

    def gap_limits(self, gaps: Float) -> tuple[float, float]:  # noqa: ARG002
        """Return where rho is 3e-8 from -1 and from 1."""
        return -LIMIT, LIMIT


@register_residual
class HeterogeneousAutoregressiveResidual(CorrelatedResidual):
    """R0 = D C D, C_ab = rho^|a - b|, a variance for every position."""

    name = "ar1h"
    title = "first-order autoregressive, heterogeneous variances"
    heterogeneous = True
    correlation = FirstOrder()
    nested_in = ("adh", "toeph", "us")
