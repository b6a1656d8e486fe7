"""Exponential in the distance of points in any number of coordinates: R0_ab = exp(-rate |x_a - x_b|).

Stands at "Structures of R" in ``docs/algorithm.md``. psi = log rate, as in continuous time. With one
coordinate neighbours say all, and the basis is that of gaps; with more R0^-1 is full, and the positions
are the points of the data: a group's pattern is which of them it has. Only distances within groups
are taken, so that no matrix over all points is made.
"""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

import numpy as np

from mixedflow.covariance.continuous_autoregressive import ContinuousAutoregressiveResidual
from mixedflow.covariance.correlation import Float
from mixedflow.covariance.registry import register_residual
from mixedflow.covariance.residual_types import SEPARATOR, Int, ResidualBasis


@register_residual
class SpatialExponentialResidual(ContinuousAutoregressiveResidual):
    """R0_ab = exp(-e^psi |x_a - x_b|), SAS's sp(exp) and nlme's corExp without a nugget.

    Attributes
    ----------
    points : (m, d) coordinates of the positions; those of :meth:`at` where it was not called are
        0, 1, ... on a line
    """

    name = "sp_exp"
    title = "exponential in the distance, in any number of coordinates"
    bases: ClassVar[tuple[ResidualBasis, ...]] = ("gaps", "pairs")
    over_points = True

    def __init__(self, points: Float | None = None) -> None:
        self.points = points

    def at(self, positions: tuple[str, ...]) -> SpatialExponentialResidual:
        """Return the structure over these points, ``"0.5, 2"`` each."""
        return _at(positions) if positions else self

    def matrix(self, psi: Float, size: int) -> Float:
        """Return R0 over all points."""
        return self.restricted(psi, size, np.arange(size))

    def restricted(self, psi: Float, size: int, held: Int) -> Float:
        """Return R0 over some points, (k, k), or (P, k, k) for P patterns of k points."""
        if size < 2:
            return np.ones((*held.shape, held.shape[-1]))
        return self.gap_correlation(float(psi[0]), self.distances(held))[0]

    def derivatives(self, psi: Float, size: int) -> Float:
        """Return dR0/dpsi over all points, (1, size, size)."""
        if size < 2:
            return np.zeros((0, size, size))
        return self.gap_correlation(float(psi[0]), self.distances(np.arange(size)))[1][None]

    def distances(self, held: Int) -> Float:
        """Return Euclidean distances between some points, (k, k), or (P, k, k) by pattern."""
        at = held[..., None].astype(float) if self.points is None else self.points[held]
        apart = at[..., :, None, :] - at[..., None, :, :]
        if apart.shape[-1] == 1:
            return np.abs(apart[..., 0])
        scale = float(np.abs(apart).max(initial=0.0)) or 1.0
        found: Float = scale * np.sqrt(np.sum((apart / scale) ** 2, axis=-1))
        return found

    def natural_second(self, psi: Float, size: int, moves: Float) -> Float | None:
        """Return it in the variance and the range, over all points."""
        return self.bent(psi, self.distances(np.arange(size)), moves)

    def bent(self, psi: Float, distances: Float, moves: Float) -> Float:
        """Return sum_ij W_ij d2R/dx_i dx_j, x = (variance, range): 2 l d R0' + d^2 (R0'' + R0').

        d = moves[0] and l = moves[1] are the moves of psi and of log sigma2; R0'' is
        R0' (1 - decay) for R0' = -decay R0.
        """
        decay = np.exp(psi[0]) * distances
        slope = -decay * np.exp(-decay)
        both, squared = float(moves[-1] @ moves[0]), float(moves[0] @ moves[0])
        out: Float = 2.0 * both * slope + squared * slope * (2.0 - decay)
        return out


@lru_cache(maxsize=16)
def _at(positions: tuple[str, ...]) -> SpatialExponentialResidual:
    points = np.array([[float(x) for x in label.split(SEPARATOR)] for label in positions])
    return SpatialExponentialResidual(points)
