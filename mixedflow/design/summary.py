"""What one partition tells about the data; summaries add up, in any grouping.

Stands at "The schema pass" in ``docs/algorithm.md``. :func:`merge_summaries` is pure and
associative (to rounding), and no summary depends on how the rows were divided into partitions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa

from mixedflow.design.arrow import StorageKind
from mixedflow.design.levels import LevelSet, unique_rows
from mixedflow.design.moments import Moments, PowerSums
from mixedflow.design.sketch import DistinctSketch, RowSample

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finding:
    """How many rows are of some unwanted sort, the first of them, and what stood there.

    Attributes
    ----------
    count : number of rows
    row : number of the first, 0-based in the source
    where : that row in words, ``row 5 of a.csv (line 6)``
    value : what was found there
    """

    count: int
    row: int
    where: str
    value: str = ""

    def __add__(self, other: Finding) -> Finding:
        first = self if self.row <= other.row else other
        return Finding(self.count + other.count, first.row, first.where, first.value)


@dataclass(frozen=True, slots=True)
class ColumnSummary:
    """Counts of one data column.

    Attributes
    ----------
    kind : how it is stored
    missing : null or NaN, over all rows
    infinite : infinite values, over complete rows
    not_number : values of a text column that are no numbers
    n_text : values of a text column that are not missing
    """

    kind: StorageKind
    missing: Finding | None = None
    infinite: Finding | None = None
    not_number: Finding | None = None
    n_text: int = 0

    def __add__(self, other: ColumnSummary) -> ColumnSummary:
        return ColumnSummary(
            _merged_kind(self.kind, other.kind),
            _plus(self.missing, other.missing),
            _plus(self.infinite, other.infinite),
            _plus(self.not_number, other.not_number),
            self.n_text + other.n_text,
        )


@dataclass(frozen=True, slots=True)
class PartitionSummary:
    """Everything that the schema needs of some rows.

    Attributes
    ----------
    source : name of the data, for messages
    rows_in, rows_used : rows seen, and complete rows among them
    columns : counts, by data column
    moments : by text of a numeric expression or key of a stateful call; ``""`` is the response
        less its offsets
    powers : for poly(), by key of the call
    sketches : for splines, by key of the call
    levels : by data column
    pairs : combinations of columns, by name of an interaction factor
    wrong : values that an expression cannot have (not finite; weights not positive), by expression
    sample : a few complete rows
    largest : complete rows of the largest group of R, where that is known and matters
    """

    source: str
    rows_in: int
    rows_used: int
    columns: Mapping[str, ColumnSummary]
    moments: Mapping[str, Moments] = field(default_factory=dict)
    powers: Mapping[str, PowerSums] = field(default_factory=dict)
    sketches: Mapping[str, DistinctSketch] = field(default_factory=dict)
    levels: Mapping[str, LevelSet] = field(default_factory=dict)
    pairs: Mapping[str, pa.Table] = field(default_factory=dict)
    wrong: Mapping[str, Finding] = field(default_factory=dict)
    sample: RowSample | None = None
    largest: int = 0

    @property
    def clean(self) -> bool:
        """Whether some rows are complete and nothing is wrong with any value in them."""
        infinite = any(column.infinite for column in self.columns.values())
        return self.sample is not None and not self.wrong and not infinite


def merge_summaries(a: PartitionSummary, b: PartitionSummary) -> PartitionSummary:
    """Summarise the rows of both; neither argument is changed."""
    columns = _each(a.columns, b.columns, _add)
    rows_in, rows_used = a.rows_in + b.rows_in, a.rows_used + b.rows_used
    if any(column.kind == "mixed" for column in columns.values()):
        return PartitionSummary(a.source, rows_in, rows_used, columns)
    names = dict.fromkeys((*a.levels, *b.levels))
    levels = {
        name: a.levels[name].union(b.levels[name], name)
        if name in a.levels and name in b.levels
        else (a.levels[name] if name in a.levels else b.levels[name])
        for name in names
    }
    return PartitionSummary(
        a.source,
        rows_in,
        rows_used,
        columns,
        _each(a.moments, b.moments, _add),
        _each(a.powers, b.powers, _add),
        _each(a.sketches, b.sketches, _add),
        levels,
        _each(a.pairs, b.pairs, _merged_pairs),
        _each(a.wrong, b.wrong, _add),
        _plus(a.sample, b.sample),
        max(a.largest, b.largest),
    )


def _each(a: Mapping[str, T], b: Mapping[str, T], add: Callable[[T, T], T]) -> dict[str, T]:
    merged = dict(a)
    for key, value in b.items():
        merged[key] = add(merged[key], value) if key in merged else value
    return merged


def _add(a: Any, b: Any) -> Any:
    return a + b


def _plus(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    return a + b


def _merged_pairs(a: pa.Table, b: pa.Table) -> pa.Table:
    if not a.num_rows or not b.num_rows:
        return b if not a.num_rows else a
    return unique_rows(pa.concat_tables([a, b], promote_options="permissive"))


def _merged_kind(a: StorageKind, b: StorageKind) -> StorageKind:
    if a == b or "unknown" in (a, b):
        return b if a == "unknown" else a
    return "mixed" if {"numeric", "mixed"} & {a, b} else "category"
