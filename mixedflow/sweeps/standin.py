"""A source with a stand-in for the response, so that a design can be learned without one.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from mixedflow.data.columns import ColumnKind, Level
from mixedflow.data.source import Source


class StandInSource:
    """The rows of another source with one more column, the number of the row: it is never constant.

    Attributes
    ----------
    source : the rows
    response : name of the column
    """

    def __init__(self, source: Source, response: str) -> None:
        self.source = source
        self.response = response

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
        return {**self.source.columns(), self.response: "numeric"}

    def declared_levels(self, columns: Sequence[str]) -> dict[str, tuple[Level, ...]]:
        """Return the level order of those columns that have one."""
        return self.source.declared_levels(self._others(columns))

    def read(self, index: int, columns: Sequence[str]) -> pa.Table:
        """Return one partition's columns, the stand-in among them where it is asked for."""
        others = self._others(columns)
        if not others:
            names = list(self.source.columns())[:1]
            return self._with_numbers(index, self.source.read(index, names)).select([self.response])
        table = self._with_numbers(index, self.source.read(index, others))
        return table.select(list(dict.fromkeys(columns)))

    def check_names(self, columns: Sequence[str]) -> None:
        """Raise unless all columns are there."""
        self.source.check_names(self._others(columns))

    def describe(self, column: str) -> str:
        """Return what a column holds, in words."""
        return "numbers" if column == self.response else self.source.describe(column)

    def is_coded(self, column: str) -> bool:
        """Return whether a column was declared, or is held, as categories."""
        return column != self.response and self.source.is_coded(column)

    def row_offset(self, index: int) -> int:
        """Return the number of rows before a partition."""
        return self.source.row_offset(index)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the content."""
        return self.source.fingerprint()

    def partition_fingerprint(self, index: int) -> str:
        """Return a SHA-256 that changes when the content of one partition does."""
        return self.source.partition_fingerprint(index)

    def _with_numbers(self, index: int, table: pa.Table) -> pa.Table:
        first = self.row_offset(index)
        numbers = np.arange(first, first + table.num_rows, dtype=float)
        return table.append_column(self.response, pa.array(numbers))

    def _others(self, columns: Sequence[str]) -> list[str]:
        return [name for name in columns if name != self.response]
