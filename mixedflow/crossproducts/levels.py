"""Where the sums of one grouping factor's levels are kept, and how a pass over them is added up.

Stands at "One grouping factor" and "Shards" in ``docs/algorithm.md``. A pass is a function of the sums
of a stretch of levels that gives arrays of the size of p and q; nothing else leaves the place where
the sums are. Stretches have a fixed length and are added in order, so that any number of threads
gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from mixedflow.design.levels import LevelSet
from mixedflow.design.types import Float

STRETCH = 1 << 14
"""Levels a task."""

Span = tuple[int, int]
"""First level and the one after the last."""

LevelArrays = tuple[Float, Float, Float]
"""ZZ (L, Q, Q), ZX (L, Q, p), Zy (L, Q)."""

Totals = tuple[Any, ...]
"""Numbers and small arrays that add up over levels."""

LevelPass = Callable[[LevelArrays, Span], Totals]
"""What is done with a stretch of levels; picklable, so that it can go where the levels are."""

ShardTask = Callable[[LevelArrays, LevelSet, int], Any]
"""What is done with the sums, the names and the number of a shard; picklable."""


class LevelStore(Protocol):
    """The sums of all levels of one grouping factor, wherever they are."""

    @property
    def n_levels(self) -> int:
        """L."""

    def total(self, task: LevelPass) -> Totals:
        """Return the sum of a pass over all levels, in an order that is fixed."""


class ShardStore(LevelStore, Protocol):
    """Sums of levels in shards, which know the names of their levels."""

    def each(self, task: ShardTask) -> list[Any]:
        """Return what a task gives for every shard, in order."""


@dataclass(frozen=True, slots=True)
class LocalLevels:
    """Sums of levels in this process.

    Attributes
    ----------
    arrays : ZZ, ZX, Zy
    threads : that take stretches side by side
    """

    arrays: LevelArrays
    threads: int = 1

    @property
    def n_levels(self) -> int:
        """L."""
        return int(self.arrays[0].shape[0])

    def total(self, task: LevelPass) -> Totals:
        """Return the sum of a pass over all levels, stretch by stretch."""
        n = self.n_levels
        spans = [(start, min(n, start + STRETCH)) for start in range(0, n, STRETCH)] or [(0, 0)]
        if self.threads == 1 or len(spans) == 1:
            return added([task(self.arrays, span) for span in spans])
        with ThreadPoolExecutor(self.threads) as pool:
            return added(list(pool.map(lambda span: task(self.arrays, span), spans)))


def added(parts: Sequence[Totals]) -> Totals:
    """Return the sum of results of a pass, from the left."""
    total = parts[0]
    for part in parts[1:]:
        total = plus(total, part)
    return total


def plus(a: Totals, b: Totals) -> Totals:
    """Return a + b, item by item."""
    return tuple(x + y for x, y in zip(a, b, strict=True))
