"""Schema and sums from one reading of the rows, where the design allows it.

Levels and pilots have to be known before columns can be multiplied, which costs a second reading.
A plain design (numbers and single-column grouping factors) can do without: pilots come from the first
partition, every partition counts its own levels, and sums are brought to common levels when they are
added. The schema is still judged as ever at the end; if it turns out that the first partition's
pilots do not represent the data, the rows are read a second time. Stands at "One reading" in
``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mixedflow.crossproducts.taking import recoded
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
from mixedflow.design.relevel import level_codes
from mixedflow.design.types import Pilots

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
    summary : for the schema
    sums : over the levels below, or None where no row was usable
    levels : ascending levels of every grouping factor that the sums count
    """

    summary: PartitionSummary
    sums: CrossProducts | None
    levels: tuple[LevelSet, ...]


def add_readings(a: Reading, b: Reading) -> Reading:
    """Return both, their sums over the union of their levels."""
    summary = merge_summaries(a.summary, b.summary)
    if a.sums is None or b.sums is None:
        full = b if a.sums is None else a
        return Reading(summary, full.sums, full.levels)
    names = [factor.name for factor in a.sums.info.factors]
    levels = tuple(
        x.union(y, name).ordered() for x, y, name in zip(a.levels, b.levels, names, strict=True)
    )
    return Reading(summary, _over(a, levels) + _over(b, levels), levels)


def _over(part: Reading, levels: tuple[LevelSet, ...]) -> CrossProducts:
    """Return a part's sums over other levels that contain its own."""
    assert part.sums is not None  # noqa: S101 - checked by the caller
    if all(len(own) == len(union) for own, union in zip(part.levels, levels, strict=True)):
        return part.sums
    codes = [
        np.arange(len(own)) if len(own) == len(union) else level_codes(own, union)
        for own, union in zip(part.levels, levels, strict=True)
    ]
    return recoded(part.sums, codes, [len(found) for found in levels])


def local_encoder(spec: ModelSpec, provisional: Schema, summary: PartitionSummary) -> Encoder:
    """Return an encoder with provisional pilots and the levels of one partition."""
    levels = {name: found.ordered() for name, found in summary.levels.items()}
    return Encoder(spec, replace(provisional, levels=levels))


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
