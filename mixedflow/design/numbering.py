"""Levels numbered as they are met, part after part, without sorting what is known already.

Stands at "One reading" in ``docs/algorithm.md``. What a part costs is of the size of the part: whole
numbers of a range that is not much wider than their count are looked up in a table, other numbers by
bisection, text by Arrow's hash.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixedflow.design.arrow import as_arrow, as_numpy
from mixedflow.design.levels import DENSE_TABLE, LevelKind, LevelSet, common_kind, empty_levels
from mixedflow.design.types import Int


class LevelNumbers:
    """Numbers 0 .. L - 1 of the levels of a column, in the order in which they were met."""

    def __init__(self, column: str) -> None:
        self.column = column
        self._kind: LevelKind | None = None
        self._parts: list[Any] = []
        self._size = 0
        self._find: _Table | _Bisection | None = None

    def levels(self) -> LevelSet:
        """Return the levels in the order of their numbers."""
        if self._kind is None:
            return empty_levels()
        return LevelSet(self._kind, self._values())

    def _values(self) -> Any:
        if len(self._parts) > 1:
            join = pa.concat_arrays if self._kind == "text" else np.concatenate
            self._parts = [join(self._parts)]
        return self._parts[0]

    def numbers(self, levels: LevelSet) -> Int:
        """Return the numbers of distinct levels; those not met before get the next ones.

        Raises
        ------
        DataError
            if these are text and the others numbers, or the other way round.
        """
        if not len(levels):
            return np.empty(0, dtype=np.int64)
        self._take_kind(levels)
        if self._kind == "text":
            return self._text(levels.values)
        found = self._look_up(self._comparable(levels.values))
        return self._with_new(found, levels.values[found < 0])

    def _comparable(self, values: Any) -> Any:
        return values.astype(np.float64 if self._kind == "float" else np.int64, copy=False)

    def _with_new(self, found: Int, new: Any) -> Int:
        if len(new):
            number = self._size + np.arange(len(new))
            if self._find is not None:
                self._find.learn(self._comparable(new), number)
            found[found < 0] = number
            self._parts.append(new)
            self._size += len(new)
        return found

    def _take_kind(self, levels: LevelSet) -> None:
        if self._kind is None:
            self._kind = levels.kind
            return
        kind = common_kind(self._kind, levels.kind, self.column)
        if kind != self._kind:
            self._kind = kind
            self._parts = [self._comparable(self._values())]
            self._find = None

    def _look_up(self, values: Any) -> Int:
        """Return the numbers of values, -1 where they are new."""
        if not isinstance(self._find, _Bisection):
            low, high = int(values.min()), int(values.max())
            if isinstance(self._find, _Table):
                low, high = min(low, self._find.low), max(high, self._find.high)
            dense = self._kind != "float" and high - low <= max(
                4 * (self._size + len(values)), DENSE_TABLE
            )
            if dense and self._find is None:
                self._find = self._begun(_Table())
            elif not dense:
                self._find = self._begun(_Bisection())
        assert self._find is not None  # noqa: S101 - set above
        return self._find.numbers(values)

    def _begun(self, find: _Table | _Bisection) -> _Table | _Bisection:
        if self._size:
            find.learn(self._comparable(self._values()), np.arange(self._size))
        return find

    def _text(self, values: pa.Array) -> Int:
        if not self._size:
            found = np.full(len(values), -1, dtype=np.int64)
        else:
            index = pc.index_in(values, value_set=self._values(), skip_nulls=True)
            found = np.array(as_numpy(index.fill_null(-1)), dtype=np.int64)
        new = np.flatnonzero(found < 0)
        return self._with_new(found, values.take(as_arrow(new)))


class _Table:
    """Numbers of integers by value: one more than the number, 0 where there is none."""

    def __init__(self) -> None:
        self.low, self.high = 0, -1
        self._origin = 0
        self._table = np.zeros(0, dtype=np.int64)

    def numbers(self, values: Any) -> Int:
        if not len(self._table):
            return np.full(len(values), -1, dtype=np.int64)
        place = values - self._origin
        if self.low <= values.min() and values.max() <= self.high:
            return np.asarray(self._table[place] - 1)
        inside = (place >= 0) & (place < len(self._table))
        return np.where(inside, self._table[np.where(inside, place, 0)] - 1, -1)

    def learn(self, values: Any, numbers: Int) -> None:
        low, high = int(values.min()), int(values.max())
        if len(self._table):
            low, high = min(low, self.low), max(high, self.high)
        self._make_room(low, high)
        self.low, self.high = low, high
        self._table[values - self._origin] = numbers + 1

    def _make_room(self, low: int, high: int) -> None:
        """Take room for a range, twice as much as before where it has to be moved."""
        old = len(self._table)
        if low >= self._origin and high < self._origin + old:
            return
        size = max(high - low + 1, 2 * old)
        origin = high + 1 - size if old and low < self._origin else low
        table = np.zeros(size, dtype=np.int64)
        if old:
            kept = self._table[self.low - self._origin : self.high - self._origin + 1]
            table[self.low - origin : self.low - origin + len(kept)] = kept
        self._origin, self._table = origin, table


class _Bisection:
    """Numbers of values by their sorted array."""

    def __init__(self) -> None:
        self._sorted: Any = np.zeros(0, dtype=np.int64)
        self._numbers: Int = np.zeros(0, dtype=np.int64)

    def numbers(self, values: Any) -> Int:
        if not len(self._sorted):
            return np.full(len(values), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self._sorted, values), len(self._sorted) - 1)
        return np.where(self._sorted[place] == values, self._numbers[place], -1)

    def learn(self, values: Any, numbers: Int) -> None:
        order = np.argsort(values, kind="stable")
        values, numbers = values[order], numbers[order]
        if not len(self._sorted):
            self._sorted, self._numbers = values, numbers
            return
        place = np.searchsorted(self._sorted, values)
        self._sorted = np.insert(self._sorted, place, values)
        self._numbers = np.insert(self._numbers, place, numbers)
