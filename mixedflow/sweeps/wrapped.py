"""Sources made of another source: a column more, or some of its rows.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedflow.data.columns import ColumnKind, Level, level_label, to_text
from mixedflow.data.source import Source
from mixedflow.errors import ConfigError, DataError, did_you_mean, listing


class WrappedSource:
    """The rows of another source, as they are.

    Attributes
    ----------
    source : the rows
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def name(self) -> str:
        """How messages call the source."""
        return self.source.name

    @property
    def n_partitions(self) -> int:
        """Number of partitions."""
        return self.source.n_partitions

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.source.n_rows

    @property
    def header_lines(self) -> int:
        """Lines before the first row."""
        return self.source.header_lines

    def columns(self) -> dict[str, ColumnKind]:
        """Return every column with its kind."""
        return self.source.columns()

    def declared_levels(self, columns: Sequence[str]) -> dict[str, tuple[Level, ...]]:
        """Return the level order of those columns that have one."""
        return self.source.declared_levels(columns)

    def read(self, index: int, columns: Sequence[str]) -> pa.Table:
        """Return one partition's columns."""
        return self.source.read(index, columns)

    def check_names(self, columns: Sequence[str]) -> None:
        """Raise unless all columns are there."""
        self.source.check_names(columns)

    def describe(self, column: str) -> str:
        """Return what a column holds, in words."""
        return self.source.describe(column)

    def is_coded(self, column: str) -> bool:
        """Return whether a column was declared, or is held, as categories."""
        return self.source.is_coded(column)

    def row_offset(self, index: int) -> int:
        """Return the number of rows before a partition."""
        return self.source.row_offset(index)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the content."""
        return self.source.fingerprint()

    def partition_fingerprint(self, index: int) -> str:
        """Return a SHA-256 that changes when the content of one partition does."""
        return self.source.partition_fingerprint(index)


class SubsetSource(WrappedSource):
    """Rows of another source in which columns have some values.

    Attributes
    ----------
    source : all rows
    values : column -> the values that are wanted, as text
    masks : (rows,) of every partition, which of its rows are here
    """

    def __init__(self, source: Source, values: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__(source)
        self.values = dict(values)
        self.masks = tuple(self._mask(index) for index in range(source.n_partitions))
        self._offsets: list[int] = [
            0,
            *np.cumsum([int(mask.sum()) for mask in self.masks]).tolist(),
        ]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self._offsets[-1]

    def row_offset(self, index: int) -> int:
        """Return the number of rows before a partition."""
        return self._offsets[index]

    def read(self, index: int, columns: Sequence[str]) -> pa.Table:
        """Return one partition's columns in the rows that are wanted."""
        return self.source.read(index, columns).filter(pa.array(self.masks[index]))

    def _mask(self, index: int) -> NDArray[np.bool_]:
        table = self.source.read(index, list(self.values))
        here = np.ones(table.num_rows, dtype=bool)
        for column, wanted in self.values.items():
            texts = _texts(table.column(column))
            here &= np.isin(texts, np.array(wanted, dtype=object))
        return here


def _texts(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """Return values as text, empty where missing."""
    plain = to_text(column)
    return np.asarray(plain.fill_null("").to_numpy(zero_copy_only=False), dtype=object)


def row_mask(source: Source, index: int) -> NDArray[np.bool_] | None:
    """Return which rows of the data's partition a source has; None for all."""
    while isinstance(source, WrappedSource):
        if isinstance(source, SubsetSource):
            return source.masks[index]
        source = source.source
    return None


def make_subset(name: str, wanted: Any, source: Source) -> Source:
    """Return the rows of a subset.

    Parameters
    ----------
    name : of the subset, for messages
    wanted : column -> values; None for all rows
    source : all rows

    Raises
    ------
    ConfigError
        where it does not name columns with lists of values
    DataError
        for a column or a value that is not there, and where no row is left
    """
    if wanted is None:
        return source
    if not isinstance(wanted, Mapping) or not wanted:
        raise ConfigError(
            f"subsets: '{name}' must name columns with lists of their values, as "
            f"{{'sex': ['M']}}, or be null for all rows; found {wanted!r}"
        )
    source.check_names(list(wanted))
    values = {column: _values(name, column, one) for column, one in wanted.items()}
    for column, own in values.items():
        _check_values(name, column, own, source)
    found = SubsetSource(source, values)
    if not found.n_rows:
        raise DataError(f"subsets: no row of {source.name} is in '{name}' ({dict(wanted)})")
    return found


def _values(name: str, column: str, wanted: Any) -> tuple[str, ...]:
    if isinstance(wanted, str | Mapping) or not isinstance(wanted, Sequence) or not len(wanted):
        raise ConfigError(
            f"subsets: '{name}' needs a list of values for column '{column}'; found {wanted!r}"
        )
    return tuple(level_label(value) for value in wanted)


def _check_values(name: str, column: str, wanted: tuple[str, ...], source: Source) -> None:
    there: set[str] = set()
    for index in range(source.n_partitions):
        there |= set(_texts(source.read(index, [column]).column(column)))
    known = sorted(there - {""})
    for value in wanted:
        if value not in there:
            raise DataError(
                f"subsets: '{name}' asks for '{value}', which column '{column}' of {source.name} "
                f"does not hold{did_you_mean(value, known)} (it holds {listing(known)})"
            )
