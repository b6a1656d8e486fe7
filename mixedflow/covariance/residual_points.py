"""The keys of pairs of points, where R0 is a function of their distance: a matrix a pattern, none over all.

Stands at "Structures of R" in ``docs/algorithm.md``. As ``PairPart``, but with a group's own distances in
the place of the matrix over all positions, of which there may be thousands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mixedflow.covariance.correlation import LIMIT, Float
from mixedflow.covariance.residual_base import ResidualStructure
from mixedflow.covariance.residual_parts import (
    NOTHING,
    PairPart,
    PartWeights,
    PatternStack,
    inverted,
    stack_moments,
)
from mixedflow.covariance.residual_types import ResidualDesign, SumKey
from mixedflow.covariance.spatial_exponential import SpatialExponentialResidual


class _Own(NamedTuple):
    """R0^-1, log|R0|, dR0/dpsi and distances of the patterns of a stack."""

    stack: PatternStack
    inverse: Float
    logs: Float
    slope: Float
    distances: Float


class PointPart(PairPart):
    """Keys (mask, a m + b), R0 by the distance of points."""

    structure: SpatialExponentialResidual

    def __init__(
        self,
        structure: ResidualStructure,
        m: int,
        at: np.ndarray,
        own: Sequence[SumKey],
        counts: Float,
    ) -> None:
        super().__init__(structure, m, at, own, counts)
        self.distances = [self.structure.distances(stack.positions) for stack in self.stacks]

    def own(self, psi: Float) -> Iterator[_Own]:
        """Yield what every stack has at psi."""
        for stack, distances in zip(self.stacks, self.distances, strict=True):
            R, slope = self.structure.gap_correlation(float(psi[0]), distances)
            yield _Own(stack, *inverted(R), slope, distances)

    def weights(self, psi: Float) -> PartWeights:
        """Return R0^-1 of every pattern, and -R0^-1 dR0 R0^-1."""
        if not len(psi):
            return super().weights(psi)
        f, df = np.zeros(len(self.at)), np.zeros((1, len(self.at)))
        logdet, slope_of_log = 0.0, 0.0
        for one in self.own(psi):
            rows, cols = np.triu_indices(one.stack.positions.shape[1])
            moved = one.inverse @ one.slope @ one.inverse
            f[one.stack.keys] = one.inverse[:, rows, cols]
            df[0, one.stack.keys] = -0.5 * (moved[:, rows, cols] + moved[:, cols, rows])
            logdet += float(one.stack.groups @ one.logs)
            slope_of_log += _total(one.stack.groups[:, None, None] * one.inverse, one.slope)
        return PartWeights(f, df, logdet, np.array([slope_of_log]))

    def values(self, psi: Float) -> tuple[Float, float]:
        """Return R0^-1 of every pattern and log|R0|."""
        found = self.weights(psi)
        return found.f, found.logdet

    def slopes(self, psi: Float, s_k: Float) -> tuple[float, Float, Float]:
        """Return tr(R0^-1 S), -tr(dR0 R0^-1 S R0^-1), and tr(dR0 R0^-1), each summed over patterns."""
        if not len(psi):
            return super().slopes(psi, s_k)
        total, of_sum, of_log = 0.0, 0.0, 0.0
        for one in self.own(psi):
            S = stack_moments(s_k, one.stack)
            total += _total(one.inverse, S)
            of_sum -= _total(one.slope, one.inverse @ S @ one.inverse)
            of_log += _total(one.stack.groups[:, None, None] * one.inverse, one.slope)
        return total, np.array([of_sum]), np.array([of_log])

    def curvature(self, psi: Float, s_k: Float) -> Float:
        """Return sum tr(R0^-1 R' R0^-1 R' [2 R0^-1 S - n]) + tr(R'' [n R0^-1 - R0^-1 S R0^-1])."""
        if not len(psi):
            return super().curvature(psi, s_k)
        out = 0.0
        for one in self.own(psi):
            n, S = one.stack.groups[:, None, None], stack_moments(s_k, one.stack)
            left = one.inverse @ one.slope
            right = 2.0 * one.inverse @ S - n * np.eye(S.shape[1])
            out += _total(left @ left, right.swapaxes(-1, -2))
            second = one.slope * (1.0 - np.exp(psi[0]) * one.distances)
            out += _total(second, n * one.inverse - one.inverse @ S @ one.inverse)
        return np.array([[out]])

    def apart(self) -> Float:
        """Return the distances between points of a group, all of them."""
        parts = [
            d[:, *np.triu_indices(d.shape[1], 1)].ravel() for d in self.distances if d.shape[1] > 1
        ]
        return np.concatenate(parts) if parts else np.empty(0)

    def limits(self) -> tuple[float, float]:
        """Return what the structure says of these distances."""
        apart = self.apart()
        return self.structure.gap_limits(apart) if len(apart) else (-LIMIT, LIMIT)

    def independent(self, psi: Float) -> bool:
        """Say whether the correlation over every distance is nothing."""
        r, _ = self.structure.gap_correlation(float(psi[0]), self.apart())
        return bool(np.abs(r).max(initial=0.0) < NOTHING)

    def second(self, psi: Float, moves: Float, share: float) -> Float:
        """Return the weights of sum_k R^-1 D_k R^-1 D_k R^-1 - share R^-1 [sum W d2R] R^-1, (K_s,)."""
        out = np.zeros(len(self.at))
        for one in self.own(psi):
            R, _ = self.structure.gap_correlation(float(psi[0]), one.distances)
            inner = -share * self.structure.bent(psi, one.distances, moves) if share else 0.0 * R
            for along, growth in moves.T:
                D = along * one.slope + growth * R
                inner += D @ one.inverse @ D
            whole = one.inverse @ inner @ one.inverse
            rows, cols = np.triu_indices(R.shape[1])
            out[one.stack.keys] = 0.5 * (whole[:, rows, cols] + whole[:, cols, rows])
        return out


def _total(a: Float, b: Float) -> float:
    return float(np.sum(a * b))


def point_distances(
    structure: ResidualStructure, design: ResidualDesign, keys: Sequence[SumKey]
) -> Float:
    """Return the distances of the pairs of points that groups have, once for each key."""
    assert isinstance(structure, SpatialExponentialResidual)  # noqa: S101 - the only one over points
    m = len(design.positions)
    pairs = np.array([divmod(e, m) for _, e in keys if e // m != e % m], dtype=np.int64)
    return structure.distances(pairs)[:, 0, 1] if len(pairs) else np.empty(0)
