"""Summaries of residuals that add up: a + b is the summary of both sets of rows.

Stands at "A second pass" in ``docs/algorithm.md``. Everything that is added is an integer, and
every bin edge follows from the smallest and largest value alone. So the summary of ten million rows
is the same, bit for bit, however they were partitioned and in whatever order the parts came in, and
it stays as small as that of ten thousand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from mixedflow.design.types import Float, Int

MAX_POINTS = 5_000
N_EXTREMES = 20
MAX_BINS = 64
RESIDUAL_STEP = 0.25
RESIDUAL_LIMIT = 6.0
N_RESIDUAL_BINS = int(2 * RESIDUAL_LIMIT / RESIDUAL_STEP)

# Values are rounded to multiples of 2^-16 (1.5e-5 of a residual SD) before they are summed, and a
# residual beyond 64 SDs counts as 64 in the moments: then sums are exact integers.
_QUANTUM = 2.0**16
_CLIP = 64.0
_MOMENT_QUANTUM = 2.0**20
_MOMENT_CHUNK = 1 << 16
_MANTISSA_BITS = 7
_SMALLEST = 2.0**-10


@dataclass(frozen=True, slots=True)
class FittedBins:
    """Counts and sums of standardised residuals over equal bins of the fitted value.

    Bin i is [i 2^level, (i+1) 2^level). The level is the smallest at which at most ``MAX_BINS``
    bins lie between the extremes, so it depends on the set of rows and on nothing else.

    Attributes
    ----------
    level : the exponent of the bin width
    first : index of the first bin
    counts : (bins, N_RESIDUAL_BINS) rows by fitted bin and residual bin; edge bins hold the tails
    total, squares : (bins,) sums of r and of r^2, in units of 2^-16
    """

    level: int
    first: int
    counts: Int
    total: Int
    squares: Int

    def __add__(self, other: FittedBins) -> FittedBins:
        level = max(self.level, other.level)
        while True:
            a, b = self.coarsened(level), other.coarsened(level)
            first = min(a.first, b.first)
            last = max(a.first + len(a.total), b.first + len(b.total))
            if last - first <= MAX_BINS:
                return _overlay(a, b, first, last - first)
            level += 1

    def coarsened(self, level: int) -> FittedBins:
        """Return the same rows in bins of width 2^level, exactly."""
        shift = level - self.level
        if shift == 0:
            return self
        index = np.floor_divide(
            self.first + np.arange(len(self.total), dtype=np.int64), 1 << min(shift, 62)
        )
        first = int(index[0])
        size = int(index[-1]) - first + 1
        counts = np.zeros((size, N_RESIDUAL_BINS), dtype=np.int64)
        total, squares = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
        np.add.at(counts, index - first, self.counts)
        np.add.at(total, index - first, self.total)
        np.add.at(squares, index - first, self.squares)
        return FittedBins(level, first, counts, total, squares)


def _overlay(a: FittedBins, b: FittedBins, first: int, size: int) -> FittedBins:
    counts = np.zeros((size, N_RESIDUAL_BINS), dtype=np.int64)
    total, squares = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    for part in (a, b):
        span = slice(part.first - first, part.first - first + len(part.total))
        counts[span] += part.counts
        total[span] += part.total
        squares[span] += part.squares
    return FittedBins(a.level, first, counts, total, squares)


def _bin_level(low: float, high: float) -> int:
    """Return the smallest level at which [low, high] needs at most ``MAX_BINS`` bins."""
    largest = max(abs(low), abs(high))
    # Bins finer than 2^-40 of the largest value would only show rounding.
    floor = max(math.frexp(largest)[1] - 40, -1000) if largest > 0 else -1000
    span = high - low
    level = max(floor, math.frexp(span)[1] - MAX_BINS.bit_length() - 1 if span > 0 else floor)
    while _bin_index(high, level) - _bin_index(low, level) >= MAX_BINS:
        level += 1
    return level


def _bin_index(value: float, level: int) -> int:
    """Return i such that value is in [i 2^level, (i+1) 2^level).

    The quotient of a tiny negative value may be rounded to -0.0, whose floor is the bin above.
    """
    index = math.floor(value / 2.0**level)
    return min(index, -1) if value < 0 else index


def bin_fitted(fitted: Float, standardised: Float) -> FittedBins:
    """Count rows over (fitted bin, residual bin), with sum of r and r^2 by fitted bin."""
    low, high = float(fitted.min()), float(fitted.max())
    level = _bin_level(low, high)
    index = np.floor(fitted / 2.0**level).astype(np.int64)
    index[(index == 0) & (fitted < 0)] = -1
    first = _bin_index(low, level)
    size = _bin_index(high, level) - first + 1
    row = index - first
    column = np.floor((standardised + RESIDUAL_LIMIT) / RESIDUAL_STEP)
    column = np.clip(column, 0, N_RESIDUAL_BINS - 1).astype(np.int64)
    counts = np.bincount(row * N_RESIDUAL_BINS + column, minlength=size * N_RESIDUAL_BINS)
    clipped = np.clip(standardised, -_CLIP, _CLIP)
    total = np.bincount(row, weights=np.rint(clipped * _QUANTUM), minlength=size)
    squares = np.bincount(row, weights=np.rint(clipped**2 * _QUANTUM), minlength=size)
    return FittedBins(
        level,
        first,
        counts.reshape(size, N_RESIDUAL_BINS).astype(np.int64),
        total.astype(np.int64),
        squares.astype(np.int64),
    )


@dataclass(frozen=True, slots=True)
class QuantileSketch:
    """A histogram whose bins are 2^-7 of their value wide: every quantile to 0.4 % of itself.

    Attributes
    ----------
    keys : (k,) bin keys in the order of the values, see :func:`sketch_keys`
    counts : (k,) rows in each
    """

    keys: Int
    counts: Int

    def __add__(self, other: QuantileSketch) -> QuantileSketch:
        keys, where = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)
        counts = np.zeros(len(keys), dtype=np.int64)
        np.add.at(counts, where, np.concatenate([self.counts, other.counts]))
        return QuantileSketch(keys, counts)

    def quantiles(self, probability: Float) -> Float:
        """Return quantiles, taken as evenly spread inside a bin."""
        low, high = sketch_edges(self.keys)
        ends = np.cumsum(self.counts)
        target = probability * ends[-1]
        j = np.clip(np.searchsorted(ends, target, side="left"), 0, len(ends) - 1)
        share = (target - (ends[j] - self.counts[j])) / self.counts[j]
        return np.asarray(low[j] + np.clip(share, 0, 1) * (high[j] - low[j]), dtype=np.float64)


def sketch_keys(values: Float) -> Int:
    """Return integer keys, in the order of the values: sign, exponent, leading mantissa bits."""
    magnitude = np.maximum(np.abs(values), _SMALLEST)
    base = np.float64(_SMALLEST).view(np.int64) >> (52 - _MANTISSA_BITS)
    step = (magnitude.view(np.int64) >> (52 - _MANTISSA_BITS)) - base + 1
    key = np.where(values < 0, -step, step)
    return np.asarray(np.where(np.abs(values) < _SMALLEST, 0, key), dtype=np.int64)


def sketch_edges(keys: Int) -> tuple[Float, Float]:
    """Return the lower and upper edge of each bin."""
    base = int(np.float64(_SMALLEST).view(np.int64) >> (52 - _MANTISSA_BITS))
    step = np.maximum(np.abs(keys), 1) - 1 + base
    inner = (step << (52 - _MANTISSA_BITS)).view(np.float64)
    outer = ((step + 1) << (52 - _MANTISSA_BITS)).view(np.float64)
    low = np.where(keys > 0, inner, np.where(keys < 0, -outer, -_SMALLEST))
    high = np.where(keys > 0, outer, np.where(keys < 0, -inner, _SMALLEST))
    return low, high


def sketch(values: Float) -> QuantileSketch:
    """Condense values to a :class:`QuantileSketch`."""
    keys, counts = np.unique(sketch_keys(np.ascontiguousarray(values)), return_counts=True)
    return QuantileSketch(keys, counts.astype(np.int64))


def power_sums(standardised: Float) -> tuple[int, int, int, int]:
    """Return sum r, r^2, r^3, r^4 in units of 2^-20, as exact integers of any size."""
    clipped = np.clip(standardised, -_CLIP, _CLIP)
    sums = [0, 0, 0, 0]
    for start in range(0, len(clipped), _MOMENT_CHUNK):
        piece = clipped[start : start + _MOMENT_CHUNK]
        power = piece
        for k in range(4):
            sums[k] += int(np.rint(power * _MOMENT_QUANTUM).astype(np.int64).sum())
            power = power * piece
    return sums[0], sums[1], sums[2], sums[3]


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows, by number: either all of a small data set or the most extreme of a large one.

    Attributes
    ----------
    row : (m,) row numbers, counted from 1
    fitted, residual, standardised : (m,)
    codes : (m, F) level of every grouping factor, -1 where it has none
    """

    row: Int
    fitted: Float
    residual: Float
    standardised: Float
    codes: Int

    def __add__(self, other: Rows) -> Rows:
        return Rows(
            np.concatenate([self.row, other.row]),
            np.concatenate([self.fitted, other.fitted]),
            np.concatenate([self.residual, other.residual]),
            np.concatenate([self.standardised, other.standardised]),
            np.concatenate([self.codes, other.codes]),
        )

    def take(self, index: Int) -> Rows:
        """Return the rows at these positions."""
        return Rows(
            self.row[index],
            self.fitted[index],
            self.residual[index],
            self.standardised[index],
            self.codes[index],
        )

    def by_row(self) -> Rows:
        """Return the rows in the order of their numbers."""
        return self.take(np.argsort(self.row, kind="stable"))

    def most_extreme(self, count: int = N_EXTREMES) -> Rows:
        """Return the rows with the largest |standardised residual|; ties by row number."""
        size = np.abs(self.standardised)
        if len(size) > count:
            candidates = np.flatnonzero(size >= np.partition(size, -count)[-count])
            if len(candidates) < len(size):
                return self.take(candidates).most_extreme(count)
        return self.take(np.lexsort((self.row, -size))[:count])


@dataclass(frozen=True, slots=True)
class ResidualSums:
    """All that plots and tables of residuals need; ``a + b`` is associative and commutative.

    Attributes
    ----------
    n : rows
    low, high : smallest and largest fitted value; smallest and largest standardised residual
    powers : sums of powers of the standardised residual, see :func:`power_sums`
    bins, quantiles : see the classes; None without rows
    points : every row while there are at most ``MAX_POINTS``, otherwise None
    extremes : the ``N_EXTREMES`` rows furthest out
    """

    n: int
    low: tuple[float, float]
    high: tuple[float, float]
    powers: tuple[int, int, int, int]
    bins: FittedBins | None
    quantiles: QuantileSketch | None
    points: Rows | None = field(default=None)
    extremes: Rows | None = field(default=None)

    def __add__(self, other: ResidualSums) -> ResidualSums:
        if self.bins is None or self.quantiles is None or self.extremes is None:
            return other
        if other.bins is None or other.quantiles is None or other.extremes is None:
            return self
        a, b = self.powers, other.powers
        both = None
        if self.points is not None and other.points is not None:
            both = self.points + other.points if self.n + other.n <= MAX_POINTS else None
        return ResidualSums(
            n=self.n + other.n,
            low=(min(self.low[0], other.low[0]), min(self.low[1], other.low[1])),
            high=(max(self.high[0], other.high[0]), max(self.high[1], other.high[1])),
            powers=(a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]),
            bins=self.bins + other.bins,
            quantiles=self.quantiles + other.quantiles,
            points=both,
            extremes=(self.extremes + other.extremes).most_extreme(),
        )

    def moments(self) -> tuple[float, float, float, float]:
        """Return mean, SD, skewness and excess kurtosis of the standardised residuals."""
        m1, m2, m3, m4 = (float(s) / _MOMENT_QUANTUM / max(self.n, 1) for s in self.powers)
        variance = m2 - m1**2
        if variance <= 0:
            return m1, 0.0, math.nan, math.nan
        third = m3 - 3 * m1 * m2 + 2 * m1**3
        fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
        return m1, math.sqrt(variance), third / variance**1.5, fourth / variance**2 - 3


def empty_sums() -> ResidualSums:
    """Return the summary of no rows, the zero of ``+``."""
    return ResidualSums(0, (math.inf, math.inf), (-math.inf, -math.inf), (0, 0, 0, 0), None, None)


def summarise_rows(rows: Rows) -> ResidualSums:
    """Condense the rows of one partition."""
    n = len(rows.row)
    if n == 0:
        return empty_sums()
    return ResidualSums(
        n=n,
        low=(float(rows.fitted.min()), float(rows.standardised.min())),
        high=(float(rows.fitted.max()), float(rows.standardised.max())),
        powers=power_sums(rows.standardised),
        bins=bin_fitted(rows.fitted, rows.standardised),
        quantiles=sketch(rows.standardised),
        points=rows if n <= MAX_POINTS else None,
        extremes=rows.most_extreme(),
    )
