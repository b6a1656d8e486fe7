"""A source with a response beside its columns: a stand-in to learn a design by, or a trait.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from mixedflow.data.columns import ColumnKind, Level
from mixedflow.data.source import Source
from mixedflow.design.types import Float
from mixedflow.sweeps.wrapped import WrappedSource, row_mask

if TYPE_CHECKING:
    from mixedflow.sweeps.traits import TraitRows


class StandInSource(WrappedSource):
    """The rows of another source with one more column, the number of the row: it is never constant.

    Attributes
    ----------
    source : the rows
    response : name of the column
    """

    def __init__(self, source: Source, response: str) -> None:
        super().__init__(source)
        self.response = response

    def columns(self) -> dict[str, ColumnKind]:
        """Return every column with its kind."""
        return {**self.source.columns(), self.response: "numeric"}

    def declared_levels(self, columns: Sequence[str]) -> dict[str, tuple[Level, ...]]:
        """Return the level order of those columns that have one."""
        return self.source.declared_levels(self._others(columns))

    def read(self, index: int, columns: Sequence[str]) -> pa.Table:
        """Return one partition's columns, the response among them where it is asked for."""
        others = self._others(columns)
        if not others:
            names = list(self.source.columns())[:1]
            table = self.source.read(index, names)
            return self._with_response(index, table).select([self.response])
        table = self._with_response(index, self.source.read(index, others))
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

    def _with_response(self, index: int, table: pa.Table) -> pa.Table:
        values = pa.array(self.values(index, table.num_rows), from_pandas=True)
        return table.append_column(self.response, values)

    def values(self, index: int, count: int) -> Float:
        """Return the response in a partition."""
        first = self.row_offset(index)
        return np.arange(first, first + count, dtype=float)

    def _others(self, columns: Sequence[str]) -> list[str]:
        return [name for name in columns if name != self.response]


class TraitSource(StandInSource):
    """The rows of another source with one of the traits as their response.

    Attributes
    ----------
    source : the rows
    response : name of the column
    traits, trait : where its values come from
    """

    def __init__(self, source: Source, response: str, traits: TraitRows, trait: str) -> None:
        super().__init__(source, response)
        self.traits = traits
        self.trait = trait

    def values(self, index: int, count: int) -> Float:  # noqa: ARG002 - the trait knows its rows
        """Return the trait in a partition."""
        values: Float = self.traits.read(index, [self.trait])[0]
        mask = row_mask(self.source, index)
        return values if mask is None else values[mask]
