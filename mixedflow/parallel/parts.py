"""What prepared data are made of: complete rows, written as parts.

Stands before "Rows become columns" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mixedflow.data.columns import Place
from mixedflow.data.fingerprint import sha256_of_file
from mixedflow.data.part_checks import part_checksums
from mixedflow.data.prepared import PartRecord
from mixedflow.data.source import Source
from mixedflow.errors import MissingValuesError

MissingPolicy = Literal["drop", "error"]


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows are left out: those that lack a value in some columns."""

    columns: tuple[str, ...]
    missing: MissingPolicy


@dataclass(frozen=True, slots=True)
class Written:
    """What one task wrote.

    Attributes
    ----------
    parts : the parts in their order
    rows_in : rows read
    dropped : column -> rows dropped in which it was missing
    """

    parts: tuple[PartRecord, ...]
    rows_in: int
    dropped: dict[str, int]


@dataclass(frozen=True, slots=True)
class Layout:
    """What parts are made of: columns of a source, rows a part, what is left out, how sorted."""

    source: Source
    columns: tuple[str, ...]
    part_rows: int
    rows: RowFilter
    group: str | None = None
    order: str | None = None


def partition_ranges(source: Source, rows: int) -> list[tuple[int, int]]:
    """Return runs of partitions that have ``rows`` rows at most, or are a single one."""
    ranges: list[tuple[int, int]] = []
    first, held = 0, 0
    ends = [*(source.row_offset(i) for i in range(1, source.n_partitions)), source.n_rows]
    for index, end in enumerate(ends):
        size = end - source.row_offset(index)
        if held and held + size > rows:
            ranges.append((first, index))
            first, held = index, 0
        held += size
    ranges.append((first, source.n_partitions))
    return ranges


def complete_part(layout: Layout, index: int) -> tuple[pa.Table, int, dict[str, int]]:
    """Return a partition's complete rows, the rows read, and the drops by column."""
    table = layout.source.read(index, layout.columns)
    place = Place(layout.source.name, layout.source.row_offset(index), layout.source.header_lines)
    kept, dropped = complete_rows(table, layout.rows, place)
    return kept, table.num_rows, dropped


def complete_rows(
    table: pa.Table, rows: RowFilter, place: Place
) -> tuple[pa.Table, dict[str, int]]:
    """Return the rows that lack nothing in the filter's columns, and the drops by column."""
    keep: Any = None
    dropped: dict[str, int] = {}
    for column in rows.columns:
        present = pc.invert(pc.is_null(table[column], nan_is_null=_may_be_nan(table[column])))
        lacking = table.num_rows - (pc.sum(present).as_py() or 0)
        if not lacking:
            continue
        if rows.missing == "error":
            row = pc.index(present, pa.scalar(False)).as_py()
            raise MissingValuesError(
                f"{place.row(row)}: column '{column}' is missing; allow incomplete rows to be "
                "dropped (missing: drop) or complete the data"
            )
        dropped[column] = lacking
        keep = present if keep is None else pc.and_(keep, present)
    return (table if keep is None else table.filter(keep)), dropped


def _may_be_nan(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_floating(column.type))


def write_part(table: pa.Table, folder: Path, name: str, groups: Sequence[Any] = ()) -> PartRecord:
    """Write one part, with checksums in its pages, and return its record."""
    path = folder / f"part-{name}.parquet"
    stored = pa.table([_storable(c) for c in table.columns], names=table.column_names)
    labels = [f.name for f in stored.schema if pa.types.is_dictionary(f.type)]
    pq.write_table(
        stored,
        path,
        compression="zstd",
        compression_level=1,
        use_dictionary=labels,
        write_page_checksum=True,
    )
    first, last = (groups[0], groups[-1]) if len(groups) else (None, None)
    size = path.stat().st_size
    sha256, crc32 = sha256_of_file(path), part_checksums(path)
    return PartRecord(path.name, table.num_rows, size, sha256, crc32, first, last)


def _storable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return labels as a dictionary without the mark of an order: the manifest keeps levels."""
    if not pa.types.is_dictionary(column.type):
        return column
    plain = column.cast(column.type.value_type)
    return plain.dictionary_encode() if pa.types.is_string(plain.type) else plain


def add_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Return the sums of counts by column."""
    total: dict[str, int] = {}
    for one in counts:
        for column, n in one.items():
            total[column] = total.get(column, 0) + n
    return total
