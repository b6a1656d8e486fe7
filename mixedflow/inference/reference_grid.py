"""The reference grid: rows of X at all levels of the factors and the means of the covariates.

Stands at "Marginal means" in ``docs/algorithm.md``. Every row of the grid is encoded as a row of data
would be, so that a function of a covariate is taken of the covariate's mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

from mixedflow.design.arrow import as_arrow
from mixedflow.design.columns import Column, Learned, Rows, plan_columns
from mixedflow.design.levels import LevelIndex
from mixedflow.design.schema import Schema
from mixedflow.design.spec import ModelSpec
from mixedflow.design.types import Float
from mixedflow.errors import DataError, UnsupportedError, did_you_mean, listing

MAX_NUMBERS = 1 << 26
"""Numbers that the rows of a grid may have."""

STEP = 1e-3
"""Step of a slope, a share of the covariate's range."""

POINTS = (-2.0, -1.0, 0.0, 1.0, 2.0)

Values = Sequence[Any]


@dataclass(frozen=True, slots=True)
class ReferenceGrid:
    """Rows of X at combinations of values, the first variable's changing fastest.

    Attributes
    ----------
    values : of every variable, in the order in which they change
    rows : (G, p), over all columns of X
    offset : (G,)
    """

    values: Mapping[str, Values]
    rows: Float
    offset: Float

    def means(self, names: Sequence[str], weights: Float | None = None) -> tuple[Float, Float]:
        """Return rows and offsets averaged over all but the first variables.

        Parameters
        ----------
        names : the variables that come first
        weights : (G,) of the combinations; equal ones if left out
        """
        cells = prod(len(self.values[name]) for name in names)
        share = np.ones(len(self.rows)) if weights is None else weights
        by_cell = share.reshape(-1, cells)
        with np.errstate(invalid="ignore"):
            by_cell = by_cell / by_cell.sum(axis=0)
        rows = self.rows.reshape(len(by_cell), cells, -1)
        L: Float = np.einsum("rc,rcp->cp", by_cell, rows)
        return L, np.einsum("rc,rc->c", by_cell, self.offset.reshape(len(by_cell), cells))


@dataclass(frozen=True, slots=True)
class GridMaker:
    """What a grid is made from.

    Attributes
    ----------
    spec, schema : of the fit
    """

    spec: ModelSpec
    schema: Schema

    @property
    def variables(self) -> tuple[str, ...]:
        """Columns of the data that X and the offsets read."""
        return self.spec.covariates

    @property
    def categories(self) -> frozenset[str]:
        """Those of which all levels are taken."""
        learned = self.schema.learned
        expressions = self.spec.parsed.fixed.expressions
        return frozenset(e.names[0] for e in expressions if learned.is_category(e))

    def values(self, at: Mapping[str, Any]) -> dict[str, Values]:
        """Return the values of every variable: levels, the mean, or what was asked for."""
        unknown = [name for name in at if name not in self.variables]
        if unknown:
            raise DataError(
                f"at={{'{unknown[0]}': ...}} names no variable of the fixed part; it has "
                f"{listing(self.variables)}{did_you_mean(unknown[0], self.variables)}"
            )
        categories = self.categories
        return {
            name: self._levels(name, at) if name in categories else self._numbers(name, at)
            for name in self.variables
        }

    def grid(self, values: Mapping[str, Values]) -> ReferenceGrid:
        """Return the rows of X at all combinations of values."""
        part, learned = self.spec.parsed.fixed, self.schema.learned
        columns = plan_columns(part, learned)
        sizes = [len(of_one) for of_one in values.values()]
        if prod(sizes) * max(1, len(columns)) > MAX_NUMBERS:
            shown = listing([f"{name} ({len(v):,})" for name, v in values.items() if len(v) > 1])
            raise UnsupportedError(
                f"the grid of all combinations of levels would have {prod(sizes):,} rows, from {shown}; "
                "at={...} takes some of the levels"
            )
        rows = self._rows(_crossed(values), learned)
        return ReferenceGrid(values, *self._encoded(rows, columns))

    def category_rows(
        self, values: Mapping[str, Values], columns: Sequence[Column], chosen: Sequence[int]
    ) -> Float:
        """Return chosen columns of X, which read categories alone, at all combinations of values."""
        learned = self.schema.learned
        return self._rows(_crossed(values), learned).matrix([columns[k] for k in chosen])

    def slopes(self, values: Mapping[str, Values], name: str) -> ReferenceGrid:
        """Return the derivatives of the rows by a covariate; offsets count as no effect.

        By the polynomial through five points, exact up to fourth powers; they are about the value, or
        beside it where a spline would end.
        """
        low, high = self.schema.ranges.get(name, (0.0, 0.0))
        own = np.asarray(values[name], dtype=float)
        h = STEP * (high - low or max(1.0, float(np.abs(own).max())))
        inside = (low <= own) & (own <= high)
        centre = np.where(inside, np.clip(own, low + 2.0 * h, high - 2.0 * h), own)
        weights = _slope_weights((own - centre) / h) / h
        sizes = [len(of_one) for of_one in values.values()]
        place = np.unravel_index(np.arange(prod(sizes)), sizes, order="F")[list(values).index(name)]
        parts = [
            weights[place, k, None] * self.grid({**values, name: (centre + step * h).tolist()}).rows
            for k, step in enumerate(POINTS)
        ]
        rows: Float = np.sum(parts, axis=0)
        return ReferenceGrid(values, rows, np.zeros(len(rows)))

    def _levels(self, name: str, at: Mapping[str, Any]) -> Values:
        levels = self.schema.levels[name]
        labels, own = levels.labels(), _plain(levels.values)
        if name not in at:
            return own
        place: dict[Any, Any] = dict(zip(labels, own, strict=True))
        place.update({value: value for value in own})
        asked = _as_list(at[name])
        unknown = [one for one in asked if one not in place and str(one) not in place]
        if unknown or not asked:
            shown = f"'{unknown[0]}', which is no level" if unknown else "no level"
            near = did_you_mean(str(unknown[0]), labels) if unknown and len(labels) < 10_000 else ""
            raise DataError(
                f"at={{'{name}': ...}} has {shown}; the levels of '{name}' are {listing(labels)}{near}"
            )
        return [place.get(one, place.get(str(one))) for one in asked]

    def _numbers(self, name: str, at: Mapping[str, Any]) -> Values:
        if name not in at:
            if name not in self.schema.means:
                raise DataError(
                    f"the mean of '{name}' is not known: these sums come from a schema without it, or "
                    f"from several; give at={{'{name}': value}}"
                )
            return [self.schema.means[name]]
        try:
            found = [float(value) for value in _as_list(at[name])]
        except (TypeError, ValueError):
            found = []
        if not found or not np.isfinite(found).all():
            raise DataError(
                f"at={{'{name}': ...}} must have one finite number or more; found {at[name]!r}"
            )
        return found

    def _rows(self, table: pa.Table, learned: Learned) -> Rows:
        own = set(table.column_names)
        levels = self.schema.levels.items()
        indices = {name: LevelIndex(of_one) for name, of_one in levels if name in own}
        return Rows(table, learned, indices)

    def _encoded(self, rows: Rows, columns: Sequence[Column]) -> tuple[Float, Float]:
        """Return X and the offset."""
        try:
            X = rows.matrix(columns)
        except ValueError:
            raise DataError(
                "a spline of the fixed part does not reach all values of the grid; at={...} takes others, "
                "and extrapolation='extend' in the formula lets it go on"
            ) from None
        offset = np.zeros(rows.n)
        for expression in self.spec.parsed.offsets:
            offset = offset + rows.numeric(expression)
        if not np.isfinite(X).all() or not np.isfinite(offset).all():
            raise DataError(
                "a column of the fixed part has no finite value at some values of the grid; at={...} "
                "takes others"
            )
        return X, offset


def _crossed(values: Mapping[str, Values]) -> pa.Table:
    """Return all combinations of values as rows, the first variable's changing fastest."""
    sizes = [len(of_one) for of_one in values.values()]
    if not sizes:
        return pa.table({"": pa.nulls(1)})
    codes = np.unravel_index(np.arange(prod(sizes)), sizes, order="F")
    return pa.table(
        {
            name: pa.array(list(of_one)).take(as_arrow(code))
            for (name, of_one), code in zip(values.items(), codes, strict=True)
        }
    )


def _slope_weights(at: Float) -> Float:
    """Return weights of f at the points whose sum is f' at a place, (m, 5), in units of a step."""
    powers = np.vander(POINTS, increasing=True).T
    slopes = np.array([k * at ** max(k - 1, 0) for k in range(len(POINTS))])
    return np.asarray(np.linalg.solve(powers, slopes).T)


def _plain(values: Any) -> list[Any]:
    """Return levels as plain values."""
    found: list[Any] = values.to_pylist() if isinstance(values, pa.Array) else values.tolist()
    return found


def _as_list(values: Any) -> list[Any]:
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        return [values]
    return list(values)
