"""Checksums of a part's footer and page headers, beside those that its pages carry.

Parquet's own checksums cover what pages hold. A changed bit in a page's header or in the footer can
turn into other values all the same, so these have checksums in the manifest: one of the footer, one a
column of its headers, in which the checksums of its pages stand. Reading some columns verifies these,
at the price of a few hundred bytes a page. Stands before "Rows become columns" in
``docs/algorithm.md``.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mixedflow.data.compact import compressed_size
from mixedflow.errors import SourceError

TAIL = 8
"""Bytes after the footer: its length and the magic number."""
MAGIC = b"PAR1"
HEADER, LONG_HEADER = 256, 1 << 16
"""Bytes that are read for the header of a page: mostly, and where these are too few."""

Layout = tuple[int, dict[str, tuple[tuple[int, int], ...]]]
"""CRC-32 of a footer, and of each column where its bytes begin and end, a pair a row group."""


def part_checksums(path: Path) -> tuple[int, ...]:
    """Return the CRC-32 of a Parquet file's footer, then one a column of its page headers."""
    with path.open("rb") as handle:
        footer, columns = _layout(handle.fileno())
        return footer, *(_headers_crc(handle.fileno(), ranges) for ranges in columns.values())


def footer_holds(path: Path, checksums: Sequence[int]) -> bool:
    """Return whether a file's footer has its checksum."""
    with path.open("rb") as handle:
        return zlib.crc32(_footer(handle.fileno())) == checksums[0]


def columns_hold(path: Path, checksums: Sequence[int], names: Sequence[str]) -> bool:
    """Return whether the footer, and the page headers of some columns, have their checksums.

    Raises
    ------
    SourceError
        when the file is not there
    """
    try:
        found = path.stat()
        with path.open("rb", buffering=0) as handle:
            file = handle.fileno()
            footer, columns = _known_layout(path, found.st_mtime_ns, found.st_size)
            expected = dict(zip(columns, checksums[1:], strict=True))
            return footer == checksums[0] and all(
                _headers_crc(file, columns[name]) == expected[name] for name in names
            )
    except FileNotFoundError as error:
        raise SourceError(f"'{path}' is no longer there") from error
    except (OSError, ValueError, KeyError, IndexError, pa.ArrowException):
        return False


@lru_cache(maxsize=64)
def _known_layout(path: Path, time: int, size: int) -> Layout:
    """Return the layout of a file that is still the same."""
    del time, size
    with path.open("rb", buffering=0) as handle:
        return _layout(handle.fileno())


def _layout(file: int) -> Layout:
    """Return where the footer says that columns are; it is parsed from the bytes that are checked."""
    content = _footer(file)
    metadata = pq.read_metadata(pa.BufferReader(MAGIC + content))
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    columns = {
        metadata.schema.column(k).path: tuple(_range(group.column(k)) for group in groups)
        for k in range(metadata.num_columns)
    }
    return zlib.crc32(content), columns


def _footer(file: int) -> bytes:
    """Return the footer with its length; all of a file that has none."""
    size = os.fstat(file).st_size
    length = int.from_bytes(os.pread(file, 4, max(size - TAIL, 0)), "little") + TAIL
    start = max(size - length, 0)
    return os.pread(file, size - start, start)


def _range(column: pq.ColumnChunkMetaData) -> tuple[int, int]:
    pages = (column.dictionary_page_offset, column.data_page_offset)
    start = min(page for page in pages if page is not None)
    return start, start + column.total_compressed_size


def _headers_crc(file: int, ranges: Sequence[tuple[int, int]]) -> int:
    crc = 0
    for start, stop in ranges:
        for header in _headers(file, start, stop):
            crc = zlib.crc32(header, crc)
    return crc


def _headers(file: int, start: int, stop: int) -> Iterator[bytes]:
    """Yield the headers of the pages between two places, which must end where a page does."""
    at = start
    while at < stop:
        read = os.pread(file, HEADER, at)
        try:
            length, page = compressed_size(read)
        except IndexError:
            read = os.pread(file, LONG_HEADER, at)
            length, page = compressed_size(read)
        yield read[:length]
        at += length + page
    if at != stop:
        raise ValueError("the pages end elsewhere than their column")
