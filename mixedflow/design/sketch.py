"""Small summaries of many rows that do not depend on how the rows were divided.

Stands at "The schema pass" in ``docs/algorithm.md``. Both keep the k entries whose hash is
smallest (bottom-k): a union keeps the k smallest of both, which is what one pass over all rows
would have kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedflow.design.arrow import as_arrow, plain
from mixedflow.design.types import Float, Int

DISTINCT_KEPT = 65_536
ROWS_KEPT = 2_048
ALL_UP_TO = 1 << 17
FEW = 64

Hash = NDArray[np.uint64]


def mix(bits: Hash) -> Hash:
    """Scramble 64 bits (the finalizer of SplitMix64); one to one, so equal hashes are equal bits."""
    with np.errstate(over="ignore"):
        z = bits + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class DistinctSketch:
    """Distinct values, ascending, with how often each occurs; all of them while ``complete``.

    Beyond ``kept`` distinct values, those with the smallest hash stay, with exact counts.
    """

    values: Float
    counts: Int
    complete: bool = True
    kept: int = DISTINCT_KEPT

    def __add__(self, other: DistinctSketch) -> DistinctSketch:
        values, place = np.unique(np.concatenate([self.values, other.values]), return_inverse=True)
        counts = np.zeros(len(values), dtype=np.int64)
        np.add.at(counts, place, np.concatenate([self.counts, other.counts]))
        return _trimmed(values, counts, complete=self.complete and other.complete, kept=self.kept)

    def quantiles(self, probabilities: Float, *, distinct: bool) -> Float:
        """Linear-interpolation quantiles of the rows, or of the distinct values."""
        if distinct:
            return np.asarray(np.quantile(self.values, probabilities), dtype=np.float64)
        ends = np.cumsum(self.counts)
        position = probabilities * (ends[-1] - 1)
        below = np.floor(position)
        low = self.values[np.searchsorted(ends, below, side="right")]
        high = self.values[np.searchsorted(ends, np.ceil(position), side="right")]
        part = position - below
        # numpy's own way round, so that the same rows give the same bits
        gap = high - low
        return np.asarray(np.where(part >= 0.5, high - gap * (1 - part), low + gap * part))


def distinct_sketch(values: Float, kept: int = DISTINCT_KEPT) -> DistinctSketch:
    """Sketch one partition's rows; minus zero counts as zero."""
    distinct, counts = np.unique(values + 0.0, return_counts=True)
    return _trimmed(distinct, counts.astype(np.int64), complete=True, kept=kept)


def few_distinct(values: Float) -> DistinctSketch:
    """Sketch just enough to tell whether a column has more than a few distinct values."""
    start = distinct_sketch(values[: 8 * FEW], FEW)
    return start if len(start.values) >= FEW else distinct_sketch(values, FEW)


def _trimmed(values: Float, counts: Int, *, complete: bool, kept: int) -> DistinctSketch:
    if len(values) <= kept:
        return DistinctSketch(values, counts, complete, kept)
    order = np.argpartition(mix(values.view(np.uint64)), kept - 1)[:kept]
    order.sort()
    return DistinctSketch(values[order], counts[order], False, kept)


@dataclass(frozen=True, slots=True)
class RowSample:
    """Up to ``ROWS_KEPT`` complete rows, those whose row numbers hash smallest."""

    hashes: Hash
    rows: pa.Table | None

    def __add__(self, other: RowSample) -> RowSample:
        if self.rows is None or other.rows is None:
            return other if self.rows is None else self
        hashes = np.concatenate([self.hashes, other.hashes])
        order = np.argsort(hashes, kind="stable")[:ROWS_KEPT]
        rows = pa.concat_tables([self.rows, other.rows], promote_options="permissive")
        return RowSample(hashes[order], rows.take(as_arrow(order)))


def row_sample(table: pa.Table, numbers: Int) -> RowSample:
    """Sample among a partition's rows, given their ascending numbers in the source.

    All rows near the start of the source stand for election; of the later ones only one in each
    stretch of 64, at a place that the hash of the stretch gives. That keeps the choice independent
    of the partitions and costs next to nothing in a long source.
    """
    early = int(np.searchsorted(numbers, ALL_UP_TO))
    candidates = np.concatenate([np.arange(early), early + _one_a_stretch(numbers[early:])])
    hashes = mix(numbers[candidates].astype(np.uint64))
    nearest = np.arange(len(candidates))
    if len(candidates) > ROWS_KEPT:
        nearest = np.argpartition(hashes, ROWS_KEPT - 1)[:ROWS_KEPT]
    order = nearest[np.argsort(hashes[nearest], kind="stable")]
    return RowSample(hashes[order], _plain(table.take(as_arrow(candidates[order]))))


def _one_a_stretch(numbers: Int) -> Int:
    """Return where the elected row of each stretch of 64 row numbers stands, if it is there."""
    if not len(numbers):
        return np.empty(0, dtype=np.int64)
    stretches = np.arange(numbers[0] // 64, numbers[-1] // 64 + 1)
    wanted = 64 * stretches + (mix(stretches.astype(np.uint64)) % np.uint64(64)).astype(np.int64)
    place = np.minimum(np.searchsorted(numbers, wanted), len(numbers) - 1)
    return np.asarray(place[numbers[place] == wanted], dtype=np.int64)


def _plain(table: pa.Table) -> pa.Table:
    """Undo dictionary encoding and narrow types, so that samples can be put together."""
    return pa.table([plain(c) for c in table.columns], names=table.column_names)
