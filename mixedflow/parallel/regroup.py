"""Rows divided by group, out of core.

Three passes, each one task a partition: (1) rows are counted by group and the sorted groups cut
into ranges of about a part; (2) each partition's rows are written to a spill file, one record batch
a range; (3) each range is read from all spill files, sorted and written as a part. Memory holds a
partition or a part at a time and the counts; the result does not depend on who ran what.
Stands before "Rows become columns" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixedflow.parallel.mapping import OnDone, map_each, map_reduce
from mixedflow.parallel.parts import (
    Layout,
    Written,
    add_counts,
    complete_part,
    partition_ranges,
    write_part,
)
from mixedflow.parallel.runner import Runner


def regroup(layout: Layout, folder: Path, runner: Runner, on_done: OnDone | None) -> list[Written]:
    """Write parts sorted by (group, order), every group wholly in one of them."""
    group = layout.group or ""
    ranges = partition_ranges(layout.source, layout.part_rows)
    spill = folder / ".spill"
    spill.mkdir()
    total = 2 * len(ranges)

    def counted(offset: int) -> OnDone | None:
        return None if on_done is None else lambda done, _: on_done(offset + done, total)

    def count(index: int) -> pa.Table:
        return _count_groups(layout, group, index)

    n = layout.source.n_partitions
    counts = map_reduce(count, n, _add_counts, runner=runner)
    cuts = _cut_ranges(counts, layout.part_rows)

    def scatter(index: int) -> Written:
        return _spill_rows(layout, ranges[index], cuts, spill / f"{index:06d}.arrow")

    read = map_each(scatter, len(ranges), runner=runner, on_done=counted(0))

    def gather(index: int) -> Written:
        return _sorted_part(layout, index, spill, folder)

    total = len(ranges) + len(cuts) + 1
    made = map_each(gather, len(cuts) + 1, runner=runner, on_done=counted(len(ranges)))
    shutil.rmtree(spill)
    return [*read, *made]


def sort_key(column: pa.ChunkedArray) -> pa.Array:
    """Return what rows are sorted by: the place among declared levels, else the value."""
    if pa.types.is_dictionary(column.type):
        whole = column.unify_dictionaries().combine_chunks()
        whole = whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
        if column.type.ordered:
            return whole.indices.cast(pa.int64())
        return whole.cast(column.type.value_type)
    if pa.types.is_integer(column.type):
        column = column.cast(pa.int64())
    elif pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
    whole = column.combine_chunks()
    return whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole


def _count_groups(layout: Layout, group: str, index: int) -> pa.Table:
    """Return the groups of a partition and their rows: columns ``group`` and ``rows``."""
    keys = sort_key(layout.source.read(index, [group])[group])
    if pa.types.is_floating(keys.type):
        keys = pc.if_else(pc.is_nan(keys), pa.scalar(None, keys.type), keys)
    counts = keys.drop_null().value_counts()
    return pa.table({"group": counts.field("values"), "rows": counts.field("counts")})


def _add_counts(a: pa.Table, b: pa.Table) -> pa.Table:
    both = pa.concat_tables([a, b]).group_by("group").aggregate([("rows", "sum")])
    return both.select(["group", "rows_sum"]).rename_columns(["group", "rows"])


def _cut_ranges(counts: pa.Table, part_rows: int) -> pa.Array:
    """Return the first groups of all ranges but the first: each has about ``part_rows`` rows."""
    if not counts.num_rows:
        return pa.array([], type=counts.schema.field("group").type)
    ordered = counts.sort_by("group")
    rows = ordered["rows"].to_numpy()
    before = np.concatenate([[0], np.cumsum(rows)[:-1]])
    total = int(rows.sum())
    n_parts = max(1, -(-total // part_rows))
    part = before * n_parts // total
    firsts = np.flatnonzero(np.diff(part)) + 1
    return ordered["group"].combine_chunks().take(pa.array(firsts))


def _range_of(keys: pa.Array, cuts: pa.Array) -> NDArray[np.int64]:
    """Return for every row the range that its group falls in."""
    if not pa.types.is_string(keys.type):
        values = keys.to_numpy(zero_copy_only=False)
        return np.asarray(np.searchsorted(cuts.to_numpy(), values, side="right"))
    coded = keys.dictionary_encode()
    words = np.array(coded.dictionary.to_pylist(), dtype=object)
    bounds = np.array(cuts.to_pylist(), dtype=object)
    return np.asarray(np.searchsorted(bounds, words, side="right")[coded.indices.to_numpy()])


def _spill_rows(layout: Layout, partitions: tuple[int, int], cuts: pa.Array, path: Path) -> Written:
    """Write the complete rows of some partitions, one record batch a range."""
    pieces = [complete_part(layout, index) for index in range(*partitions)]
    table = pa.concat_tables([piece for piece, _, _ in pieces]).unify_dictionaries()
    table = table.combine_chunks()
    place = _range_of(sort_key(table[layout.group]), cuts)
    table = table.take(pa.array(np.argsort(place, kind="stable")))
    ends = np.cumsum(np.bincount(place, minlength=len(cuts) + 1))
    schema = table.schema
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as file:
        start = 0
        for end in ends.tolist():
            file.write_batch(_one_batch(table.slice(start, end - start)))
            start = end
    dropped = add_counts(counts for _, _, counts in pieces)
    return Written((), sum(rows for _, rows, _ in pieces), dropped)


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    """Return a batch; one without rows keeps the labels, which a file of batches may not change."""
    batches = table.combine_chunks().to_batches()
    if batches:
        return batches[0]
    empty = [c.chunk(0) if c.num_chunks else pa.array([], c.type) for c in table.columns]
    return pa.RecordBatch.from_arrays(empty, schema=table.schema)


def _sorted_part(layout: Layout, index: int, spill: Path, folder: Path) -> Written:
    """Read one range from all spill files, sort it and write it as a part."""
    table = pa.concat_tables([_spilled(path, index) for path in sorted(spill.iterdir())])
    if not table.num_rows:
        return Written((), 0, {})
    keys = {"group": sort_key(table[layout.group])}
    if layout.order is not None:
        keys["order"] = sort_key(table[layout.order])
    by: Any = [(name, "ascending") for name in keys]
    rows = pc.sort_indices(pa.table(keys), sort_keys=by)
    table = table.unify_dictionaries().take(rows)
    ends = table[layout.group].take(pa.array([0, table.num_rows - 1])).to_pylist()
    part = write_part(table, folder, f"{index:06d}", ends)
    return Written((part,), 0, {})


def _spilled(path: Path, index: int) -> pa.Table:
    with pa.memory_map(str(path), "r") as handle, pa.ipc.open_file(handle) as file:
        return pa.Table.from_batches([file.get_batch(index)])
