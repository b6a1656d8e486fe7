"""Arrow IPC files (Feather) as sources: a partition is a range of record batches.

Stands before "Rows become columns" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from mixedflow.data.columns import Declarations, plan_columns
from mixedflow.data.fingerprint import sha256_of_file, sha256_of_table
from mixedflow.data.source import BaseSource, default_partition_rows
from mixedflow.errors import SourceError

MAGIC = b"ARROW1"


class IpcSource(BaseSource):
    """One Arrow IPC file, read through a memory map.

    Parameters
    ----------
    path : the file
    declarations : declared types and levels
    partition_rows : batches are taken together up to this many rows; None for about 128 MB
    """

    def __init__(
        self, path: Path, declarations: Declarations, *, partition_rows: int | None = None
    ) -> None:
        self._path = path
        with _open(path) as reader:
            schema = reader.schema
            sizes = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
        step = partition_rows or default_partition_rows(len(schema.names))
        self._batches = list(_ranges(sizes, step))
        categories = [f.name for f in schema if pa.types.is_dictionary(f.type)]
        meant = categories if b"pandas" in (schema.metadata or {}) else []
        rules = plan_columns(schema, declarations, str(path), categories=meant)
        super().__init__(str(path), rules, [sum(sizes[a:b]) for a, b in self._batches])

    def _read_raw(self, index: int, columns: Sequence[str]) -> pa.Table:
        first, last = self._batches[index]
        with _open(self._path) as reader:
            batches = [reader.get_batch(i).select(list(columns)) for i in range(first, last)]
            return pa.Table.from_batches(batches)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file."""
        return sha256_of_file(self._path)

    def partition_fingerprint(self, index: int) -> str:
        """Return the SHA-256 of the partition's values."""
        return sha256_of_table(self._read_raw(index, list(self.rules)))


def _ranges(sizes: Sequence[int], step: int) -> Iterator[tuple[int, int]]:
    first, rows = 0, 0
    for index, size in enumerate(sizes):
        if rows and rows + size > step:
            yield first, index
            first, rows = index, 0
        rows += size
    if sizes:
        yield first, len(sizes)


@contextmanager
def _open(path: Path) -> Iterator[pa.RecordBatchFileReader]:
    try:
        with pa.memory_map(str(path), "r") as handle, pa.ipc.open_file(handle) as reader:
            yield reader
    except PermissionError as error:
        raise SourceError(f"'{path}' cannot be read: permission denied") from error
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> SourceError:
    if not path.exists():
        return SourceError(f"'{path}' is no longer there")
    with path.open("rb") as handle:
        head = handle.read(len(MAGIC))
    if not head:
        return SourceError(f"'{path}' is empty (0 bytes), not an Arrow file")
    if head.startswith(b"FEA1"):
        return SourceError(
            f"'{path}' is Feather version 1; write it again as version 2 (Arrow IPC)"
        )
    if head != MAGIC:
        return SourceError(f"'{path}' is not an Arrow IPC (Feather) file")
    reason = str(error).splitlines()[0]
    return SourceError(f"'{path}' is cut off or damaged and cannot be read as Arrow IPC: {reason}")
