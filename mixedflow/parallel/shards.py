"""Sums of one grouping factor that stay where they were made, shard by shard.

Stands at "Shards" in ``docs/algorithm.md``. A shard is a partition that holds whole groups. Rows are
read twice: for the schema, which knows no groups, and for the sums. The global sums are added up in
the fixed tree and leave; the sums of the groups stay in the memory of the worker that made them, in
this process, or on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mixedflow.crossproducts.condense import condense_block, condense_columns
from mixedflow.crossproducts.levels import (
    LevelArrays,
    LevelPass,
    LocalLevels,
    ShardTask,
    Totals,
    plus,
)
from mixedflow.crossproducts.types import ONLY_KEY, CrossProducts, FactorSums
from mixedflow.data.source import Source
from mixedflow.design import (
    DesignInfo,
    Encoder,
    ModelSpec,
    PartitionSummary,
    Schema,
    check_columns,
    finish_schema,
    merge_summaries,
    summarize_partition,
)
from mixedflow.design.learn import chosen_columns, complete_rows
from mixedflow.design.levels import LevelSet, empty_levels, observed_levels
from mixedflow.errors import DataError
from mixedflow.parallel.keeping import Keeper, Shard
from mixedflow.parallel.mapping import map_reduce
from mixedflow.parallel.rooms import Room, open_room
from mixedflow.parallel.runner import SYNCHRONOUS, Runner
from mixedflow.parallel.single_pass import place_of
from mixedflow.parallel.tree import aligned
from mixedflow.parallel.whole_groups import Extent, check_whole_groups, extent_of


@dataclass(frozen=True, slots=True, eq=False)
class Shards:
    """The condensed data of one grouping factor: global sums here, those of its levels in shards.

    Attributes
    ----------
    schema : of the design; it names no level of the grouping factor
    pooled : all sums, those of the levels added up as if they were one
    n_levels : L
    room : where shards are
    handles : the shards, in the order of the partitions
    """

    schema: Schema
    pooled: CrossProducts
    n_levels: int
    room: Room
    handles: list[Any]

    def chosen(
        self, choice: Callable[[FactorSums], LevelArrays], threads: int = 1
    ) -> ShardedLevels:
        """Return the levels with what a model takes of their sums; the shards are used up."""
        handles = self.room.turned(partial(_choose, choice), self.handles)
        return ShardedLevels(self.n_levels, self.room, tuple(handles), threads)


@dataclass(frozen=True, slots=True, eq=False)
class ShardedLevels:
    """Sums of levels in shards: a pass is a map over shards and a sum in the fixed tree.

    Attributes
    ----------
    n_levels : L
    room : where shards are
    handles : the shards, in the order of the partitions
    threads : that take stretches of a shard side by side, where it is
    """

    n_levels: int
    room: Room
    handles: tuple[Any, ...]
    threads: int = 1

    def total(self, task: LevelPass) -> Totals:
        """Return the sum of a pass over all levels; the order depends on the partitions alone."""
        return self.room.folded(partial(_total, task, self.threads), self.handles, plus)

    def each(self, task: ShardTask) -> list[Any]:
        """Return what a task gives for the sums, names and number of every shard, in order."""
        return self.room.each(partial(_each, task), self.handles)


def make_shards(
    spec: ModelSpec, source: Source, runner: Runner = SYNCHRONOUS, folder: Path | None = None
) -> Shards:
    """Return the sums of a model with one grouping factor, its levels' left in shards.

    Parameters
    ----------
    spec : a model whose only grouping factor is one column
    source : rows whose partitions hold whole groups
    runner : whose workers keep the shards; without workers they stay in this process
    folder : where the sums of the levels are kept instead, read as memory maps

    Raises
    ------
    DataError
        if a group has rows in two partitions.
    """
    (factor,) = spec.parsed.factors
    (group,) = factor.variables
    schema = _schema_without_groups(spec, source, group, runner)
    room = open_room(runner)
    making = _Making(spec, schema, source, group, Keeper(folder))
    made = room.made(making, source.n_partitions)
    extents: list[Extent] = room.each(_extent, made)
    check_whole_groups(room, made, extents, group, source.name)
    pooled = room.folded(_pooled, made, add)
    n_levels = sum(extent.count for extent in extents)
    if n_levels >= pooled.n_obs:
        raise DataError(
            f"The grouping factor '{group}' has {n_levels:,} levels in {pooled.n_obs:,} complete "
            "rows; it needs fewer levels than rows, or its variance cannot be told from the "
            "residual's."
        )
    schema = replace(schema, levels={**schema.levels, group: empty_levels()})
    return Shards(schema, pooled, n_levels, room, made)


def without_levels(sums: CrossProducts, n_levels: int) -> CrossProducts:
    """Return pooled sums as those of L levels that are elsewhere."""
    part = sums.keyed[ONLY_KEY]
    none = tuple(FactorSums(f.levels[:0], f.ZtBZ[:0], f.ZtBX[:0], f.ZtBy[:0]) for f in part.factors)
    return replace(
        sums, info=_with_count(sums.info, n_levels), keyed={ONLY_KEY: replace(part, factors=none)}
    )


def _with_count(info: DesignInfo, n_levels: int) -> DesignInfo:
    return replace(info, factors=tuple(replace(f, n_levels=n_levels) for f in info.factors))


def _schema_without_groups(spec: ModelSpec, source: Source, group: str, runner: Runner) -> Schema:
    """Return the schema; of the groups it holds the first and the last of every partition."""
    check_columns(spec, source.columns(), source.name)
    source.check_names(spec.variables)
    summary = map_reduce(
        partial(_summary, spec, source, group), source.n_partitions, merge_summaries, runner=runner
    )
    declared: Mapping[str, Any] = {**source.declared_levels(spec.variables), **spec.levels}
    ordered: Any = {name: levels for name, levels in declared.items() if name != group}
    schema = finish_schema(replace(spec, levels=ordered), summary)
    return replace(schema, design_key=spec.design_key(schema.kinds))


def _summary(spec: ModelSpec, source: Source, group: str, index: int) -> PartitionSummary:
    table = source.read(index, spec.variables)
    summary = summarize_partition(spec, table, place_of(source, index))
    if group not in summary.levels:
        return summary
    names = summary.levels[group].ordered()
    ends = names.take(np.unique([0, len(names) - 1])) if len(names) else names
    return replace(summary, levels={**summary.levels, group: ends})


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """A shard, and what it adds to the global sums."""

    pooled: CrossProducts
    shard: Shard


@dataclass(frozen=True, slots=True, eq=False)
class _Making:
    """Rows of a partition to a shard; picklable."""

    spec: ModelSpec
    schema: Schema
    source: Source
    group: str
    keeper: Keeper

    def __call__(self, index: int) -> _Made:
        """Return partition ``index`` condensed, over its own groups."""
        table = self.source.read(index, self.spec.variables)
        names = self._groups(table)
        schema = replace(self.schema, levels={**self.schema.levels, self.group: names})
        encoder = Encoder(self.spec, schema)
        place = place_of(self.source, index)
        sums = condense_columns(encoder.columns(table, where=place), encoder.info)
        part = sums.keyed[ONLY_KEY]
        if not np.isfinite(part.XtBX).all():
            sums = condense_block(encoder.encode(table, where=place), encoder.info)
            part = sums.keyed[ONLY_KEY]
        (of_groups,) = part.factors
        pooled = replace(
            sums,
            info=_with_count(sums.info, 1),
            keyed={ONLY_KEY: replace(part, factors=(_as_one(of_groups),))},
        )
        arrays = (of_groups.ZtBZ, of_groups.ZtBX, of_groups.ZtBy)
        return _Made(pooled, self.keeper.keep(index, names, arrays))

    def _groups(self, table: pa.Table) -> LevelSet:
        """Return the groups of the complete rows, ascending."""
        table = chosen_columns(table, self.spec.variables, self.source.name)
        kept, _ = complete_rows(table)
        column = table.column(self.group)
        return observed_levels(column if kept.all() else column.filter(pa.array(kept))).ordered()


def _as_one(sums: FactorSums) -> FactorSums:
    """Return the sums of all levels added up, as those of one."""
    arrays = (values.sum(axis=0)[None] for values in (sums.ZtBZ, sums.ZtBX, sums.ZtBy))
    return FactorSums(np.zeros(1, dtype=np.int64), *arrays)


def _pooled(made: _Made) -> CrossProducts:
    return made.pooled


def _extent(made: _Made, _: int) -> Extent:
    return extent_of(made.shard.names())


def _choose(choice: Callable[[FactorSums], LevelArrays], made: _Made) -> Shard:
    shard = made.shard
    stored = FactorSums(np.empty(0, dtype=np.int64), *aligned(shard.arrays()))
    return shard.replaced(choice(stored))


def _total(task: LevelPass, threads: int, shard: Shard) -> Totals:
    return LocalLevels(aligned(shard.arrays()), threads).total(task)


def _each(task: ShardTask, shard: Shard, number: int) -> Any:
    return task(aligned(shard.arrays()), shard.names(), number)
