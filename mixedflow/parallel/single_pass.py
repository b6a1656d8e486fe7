"""Schema and sums from one reading of the rows, where the design allows it.

Levels and pilots have to be known before columns can be multiplied, which costs a second reading.
A plain design (numbers and single-column grouping factors) can do without: pilots come from the first
partition, every partition counts its own levels, and sums are brought to common levels when they are
added. The schema is still judged as ever at the end; if it turns out that the first partition's
pilots do not represent the data, the rows are read a second time. Stands at "One reading" in
``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mixedflow.crossproducts.taking import recoded
from mixedflow.crossproducts.totals import SumsTotal, renumbered
from mixedflow.crossproducts.types import CrossProducts
from mixedflow.data.source import Source
from mixedflow.design import (
    Encoder,
    ModelSpec,
    PartitionPlace,
    PartitionSummary,
    Schema,
    merge_summaries,
)
from mixedflow.design.evaluate import stateful_calls
from mixedflow.design.levels import LevelSet
from mixedflow.design.numbering import LevelNumbers
from mixedflow.design.relevel import level_codes
from mixedflow.design.types import Pilots
from mixedflow.parallel.tree import Addition

SHIFT_LIMIT = 64.0
"""Standard deviations that a pilot shift may be off the mean before the rows are read again."""

SCALE_LIMIT = 2.0**12
"""Factor that a pilot scale may be off the standard deviation."""


def one_reading_suffices(spec: ModelSpec, source: Source) -> bool:
    """Say whether a design has nothing that must be known before its columns are made."""
    kinds = source.columns()
    parsed = spec.parsed
    if spec.levels or source.declared_levels(spec.variables) or not parsed.factors:
        return False
    if any(len(factor.variables) > 1 for factor in parsed.factors):
        return False
    expressions = (*spec.linear_expressions, parsed.response, *parsed.offsets)
    if any(e.kind not in ("column", "numeric") or stateful_calls(e.tree) for e in expressions):
        return False
    grouping = {name for factor in parsed.factors for name in factor.variables}
    numeric = set(spec.variables) - grouping
    return all(kinds.get(name) == "numeric" for name in numeric) and not grouping & numeric


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What one or more partitions told: their summary, their sums, and the levels of these.

    Attributes
    ----------
    summary : for the schema; where there are sums, the levels that they count are left out
    sums : over the levels below, or None where no row was usable
    levels : of every grouping factor that the sums count, in any order
    """

    summary: PartitionSummary
    sums: CrossProducts | None
    levels: tuple[LevelSet, ...]


def reading(summary: PartitionSummary, sums: CrossProducts, variables: Sequence[str]) -> Reading:
    """Return what a partition told that has sums; ``variables`` are its grouping factors."""
    others = {name: v for name, v in summary.levels.items() if name not in variables}
    levels = tuple(summary.levels[name] for name in variables)
    return Reading(replace(summary, levels=others), sums, levels)


class ReadingTotal:
    """The sum of readings: levels are numbered as they are met, and sums grow in place."""

    def __init__(self, first: Reading) -> None:
        self.summary = first.summary
        self._sums: SumsTotal | None = None
        self._numbers: tuple[LevelNumbers, ...] = ()
        self._add_sums(first)

    def add(self, other: Reading) -> None:
        """Add a reading."""
        self.summary = merge_summaries(self.summary, other.summary)
        self._add_sums(other)

    def _add_sums(self, part: Reading) -> None:
        if part.sums is None:
            return
        if self._sums is None:
            self._numbers = tuple(LevelNumbers(f.name) for f in part.sums.info.factors)
        codes = [n.numbers(found) for n, found in zip(self._numbers, part.levels, strict=True)]
        sums = renumbered(part.sums, codes)
        if self._sums is None:
            self._sums = SumsTotal(sums)
        else:
            self._sums.add(sums)

    def reading(self) -> Reading:
        """Return the readings as one; its arrays are those of the total."""
        sums = None if self._sums is None else self._sums.sums()
        return Reading(self.summary, sums, tuple(n.levels() for n in self._numbers))


def add_in_place(total: Reading | ReadingTotal, other: Reading | ReadingTotal) -> ReadingTotal:
    """Return a total with more added to it; it begins as a copy of the first reading."""
    grown = total if isinstance(total, ReadingTotal) else ReadingTotal(total)
    grown.add(_as_reading(other))
    return grown


def _as_reading(total: Reading | ReadingTotal) -> Reading:
    return total.reading() if isinstance(total, ReadingTotal) else total


def add_readings(a: Reading, b: Reading) -> Reading:
    """Return both, their sums over the union of their levels; neither is changed."""
    return add_in_place(a, b).reading()


READINGS: Addition[Reading] = Addition(add_readings, add_in_place, _as_reading)
"""How readings are added."""


def ordered_reading(
    part: Reading, variables: Sequence[str]
) -> tuple[PartitionSummary, CrossProducts | None]:
    """Return summary and sums of all rows, levels ascending and named in the summary."""
    if part.sums is None:
        return part.summary, None
    levels = [found.ordered() for found in part.levels]
    codes = [
        np.arange(len(own)) if own is ascending else level_codes(own, ascending)
        for own, ascending in zip(part.levels, levels, strict=True)
    ]
    sums = recoded(part.sums, codes, [len(found) for found in levels])
    named = {**part.summary.levels, **dict(zip(variables, levels, strict=True))}
    return replace(part.summary, levels=named), sums


def local_encoder(spec: ModelSpec, provisional: Schema, summary: PartitionSummary) -> Encoder:
    """Return an encoder with provisional pilots and the levels of one partition."""
    return Encoder(spec, replace(provisional, levels=summary.levels))


def place_of(source: Source, index: int) -> PartitionPlace:
    """Return where a partition's rows stand, for messages."""
    return PartitionPlace(source.name, index, source.row_offset(index))


def pilots_represent(used: Pilots, learned: Pilots) -> bool:
    """Say whether pilots are near enough to those of all rows that no digits were lost."""
    return all(
        bool(np.all(np.abs(shift - mean) <= SHIFT_LIMIT * sd))
        and bool(np.all((scale <= SCALE_LIMIT * sd) & (sd <= SCALE_LIMIT * scale)))
        for shift, mean, scale, sd in (
            (used.x_shift, learned.x_shift, used.x_scale, learned.x_scale),
            (used.y_shift, learned.y_shift, used.y_scale, learned.y_scale),
            *zip(used.z_shift, learned.z_shift, used.z_scale, learned.z_scale, strict=True),
        )
    )
