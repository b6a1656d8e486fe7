"""The same schema over other levels: fewer, those of two schemas, or copies of drawn groups.

Stands at "The schema pass" in ``docs/algorithm.md``. Sums count the levels of grouping factors by
number; what is done here to a schema says what the numbers become. Levels of a category of the fixed
part, or left of a bar, are columns and stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from mixedflow.design.arrow import as_arrow
from mixedflow.design.levels import LevelIndex, LevelSet, combined_key, split_key
from mixedflow.design.positions import ResidualSchema
from mixedflow.design.schema import Schema, dropped_rows
from mixedflow.design.spec import ModelSpec, residual_columns
from mixedflow.design.types import Int
from mixedflow.errors import DataError, UnsupportedError, listing

Relevelled = tuple[Schema, list[Int]]
"""A schema, and the new number of every level that was given, a factor at a time."""


def coded_columns(spec: ModelSpec, schema: Schema) -> set[str]:
    """Return the data columns whose levels are columns of X or Z."""
    learned = schema.learned
    columns = {e.names[0] for e in spec.linear_expressions if learned.is_category(e)}
    return columns | (set(residual_columns(spec)) & set(schema.levels))


def with_counts(schema: Schema, rows_in: int, rows_used: int, missing: Mapping[str, int]) -> Schema:
    """Return the schema of other numbers of rows."""
    before = dropped_rows(schema.rows_in, schema.rows_used, schema.missing)
    kept = [message for message in schema.messages if message not in before]
    messages = (*dropped_rows(rows_in, rows_used, missing), *kept)
    return replace(
        schema, rows_in=rows_in, rows_used=rows_used, missing=dict(missing), messages=messages
    )


def keep_levels(spec: ModelSpec, schema: Schema, kept: Sequence[Int]) -> Relevelled:
    """Return the schema without the levels of grouping factors that no row has any more.

    Parameters
    ----------
    spec, schema : of the design
    kept : a factor its level numbers that stay, ascending
    """
    coded = coded_columns(spec, schema)
    used: dict[str, Int] = {}
    for (name, variables), mine in zip(schema.factors, kept, strict=True):
        for variable, codes in zip(variables, _parts(schema, name, variables, mine), strict=True):
            used[variable] = np.union1d(used.get(variable, codes[:0]), codes).astype(np.int64)
    single = {variables[0] for _, variables in schema.factors if len(variables) == 1}
    taken = {v: used[v] for v in single - coded}
    levels = {n: v.take(taken[n]) if n in taken else v for n, v in schema.levels.items()}
    renumbered = {n: _renumbering(len(schema.levels[n]), codes) for n, codes in taken.items()}
    keys: dict[str, Int] = {}
    found: list[Int] = []
    for (name, variables), mine in zip(schema.factors, kept, strict=True):
        parts = _parts(schema, name, variables, mine)
        new = [
            renumbered[v][p] if v in renumbered else p
            for v, p in zip(variables, parts, strict=True)
        ]
        if len(variables) == 1:
            found.append(new[0])
            continue
        keys[name] = combined_key(new, [len(levels[v]) for v in variables])
        found.append(np.arange(len(mine), dtype=np.int64))
    return replace(schema, levels=levels, keys=keys), found


def _parts(schema: Schema, name: str, variables: tuple[str, ...], codes: Int) -> list[Int]:
    """Return the level numbers of a factor's columns."""
    if len(variables) == 1:
        return [codes]
    return split_key(schema.keys[name][codes], [len(schema.levels[v]) for v in variables])


def _renumbering(size: int, kept: Int) -> Int:
    table = np.full(size, -1, dtype=np.int64)
    table[kept] = np.arange(len(kept))
    return table


def unite_levels(spec: ModelSpec, a: Schema, b: Schema) -> tuple[Schema, list[Int], list[Int]]:
    """Return a schema over the levels of both, and the numbers that the levels of each get.

    Raises
    ------
    DataError
        if a category whose levels are columns has others in the second.
    """
    coded = coded_columns(spec, a)
    levels = {}
    for name, own in a.levels.items():
        other = b.levels[name]
        if name in coded and own.labels() != other.labels():
            raise DataError(
                f"'{name}' has the levels {listing(own.labels())} in one and "
                f"{listing(other.labels())} in the other, and they are columns of the model; "
                "condense both with one schema"
            )
        levels[name] = own if name in coded else _united(spec, name, own, other)
    keys: dict[str, Int] = {}
    for name, variables in a.factors:
        if len(variables) > 1:
            both = [_moved_keys(part, name, variables, levels) for part in (a, b)]
            keys[name] = np.union1d(*both)
    codes = [_codes(part, levels, keys) for part in (a, b)]
    ranges = {
        name: (min(low, b.ranges[name][0]), max(high, b.ranges[name][1]))
        for name, (low, high) in a.ranges.items()
        if name in b.ranges
    }
    united = replace(
        a,
        levels=levels,
        keys=keys,
        ranges=ranges,
        means={name: mean for name, mean in a.means.items() if b.means.get(name) == mean},
        residual=_united_residual(a.residual, b.residual),
    )
    return united, codes[0], codes[1]


def _united_residual(a: ResidualSchema | None, b: ResidualSchema | None) -> ResidualSchema | None:
    if a is None or b is None:
        return a
    if (a.design.positions, a.design.strata) != (b.design.positions, b.design.strata):
        raise DataError(
            f"the residual structure has the positions {listing(a.design.positions)} and strata "
            f"{listing(a.design.strata)} in one and {listing(b.design.positions)} and "
            f"{listing(b.design.strata)} in the other; condense both with one schema"
        )
    largest = max(a.design.largest, b.design.largest)
    return replace(a, design=replace(a.design, largest=largest))


def _united(spec: ModelSpec, name: str, a: LevelSet, b: LevelSet) -> LevelSet:
    if a.kind == b.kind and len(a) == len(b) and a.labels() == b.labels():
        return a
    both = a.union(b, name).ordered()
    order = [str(level) for level in spec.levels.get(name, ())] or a.labels()
    place = {label: k for k, label in enumerate(order)}
    labels = both.labels()
    if name not in spec.levels and _ascending(a) and _ascending(b):
        return both
    at = sorted(range(len(labels)), key=lambda k: (place.get(labels[k], len(place)), k))
    return both.take(np.array(at, dtype=np.int64))


def _ascending(levels: LevelSet) -> bool:
    return levels.ordered().labels() == levels.labels()


def level_codes(levels: LevelSet, among: LevelSet) -> Int:
    """Return the numbers of levels in another set; -1 where one is not there."""
    return LevelIndex(among).codes(pa.chunked_array([as_arrow(levels.values)]))


def _moved_keys(
    schema: Schema, name: str, variables: tuple[str, ...], levels: Mapping[str, LevelSet]
) -> Int:
    parts = _parts(schema, name, variables, np.arange(len(schema.keys[name])))
    moved = [
        level_codes(schema.levels[v], levels[v])[part]
        for v, part in zip(variables, parts, strict=True)
    ]
    return combined_key(moved, [len(levels[v]) for v in variables])


def _codes(schema: Schema, levels: Mapping[str, LevelSet], keys: Mapping[str, Int]) -> list[Int]:
    found = []
    for name, variables in schema.factors:
        if len(variables) == 1:
            found.append(level_codes(schema.levels[variables[0]], levels[variables[0]]))
        else:
            moved = _moved_keys(schema, name, variables, levels)
            found.append(np.searchsorted(keys[name], moved).astype(np.int64))
    return found


def copy_levels(
    spec: ModelSpec, schema: Schema, former: Sequence[Int], draws: Sequence[Int | None]
) -> Relevelled:
    """Return the schema of drawn groups, the second copy of a level ``a`` being ``a#2``.

    Parameters
    ----------
    spec, schema : of the design
    former : a factor the former number of every level
    draws : a factor the draw that the level belongs to, or None where a level holds whole draws

    Raises
    ------
    UnsupportedError
        if no column can tell the copies of a level apart.
    """
    coded = coded_columns(spec, schema)
    levels = dict(schema.levels)
    tables: dict[str, _Copies] = {}
    for (_, variables), codes, draw in zip(schema.factors, former, draws, strict=True):
        if len(variables) == 1:
            tables[variables[0]] = _Copies(codes, draw)
            repeated = len(np.unique(codes)) < len(codes)
            if variables[0] in coded and repeated:
                raise UnsupportedError(
                    f"groups cannot be drawn twice: '{variables[0]}' is a column of the model too, "
                    "and a copy would need another column"
                )
            if variables[0] not in coded:
                levels[variables[0]] = _copied(
                    schema.levels[variables[0]], codes, repeated=repeated
                )
    tables = {name: copies for name, copies in tables.items() if name not in coded}
    keys, out = {}, []
    for (name, variables), codes, draw in zip(schema.factors, former, draws, strict=True):
        if len(variables) == 1:
            out.append(np.arange(len(codes)) if variables[0] in tables else codes)
            continue
        parts = _parts(schema, name, variables, codes)
        moved = [
            tables[v].code(part, draw) if v in tables else part
            for v, part in zip(variables, parts, strict=True)
        ]
        found = combined_key(moved, [len(levels[v]) for v in variables])
        keys[name], place = np.unique(found, return_inverse=True)
        if len(keys[name]) < len(found):
            raise UnsupportedError(
                f"groups cannot be drawn twice: no column of '{name}' tells the copies of its "
                "levels apart"
            )
        out.append(place.astype(np.int64))
    return replace(schema, levels=levels, keys=keys), out


class _Copies:
    """New numbers of a column's levels: by former number, and by draw where levels are copied."""

    def __init__(self, former: Int, draw: Int | None) -> None:
        self.draw = draw
        self.span = 1 if draw is None else int(draw.max(initial=0)) + 1
        keys = former * self.span + (0 if draw is None else draw)
        self.order = np.argsort(keys)
        self.keys = keys[self.order]

    def code(self, former: Int, draw: Int | None) -> Int:
        """Return the number of a former level in a draw."""
        if self.draw is not None and draw is None:
            raise UnsupportedError(
                "groups cannot be drawn twice where they stand in a wider factor"
            )
        wanted = former * self.span + (0 if self.draw is None or draw is None else draw)
        return self.order[np.searchsorted(self.keys, wanted)]


def _copied(levels: LevelSet, codes: Int, *, repeated: bool) -> LevelSet:
    if not repeated:
        return levels.take(codes)
    labels = levels.labels()
    seen: dict[int, int] = {}
    out = []
    for code in codes.tolist():
        seen[code] = times = seen.get(code, 0) + 1
        out.append(labels[code] if times == 1 else f"{labels[code]}#{times}")
    if len(set(out)) < len(out):
        raise DataError(f"a copy cannot be named: a level like {listing(labels, 1)} ends with '#2'")
    return LevelSet("text", pa.array(out, pa.large_string()))
