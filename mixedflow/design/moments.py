"""Sums that partitions learn and that add up: mean, sum of squares, range, and powers.

Stands at "The schema pass" in ``docs/algorithm.md``. Two sets of rows are merged by Chan, Golub
and LeVeque (1983), eq. 1.5, so that nothing is lost to a mean far from zero; powers are kept about
a centre of their own and moved by the binomial theorem, in extended precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixedflow.design.types import Float


@dataclass(frozen=True, slots=True)
class Moments:
    """n, mean, M2 = sum (x - mean)^2, min and max of one column's rows.

    The mean is kept as ``base + rest``, so that it has more digits than a number of the data's size.
    """

    n: int
    base: float
    rest: float
    m2: float
    low: float
    high: float

    def __add__(self, other: Moments) -> Moments:
        if not self.n or not other.n:
            return other if not self.n else self
        n = self.n + other.n
        gap = (other.base - self.base) + (other.rest - self.rest)
        return Moments(
            n,
            self.base,
            self.rest + gap * (other.n / n),
            self.m2 + other.m2 + gap * gap * (self.n * (other.n / n)),
            min(self.low, other.low),
            max(self.high, other.high),
        )

    def centred(self) -> Moments:
        """Return the same numbers with the mean for a base, where the value of a row had been."""
        base = self.base + self.rest
        part = base - self.base
        rest = (self.base - (base - part)) + (self.rest - part)
        return Moments(self.n, base, rest, self.m2, self.low, self.high)

    @property
    def mean(self) -> float:
        """Mean of the rows."""
        return min(max(self.base + self.rest, self.low), self.high) if self.n else 0.0

    @property
    def sd(self) -> float:
        """Sample standard deviation, sqrt(M2 / (n - 1)); 0 for fewer than two rows."""
        return math.sqrt(self.m2 / (self.n - 1)) if self.n > 1 else 0.0


EMPTY_MOMENTS = Moments(0, 0.0, 0.0, 0.0, math.inf, -math.inf)


STRETCH = 1 << 13
"""Rows that are looked at together: they stay in the cache, and their copies in the allocator."""


COMPILED_FROM = 300_000
"""Rows from which the compiled passes are used: sums of that many rows are compiled anyway."""


def moments_of(values: Float) -> Moments:
    """Return the moments of a column, a stretch of rows at a time.

    Their base or rest is not finite where one of the values is not.
    """
    n = len(values)
    if n >= COMPILED_FROM:
        from mixedflow.design.moments_kernels import column_sums

        return Moments(n, *column_sums(values, STRETCH))
    parts = (_stretch(values[k : k + STRETCH]) for k in range(0, n, STRETCH))
    return sum(parts, start=EMPTY_MOMENTS)


def _stretch(values: Float) -> Moments:
    """Two passes over the rows: mean first, then squares about it (with its rounding taken back)."""
    n = len(values)
    base = float(values[0])
    with np.errstate(over="ignore", invalid="ignore"):
        gap = values - base
        rest = float(gap.mean())
        gap -= rest
        drift = float(gap.sum())
        squares = max(float(gap @ gap) - drift * drift / n, 0.0)
        return Moments(n, base, rest, squares, float(values.min()), float(values.max()))


@dataclass(frozen=True, slots=True)
class PowerSums:
    """Sums of ((x - center) / scale)^k for k = 0 .. K, in extended precision."""

    center: float
    scale: float
    sums: tuple[Any, ...]

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.sums[0])

    def moved(self, center: float, scale: float) -> PowerSums:
        """Move the sums to another centre: sum ((s z + c - c') / s')^k by the binomial theorem."""
        wide = np.longdouble
        shift = (wide(self.center) - wide(center)) / wide(scale)
        ratio = wide(self.scale) / wide(scale)
        moved = [
            sum(
                (
                    math.comb(k, i) * ratio**i * shift ** (k - i) * self.sums[i]
                    for i in range(k + 1)
                ),
                start=wide(0),
            )
            for k in range(len(self.sums))
        ]
        return PowerSums(center, scale, tuple(moved))

    def __add__(self, other: PowerSums) -> PowerSums:
        if not self.n or not other.n:
            return other if not self.n else self
        weight = other.n / (self.n + other.n)
        center = self.center + (other.center - self.center) * weight
        scale = max(self.scale, other.scale, abs(other.center - self.center))
        both = zip(self.moved(center, scale).sums, other.moved(center, scale).sums, strict=True)
        return PowerSums(center, scale, tuple(a + b for a, b in both))


def power_sums(values: Float, moments: Moments, highest: int) -> PowerSums:
    """Add up the powers 0 .. highest of the rows about their mean, scaled to at most about one."""
    center = moments.mean
    reach = max(moments.high - center, center - moments.low, 0.0) if moments.n else 0.0
    scale = reach or 1.0
    with np.errstate(all="ignore"):
        return _power_sums(values, center, scale, highest)


def _power_sums(values: Float, center: float, scale: float, highest: int) -> PowerSums:
    z = (values.astype(np.longdouble) - np.longdouble(center)) / np.longdouble(scale)
    power = np.ones_like(z)
    sums = [np.longdouble(len(values))]
    for _ in range(highest):
        power = power * z
        sums.append(power.sum())
    return PowerSums(center, scale, tuple(sums))


def recurrence(sums: PowerSums, degree: int) -> tuple[list[float], list[float]]:
    """Stieltjes: alpha_k = <xP_k, P_k>/<P_k, P_k> and norms^2 of the monic orthogonal polynomials.

    The inner products of polynomials come from the moments, <z^i, z^j> = m_{i+j}, so no row is needed.
    """
    with np.errstate(all="ignore"):
        return _recurrence(sums, degree)


def _recurrence(sums: PowerSums, degree: int) -> tuple[list[float], list[float]]:
    wide = np.longdouble
    size = degree + 2
    polynomials = [np.zeros(size, dtype=wide)]
    polynomials[0][0] = 1
    alphas: list[float] = []
    norms: list[Any] = [sums.sums[0]]
    for k in range(degree):
        current = polynomials[k]
        raised = np.roll(current, 1)
        alpha = _inner(raised, current, sums.sums) / norms[k]
        following = raised - alpha * current
        if k:
            following = following - (norms[k] / norms[k - 1]) * polynomials[k - 1]
        polynomials.append(following)
        norms.append(_inner(following, following, sums.sums))
        alphas.append(float(wide(sums.center) + wide(sums.scale) * alpha))
    return alphas, [float(norm * wide(sums.scale) ** (2 * k)) for k, norm in enumerate(norms)]


def _inner(a: Any, b: Any, moments: tuple[Any, ...]) -> Any:
    total = np.longdouble(0)
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            if left != 0 and right != 0 and i + j < len(moments):
                total += left * right * moments[i + j]
    return total
