"""Rows whose residuals are correlated: every group in one partition, the source read once.

The one reading learns the schema and keeps the complete rows: in memory where there is one partition,
otherwise in a temporary folder, divided by a number made of the group's value. Which group is in which
partition depends on the data alone, and the order within on the values, so that the sums are the same
bits whoever ran what. Stands before "Rows become columns" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from mixedflow.data.source import Source, default_partition_rows
from mixedflow.design import ModelSpec, PartitionPlace, PartitionSummary, merge_summaries
from mixedflow.design.arrow import as_arrow, as_numpy, is_text, joined, plain, row_name
from mixedflow.design.learn import chosen_columns, complete_rows, summarize_partition
from mixedflow.design.positions import EXACT, largest_group
from mixedflow.errors import UnsupportedError
from mixedflow.parallel.mapping import OnDone, map_reduce
from mixedflow.parallel.runner import ELSEWHERE, Runner
from mixedflow.parallel.single_pass import place_of

ROW = "\0row"
"""Column of a kept row's number in the source."""


def holds_whole_groups(spec: ModelSpec, source: Source) -> bool:
    """Say whether no group of R can have rows in two partitions of a source."""
    group = spec.parsed_residual.group
    if not group or source.n_partitions < 2:
        return True
    manifest = getattr(source, "manifest", None)
    return manifest is not None and manifest.group in group


@dataclass(frozen=True, slots=True)
class KeptPlace(PartitionPlace):
    """Where kept rows stood in the source."""

    rows: Any = None

    def row(self, position: int) -> str:
        """Name a row by its number in the source."""
        return row_name(self.source, int(self.rows[int(position)]))


@dataclass(frozen=True, slots=True, eq=False)
class KeptRows:
    """The rows of a source after its one reading, every group in one partition.

    Attributes
    ----------
    summary : of all rows
    source : name of the source
    n_partitions : number of partitions
    table : the rows of the only partition, where they are in memory
    folder : where they are otherwise, a file a partition of the source, a record batch a partition
    """

    summary: PartitionSummary
    source: str
    n_partitions: int
    table: pa.Table | None
    folder: Path | None

    def read(self, index: int) -> tuple[pa.Table, PartitionPlace]:
        """Return the rows of a partition, and where they stood."""
        if self.table is not None:
            return self.table, PartitionPlace(self.source)
        assert self.folder is not None  # noqa: S101 - one of the two is there
        files = sorted(self.folder.glob("*.arrow"))
        table = pa.concat_tables([_batch(path, index) for path in files]).unify_dictionaries()
        rows = as_numpy(joined(table.column(ROW)))
        return table.drop_columns([ROW]), KeptPlace(self.source, index, 0, rows)

    def largest(self, names: Sequence[str], runner: Runner) -> int:
        """Return the rows of the largest group."""
        if self.table is not None:
            return self.summary.largest

        def count(index: int) -> int:
            return largest_group(self.read(index)[0], names)

        return map_reduce(count, self.n_partitions, max, runner=runner)


@contextmanager
def kept_rows(
    spec: ModelSpec, source: Source, runner: Runner, on_done: OnDone | None = None
) -> Iterator[KeptRows]:
    """Read a source once and give its rows, every group in one partition.

    Raises
    ------
    UnsupportedError
        if rows would have to be divided by group on machines that see no common folder.
    """
    if source.n_partitions == 1:
        table = source.read(0, spec.variables)
        summary = summarize_partition(spec, table, place_of(source, 0))
        if on_done is not None:
            on_done(1, 2)
        yield KeptRows(summary, source.name, 1, table, None)
        return
    if runner.kind in ELSEWHERE:
        group = spec.parsed_residual.group
        raise UnsupportedError(
            f"residual='{spec.residual}' needs the rows of a group in one partition, and workers on "
            f"other machines share no folder where they could be brought together; prepare the data with "
            f"group='{group[-1] if group else ''}' first"
        )
    with tempfile.TemporaryDirectory(prefix="mixedflow-") as place:
        scatter = _Scatter(spec, source, Path(place), _n_parts(spec, source))
        n_parts = scatter.n_parts or source.n_partitions
        total = source.n_partitions + n_parts
        counted = None if on_done is None else (lambda done, _: on_done(done, total))
        summary = map_reduce(
            scatter, source.n_partitions, merge_summaries, runner=runner, on_done=counted
        )
        rows = KeptRows(summary, source.name, n_parts, None, Path(place))
        if spec.parsed_residual.needs_largest:
            largest = rows.largest(spec.parsed_residual.group, runner)
            rows = replace(rows, summary=replace(summary, largest=largest))
        yield rows


def _n_parts(spec: ModelSpec, source: Source) -> int | None:
    """Return how many partitions the groups are divided among; None to leave them where they are."""
    if holds_whole_groups(spec, source):
        return None
    offsets = [source.row_offset(i) for i in range(source.n_partitions)] + [source.n_rows]
    wanted = min(default_partition_rows(len(spec.variables)), int(np.diff(offsets).max()))
    return max(1, -(-source.n_rows // max(wanted, 1)))


@dataclass(frozen=True, slots=True, eq=False)
class _Scatter:
    """Reads a partition, summarises it, and writes its complete rows by part; picklable."""

    spec: ModelSpec
    source: Source
    folder: Path
    n_parts: int | None

    def __call__(self, index: int) -> PartitionSummary:
        """Keep the rows of a partition and return its summary."""
        spec, source = self.spec, self.source
        table = source.read(index, spec.variables)
        summary = summarize_partition(spec, table, place_of(source, index))
        table = chosen_columns(table, spec.variables, source.name)
        kept, _ = complete_rows(table)
        numbers = as_arrow(np.flatnonzero(kept) + source.row_offset(index))
        complete = table if kept.all() else table.filter(as_arrow(kept))
        complete = complete.append_column(ROW, numbers)
        self._write(complete, index)
        return summary

    def _write(self, table: pa.Table, index: int) -> None:
        n_parts = self.n_parts or self.source.n_partitions
        if self.n_parts is None:
            part = np.full(table.num_rows, index)
        else:
            part = part_of(table, self.spec.parsed_residual.group, n_parts)
            table = table.unify_dictionaries().combine_chunks()
            table = table.take(as_arrow(np.argsort(part, kind="stable")))
        batch = _one_batch(table)
        ends = np.cumsum(np.bincount(part, minlength=n_parts))
        place = self.folder / f"{index:06d}.tmp"
        with pa.OSFile(str(place), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as file:
            start = 0
            for end in ends.tolist():
                file.write_batch(batch.slice(start, end - start))
                start = end
        place.replace(place.with_suffix(".arrow"))


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    """Return a table as one batch: a file holds one dictionary a column."""
    batches = table.unify_dictionaries().combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def _batch(path: Path, index: int) -> pa.Table:
    with pa.memory_map(str(path), "r") as handle, pa.ipc.open_file(handle) as file:
        return pa.Table.from_batches([file.get_batch(index)])


def part_of(table: pa.Table, names: Sequence[str], n_parts: int) -> Any:
    """Return the part of every row: the same for all rows of a group, whatever else there is."""
    mixed = np.zeros(table.num_rows, dtype=np.uint64)
    for name in names:
        mixed = _mixed(mixed ^ _number(table.column(name)))
    return (mixed % np.uint64(n_parts)).astype(np.int64)


def _number(column: pa.ChunkedArray) -> Any:
    """Return a number of every value; whole numbers are the same however they are stored."""
    array: Any = joined(column)
    if pa.types.is_dictionary(array.type):
        return _number(pa.chunked_array([array.dictionary]))[as_numpy(array.indices)]
    if is_text(array.type):
        coded = array.dictionary_encode()
        words = (crc32(word.encode()) for word in coded.dictionary.to_pylist())
        numbers = np.fromiter(words, dtype=np.uint64, count=len(coded.dictionary))
        return numbers[as_numpy(coded.indices)]
    values = np.asarray(as_numpy(joined(plain(column))))
    if values.dtype.kind != "f":
        return values.astype(np.int64).view(np.uint64)
    whole = (values == np.rint(values)) & (np.abs(values) < EXACT)
    integers = np.where(whole, values, 0.0).astype(np.int64).view(np.uint64)
    return np.where(whole, integers, values.view(np.uint64))


def _mixed(values: Any) -> Any:
    """Return splitmix64's scrambling, so that neighbouring numbers are spread evenly."""
    with np.errstate(over="ignore"):
        z = values + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
