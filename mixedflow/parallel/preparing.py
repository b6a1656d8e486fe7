"""Any source becomes prepared data: Parquet parts of even size with a manifest.

Without a group the rows keep the order of the source. With one, every group lies wholly in one
part and rows are sorted by (group, order): rows are divided by ranges of the group's values in two
passes over the disk (:mod:`mixedflow.parallel.regroup`), so that memory holds a part at a time.
Stands before "Rows become columns" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from mixedflow.data.atomic import atomic_folder
from mixedflow.data.prepared import PartRecord, PreparedManifest
from mixedflow.data.source import Source, default_partition_rows
from mixedflow.errors import DataError, MissingValuesError
from mixedflow.parallel.mapping import OnDone, map_each
from mixedflow.parallel.parts import (
    Layout,
    MissingPolicy,
    RowFilter,
    Written,
    add_counts,
    complete_part,
    partition_ranges,
    write_part,
)
from mixedflow.parallel.regroup import regroup
from mixedflow.parallel.runner import SYNCHRONOUS, Runner

LOG = logging.getLogger(__name__)

OWN_FILES = ("manifest.json", "part-*.parquet")
LEAST_ROWS = 4096

COPIES_IN_MEMORY = 8
"""A part is read, decoded, concatenated, sorted and encoded: copies that are there at once."""


def prepare(  # noqa: PLR0913, what a data set's configuration says
    source: Source,
    out: str | Path,
    *,
    columns: Sequence[str] | None = None,
    group: str | None = None,
    order: str | None = None,
    drop_missing_in: Sequence[str] = (),
    missing: MissingPolicy = "drop",
    partition_rows: int | None = None,
    memory_limit: int | None = None,
    runner: Runner = SYNCHRONOUS,
    on_done: OnDone | None = None,
) -> PreparedManifest:
    """Write a source as prepared data; the folder appears whole or not at all.

    Parameters
    ----------
    source : what :func:`mixedflow.data.open_source` gave
    out : the folder to write
    columns : which columns are kept; None for all that a model can use
    group : column whose rows stay together, each group wholly in one part
    order : column that sorts rows within the group; rows that tie keep the source's order
    drop_missing_in : rows that lack a value in one of these are dropped, and counted by column
    missing : "drop", or "error" to refuse such rows
    partition_rows : rows a part; None for about 128 MB, less only where one worker could not hold it
    memory_limit : bytes for all workers together, of whom no more work than it holds parts for; the
        runner's when None
    runner : where tasks run; on other machines they must see ``out`` under the same path
    on_done : called with the number of tasks done and their total

    Raises
    ------
    MissingValuesError
        when a row is incomplete under "error", or no row is left
    DataError, OutputError
        when a column is not there; when the folder cannot be written
    """
    limit = memory_limit or runner.memory_limit
    kept = _kept_columns(source, columns, group, order, drop_missing_in)
    rows = RowFilter(tuple(dict.fromkeys((*drop_missing_in, *([group] if group else [])))), missing)
    if runner.kind == "threads":
        workers = fitting_workers(source, runner.workers, limit, partition_rows)
        runner = replace(runner, workers=workers)
    share = None if limit is None else limit // runner.workers
    part_rows = partition_rows or _part_rows(len(kept), source.n_rows, share)
    layout = Layout(source, kept, part_rows, rows, group, order)
    levels = source.declared_levels(kept)
    with atomic_folder(out, OWN_FILES) as folder:
        if group is None:
            done = _in_order(layout, folder, runner, on_done)
        else:
            done = regroup(layout, folder, runner, on_done)
        manifest = _manifest(layout, done, {name: list(values) for name, values in levels.items()})
        manifest = replace(manifest, parts=_numbered(folder, manifest.parts))
        manifest.save(folder)
    return manifest


def _kept_columns(
    source: Source,
    columns: Sequence[str] | None,
    group: str | None,
    order: str | None,
    drop_missing_in: Sequence[str],
) -> tuple[str, ...]:
    kinds = source.columns()
    chosen = [c for c, kind in kinds.items() if kind != "other"] if columns is None else columns
    needed = [c for c in (group, order, *drop_missing_in) if c is not None]
    names = tuple(dict.fromkeys((*chosen, *needed)))
    if not names:
        raise DataError(f"{source.name} has no column that a model can use")
    source.check_names(names)
    return names


def fitting_workers(source: Source, workers: int, limit: int | None, rows: int | None) -> int:
    """Return how many workers a limit of memory leaves, one at least.

    Parameters
    ----------
    source : what is to be prepared, with all columns
    workers : that there may be
    limit : bytes for all of them together
    rows : rows a part, where they were chosen
    """
    if limit is None:
        return workers
    n_columns = sum(kind != "other" for kind in source.columns().values())
    held = _held(min(rows or default_partition_rows(n_columns), source.n_rows), n_columns)
    return max(1, min(workers, limit // max(held, 1)))


def _held(rows: int, n_columns: int) -> int:
    """Return the bytes that a worker holds of a part."""
    return COPIES_IN_MEMORY * 8 * n_columns * rows


def _part_rows(n_columns: int, n_rows: int, share: int | None) -> int:
    """Return rows a part: of the columns alone, unless a worker's memory cannot hold its copies.

    Parts decide on the last bits of sums. So that little differences of memory change nothing, short
    memory takes halves, quarters and so on, and it is said.
    """
    rows = default_partition_rows(n_columns)
    if share is None:
        return rows
    short = rows
    while short > LEAST_ROWS and _held(min(short, n_rows), n_columns) > share:
        short = max(short // 2, LEAST_ROWS)
    if short < rows:
        LOG.warning(
            "a worker's %d MB are too little for partitions of %s rows: there are %s in each; memory of "
            "%d MB a worker, or partition_rows, keeps the last bits the same everywhere",
            share // 10**6, f"{min(rows, n_rows):,}", f"{short:,}",
            -(-_held(min(rows, n_rows), n_columns) // 10**6),
        )  # fmt: skip
    return short


def _in_order(
    layout: Layout, folder: Path, runner: Runner, on_done: OnDone | None
) -> list[Written]:
    """Write parts in the order of the source; a task takes partitions that make one part."""
    ranges = partition_ranges(layout.source, layout.part_rows)

    def task(index: int) -> Written:
        first, last = ranges[index]
        return _copy(layout, range(first, last), folder, index)

    return map_each(task, len(ranges), runner=runner, on_done=on_done)


def _copy(layout: Layout, partitions: Iterable[int], folder: Path, task: int) -> Written:
    pieces = [complete_part(layout, index) for index in partitions]
    tables = [table for table, _, _ in pieces]
    whole = pa.concat_tables(tables).unify_dictionaries()
    parts = tuple(
        write_part(whole.slice(start, layout.part_rows), folder, f"{task:06d}-{k:04d}")
        for k, start in enumerate(range(0, whole.num_rows, layout.part_rows))
    )
    dropped = add_counts(counts for _, _, counts in pieces)
    return Written(parts, sum(rows for _, rows, _ in pieces), dropped)


def _manifest(
    layout: Layout, done: Sequence[Written], levels: dict[str, list[Any]]
) -> PreparedManifest:
    source = layout.source
    parts = tuple(part for written in done for part in written.parts)
    dropped = add_counts(written.dropped for written in done)
    if not parts:
        counts = ", ".join(f"'{column}' in {n:,}" for column, n in dropped.items())
        raise MissingValuesError(
            f"{source.name}: no row is left after incomplete rows were dropped (missing: {counts})"
        )
    kinds = source.columns()
    return PreparedManifest(
        source=source.name,
        source_sha256=source.fingerprint(),
        columns={name: kinds[name] for name in layout.columns},
        coded=[name for name in layout.columns if source.is_coded(name)],
        skipped={n: source.describe(n) for n, kind in kinds.items() if kind == "other"},
        levels=levels,
        rows_in=sum(written.rows_in for written in done),
        rows_kept=sum(part.rows for part in parts),
        dropped=dropped,
        missing=layout.rows.missing,
        group=layout.group,
        order=layout.order,
        parts=parts,
    )


def _numbered(folder: Path, parts: Sequence[PartRecord]) -> tuple[PartRecord, ...]:
    """Rename the parts to ``part-00000.parquet`` and so on."""
    named = []
    for number, part in enumerate(parts):
        name = f"part-{number:05d}.parquet"
        (folder / part.file).rename(folder / name)
        named.append(replace(part, file=name))
    return tuple(named)
