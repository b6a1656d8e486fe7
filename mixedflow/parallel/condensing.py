"""Rows to sums: two passes over the partitions, each added up in the fixed tree.

The first pass learns the schema, the second encodes every partition and condenses it. With a path,
every partition's sums are kept as a piece of their own, keyed by the partition's content and the
schema, so that one changed partition costs one piece. Stands at "Sums are added in a fixed tree" in
``docs/algorithm.md``.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import mixedflow
from mixedflow.crossproducts.condense import condense_block, condense_columns
from mixedflow.crossproducts.storage import load_crossproducts, save_crossproducts
from mixedflow.crossproducts.totals import add_in_place, finished
from mixedflow.crossproducts.types import CrossProducts
from mixedflow.data.atomic import atomic_write_text, cannot_write
from mixedflow.data.fingerprint import sha256_of_text
from mixedflow.data.source import Source
from mixedflow.design import (
    Encoder,
    ModelSpec,
    PartitionPlace,
    PartitionSummary,
    Schema,
    check_columns,
    finish_schema,
    merge_summaries,
    summarize_partition,
)
from mixedflow.design.checks import check_summary
from mixedflow.design.relevel import with_counts
from mixedflow.design.schema import provisional_schema
from mixedflow.errors import (
    FormulaError,
    SourceError,
    StoredFileError,
    did_you_mean,
    listing,
)
from mixedflow.parallel.digest import schema_digest
from mixedflow.parallel.mapping import OnDone, map_reduce
from mixedflow.parallel.rooms import open_room
from mixedflow.parallel.runner import SYNCHRONOUS, Runner
from mixedflow.parallel.single_pass import (
    READINGS,
    Reading,
    local_encoder,
    one_reading_suffices,
    ordered_reading,
    pilots_represent,
    place_of,
    reading,
)
from mixedflow.parallel.tree import Addition
from mixedflow.parallel.whole_rows import holds_whole_groups, kept_rows

LOG = logging.getLogger(__name__)

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
KEY_LENGTH = 16

SUMS: Addition[CrossProducts] = Addition(add, add_in_place, finished)
"""How sums over the levels of one schema are added."""


_Rows = tuple[pa.Table, PartitionSummary]
"""A partition's rows with their summary."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """Where pieces are kept, and what besides the rows they depend on."""

    folder: Path
    design: str

    def place(self, source: Source, index: int) -> Path:
        """Return the folder of one partition's piece; its name changes with its content."""
        text = f"{source.partition_fingerprint(index)}\0{self.design}"
        return self.folder / f"{index:06d}-{sha256_of_text(text)[:KEY_LENGTH]}"


def learn_schema(
    spec: ModelSpec, source: Source, runner: Runner = SYNCHRONOUS, *, on_done: OnDone | None = None
) -> Schema:
    """Return what the rows tell before any matrix: levels, states of transforms, pilots.

    A level order that the source itself holds (pandas' category) counts as declared, unless the
    spec declares another.
    """
    return _finished(spec, source, summarize(spec, source, runner, on_done=on_done))


def _finished(spec: ModelSpec, source: Source, summary: PartitionSummary) -> Schema:
    ordered: Any = {**source.declared_levels(spec.variables), **spec.levels}
    schema = finish_schema(replace(spec, levels=ordered), summary)
    return replace(schema, design_key=spec.design_key(schema.kinds))


def summarize(
    spec: ModelSpec, source: Source, runner: Runner = SYNCHRONOUS, *, on_done: OnDone | None = None
) -> PartitionSummary:
    """Return the summary of all rows that a schema is finished from."""
    check_columns(spec, source.columns(), source.name)
    source.check_names(spec.variables)
    if spec.parsed_residual.needs_largest and not holds_whole_groups(spec, source):
        with kept_rows(spec, source, runner, on_done) as rows:
            return rows.summary
    return map_reduce(
        partial(_summary, spec, source),
        source.n_partitions,
        merge_summaries,
        runner=runner,
        on_done=on_done,
    )


def condense(  # noqa: PLR0913 - everything that condensing can be told
    spec: ModelSpec,
    source: Source,
    runner: Runner = SYNCHRONOUS,
    path: str | Path | None = None,
    *,
    schema: Schema | None = None,
    by_group: str | None = None,
    on_done: OnDone | None = None,
) -> tuple[Schema, CrossProducts]:
    """Return the schema and W'B_kW, W'B_ky over all rows of a source.

    Parameters
    ----------
    spec : the model
    source : its rows
    runner : where partitions are read and condensed; the same bits everywhere
    path : folder for the pieces; those that still hold are read instead of computed again
    schema : what was learned from the rows of this or other sources; learned from these without it
    by_group : grouping factor of which every level's own sums are kept, for groups to be taken from
    on_done : called with the partitions done and their total, over both passes

    Raises
    ------
    MixedflowError
        what the rooms below find wrong with the data, naming the first row
    """
    group = _group_index(spec, by_group)
    if spec.residual != "iid" and (path is None or not holds_whole_groups(spec, source)):
        return _from_kept_rows(spec, source, runner, schema, on_done)
    if path is None and schema is None:
        found = _one_reading(spec, source, runner, group, on_done)
        if found is not None:
            return found
    n = source.n_partitions
    counted, passes = on_done, 1
    if schema is None:
        schema = learn_schema(spec, source, runner, on_done=_part(on_done, 0, 2, n))
        counted, passes = _part(on_done, 1, 2, n), 2
    else:
        check_columns(spec, source.columns(), source.name)
        source.check_names(spec.variables)
    condensing = _Condensing(Encoder(spec, schema), source, group)
    pieces = None if path is None else _open_pieces(Path(path), schema, by_group)

    def task(index: int) -> CrossProducts:
        return condensing.piece(pieces, index) if pieces else condensing.partition(index)

    sums = map_reduce(task, n, SUMS, runner=runner, on_done=counted)
    if pieces is not None:
        _finish_pieces(pieces, source, sums)
    return (with_rows_of(schema, source, sums) if passes == 1 else schema), sums


def _from_kept_rows(
    spec: ModelSpec,
    source: Source,
    runner: Runner,
    schema: Schema | None,
    on_done: OnDone | None,
) -> tuple[Schema, CrossProducts]:
    """Return schema and keyed sums from one reading of the source, every group in one place."""
    check_columns(spec, source.columns(), source.name)
    source.check_names(spec.variables)
    if source.n_partitions == 1:
        runner = SYNCHRONOUS
    with kept_rows(spec, source, runner, on_done) as rows:
        summary = rows.summary
        if schema is None:
            found = _finished(spec, source, summary)
        else:
            check_summary(spec, summary)
            found = replace(schema, source=source.name)
        encoder = Encoder(spec, found)

        def task(index: int) -> CrossProducts:
            table, place = rows.read(index)
            return _condense_table(encoder, table, place, None)

        n = rows.n_partitions
        total = source.n_partitions + n
        counted = _after(on_done, source.n_partitions, total)
        sums = map_reduce(task, n, add, runner=runner, on_done=counted)
    missing = {n: c.missing.count for n, c in summary.columns.items() if c.missing}
    sums = replace(sums, rows_in=summary.rows_in, missing=missing)
    return with_counts(found, sums.rows_in, sums.n_obs, missing), sums


def _after(on_done: OnDone | None, before: int, total: int) -> OnDone | None:
    """Count what comes after a first pass."""
    return None if on_done is None else lambda done, _: on_done(before + done, total)


def with_rows_of(schema: Schema, source: Source, sums: CrossProducts) -> Schema:
    """Return a schema that was learned elsewhere as that of these rows."""
    named = replace(schema, source=source.name)
    return with_counts(named, sums.rows_in, sums.n_obs, sums.missing)


def _group_index(spec: ModelSpec, by_group: str | None) -> int | None:
    if by_group is None:
        return None
    names = [factor.name for factor in spec.parsed.factors]
    if by_group not in names:
        raise FormulaError(
            f"by_group='{by_group}' is no grouping factor of '{spec.formula}'"
            f"{did_you_mean(by_group, names)}; it has {listing(names)}"
        )
    return names.index(by_group)


def _one_reading(
    spec: ModelSpec, source: Source, runner: Runner, group: int | None, on_done: OnDone | None
) -> tuple[Schema, CrossProducts] | None:
    """Return schema and sums from one reading, or None where two are needed."""
    check_columns(spec, source.columns(), source.name)
    source.check_names(spec.variables)
    if not one_reading_suffices(spec, source):
        return None
    if not source.n_partitions:
        return None
    room = open_room(runner)
    begun = room.made(partial(_read, spec, source), 1)
    (provisional,) = room.each(partial(_provisional, spec), begun)
    if provisional is None:
        return None
    grouping = tuple(factor.variables[0] for factor in spec.parsed.factors)

    def read(index: int, made: _Rows | None = None) -> Reading:
        table, summary = _read(spec, source, index) if made is None else made
        del made
        place = place_of(source, index)
        if not _usable(spec, summary):
            return Reading(summary, None, ())
        encoder = local_encoder(spec, provisional, summary)
        whole = summary.rows_used == summary.rows_in
        sums = _condense_table(encoder, table, place, group, complete=whole)
        return reading(summary, sums, grouping)

    total = map_reduce(
        read, source.n_partitions, READINGS, runner=runner, on_done=on_done, begun=begun
    )
    summary, sums = ordered_reading(total, grouping)
    del total
    schema = finish_schema(spec, summary)
    if sums is None or not pilots_represent(provisional.pilots, schema.pilots):
        return None
    schema = replace(schema, pilots=provisional.pilots)
    return schema, replace(sums, info=Encoder(spec, schema).info)


def _usable(spec: ModelSpec, summary: PartitionSummary) -> bool:
    """Say whether a partition can be condensed; what is wrong with it is judged with the schema."""
    lacking = spec.missing == "error" and any(c.missing for c in summary.columns.values())
    return summary.rows_used > 0 and summary.clean and not lacking


def _provisional(spec: ModelSpec, made: _Rows, _: int) -> Schema | None:
    """Return a schema for the pilots of a partition, without its levels, if it can be condensed."""
    summary = made[1]
    if not _usable(spec, summary):
        return None
    return replace(provisional_schema(spec, summary), levels={})


def _read(spec: ModelSpec, source: Source, index: int) -> _Rows:
    """Return a partition's rows with their summary."""
    table = source.read(index, spec.variables)
    return table, summarize_partition(spec, table, place_of(source, index))


def _summary(spec: ModelSpec, source: Source, index: int) -> PartitionSummary:
    return _read(spec, source, index)[1]


def _part(
    on_done: OnDone | None, before: int, passes: int, n: int
) -> Callable[[int, int], None] | None:
    """Count one of several passes over n partitions."""
    return None if on_done is None else lambda done, _: on_done(before * n + done, passes * n)


@dataclass(frozen=True, slots=True)
class _Condensing:
    """What condenses any partition of a source, or reads its piece."""

    encoder: Encoder
    source: Source
    group: int | None

    def partition(self, index: int) -> CrossProducts:
        """Return a partition's sums."""
        table = self.source.read(index, self.encoder.variables())
        return _condense_table(self.encoder, table, place_of(self.source, index), self.group)

    def piece(self, pieces: Pieces, index: int) -> CrossProducts:
        """Return a partition's sums from its piece, or compute and keep them."""
        place = pieces.place(self.source, index)
        if place.exists():
            try:
                return load_crossproducts(place, place.name)
            except (SourceError, StoredFileError) as fault:
                LOG.warning("%s: computed again", fault)
                shutil.rmtree(place, ignore_errors=True)
        sums = self.partition(index)
        save_crossproducts(sums, place, place.name)
        return sums


def _condense_table(
    encoder: Encoder,
    table: pa.Table,
    place: PartitionPlace,
    group: int | None,
    *,
    complete: bool = False,
) -> CrossProducts:
    """Return a partition's sums; where one is not finite, encoding says which row is to blame."""
    columns = encoder.columns(table, where=place, complete=complete)
    sums = condense_columns(columns, encoder.info, by_group=group)
    if not all(np.isfinite(part.XtBX).all() for part in sums.keyed.values()):
        block = encoder.encode(table, where=place)
        return condense_block(block, encoder.info, by_group=group)
    return sums


def _open_pieces(folder: Path, schema: Schema, by_group: str | None) -> Pieces:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    groups = "" if by_group is None else f" by {by_group}"
    return Pieces(folder, f"{mixedflow.__version__} {schema_digest(schema)}{groups}")


def _finish_pieces(pieces: Pieces, source: Source, sums: CrossProducts) -> None:
    """Write what the pieces are, and delete those of former content."""
    names = [pieces.place(source, index).name for index in range(source.n_partitions)]
    content = {
        "format": "mixedflow-pieces",
        "format_version": FORMAT_VERSION,
        "design": pieces.design,
        "rows_in": sums.rows_in,
        "pieces": names,
    }
    atomic_write_text(pieces.folder / MANIFEST, json.dumps(content, indent=1) + "\n")
    current = set(names)
    for place in pieces.folder.iterdir():
        if place.is_dir() and place.name not in current:
            shutil.rmtree(place, ignore_errors=True)
