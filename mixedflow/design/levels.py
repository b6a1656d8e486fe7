"""Sets of levels: observed values of a category, their order, their labels, and their codes.

Stands at "The schema pass" in ``docs/algorithm.md``. Whole numbers stay int64 arrays and text
stays in Arrow, so that ten million levels cost what their values cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixedflow.design.arrow import as_arrow, as_numpy, is_text, joined, plain
from mixedflow.design.types import Int
from mixedflow.errors import DataError

LevelKind = Literal["int", "float", "bool", "text"]
DENSE_TABLE = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class LevelSet:
    """Distinct values of a column: a numpy array, or an Arrow array of text."""

    kind: LevelKind
    values: Any

    def __len__(self) -> int:
        return len(self.values)

    def union(self, other: LevelSet, column: str) -> LevelSet:
        """All levels of both; whole and decimal numbers go together, text and numbers do not."""
        if not len(self) or not len(other):
            return other if not len(self) else self
        kind = common_kind(self.kind, other.kind, column)
        if kind == "text":
            return LevelSet("text", pc.unique(pa.concat_arrays([self.values, other.values])))
        if kind == self.kind == other.kind and np.array_equal(self.values, other.values):
            return self
        both = np.concatenate([self.values, other.values])
        return LevelSet(kind, _unique_integers(both) if kind == "int" else np.unique(both))

    def ordered(self) -> LevelSet:
        """Ascending: numbers by value, text by code point."""
        if self.kind == "text":
            order = pc.array_sort_indices(self.values)
            return LevelSet("text", self.values.take(order))
        if (self.values[1:] >= self.values[:-1]).all():
            return self
        return LevelSet(self.kind, np.sort(self.values))

    def take(self, indices: Int) -> LevelSet:
        """Return the levels at these places."""
        if self.kind == "text":
            return LevelSet("text", self.values.take(as_arrow(indices)))
        return LevelSet(self.kind, self.values[indices])

    def labels(self) -> list[str]:
        """Levels as results print them: ``1`` for 1.0, text as it is."""
        if self.kind == "text":
            return [str(v) for v in self.values.to_pylist()]
        if self.kind == "float":
            return [str(int(v)) if v.is_integer() else repr(v) for v in self.values.tolist()]
        return [str(v) for v in self.values.tolist()]


def common_kind(a: LevelKind, b: LevelKind, column: str) -> LevelKind:
    """Return the kind of levels of two parts of a column: decimal numbers hold whole ones.

    Raises
    ------
    DataError
        if one of them is text and the other is not.
    """
    if a == b:
        return a
    if "text" in (a, b):
        raise DataError(
            f"The column '{column}' holds text in one part of the data and numbers in another."
        )
    return "float" if "float" in (a, b) else "int"


def empty_levels() -> LevelSet:
    """Return the levels of no rows."""
    return LevelSet("int", np.empty(0, dtype=np.int64))


def level_kind(kind: pa.DataType) -> LevelKind:
    """Which kind of level a column of this type holds."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    if is_text(value):
        return "text"
    if pa.types.is_boolean(value):
        return "bool"
    return "int" if pa.types.is_integer(value) else "float"


def observed_levels(column: pa.ChunkedArray) -> LevelSet:
    """Distinct values of a column without missing values, in no particular order."""
    if not len(column):
        return empty_levels()
    array = joined(column)
    if pa.types.is_dictionary(array.type):
        used = np.unique(as_numpy(array.indices))
        array = joined(plain(pa.chunked_array([array.dictionary.take(as_arrow(used))])))
        return _unique_levels(array)
    return _unique_levels(joined(plain(column)))


def _unique_levels(array: pa.Array) -> LevelSet:
    kind = level_kind(array.type)
    if kind == "text":
        return LevelSet("text", array.unique())
    values = as_numpy(array)
    return LevelSet(kind, _unique_integers(values) if kind == "int" else np.unique(values))


def _unique_integers(values: Any) -> Any:
    """Sorted distinct integers; by a table of flags where the range is not much wider than n."""
    low, high = int(values.min()), int(values.max())
    if high - low > max(4 * len(values), DENSE_TABLE):
        return np.unique(values)
    seen = np.zeros(high - low + 1, dtype=bool)
    seen[values - low] = True
    return np.flatnonzero(seen) + low


class LevelIndex:
    """Look-up from values to codes 0 .. L-1; -1 for a value that is no level."""

    def __init__(self, levels: LevelSet) -> None:
        self.levels = levels
        self._table: Any = None
        self._sorted: Any = None
        self._order: Any = None
        if levels.kind != "text" and len(levels):
            self._prepare()

    def _prepare(self) -> None:
        values = self.levels.values
        if self.levels.kind in ("int", "bool"):
            values = values.astype(np.int64)
            low, high = int(values.min()), int(values.max())
            if high - low <= max(4 * len(values), DENSE_TABLE):
                self._table = np.full(high - low + 1, -1, dtype=np.int64)
                self._table[values - low] = np.arange(len(values))
                self._low = low
        self._order = np.argsort(values, kind="stable")
        self._sorted = values[self._order]

    def codes(self, column: pa.ChunkedArray) -> Int:
        """Codes of the rows, (n,)."""
        if not len(column):
            return np.empty(0, dtype=np.int64)
        array = joined(column)
        if pa.types.is_dictionary(array.type):
            of_words = self._codes(array.dictionary)
            index = as_numpy(array.indices.fill_null(-1)).astype(np.int64)
            return np.where(index < 0, -1, np.append(of_words, -1)[index])
        return self._codes(array)

    def _codes(self, array: pa.Array) -> Int:
        array = joined(plain(pa.chunked_array([array])))
        if not len(array):
            return np.empty(0, dtype=np.int64)
        if is_text(array.type) or self.levels.kind == "text":
            return self._text_codes(array)
        if array.null_count:
            array = array.cast(pa.float64())
        values = as_numpy(array)
        if values.dtype == bool:
            values = values.astype(np.int64)
        return self._number_codes(values)

    def _text_codes(self, array: pa.Array) -> Int:
        known = self.levels.values
        if self.levels.kind != "text":
            known = pa.array(self.levels.labels(), pa.large_string())
        if not is_text(array.type):
            labels = LevelSet(level_kind(array.type), array.to_numpy(zero_copy_only=False)).labels()
            array = pa.array(labels, pa.large_string())
        found = pc.index_in(array, value_set=known, skip_nulls=True)
        return np.asarray(as_numpy(found.fill_null(-1)), dtype=np.int64)

    def _number_codes(self, values: Any) -> Int:
        if self._sorted is None:
            return np.full(len(values), -1, dtype=np.int64)
        if self._table is not None and values.dtype == np.int64:
            place = values - self._low
            inside = place.view(np.uint64) < len(self._table)  # below zero is far above it
            if inside.all():
                return np.asarray(self._table.take(place), dtype=np.int64)
            return np.where(inside, self._table[np.where(inside, place, 0)], -1)
        place = np.minimum(np.searchsorted(self._sorted, values), len(self._sorted) - 1)
        return np.where(self._sorted[place] == values, self._order[place], -1)


def unique_rows(table: pa.Table) -> pa.Table:
    """Distinct combinations of a table's columns, through one number for each combination."""
    if not table.num_rows:
        return table
    levels = [observed_levels(column).ordered() for column in table.columns]
    sizes = [len(found) for found in levels]
    if math.prod(sizes) >= 1 << 62:
        return table.group_by(table.column_names, use_threads=False).aggregate([])
    codes = [LevelIndex(v).codes(c) for v, c in zip(levels, table.columns, strict=True)]
    taken = split_key(_unique_integers(combined_key(codes, sizes)), sizes)
    arrays = [found.take(code).values for found, code in zip(levels, taken, strict=True)]
    return pa.table([as_arrow(values) for values in arrays], names=table.column_names)


def combined_key(codes: Sequence[Int], sizes: Sequence[int]) -> Int:
    """One number for each row's combination, sum_i code_i prod_{k>i} L_k; -1 for an unknown code."""
    key = codes[0].copy()
    unknown = codes[0] < 0
    for code, size in zip(codes[1:], sizes[1:], strict=True):
        key = key * size + code
        unknown |= code < 0
    key[unknown] = -1
    return key


def split_key(keys: Int, sizes: Sequence[int]) -> list[Int]:
    """Undo :func:`combined_key`."""
    codes = []
    for size in reversed(sizes):
        keys, code = np.divmod(keys, size)
        codes.append(code)
    return codes[::-1]
