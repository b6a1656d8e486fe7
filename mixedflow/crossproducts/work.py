"""Where the sums of one partition grow: by level of a factor, by pair of levels, by group.

Stands at "Condensing" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mixedflow.crossproducts.types import FactorSums, GroupSums, PairSums
from mixedflow.design.types import Float, Int, Pieces

PAIRS_A_ROW = 16
"""Pairs of levels a row up to which those that occur are found in a table, not by sorting."""


class Among(NamedTuple):
    """Width of [X y], and where a factor's columns stand in it, or None where not all do."""

    width: int
    inside: Int | None


StoredColumn = tuple[Pieces, float, float]
"""A column's factors, its shift and its scale."""

Split = Callable[[Float, Int, int, Float, Float, Float], None]
"""What writes the products of a factor into Z'BZ, Z'BX and Z'By."""


class FactorWork:
    """Sums of one grouping factor over the levels that occur in the partition."""

    def __init__(
        self, codes: Int, columns: list[StoredColumn], n_levels: int, among: Among
    ) -> None:
        self.codes, self.columns, self.inside = codes, columns, among.inside
        self.n_levels = n_levels
        self.levels, self.local = local_levels(codes, n_levels)
        m, Q = len(self.levels), len(columns)
        extra = Q if among.inside is None else 0
        self.products = np.zeros((m, Q, extra + among.width))

    def sums(self, P: int, groups: GroupSums | None, split: Split) -> FactorSums:
        """Return them, Z, X and y apart."""
        m, Q, width = self.products.shape
        first = 0 if self.inside is not None else Q
        places = self.inside if self.inside is not None else np.arange(Q)
        ZtBZ, ZtBX = np.empty((m, Q, Q)), np.empty((m, Q, P))
        ZtBy = np.empty((m, Q, width - first - P))
        split(self.products, places, first, ZtBZ, ZtBX, ZtBy)
        return FactorSums(self.levels, ZtBZ, ZtBX, ZtBy, groups)


class PairWork:
    """Sums of the pairs of levels of two factors that meet in the partition."""

    def __init__(self, first: FactorWork, second: FactorWork, n_levels: int) -> None:
        self.n_levels = n_levels
        keys = first.codes * n_levels + second.codes
        self.keys, self.local = _local_pairs(keys, first.n_levels * n_levels)
        self.ZtBZ = np.zeros((len(self.keys), len(first.columns), len(second.columns)))

    def sums(self) -> PairSums:
        """Return them."""
        return PairSums(self.keys // self.n_levels, self.keys % self.n_levels, self.ZtBZ)


class GroupWork:
    """[X y]'B[X y] of every level of a factor that occurs in the partition."""

    def __init__(self, local: Int, m: int, width: int, weights: Float | None) -> None:
        self.local, self.m, self.weights = local, m, weights
        self.XYtBXY = np.zeros((m, width * (width + 1) // 2))

    def sums(self) -> GroupSums:
        """Return them with the rows of every level."""
        logs: Float = np.zeros(self.m)
        if self.weights is not None:
            logs = np.bincount(self.local, np.log(self.weights), self.m).astype(float)
        n_obs = np.bincount(self.local, minlength=self.m).astype(np.int64)
        return GroupSums(n_obs, logs, self.XYtBXY)


def local_levels(codes: Int, n_levels: int) -> tuple[Int, Int]:
    """Return the levels that occur, increasing, and each row's index among them."""
    if n_levels <= 4 * len(codes) + 1024:
        counts = np.bincount(codes, minlength=n_levels)
        if counts.all():
            return np.arange(n_levels), codes
        levels = np.flatnonzero(counts)
        table = np.zeros(n_levels, dtype=np.int64)
        table[levels] = np.arange(len(levels))
        return levels, table[codes]
    levels, local = np.unique(codes, return_inverse=True)
    return levels.astype(np.int64), local.astype(np.int64)


def _local_pairs(keys: Int, n_pairs: int) -> tuple[Int, Int]:
    """Return the pairs that occur, increasing, and each row's index among them.

    Flags and a table cost half of a sort, at 5 bytes a pair that could occur.
    """
    if n_pairs > PAIRS_A_ROW * len(keys):
        pairs, local = np.unique(keys, return_inverse=True)
        return pairs.astype(np.int64, copy=False), local.astype(np.int64, copy=False)
    seen = np.zeros(n_pairs, dtype=bool)
    seen[keys] = True
    pairs = np.flatnonzero(seen)
    table = np.empty(n_pairs, dtype=np.int32)
    table[pairs] = np.arange(len(pairs), dtype=np.int32)
    return pairs, table[keys].astype(np.int64)
