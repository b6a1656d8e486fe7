"""Antedependence of order one: every step has a correlation of its own, farther ones multiply.

Stands at "Structures" in ``docs/algorithm.md``. C_ab = rho_a rho_(a+1) ... rho_(b-1),
rho_k = tanh psi_k (Gabriel 1962).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.correlation import Correlation, Float, inverse_tanh
from mixedflow.covariance.registry import register_residual
from mixedflow.covariance.residual_base import CorrelatedResidual

START = 0.3
"""Correlation of neighbours at which a search begins."""


class Antedependent(Correlation):
    """C_ab = product of the correlations of the steps from a to b."""

    def n_params(self, m: int) -> int:
        """Return m - 1."""
        return m - 1

    def names(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``cor(b,a)`` of neighbours."""
        return tuple(f"cor({b},{a})" for a, b in pairwise(labels))

    def start(self, m: int) -> Float:
        """Return 0.3 at every step."""
        return np.full(m - 1, inverse_tanh(START)[0])

    def matrix(self, psi: NDArray[Any], m: int) -> NDArray[Any]:
        """Return C row by row: a step multiplies what the row before has."""
        rho = np.tanh(psi)
        C = np.eye(m, dtype=psi.dtype)
        for b in range(1, m):
            C[b, :b] = C[:b, b] = rho[b - 1] * C[b - 1, :b]
        return C

    def pairs(self, m: int) -> NDArray[np.int64]:
        """Return neighbours."""
        at = np.arange(m - 1)
        return np.column_stack([at, at + 1])

    def nearest(self, C: Float) -> Float:
        """Return psi of the correlations of neighbours."""
        return inverse_tanh(np.diag(C, 1)) if len(C) > 1 else np.empty(0)


@register_residual
class AntedependentResidual(CorrelatedResidual):
    """R0_ab = rho_a ... rho_(b-1), one variance."""

    name = "ad"
    title = "first-order antedependence"
    correlation = Antedependent()
    nested_in = ("adh", "us")


@register_residual
class HeterogeneousAntedependentResidual(CorrelatedResidual):
    """R0 = D C D, C_ab = rho_a ... rho_(b-1), a variance for every position."""

    name = "adh"
    title = "first-order antedependence, heterogeneous variances"
    heterogeneous = True
    correlation = Antedependent()
    nested_in = ("us",)
