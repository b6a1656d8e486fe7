"""Parquet files as sources: a partition is a range of row groups of one file.

Stands before "Rows become columns" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mixedflow.data.columns import Declarations, check_unique, describe, is_text, plan_columns
from mixedflow.data.fingerprint import sha256_of_file, sha256_of_files, sha256_of_text
from mixedflow.data.source import BaseSource, default_partition_rows
from mixedflow.errors import DataError, SourceError

WIDE = 1_000
"""Columns from which a file stays open between one reading and the next."""


@dataclass(frozen=True, slots=True)
class ParquetPart:
    """Row groups ``first`` to ``last`` (not included) of a file, and their rows."""

    path: Path
    first: int
    last: int
    rows: int


@dataclass(frozen=True, slots=True)
class _Opened:
    """A file as it was opened: its time and size, and the columns read as dictionaries."""

    path: Path
    stamp: tuple[int, int]
    texts: tuple[str, ...]


class ParquetSource(BaseSource):
    """One or several Parquet files with the same columns.

    Parameters
    ----------
    paths : the files, in the order of their rows
    declarations : declared types and levels
    name : for messages
    partition_rows : row groups are taken together up to this many rows; None for about 128 MB
    header_lines : 1 when the files were made from a CSV file
    schema : the columns' types when they are not to be taken from the files
    """

    def __init__(
        self,
        paths: Sequence[Path],
        declarations: Declarations,
        *,
        name: str,
        partition_rows: int | None = None,
        header_lines: int = 0,
        schema: pa.Schema | None = None,
    ) -> None:
        footers = [_footer(path) for path in paths]
        held = schema or _common_schema(list(paths), [footer.schema for footer in footers])
        step = partition_rows or default_partition_rows(len(held.names))
        self._parts = [
            part
            for path, footer in zip(paths, footers, strict=True)
            for part in _ranges(path, footer.group_rows, step)
        ]
        self._paths = list(paths)
        categories = _pandas_categories(footers[0].schema) if footers else []
        rules = plan_columns(held, declarations, name, categories=categories)
        self._idle: list[tuple[_Opened, pq.ParquetFile]] = []
        super().__init__(name, rules, [p.rows for p in self._parts], header_lines=header_lines)

    def _read_raw(self, index: int, columns: Sequence[str]) -> pa.Table:
        part = self._parts[index]
        rules = (self.rules[c] for c in columns)
        texts = [rule.name for rule in rules if rule.coded and rule.target == pa.string()]
        try:
            opened = _Opened(part.path, _stamp(part.path), tuple(texts))
            file = self._taken(opened) or open_parquet(part.path, texts)
            groups = list(range(part.first, part.last))
            found = file.read_row_groups(groups, columns=list(columns))
        except (OSError, pa.ArrowException) as error:
            raise unreadable(part.path, error) from error
        if file.metadata.num_columns >= WIDE:
            self._idle.append((opened, file))
        else:
            file.close()
        return found

    def _taken(self, wanted: _Opened) -> pq.ParquetFile | None:
        """Return a file that is open and that no other thread reads, if it is the one wanted."""
        try:
            opened, file = self._idle.pop()
        except IndexError:
            return None
        if opened == wanted:
            return file
        file.close()
        return None

    def __getstate__(self) -> dict[str, object]:
        """Leave open files where they are."""
        return {**self.__dict__, "_idle": []}

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file, or one over those of several files."""
        return sha256_of_files(self._paths)

    def partition_fingerprint(self, index: int) -> str:
        """Return the SHA-256 of the partition's bytes and of the types that give them meaning."""
        part = self._parts[index]
        with open_parquet(part.path) as file:
            start, stop = _byte_range(file.metadata, part.first, part.last)
            schema = str(file.schema_arrow)
        return sha256_of_text(f"{sha256_of_file(part.path, start, stop)}\0{schema}\0{part.rows}")


@dataclass(frozen=True, slots=True)
class _Footer:
    schema: pa.Schema
    group_rows: tuple[int, ...]


def _footer(path: Path) -> _Footer:
    try:
        with open_parquet(path) as file:
            metadata = file.metadata
            rows = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
            schema = file.schema_arrow
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from error
    check_unique(schema.names, str(path))
    return _Footer(schema, rows)


def _stamp(path: Path) -> tuple[int, int]:
    """Return what tells that a file was written anew: its time and size."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def open_parquet(path: Path, texts: Sequence[str] = ()) -> pq.ParquetFile:
    """Open a file, its page checksums verified and its text columns read as dictionaries.

    Nothing is buffered beforehand: that helps far stores only, and holds all compressed pages twice.
    """
    return pq.ParquetFile(
        path, read_dictionary=list(texts), page_checksum_verification=True, pre_buffer=False
    )


def unreadable(path: Path, error: Exception) -> SourceError:
    """Return the sentence for a Parquet file that cannot be read."""
    if isinstance(error, PermissionError):
        return SourceError(f"'{path}' cannot be read: permission denied")
    if isinstance(error, FileNotFoundError):
        return SourceError(f"'{path}' is no longer there")
    size = path.stat().st_size if path.exists() else 0
    if size == 0:
        return SourceError(f"'{path}' is empty (0 bytes), not a Parquet file")
    with path.open("rb") as handle:
        head = handle.read(4)
        handle.seek(max(size - 4, 0))
        tail = handle.read(4)
    if head == b"PAR1" and tail != b"PAR1":
        return SourceError(f"'{path}' is cut off: the end of the Parquet file is missing")
    if head != b"PAR1":
        return SourceError(f"'{path}' is not a Parquet file")
    reason = str(error).splitlines()[0]
    return SourceError(f"'{path}' is damaged and cannot be read as Parquet: {reason}")


def _ranges(path: Path, group_rows: Sequence[int], step: int) -> Iterator[ParquetPart]:
    """Yield consecutive row groups together, as many as stay within ``step`` rows."""
    first, rows = 0, 0
    for index, size in enumerate(group_rows):
        if rows and rows + size > step:
            yield ParquetPart(path, first, index, rows)
            first, rows = index, 0
        rows += size
    if group_rows:
        yield ParquetPart(path, first, len(group_rows), rows)


def _byte_range(metadata: pq.FileMetaData, first: int, last: int) -> tuple[int, int]:
    """Return where the bytes of row groups ``first`` to ``last`` start and end in the file."""
    starts, stops = [], []
    for group in range(first, last):
        row_group = metadata.row_group(group)
        for index in range(row_group.num_columns):
            column = row_group.column(index)
            page = column.dictionary_page_offset
            start = column.data_page_offset if page is None else min(page, column.data_page_offset)
            starts.append(start)
            stops.append(start + column.total_compressed_size)
    return (min(starts), max(stops)) if starts else (0, 0)


def _pandas_categories(schema: pa.Schema) -> list[str]:
    """Return the dictionary columns that pandas wrote as category."""
    try:
        described = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
        named = {c["name"] for c in described["columns"] if c["pandas_type"] == "categorical"}
    except (KeyError, TypeError, ValueError):
        return []
    return [f.name for f in schema if f.name in named and pa.types.is_dictionary(f.type)]


def _common_schema(paths: Sequence[Path], schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Return the types of all files together; files that disagree are named with the column."""
    if not schemas:
        return pa.schema([])
    common = list(schemas[0])
    for path, schema in zip(paths[1:], schemas[1:], strict=True):
        if schema.equals(schemas[0]):
            continue
        _check_same_columns(paths[0], schemas[0], path, schema)
        common = [
            pa.field(f.name, _common_type(f, schema.field(f.name), paths[0], path)) for f in common
        ]
    return pa.schema(common)


def _check_same_columns(first: Path, held: pa.Schema, path: Path, schema: pa.Schema) -> None:
    for here, there, names, others in (
        (first, path, held.names, schema.names),
        (path, first, schema.names, held.names),
    ):
        lacking = [name for name in names if name not in set(others)]
        if lacking:
            raise DataError(
                f"the files differ: '{here}' has a column '{lacking[0]}' that '{there}' has not"
            )


def _common_type(a: pa.Field, b: pa.Field, first: Path, path: Path) -> pa.DataType:
    """Return a type that holds both fields' values."""
    if a.type.equals(b.type) or pa.types.is_null(b.type):
        return a.type
    if pa.types.is_null(a.type):
        return b.type
    if _is_label(a.type) and _is_label(b.type):
        return pa.string()
    if _is_number(a.type) and _is_number(b.type):
        whole = pa.types.is_integer(a.type) and pa.types.is_integer(b.type)
        return pa.int64() if whole else pa.float64()
    raise DataError(
        f"the files differ: column '{a.name}' holds {describe(a.type)} in '{first}' but "
        f"{describe(b.type)} in '{path}'"
    )


def _is_label(held: pa.DataType) -> bool:
    values = held.value_type if pa.types.is_dictionary(held) else held
    return is_text(values)


def _is_number(held: pa.DataType) -> bool:
    number = pa.types.is_integer(held) or pa.types.is_floating(held) or pa.types.is_decimal(held)
    return bool(number)
