"""Where rows stand in R: the positions and strata of a schema, and the codes of a partition's rows.

Stands at "Structures" in ``docs/algorithm.md`` (DESIGN 3.1). Levels of positions and strata are
learned with all others; groups need no table of levels, because only rows of one partition meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mixedflow.covariance.residual_types import SEPARATOR, ResidualDesign
from mixedflow.design.arrow import PartitionPlace, as_numpy, is_text, joined, numbers, plain
from mixedflow.design.levels import (
    LevelIndex,
    LevelSet,
    combined_key,
    observed_levels,
    split_key,
)
from mixedflow.design.residual import (
    MAX_POINTS,
    MAX_POSITIONS,
    ParsedResidual,
    stratum_name,
)
from mixedflow.design.spec import ModelSpec
from mixedflow.design.summary import PartitionSummary
from mixedflow.design.types import Int, RowPatterns
from mixedflow.errors import DataError, UnknownLevelError, UnsupportedError, did_you_mean

EXACT = 2.0**53
"""Whole numbers beyond it are not told apart in double precision."""


@dataclass(frozen=True, slots=True, eq=False)
class ResidualSchema:
    """What was learned of R.

    Attributes
    ----------
    design : its positions and strata
    keys : observed combinations of several stratum columns, ascending numbers in mixed radix
    """

    design: ResidualDesign
    keys: Int


def residual_schema(
    spec: ModelSpec, summary: PartitionSummary, levels: Mapping[str, LevelSet]
) -> ResidualSchema | None:
    """Return the positions and strata of R, or None where rows are independent and alike."""
    parsed = spec.parsed_residual
    if parsed.structure == "iid":
        return None
    keys = np.empty(0, dtype=np.int64)
    if len(parsed.strata) > 1:
        table = summary.pairs[stratum_name(parsed.strata)]
        codes = [LevelIndex(levels[v]).codes(table.column(v)) for v in parsed.strata]
        keys = np.unique(combined_key(codes, [len(levels[v]) for v in parsed.strata]))
    largest = summary.largest if parsed.needs_largest else 0
    design = ResidualDesign(
        structure=parsed.structure,
        basis=parsed.basis,
        positions=_positions(spec, levels, largest),
        strata=_stratum_labels(parsed.strata, levels, keys),
        group=parsed.group,
        position=parsed.position,
        stratum=parsed.strata,
        largest=largest,
        common=parsed.product,
    )
    return ResidualSchema(design, keys)


def _positions(
    spec: ModelSpec, levels: Mapping[str, LevelSet], largest: int
) -> tuple[str, ...]:  # fmt: skip
    parsed = spec.parsed_residual
    if parsed.basis != "pairs":
        return ()
    if parsed.coordinates:
        return _points(spec, levels[str(parsed.position)])
    if parsed.position is None:
        count, what = largest, f"the largest group has {largest:,} rows"
    else:
        count = len(levels[parsed.position])
        what = f"'{parsed.position}' has {count:,} levels"
    if count > MAX_POSITIONS:
        raise UnsupportedError(
            f"residual='{spec.residual}' has a position for every level, at most {MAX_POSITIONS}, but "
            f"{what}; {_fewer(parsed)}."
        )
    if parsed.position is None:
        return tuple(str(k + 1) for k in range(count))
    return tuple(levels[parsed.position].labels())


def _points(spec: ModelSpec, points: LevelSet) -> tuple[str, ...]:
    if len(points) > MAX_POINTS:
        raise UnsupportedError(
            f"residual='{spec.residual}' takes at most {MAX_POINTS:,} different points, but the data "
            f"have {len(points):,}; take coarser coordinates, or one, of which any number is taken."
        )
    return tuple(points.labels())


def with_points(table: pa.Table, parsed: ParsedResidual) -> pa.Table:
    """Return the table with a column of its points, ``"0.5, 2"``, where there are coordinates."""
    if not parsed.coordinates:
        return table
    parts = []
    for name in parsed.coordinates:
        values = numbers(table.column(name)) + 0.0
        found, code = np.unique(values, return_inverse=True)
        labels = np.array(LevelSet("float", found).labels(), dtype=object)
        parts.append(labels[code])
    points = [SEPARATOR.join(point) for point in zip(*parts, strict=True)]
    return table.append_column(str(parsed.position), pa.array(points, pa.large_string()))


def _fewer(parsed: ParsedResidual) -> str:
    group = ":".join(parsed.group)
    if parsed.structure == "cs":
        return f"cs(1 | {group}) needs no positions"
    column = parsed.position or "1"
    times = "" if parsed.position is None else f", car1({column} | {group})"
    return f"offered for many positions are ar1({column} | {group}){times} and cs(1 | {group})"


def _stratum_labels(
    strata: Sequence[str], levels: Mapping[str, LevelSet], keys: Int
) -> tuple[str, ...]:
    if not strata:
        return ("",)
    labels = [np.asarray(levels[v].labels(), dtype=object) for v in strata]
    if len(strata) == 1:
        return tuple(labels[0])
    codes = split_key(keys, [len(of_one) for of_one in labels])
    parts = [of_one[code] for of_one, code in zip(labels, codes, strict=True)]
    return tuple(":".join(row) for row in zip(*parts, strict=True))


class PatternEncoder:
    """Finds where rows stand in R, by a frozen schema."""

    def __init__(
        self,
        spec: ModelSpec,
        schema: ResidualSchema,
        levels: Mapping[str, LevelSet],
        indices: Mapping[str, LevelIndex],
    ) -> None:
        self.parsed, self.declared, self.schema = spec.parsed_residual, spec.levels, schema
        self._levels, self._indices = levels, indices

    def rows(self, table: pa.Table, positions: Int, place: PartitionPlace) -> RowPatterns:
        """Return where complete rows stand.

        Parameters
        ----------
        table : the complete rows of a partition
        positions : their places in the partition
        place : where the partition stands, for messages
        """
        table = with_points(table, self.parsed)

        def row(index: int) -> str:
            return place.row(int(positions[index]))

        def who(index: int) -> str:
            return _held(table, self.parsed.group, index)

        return RowPatterns(
            stratum=self.stratum(table, row),
            group=_groups(table, self.parsed.group) if self.parsed.group else None,
            position=self.position(table, row),
            row=row,
            who=who,
        )

    def stratum(self, table: pa.Table, row: Any) -> Int:
        """Return the number of every row's stratum; ``row`` names a row."""
        names = self.parsed.strata
        if not names:
            return np.zeros(table.num_rows, dtype=np.int64)
        parts = [self._codes(table, name, row) for name in names]
        if len(names) == 1:
            return parts[0]
        sizes = [len(self._levels[name]) for name in names]
        wanted = combined_key(parts, sizes)
        known = self.schema.keys
        code = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        strange = known[code] != wanted
        if strange.any():
            first = int(strange.argmax())
            raise UnknownLevelError(
                f"{_held(table, names, first)} in {row(first)} is not a stratum that the schema has."
            )
        return code.astype(np.int64)

    def _codes(self, table: pa.Table, name: str, row: Any) -> Int:
        codes = self._indices[name].codes(table.column(name))
        if codes.size and codes.min() < 0:
            first = int((codes < 0).argmax())
            found = str(table.column(name)[first].as_py())
            labels = self._levels[name].labels()
            raise UnknownLevelError(
                f"'{found}' in {row(first)} is not a level of '{name}', which has {len(labels):,} "
                f"levels{did_you_mean(found, labels)}."
            )
        return codes

    def position(self, table: pa.Table, row: Any) -> Any:
        """Return the number of every row's position, or its value on a scale, or None."""
        name = self.parsed.position
        if name is None:
            return None
        kind = table.column(name).type
        words = is_text(kind) or pa.types.is_dictionary(kind)
        if self.parsed.basis == "pairs" or words or name in self.declared:
            return self._codes(table, name, row)
        values = np.asarray(as_numpy(joined(plain(table.column(name)))))
        if values.dtype.kind != "f":
            return values.astype(np.float64) if self.parsed.any_time else values.astype(np.int64)
        bad = ~np.isfinite(values)
        if not self.parsed.any_time:
            bad |= (values != np.rint(values)) | (np.abs(values) > EXACT)
        if bad.any():
            first = int(bad.argmax())
            raise DataError(self._not_a_position(name, values[first], row(first)))
        return values if self.parsed.any_time else values.astype(np.int64)

    def _not_a_position(self, name: str, value: float, where: str) -> str:
        parsed, group = self.parsed, ":".join(self.parsed.group)
        if not np.isfinite(value):
            return f"The column '{name}' holds {value:g} in {where}; positions must be finite."
        return (
            f"{parsed.structure}({name} | {group}) takes whole numbers as positions, but {where} has "
            f"{name} = {value:g}; car1({name} | {group}) takes any times."
        )


def _held(table: pa.Table, names: Sequence[str], index: int) -> str:
    """Say what columns hold in a row: ``subject = 12``."""
    return ", ".join(f"{name} = {table.column(name)[index].as_py()}" for name in names)


def _groups(table: pa.Table, names: Sequence[str]) -> Int:
    """Return a number of every row's group, ascending as its value (columns from left to right)."""
    if len(names) == 1:
        array = joined(plain(table.column(names[0])))
        if pa.types.is_int64(array.type):
            return np.asarray(as_numpy(array), dtype=np.int64)
    levels = [observed_levels(table.column(name)).ordered() for name in names]
    codes = [
        LevelIndex(found).codes(table.column(name))
        for name, found in zip(names, levels, strict=True)
    ]
    return codes[0] if len(names) == 1 else combined_key(codes, [len(found) for found in levels])


def largest_group(table: pa.Table, names: Sequence[str]) -> int:
    """Return the rows of the largest group among complete rows."""
    if not table.num_rows:
        return 0
    return int(np.unique(_groups(table, names), return_counts=True)[1].max())
