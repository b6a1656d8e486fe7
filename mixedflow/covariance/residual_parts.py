"""The keys of one stratum and what a structure's psi makes of them, a class for every basis.

Stands at "Structures" in ``docs/algorithm.md`` (DESIGN 3.1).

strata  R0^-1 = I
sizes   R0^-1 = 1/(1-rho) [I - rho/(1 + (n-1) rho) J], log|R0| = (n-1) log(1-rho) + log(1 + (n-1) rho)
gaps    R0^-1 = I + sum_d r/(1-r^2) (r D_d - O_d), log|R0| = sum over neighbours log(1-r^2)
pairs   R0^-1 by Cholesky, all patterns of as many positions together
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mixedflow.covariance.correlation import LIMIT, Float
from mixedflow.covariance.residual_base import ResidualStructure
from mixedflow.covariance.residual_types import Int, SumKey, held_positions
from mixedflow.errors import FitError

STRATUM_OF_SIZE = 32
"""Bits of a key's first number that hold the size of the group."""

_FIRST_NORMAL = 1 << 52

_PORTION = 256
"""Patterns that are worked on together."""

NOTHING = 1e-8
"""Correlation that is as good as none."""

_STEP = 1e-5
"""Half the distance of two slopes that show a curvature."""


class PartWeights(NamedTuple):
    """As ``ResidualWeights``, of one stratum and with its variance 1."""

    f: Float
    df: Float
    logdet: float
    dlogdet: Float


class StratumPart(ABC):
    """Keys of one stratum.

    Attributes
    ----------
    at : (K_s,), where they stand among all keys
    rows : rows of the stratum
    """

    at: Int
    rows: int

    @abstractmethod
    def weights(self, psi: Float) -> PartWeights:
        """Return f, log|R0| and derivatives at the structure's own psi."""

    def values(self, psi: Float) -> tuple[Float, float]:
        """Return f and log|R0|."""
        found = self.weights(psi)
        return found.f, found.logdet

    def slopes(self, psi: Float, s_k: Float) -> tuple[float, Float, Float]:
        """Return sum f_k s_k, its derivatives and those of log|R0|."""
        found = self.weights(psi)
        return float(found.f @ s_k), found.df @ s_k, found.dlogdet

    def curvature(self, psi: Float, s_k: Float) -> Float:
        """Return the second derivatives of sum f_k s_k + log|R0|, by central differences."""
        out = np.zeros((len(psi), len(psi)))
        for i, unit in enumerate(_STEP * np.eye(len(psi))):
            _, up, up_log = self.slopes(psi + unit, s_k)
            _, down, down_log = self.slopes(psi - unit, s_k)
            out[i] = (up - down + up_log - down_log) / (2.0 * _STEP)
        return 0.5 * (out + out.T)

    def limits(self) -> tuple[float, float]:
        """Return between which psi R0 is of use."""
        return -LIMIT, LIMIT

    def independent(self, psi: Float) -> bool:  # noqa: ARG002 - of structures on gaps
        """Say whether psi leaves no correlation between neighbours."""
        return False


class IndependentPart(StratumPart):
    """One key: the rows of the stratum."""

    def __init__(self, structure: ResidualStructure, at: Int, counts: Float) -> None:
        self.at, self.rows = at, int(counts.sum())
        self._count = structure.n_params(1)

    def weights(self, psi: Float) -> PartWeights:
        """Return f = 1."""
        none = np.zeros(len(psi))
        return PartWeights(np.ones(len(self.at)), np.zeros((len(psi), len(self.at))), 0.0, none)


class SizePart(StratumPart):
    """Keys (size, 0) = I and (size, 1) = J."""

    def __init__(
        self,
        structure: ResidualStructure,
        largest: int,
        at: Int,
        own: Sequence[SumKey],
        counts: Float,
    ) -> None:
        self.structure, self.largest, self.at = structure, largest, at
        self.size = np.array([size for size, _ in own], dtype=float)
        self.whole = np.array([element == 1 for _, element in own], dtype=bool)
        self.groups = np.where(self.whole, 0.0, counts)
        self.rows = int(self.groups @ self.size)

    def weights(self, psi: Float) -> PartWeights:
        """Return 1/(1-rho) for I and -rho/((1-rho)(1+(n-1) rho)) for J."""
        rho, slope = self.structure.common_correlation(psi, self.largest)
        less, more = 1.0 - rho, 1.0 + (self.size - 1.0) * rho
        f = np.where(self.whole, -rho / (less * more), 1.0 / less)
        of_whole = -(less * more + rho * (more - (self.size - 1.0) * less)) / (less * more) ** 2
        df = np.where(self.whole, of_whole, 1.0 / less**2)
        logdet = self.groups @ ((self.size - 1.0) * np.log(less) + np.log(more))
        change = self.groups @ ((self.size - 1.0) * (1.0 / more - 1.0 / less))
        return PartWeights(f, slope[:, None] * df, float(logdet), slope * change)


class GapPart(StratumPart):
    """Keys 0 = I, 1 + 2 code = D_d and 2 + 2 code = O_d of every gap d between neighbours."""

    def __init__(
        self, structure: ResidualStructure, at: Int, own: Sequence[SumKey], counts: Float
    ) -> None:
        self.structure, self.at = structure, at
        element = [key[1] for key in own]
        self.rows = int(sum(c for c, e in zip(counts, element, strict=True) if e == 0))
        self.own_rows = np.array([e == 0 for e in element], dtype=bool)
        self.cross = np.array([e > 0 and e % 2 == 0 for e in element], dtype=bool)
        self.gaps = np.array([gap_of(e) if e else 1.0 for e in element])
        self.pairs = np.where(self.own_rows | self.cross, 0.0, counts)

    def weights(self, psi: Float) -> PartWeights:
        """Return 1 for I, r^2/(1-r^2) for D_d and -r/(1-r^2) for O_d."""
        if not len(psi):
            return PartWeights(1.0 * self.own_rows, np.zeros((0, len(self.at))), 0.0, psi)
        r, slope = self.structure.gap_correlation(float(psi[0]), self.gaps)
        left = (1.0 - r) * (1.0 + r)
        f = np.where(self.cross, -r / left, r * r / left)
        df = np.where(self.cross, -(1.0 + r * r), 2.0 * r) * slope / left**2
        f[self.own_rows], df[self.own_rows] = 1.0, 0.0
        logdet = float(self.pairs @ np.log(left))
        return PartWeights(f, df[None], logdet, np.array([self.pairs @ (-2.0 * r * slope / left)]))

    def limits(self) -> tuple[float, float]:
        """Return what the structure says of these gaps."""
        gaps = self.gaps[~self.own_rows]
        return self.structure.gap_limits(gaps) if len(gaps) else (-LIMIT, LIMIT)

    def independent(self, psi: Float) -> bool:
        """Say whether the correlation over every gap is nothing."""
        r, _ = self.structure.gap_correlation(float(psi[0]), self.gaps[~self.own_rows])
        return bool(np.abs(r).max(initial=0.0) < NOTHING < len(r))


def gap_of(element: int) -> float:
    """Return the gap that a key's second number stands for: an integer, or a float by its bits."""
    code = (int(element) - 1) // 2
    return float(code) if code < _FIRST_NORMAL else float(np.uint64(code).view(np.float64))


def decoded(keys: Sequence[SumKey], counts: Sequence[int]) -> Float:
    """Return the gap of every pair of neighbours, each distinct one repeated up to 1000 times."""
    found = [(gap_of(key[1]), n) for key, n in zip(keys, counts, strict=True) if key[1] % 2]
    total = max(sum(n for _, n in found), 1)
    times = [max(1, round(1000 * n / total)) for _, n in found]
    return np.repeat([gap for gap, _ in found], times).astype(float)


@dataclass(frozen=True, slots=True)
class PatternStack:
    """All patterns with k positions: positions (P, k), groups (P,), keys (P, k(k+1)/2)."""

    positions: Int
    groups: Float
    keys: Int


class PairPart(StratumPart):
    """Keys (mask, a m + b): every pair of positions a <= b that the mask has."""

    def __init__(
        self,
        structure: ResidualStructure,
        m: int,
        at: Int,
        own: Sequence[SumKey],
        counts: Float,
    ) -> None:
        self.structure, self.m, self.at = structure, m, at
        self.stacks = _stacks(own, counts, m)
        self.rows = int(sum(s.groups.sum() * s.positions.shape[1] for s in self.stacks))

    def weights(self, psi: Float) -> PartWeights:
        """Return R0^-1 of every pattern, and -R0^-1 dR0 R0^-1."""
        R, dR = self.structure.matrix(psi, self.m), self.structure.derivatives(psi, self.m)
        f, df = np.zeros(len(self.at)), np.zeros((len(psi), len(self.at)))
        logdet, spread = 0.0, np.zeros((self.m, self.m))
        for stack in self.stacks:
            inverse, logs = inverses(R, stack)
            rows, cols = np.triu_indices(stack.positions.shape[1])
            f[stack.keys] = inverse[:, rows, cols]
            logdet += float(stack.groups @ logs)
            _scatter(spread, stack, stack.groups[:, None, None] * inverse)
            for i, change in enumerate(dR):
                moved = inverse @ taken(change, stack) @ inverse
                df[i, stack.keys] = -moved[:, rows, cols]
        return PartWeights(f, df, logdet, np.einsum("iab,ab->i", dR, spread))

    def values(self, psi: Float) -> tuple[Float, float]:
        """Return R0^-1 of every pattern and log|R0|."""
        R = self.structure.matrix(psi, self.m)
        f, logdet = np.zeros(len(self.at)), 0.0
        for stack in self.stacks:
            inverse, logs = inverses(R, stack)
            rows, cols = np.triu_indices(stack.positions.shape[1])
            f[stack.keys] = inverse[:, rows, cols]
            logdet += float(stack.groups @ logs)
        return f, logdet

    def slopes(self, psi: Float, s_k: Float) -> tuple[float, Float, Float]:
        """Return tr(R0^-1 S), -tr(dR0 A) with A = sum R0^-1 S R0^-1, and tr(dR0 sum R0^-1)."""
        R, dR = self.structure.matrix(psi, self.m), self.structure.derivatives(psi, self.m)
        total, against, spread = 0.0, np.zeros((self.m, self.m)), np.zeros((self.m, self.m))
        for stack in self.stacks:
            inverse, _ = inverses(R, stack)
            S = stack_moments(s_k, stack)
            total += float(np.sum(inverse * S))
            _scatter(against, stack, inverse @ S @ inverse)
            _scatter(spread, stack, stack.groups[:, None, None] * inverse)
        of_sum = -np.einsum("iab,ab->i", dR, against)
        return total, of_sum, np.einsum("iab,ab->i", dR, spread)

    def curvature(self, psi: Float, s_k: Float) -> Float:
        """Return sum tr(R0^-1 R_i R0^-1 R_j [2 R0^-1 S - n]) + tr(R_ij [n R0^-1 - R0^-1 S R0^-1])."""
        R, dR = self.structure.matrix(psi, self.m), self.structure.derivatives(psi, self.m)
        out, spread = np.zeros((len(psi), len(psi))), np.zeros((self.m, self.m))
        for stack in self.stacks:
            inverse, _ = inverses(R, stack)
            n, S = stack.groups[:, None, None], stack_moments(s_k, stack)
            taken = dR[:, stack.positions[:, :, None], stack.positions[:, None, :]]
            left = inverse @ taken @ inverse
            right = taken @ (2.0 * inverse @ S - n * np.eye(S.shape[1]))
            right = right.swapaxes(-1, -2).reshape(len(psi), -1)
            out += left.reshape(len(psi), -1) @ right.T
            _scatter(spread, stack, n * inverse - inverse @ S @ inverse)
        return 0.5 * (out + out.T) + self.structure.curvature(psi, self.m, spread)


def _stacks(own: Sequence[SumKey], counts: Float, m: int) -> list[PatternStack]:
    """Return the patterns by their number of positions."""
    patterns: dict[int, dict[int, int]] = {}
    for i, (mask, element) in enumerate(own):
        patterns.setdefault(mask, {})[element] = i
    by_size: dict[int, list[int]] = {}
    for mask in sorted(patterns):
        by_size.setdefault(mask.bit_count(), []).append(mask)
    out = []
    for size, masks in _portions(by_size):
        positions = np.array([held_positions(mask) for mask in masks])
        rows, cols = np.triu_indices(size)
        elements = positions[:, rows] * m + positions[:, cols]
        keys = [
            [patterns[mask][int(e)] for e in line]
            for mask, line in zip(masks, elements, strict=True)
        ]
        at = np.array(keys, dtype=np.int64)
        out.append(PatternStack(positions, counts[at[:, 0]], at))
    return out


def _portions(by_size: dict[int, list[int]]) -> Iterator[tuple[int, list[int]]]:
    """Yield numbers of positions and patterns that have as many, so few that they fit in a cache."""
    for size, masks in sorted(by_size.items()):
        for start in range(0, len(masks), _PORTION):
            yield size, masks[start : start + _PORTION]


def taken(R: Float, stack: PatternStack) -> Float:
    """Return R restricted to every pattern, (P, k, k)."""
    p = stack.positions
    out: Float = R[p[:, :, None], p[:, None, :]]
    return out


def inverses(R: Float, stack: PatternStack) -> tuple[Float, Float]:
    """Return R0^-1 and log|R0| of every pattern."""
    return inverted(taken(R, stack))


def inverted(own: Float) -> tuple[Float, Float]:
    """Return the inverses of a stack of matrices and their log determinants."""
    try:
        L = np.linalg.cholesky(own)
        inverse = np.linalg.inv(own)
    except np.linalg.LinAlgError:
        raise FitError(
            "the residual covariance matrix is not positive definite to working precision"
        ) from None
    logs: Float = 2.0 * np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1)
    return 0.5 * (inverse + inverse.transpose(0, 2, 1)), logs


def stack_moments(s_k: Float, stack: PatternStack) -> Float:
    """Return S of every pattern from s_aa = S_aa and s_ab = 2 S_ab, (P, k, k)."""
    size = stack.positions.shape[1]
    S = np.zeros((len(stack.positions), size, size))
    rows, cols = np.triu_indices(size)
    S[:, rows, cols] += 0.5 * s_k[stack.keys]
    S[:, cols, rows] += 0.5 * s_k[stack.keys]
    return S


def _scatter(total: Float, stack: PatternStack, values: Float) -> None:
    """Add the patterns' matrices at their positions."""
    p, m = stack.positions, len(total)
    places = (m * p[:, :, None] + p[:, None, :]).ravel()
    total += np.bincount(places, values.ravel(), m * m).reshape(m, m)
