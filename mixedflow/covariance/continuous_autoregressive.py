"""Autoregression in continuous time: the correlation over a time d is exp(-rate d).

Stands at "Structures" in ``docs/algorithm.md``. psi = log rate, so it has the units of no clock:
rho = exp(-e^psi) is the correlation over one unit of time, e^-psi the range.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mixedflow.covariance.correlation import Float
from mixedflow.covariance.registry import register_residual
from mixedflow.covariance.residual_base import ResidualStructure
from mixedflow.covariance.residual_types import ResidualBasis

START = 0.3
"""Correlation over a typical gap at which a search begins."""

_CLOSEST = 1e-8
_FARTHEST = 40.0


@register_residual
class ContinuousAutoregressiveResidual(ResidualStructure):
    """R0_ab = exp(-e^psi |t_a - t_b|), nlme's corCAR1."""

    name = "car1"
    title = "first-order autoregressive in continuous time"
    bases: ClassVar[tuple[ResidualBasis, ...]] = ("gaps",)

    def n_params(self, size: int) -> int:
        """Return 1; 0 for a single position."""
        return min(size - 1, 1)

    def param_names(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``log rate``."""
        return ("log rate",)[: self.n_params(len(labels))]

    def start(self, size: int) -> Float:
        """Return a correlation of 0.3 over one unit of time."""
        return np.full(self.n_params(size), self.gap_start(1.0))

    def matrix(self, psi: Float, size: int) -> Float:
        """Return R0 at times 0, 1, ..., size - 1."""
        at = np.arange(size, dtype=float)
        r = self.gap_correlation(float(psi[0]), np.abs(at[:, None] - at))[0] if size > 1 else None
        return np.eye(size) if r is None else r

    def derivatives(self, psi: Float, size: int) -> Float:
        """Return dR0/dpsi at times 0, 1, ..., size - 1."""
        at = np.arange(size, dtype=float)
        if size < 2:
            return np.zeros((0, size, size))
        return self.gap_correlation(float(psi[0]), np.abs(at[:, None] - at))[1][None]

    def gap_correlation(self, psi: float, gaps: Float) -> tuple[Float, Float]:
        """Return r = exp(-rate d) and -rate d r."""
        decay = np.exp(psi) * gaps
        r = np.exp(-decay)
        return r, -decay * r

    def gap_bend(self, psi: float) -> float:  # noqa: ARG002 - the same everywhere
        """Return -1: the coordinate is the range e^-psi, r = exp(-d / range)."""
        return -1.0

    def gap_start(self, typical: float) -> float:
        """Return psi with a correlation of 0.3 over a typical gap."""
        return float(np.log(-np.log(START) / typical))

    def gap_limits(self, gaps: Float) -> tuple[float, float]:
        """Return where neighbours are as good as one, and as good as independent."""
        shortest = float(gaps.min())
        return float(np.log(_CLOSEST / shortest)), float(np.log(_FARTHEST / shortest))
