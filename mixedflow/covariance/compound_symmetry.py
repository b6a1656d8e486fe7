"""Compound symmetry: every pair has the same correlation rho, which may be negative.

Stands at "Structures" in ``docs/algorithm.md``. rho lies in (-1/(m-1), 1), where C is positive
definite: rho = a + (1 - a)(1 + tanh psi)/2 with a = -1/(m-1); for m = 2 that is tanh psi.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.correlation import Correlation, Float, inverse_tanh
from mixedflow.covariance.registry import register, register_residual
from mixedflow.covariance.residual_base import CorrelatedResidual
from mixedflow.covariance.structured import CorrelatedColumns

START = 0.2
"""Correlation at which a search begins."""


class Exchangeable(Correlation):
    """C = (1 - rho) I + rho J."""

    def n_params(self, m: int) -> int:
        """Return 1; 0 for a single position."""
        return min(m - 1, 1)

    def names(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``rho``."""
        return ("rho",)[: self.n_params(len(labels))]

    def start(self, m: int) -> Float:
        """Return rho = 0.2."""
        return self._inverse(START, m)

    def matrix(self, psi: NDArray[Any], m: int) -> NDArray[Any]:
        """Return (1 - rho) I + rho J."""
        if m < 2:
            return np.eye(m)
        lowest = -1.0 / (m - 1)
        rho = lowest + 0.5 * (1.0 - lowest) * (1.0 + np.tanh(psi[0]))
        C: NDArray[Any] = (1.0 - rho) * np.eye(m) + rho * np.ones((m, m))
        return C

    def pairs(self, m: int) -> NDArray[np.int64]:
        """Return the first two positions: rho."""
        return np.array([[0, 1]])[: self.n_params(m)]

    def nearest(self, C: Float) -> Float:
        """Return psi of the mean correlation."""
        m = len(C)
        if m < 2:
            return np.empty(0)
        return self._inverse((C.sum() - np.trace(C)) / (m * (m - 1)), m)

    @staticmethod
    def _inverse(rho: float, m: int) -> Float:
        if m < 2:
            return np.empty(0)
        lowest = -1.0 / (m - 1)
        return inverse_tanh(2.0 * (rho - lowest) / (1.0 - lowest) - 1.0)


@register
class CompoundSymmetry(CorrelatedColumns):
    """G = s^2 [(1 - rho) I + rho J]; its M-step is that of the eigenvalues within and between."""

    name = "cs"
    title = "compound symmetry: one variance, one correlation"
    formula = "G = s^2 [(1 - rho) I + rho J]"
    heterogeneous = False
    closed_form = True
    linear = True
    correlation = Exchangeable()


@register
class HeterogeneousCompoundSymmetry(CorrelatedColumns):
    """G = D [(1 - rho) I + rho J] D."""

    name = "csh"
    title = "compound symmetry with a variance for every column"
    formula = "G = D [(1 - rho) I + rho J] D"
    correlation = Exchangeable()


@register_residual
class CompoundSymmetricResidual(CorrelatedResidual):
    """R0 = (1 - rho) I + rho J; by size of group where positions have no names."""

    name = "cs"
    title = "compound symmetry"
    bases = ("sizes", "pairs")
    linear = True
    correlation = Exchangeable()
    nested_in = ("csh", "toep", "us")

    def common_correlation(self, psi: Float, largest: int) -> tuple[float, Float]:
        """Return rho and (1 - a)(1 - tanh^2 psi)/2, a = -1/(largest - 1)."""
        if largest < 2:
            return 0.0, np.empty(0)
        lowest, t = -1.0 / (largest - 1), np.tanh(psi)
        half = 0.5 * (1.0 - lowest)
        return float(lowest + half * (1.0 + t[0])), half * (1.0 - t) * (1.0 + t)


@register_residual
class HeterogeneousCompoundSymmetricResidual(CorrelatedResidual):
    """R0 = D C D, one correlation, a variance for every position."""

    name = "csh"
    title = "compound symmetry, heterogeneous variances"
    heterogeneous = True
    correlation = Exchangeable()
    nested_in = ("toeph", "us")
