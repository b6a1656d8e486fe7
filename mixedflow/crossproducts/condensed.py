"""Sums with their meaning: a condensed data set that is added to, taken from, and fitted, without rows.

Stands at "Sums" in ``docs/algorithm.md``. :class:`CrossProducts` count levels by number; here they
have names, so that sums of other levels can be brought together and groups be chosen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mixedflow.crossproducts.groups import DrawnLevels, check_iid, drawn
from mixedflow.crossproducts.taking import recoded, subtracted
from mixedflow.crossproducts.types import ONLY_KEY, CrossProducts, same_pilots
from mixedflow.design.relevel import (
    copy_levels,
    keep_levels,
    level_codes,
    unite_levels,
    with_counts,
)
from mixedflow.design.schema import Schema
from mixedflow.design.spec import ModelSpec
from mixedflow.design.types import Int, Pilots
from mixedflow.errors import DataError, UnsupportedError, did_you_mean, listing


@dataclass(frozen=True, slots=True, eq=False)
class Condensed:
    """What is left of the rows of a data set: enough for every model of its columns.

    ``a + b`` are the sums over the rows of both; ``a - b`` those over the rows of ``a`` that are not
    rows of ``b``. :func:`mixedflow.fit` takes it in place of data.

    Attributes
    ----------
    spec : the model that it was condensed for
    schema : levels, states and pilots of its columns
    sums : the cross-products
    """

    spec: ModelSpec
    schema: Schema
    sums: CrossProducts

    @property
    def n_obs(self) -> int:
        """Rows in the sums."""
        return self.sums.n_obs

    def levels(self, factor: str) -> list[str]:
        """Return the levels of a grouping factor, as results name them."""
        return self.schema.level_labels(self._factor(factor))

    def __add__(self, other: object) -> Condensed:
        """Return the sums over the rows of both.

        Condensed with one schema, the bits are those of condensing all rows at once in two halves.
        Levels that only one of them has are levels of both. What each group adds is kept where both
        have it.

        Raises
        ------
        DataError
            if they are of different columns, or shifted and scaled by different pilots.
        """
        if not isinstance(other, Condensed):
            return NotImplemented
        self._check_same_design(other, "added")
        if _same_levels(self.schema, other.schema):
            return self._with(self.schema, self.sums + other.sums)
        schema, mine, its = unite_levels(self.spec, self.schema, other.schema)
        sizes = [schema.n_levels(f) for f in range(len(schema.factors))]
        left, right = recoded(self.sums, mine, sizes), recoded(other.sums, its, sizes)
        return self._with(schema, left + right)

    def __sub__(self, other: object) -> Condensed:
        """Return the sums over the rows that are here and not in ``other``: a site withdraws.

        Levels that lose all their rows are levels no more.

        Raises
        ------
        DataError
            if no rows can have the sums that would be left.
        """
        if not isinstance(other, Condensed):
            return NotImplemented
        self._check_same_design(other, "subtracted")
        sizes = [self.schema.n_levels(f) for f in range(len(self.schema.factors))]
        taken = other.sums
        if not _same_levels(self.schema, other.schema):
            taken = recoded(other.sums, self._codes_here(other), sizes)
        return self._compact(subtracted(self.sums, taken))

    def _codes_here(self, other: Condensed) -> list[Int]:
        schema, mine, its = unite_levels(self.spec, self.schema, other.schema)
        for f, (name, _) in enumerate(schema.factors):
            if schema.n_levels(f) > self.schema.n_levels(f):
                known = set(self.levels(name))
                more = [label for label in other.levels(name) if label not in known]
                raise DataError(
                    f"sums cannot be subtracted: they have levels of '{name}' that the first do not "
                    f"have: {listing(more, 5)}"
                )
        # the union is the first's own levels; mine says how these are numbered in it
        return [np.argsort(own)[code] for own, code in zip(mine, its, strict=True)]

    def restrict(self, groups: Iterable[Any], *, factor: str | None = None) -> Condensed:
        """Return the sums over the rows of some levels of one grouping factor.

        Parameters
        ----------
        groups : the levels to keep
        factor : the grouping factor, where sums of more than one are kept by group

        Raises
        ------
        UnsupportedError
            if the sums were condensed without ``by_group``, or another factor is crossed with it.
        """
        f, codes = self._chosen(groups, factor)
        sums, levels = drawn(self.sums, f, np.unique(codes))
        return self._kept(sums, levels)

    def without(self, groups: Iterable[Any], *, factor: str | None = None) -> Condensed:
        """Return the sums over the rows of all other levels (jackknife, leave one group out)."""
        f, codes = self._chosen(groups, factor)
        rest = np.setdiff1d(self.sums.keyed[ONLY_KEY].factors[f].levels, codes)
        if not len(rest):
            raise DataError("no group would be left")
        sums, levels = drawn(self.sums, f, rest)
        return self._kept(sums, levels)

    def resample(self, groups: Iterable[Any], *, factor: str | None = None) -> Condensed:
        """Return the sums over groups drawn with replacement: a repeat is another level ``a#2``.

        Parameters, errors
        ------------------
        as :meth:`restrict`; a group counts as often as it stands in ``groups``.
        """
        f, codes = self._chosen(groups, factor)
        if len(np.unique(codes)) == len(codes):
            return self.restrict(
                groups=[self.schema.level_labels(f)[c] for c in codes], factor=factor
            )
        name, variables = self.schema.factors[f]
        if len(variables) > 1:
            raise UnsupportedError(
                f"groups of '{name}' cannot be drawn twice: its levels combine columns, and no copy "
                "of a level could be named; make the combination a column of the data"
            )
        sums, found = drawn(self.sums, f, np.sort(codes))
        former, draws = [level.former for level in found], [level.draw for level in found]
        schema, new = copy_levels(self.spec, self.schema, former, draws)
        sizes = [schema.n_levels(k) for k in range(len(schema.factors))]
        return self._with(schema, recoded(sums, new, sizes))

    def rebase(self, to: Condensed | Schema | Pilots) -> Condensed:
        """Return the sums of the same rows with other pilots: x~' = (s / s') x~ + (m - m') / s'.

        Sums that were condensed apart are brought together by ``a + b.rebase(a)``; digits that the
        pilots of ``b`` had lost do not come back.
        """
        schema = to.schema if isinstance(to, Condensed) else to
        pilots = schema.pilots if isinstance(schema, Schema) else schema
        sums = self.sums.rebase(pilots)
        return replace(self, schema=replace(self.schema, pilots=pilots), sums=sums)

    def submodel(self, formula: str, residual: str | None = None) -> Condensed:
        """Return the sums of a model whose columns are among these.

        Parameters
        ----------
        formula : of the smaller model
        residual : its residual structure, one that shares these sums; this one's without it

        Raises
        ------
        FormulaError
            naming the first column that is not there, and those that are.
        """
        from mixedflow.crossproducts.submodel import submodel

        return submodel(self, formula, residual)

    def compact(self) -> Condensed:
        """Return the same sums without levels that no row has, as a shared schema may bring them."""
        return self._compact(self.sums)

    def save(self, path: str | Path) -> None:
        """Write the sums to a folder; :func:`mixedflow.load_crossproducts` reads them."""
        from mixedflow.crossproducts.folder import save_condensed

        save_condensed(self, Path(path))

    def __repr__(self) -> str:
        """Return one line."""
        levels = ", ".join(f"{f.name}, {f.n_levels:,}" for f in self.sums.info.factors)
        return f"<Condensed {self.spec.formula!r}: {self.n_obs:,} rows; groups: {levels}>"

    def _factor(self, name: str) -> int:
        names = [name for name, _ in self.schema.factors]
        if name not in names:
            raise DataError(
                f"'{name}' is not a grouping factor of these sums{did_you_mean(name, names)}; they "
                f"have {listing(names)}"
            )
        return names.index(name)

    def _chosen(self, groups: Iterable[Any], factor: str | None) -> tuple[int, Int]:
        """Return the factor that groups are taken of, and their level numbers."""
        check_iid(self.sums)
        part = next(iter(self.sums.keyed.values()))
        by_group = [f for f, one in enumerate(part.factors) if one.groups is not None]
        if factor is not None:
            f = self._factor(factor)
        elif len(by_group) == 1:
            f = by_group[0]
        else:
            names = [name for name, _ in self.schema.factors]
            lacking = not by_group
            raise UnsupportedError(
                f"these sums do not say what each group adds to them; condense with "
                f"by_group='{names[0]}'"
                if lacking
                else f"name the factor that groups are taken of: {listing(names)}"
            )
        labels = {label: k for k, label in enumerate(self.schema.level_labels(f))}
        if isinstance(groups, str) or not isinstance(groups, Iterable):
            raise DataError(f"groups must be a list of levels; '{groups}' was given")
        wanted = [_label(value) for value in groups]
        for label in wanted:
            if label not in labels:
                name = self.schema.factors[f][0]
                near = did_you_mean(label, labels) if len(labels) <= 10_000 else ""
                raise DataError(f"'{label}' is not a level of '{name}'{near}")
        if not wanted:
            raise DataError("no group was named; at least one must stay")
        return f, np.array([labels[label] for label in wanted], dtype=np.int64)

    def _kept(self, sums: CrossProducts, found: Sequence[DrawnLevels]) -> Condensed:
        """Return drawn sums, no level copied, over the levels that are left."""
        schema, codes = keep_levels(self.spec, self.schema, [level.former for level in found])
        sizes = [schema.n_levels(f) for f in range(len(schema.factors))]
        return self._with(schema, recoded(sums, codes, sizes))

    def _compact(self, sums: CrossProducts) -> Condensed:
        """Return the sums over the levels that occur in them."""
        occurring = [
            np.unique(np.concatenate([part.factors[f].levels for part in sums.keyed.values()]))
            for f in range(len(self.schema.factors))
        ]
        schema, kept = keep_levels(self.spec, self.schema, occurring)
        tables = []
        for f, (levels, codes) in enumerate(zip(occurring, kept, strict=True)):
            table = np.full(self.schema.n_levels(f), -1, dtype=np.int64)
            table[levels] = codes
            tables.append(table)
        sizes = [schema.n_levels(f) for f in range(len(schema.factors))]
        return self._with(schema, recoded(sums, tables, sizes))

    def _with(self, schema: Schema, sums: CrossProducts) -> Condensed:
        counted = with_counts(schema, sums.rows_in, sums.n_obs, sums.missing)
        return replace(self, schema=counted, sums=sums)

    def _check_same_design(self, other: Condensed, what: str) -> None:
        a, b = self.schema, other.schema
        keys = self.spec.design_key(a.kinds), other.spec.design_key(b.kinds)
        infos = self.sums.info, other.sums.info
        columns = [(i.x_columns, [f.columns for f in i.factors]) for i in infos]
        if keys[0] != keys[1] or columns[0] != columns[1]:
            raise DataError(
                f"sums of '{self.spec.formula}' and of '{other.spec.formula}' cannot be {what}: "
                "their columns differ"
            )
        if _text(a.states) != _text(b.states):
            raise DataError(
                f"sums cannot be {what}: transforms of '{self.spec.formula}' learned other values "
                "in the second; condense both with one schema"
            )
        if not same_pilots(a.pilots, b.pilots):
            raise DataError(
                f"sums cannot be {what}: their columns are shifted and scaled by different pilots; "
                "condense both with one schema, or use b.rebase(a) for the second"
            )


def _label(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _same_levels(a: Schema, b: Schema) -> bool:
    if a is b:
        return True
    if a.residual is not None and (b.residual is None or a.residual.design != b.residual.design):
        return False
    same = all(
        len(own) == len(b.levels[name])
        and np.array_equal(level_codes(own, b.levels[name]), np.arange(len(own)))
        for name, own in a.levels.items()
    )
    return same and all(np.array_equal(keys, b.keys[name]) for name, keys in a.keys.items())


def _text(states: Any) -> str:
    return json.dumps(states, sort_keys=True, default=lambda value: value.tolist())
