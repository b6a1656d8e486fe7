"""What every source of rows offers, and the part that all of them share.

Stands before "Rows become columns" in ``docs/algorithm.md``: a source hands out partitions, tables
of a few columns with the declared types applied; it knows nothing of a model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from mixedflow.data.columns import (
    ColumnKind,
    ColumnRule,
    Level,
    Place,
    conform,
    is_nested,
)
from mixedflow.data.levels import category_levels, number_levels
from mixedflow.errors import DataError, did_you_mean, listing

ROWS_AT_MOST = 1 << 20
BYTES_WANTED = 1 << 27


def default_partition_rows(n_columns: int) -> int:
    """Return rows a partition: about 128 MB of eight-byte numbers, a million rows at most."""
    return int(np.clip(BYTES_WANTED // (8 * max(n_columns, 1)), 4096, ROWS_AT_MOST))


class Source(Protocol):
    """Anything that can be read by partition."""

    @property
    def name(self) -> str:
        """How messages call it: the path, or "the data frame"."""

    @property
    def n_partitions(self) -> int:
        """Number of partitions; fixed by the data alone, never by who reads."""

    @property
    def n_rows(self) -> int:
        """Number of rows over all partitions."""

    @property
    def header_lines(self) -> int:
        """Lines before the first row, 1 for CSV; 0 where rows are not lines."""

    def columns(self) -> dict[str, ColumnKind]:
        """Return every column with its kind, after the declared types."""

    def declared_levels(self, columns: Sequence[str]) -> dict[str, tuple[Level, ...]]:
        """Return the level order of those columns that have one (declared, or pandas' category)."""

    def read(self, index: int, columns: Sequence[str]) -> pa.Table:
        """Return one partition's columns with the declared types applied."""

    def check_names(self, columns: Sequence[str]) -> None:
        """Raise unless all columns are there and of a kind that a model can use."""

    def describe(self, column: str) -> str:
        """Return what a column holds, in words."""

    def is_coded(self, column: str) -> bool:
        """Return whether a column was declared, or is held, as categories."""

    def row_offset(self, index: int) -> int:
        """Return the number of rows before a partition."""

    def fingerprint(self) -> str:
        """Return the SHA-256 of the content."""

    def partition_fingerprint(self, index: int) -> str:
        """Return a SHA-256 that changes when the content of one partition does."""


class BaseSource(ABC):
    """A source over raw Arrow data: subclasses read, this class names, checks and conforms.

    Attributes
    ----------
    name, header_lines : see :class:`Source`
    rules : what each column becomes
    """

    def __init__(
        self,
        name: str,
        rules: Mapping[str, ColumnRule],
        rows: Sequence[int],
        *,
        header_lines: int = 0,
    ) -> None:
        self.name = name
        self.header_lines = header_lines
        self.rules = dict(rules)
        self._offsets: list[int] = [0, *np.cumsum(np.asarray(rows, dtype=np.int64)).tolist()]
        self._scanned: dict[str, tuple[Level, ...]] = {}

    @property
    def n_partitions(self) -> int:
        """Number of partitions."""
        return len(self._offsets) - 1

    @property
    def n_rows(self) -> int:
        """Number of rows over all partitions."""
        return self._offsets[-1]

    def row_offset(self, index: int) -> int:
        """Return the number of rows before a partition."""
        return self._offsets[index]

    def place(self, index: int) -> Place:
        """Return where a partition starts, for messages."""
        return Place(self.name, self._offsets[index], self.header_lines)

    def columns(self) -> dict[str, ColumnKind]:
        """Return every column with its kind, after the declared types."""
        return {name: rule.kind for name, rule in self.rules.items()}

    def describe(self, column: str) -> str:
        """Return what a column holds, in words."""
        return self.rules[column].found

    def is_coded(self, column: str) -> bool:
        """Return whether a column was declared, or is held, as categories."""
        return self.rules[column].coded

    def check_names(self, columns: Sequence[str]) -> None:
        """Raise unless all columns are there and of a kind that a model can use."""
        for column in columns:
            rule = self.rules.get(column)
            if rule is None:
                raise DataError(
                    f"{self.name} has no column '{column}'{did_you_mean(column, self.rules)} "
                    f"(it has {listing(self.rules)})"
                )
            if rule.kind == "other":
                other = "" if is_nested(rule.target) else "declare it as 'category' or "
                raise DataError(
                    f"{self.name}: column '{column}' holds {rule.found}, which a model cannot use; "
                    f"{other}derive a number from it"
                )

    def read(self, index: int, columns: Sequence[str]) -> pa.Table:
        """Return one partition's columns with the declared types applied."""
        names = list(dict.fromkeys(columns))
        self.check_names(names)
        levels = self._needed_levels(names)
        raw = self._read_raw(index, names)
        place = self.place(index)
        arrays = [conform(raw[name], self.rules[name], levels.get(name), place) for name in names]
        if not names:
            return raw
        return pa.table(arrays, names=names)

    def declared_levels(self, columns: Sequence[str]) -> dict[str, tuple[Level, ...]]:
        """Return the level order of those columns that have one.

        Declared levels come as declared. A pandas category (or an ordered Arrow dictionary) gives
        its own order without the levels that do not occur, as R's model frames do. A column of
        fractional numbers declared as category is ordered by value.
        """
        return self._needed_levels(list(columns))

    def _needed_levels(self, columns: Sequence[str]) -> dict[str, tuple[Level, ...]]:
        found: dict[str, tuple[Level, ...]] = {}
        for column in columns:
            rule = self.rules.get(column)
            if rule is None or rule.order == "none":
                continue
            if rule.order == "declared":
                found[column] = rule.levels
                continue
            if column not in self._scanned:
                self._scanned[column] = self._scan_levels(rule)
            found[column] = self._scanned[column]
        return found

    def _scan_levels(self, rule: ColumnRule) -> tuple[Level, ...]:
        pieces = (self._read_raw(i, [rule.name])[rule.name] for i in range(self.n_partitions))
        if rule.order == "category":
            return category_levels(pieces, rule)
        return number_levels(pieces)

    @abstractmethod
    def _read_raw(self, index: int, columns: Sequence[str]) -> pa.Table:
        """Return one partition's columns as they are stored."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return the SHA-256 of the content."""

    @abstractmethod
    def partition_fingerprint(self, index: int) -> str:
        """Return a SHA-256 that changes when the content of one partition does."""
