"""Rows of any partition become X, Z, y and level codes, always the same columns.

Stands at "Rows become columns" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from mixedflow.covariance.residual_types import ResidualDesign
from mixedflow.design.arrow import Mask, PartitionPlace, as_arrow, not_numbers, storage_kind
from mixedflow.design.coded import CodedTerm, multiplier, plan_coded
from mixedflow.design.columns import Column, Rows
from mixedflow.design.learn import chosen_columns, complete_rows
from mixedflow.design.levels import LevelIndex, LevelSet, combined_key
from mixedflow.design.plan import DesignPlan, plan_design
from mixedflow.design.positions import PatternEncoder
from mixedflow.design.safety import Expression
from mixedflow.design.schema import Schema
from mixedflow.design.spec import ModelSpec, check_columns
from mixedflow.design.types import (
    CodedColumns,
    DesignBlock,
    DesignColumns,
    DesignInfo,
    FactorDesign,
    Float,
    Int,
    RowPatterns,
    TermDesign,
)
from mixedflow.errors import (
    DataError,
    MissingValuesError,
    StoredFileError,
    UnknownLevelError,
    did_you_mean,
)

NewLevels = Literal["error", "allow"]


class Encoder:
    """Encodes partitions by a frozen schema.

    Attributes
    ----------
    info : the columns of the design
    terms : the random terms in lme4's order, more levels first
    """

    def __init__(self, spec: ModelSpec, schema: Schema) -> None:
        if spec.design_key(schema.kinds) != schema.design_key:
            raise StoredFileError(
                f"The schema was learned for another design than that of '{spec.formula}'."
            )
        self.spec = spec
        self.schema = schema
        self._learned = schema.learned
        self._plan = plan_design(spec, self._learned)
        self._coded = plan_coded(self._plan.x, self._learned)
        self._indices = {name: LevelIndex(levels) for name, levels in schema.levels.items()}
        self._keys = {n: LevelIndex(LevelSet("int", k)) for n, k in schema.keys.items()}
        self._patterns = (
            None
            if schema.residual is None
            else PatternEncoder(spec, schema.residual, schema.levels, self._indices)
        )
        self.info: DesignInfo = self._design_info()
        self.terms: tuple[TermDesign, ...] = self._term_designs()

    def _design_info(self) -> DesignInfo:
        factors = tuple(
            FactorDesign(name, variables, _names(columns), self.schema.n_levels(k))
            for k, ((name, variables), columns) in enumerate(
                zip(self.schema.factors, self._plan.z, strict=True)
            )
        )
        return DesignInfo(
            traits=(self.spec.parsed.response.text,),
            x_columns=_names(self._plan.x),
            intercept=_constant(self._plan.x),
            factors=factors,
            z_intercept=tuple(_constant(columns) for columns in self._plan.z),
            pilots=self.schema.pilots,
            weighted=self.spec.weights is not None,
            residual=self._residual_design(),
        )

    def _residual_design(self) -> ResidualDesign | None:
        found = self.schema.residual
        parsed = self.spec.parsed_residual
        if found is None:
            return None
        return replace(found.design, structure=parsed.structure, common=parsed.product)

    def _term_designs(self) -> tuple[TermDesign, ...]:
        plan: DesignPlan = self._plan
        order = sorted(
            range(len(plan.terms)), key=lambda k: -self.info.factors[plan.terms[k][0]].n_levels
        )
        used: dict[str, int] = {}
        terms = []
        for k in order:
            factor, columns = plan.terms[k]
            name = self.info.factors[factor].name
            repeat = used.get(name, 0)
            used[name] = repeat + 1
            label = f"{name}.{repeat}" if repeat else name
            terms.append(TermDesign(label, factor, columns, self.spec.parsed.random[k].structure))
        return tuple(terms)

    def variables(self, *, response: bool = True) -> tuple[str, ...]:
        """Return the data columns that :meth:`encode` reads."""
        return self.spec.variables if response else self.spec.predictors

    @property
    def coded_columns(self) -> int:
        """Number of columns of X that are known by level codes and never written out."""
        return len(self._plan.x) - len(self._coded.plain)

    def encode(
        self,
        table: pa.Table,
        *,
        response: bool = True,
        new_levels: NewLevels = "error",
        where: PartitionPlace | None = None,
    ) -> DesignBlock:
        """Encode a partition; without ``response`` neither y nor weights are needed.

        An unseen level of a grouping factor is an :class:`UnknownLevelError`, or code -1 where
        ``new_levels`` is ``allow``.
        """
        check, kept, missing = self._opened(table, where, response=response)
        offset = self._offset(check)
        return DesignBlock(
            X=self._matrix(tuple(self._plan.x[k] for k in self._coded.plain), check),
            y=self._response(check, offset) if response else np.empty((check.rows.n, 0)),
            Z=tuple(self._matrix(columns, check) for columns in self._plan.z),
            codes=self._codes(check, new_levels),
            weights=self._weights(check) if response else None,
            offset=offset,
            rows_in=table.num_rows,
            kept=kept,
            missing=missing,
            coded=tuple(self._checked(term, check) for term in self._coded.terms),
            pattern=self._pattern(check) if response else None,
        )

    def columns(
        self, table: pa.Table, *, where: PartitionPlace | None = None, complete: bool = False
    ) -> DesignColumns:
        """Encode a partition without any matrix: the factors of every column, as they are stored.

        ``complete`` says that no row is known to lack a value, so that it is not looked at again.

        Columns of categories with many levels are not even that, but :class:`CodedColumns`.
        Finiteness is not looked at; sums of the columns show whether :meth:`encode` has to say which
        row it is.
        """
        check, _, missing = self._opened(table, where, response=True, complete=complete)
        return DesignColumns(
            n=check.rows.n,
            x=tuple(check.rows.pieces(self._plan.x[k]) for k in self._coded.plain),
            y=(self._stored_response(check),),
            z=tuple(tuple(check.rows.pieces(c) for c in columns) for columns in self._plan.z),
            codes=self._codes(check, "error"),
            weights=self._weights(check),
            rows_in=table.num_rows,
            missing=missing,
            coded=tuple(term.of(check.rows) for term in self._coded.terms),
            pattern=self._pattern(check),
        )

    def _pattern(self, check: _Check) -> RowPatterns | None:
        if self._patterns is None:
            return None
        return self._patterns.rows(check.rows.table, check.positions, check.place)

    def _opened(
        self,
        table: pa.Table,
        where: PartitionPlace | None,
        *,
        response: bool,
        complete: bool = False,
    ) -> tuple[_Check, Mask, dict[str, int]]:
        """Return the complete rows, which rows they are, and how many lack what."""
        place = where or PartitionPlace("the data")
        names = list(self.variables(response=response))
        _check_present(self.spec, names, table, place.source)
        table = chosen_columns(table, names, place.source)
        self._check_kinds(table, place)
        kept, missing = complete_rows(table, names if complete else ())
        lacking = {n: int(mask.sum()) for n, mask in missing.items() if mask is not None}
        self._check_missing(missing, place)
        rows = table if kept.all() else table.filter(as_arrow(kept))
        check = _Check(Rows(rows, self._learned, self._indices), np.flatnonzero(kept), place)
        for expression in self.spec.linear_expressions:
            self._check_levels(expression, check)
            self._check_bounds(expression, check)
        return check, kept, lacking

    def _codes(self, check: _Check, new_levels: NewLevels) -> tuple[Int, ...]:
        return tuple(
            self._factor_codes(k, check, new_levels) for k in range(len(self.schema.factors))
        )

    def _check_missing(self, missing: Mapping[str, Mask | None], place: PartitionPlace) -> None:
        if self.spec.missing == "drop":
            return
        for name, mask in missing.items():
            if mask is not None:
                raise MissingValuesError(
                    f"The column '{name}' has a missing value in {place.row(int(mask.argmax()))}."
                )

    def _check_kinds(self, table: pa.Table, place: PartitionPlace) -> None:
        """Numbers where the schema has numbers."""
        for name in table.column_names:
            kind = storage_kind(table.column(name).type, name, place.source)
            if self.schema.kinds[name] != "numeric" or kind in ("numeric", "unknown"):
                continue
            _, _, first, text = not_numbers(table.column(name))
            found = f"; {place.row(first)} holds '{text}'" if first >= 0 else ""
            raise DataError(
                f"The column '{name}' of {place.source} must hold numbers, as it did when the "
                f"model was set up{found}."
            )

    def _check_levels(self, expression: Expression, check: _Check) -> None:
        if self._learned.is_category(expression):
            name = expression.names[0]
            check.known(name, check.rows.codes(name), self.schema.levels[name].labels())

    def _check_bounds(self, expression: Expression, check: _Check) -> None:
        """Refuse to leave the range of a spline, unless it says how to go on."""
        if expression.kind != "basis":
            return
        call, state = check.rows.basis(expression)
        if call.parameters.get("extrapolation") != "raise":
            return
        low, high = state["lower_bound"], state["upper_bound"]
        values = check.rows.argument(expression, call)
        bad = (values < low) | (values > high)
        if bad.any():
            first = int(bad.argmax())
            raise DataError(
                f"'{expression.text}' reaches from {low:g} to {high:g}, but {check.row(first)} has "
                f"{check.held(expression.names, first)}; extrapolation='extend' (or 'clip') in the "
                "formula says how to go on."
            )

    def _factor_codes(self, factor: int, check: _Check, new_levels: NewLevels) -> Int:
        name, variables = self.schema.factors[factor]
        parts = [check.rows.codes(v) for v in variables]
        codes = parts[0]
        if len(variables) > 1:
            sizes = [len(self.schema.levels[v]) for v in variables]
            keys = combined_key(parts, sizes)
            codes = self._keys[name].codes(pa.chunked_array([as_arrow(keys)]))
        if new_levels == "error" and codes.size and codes.min() < 0:
            check.unknown(name, variables, codes, self.schema.level_labels(factor))
        return codes

    def _matrix(self, columns: tuple[Column, ...], check: _Check) -> Float:
        matrix = check.rows.matrix(columns)
        with np.errstate(all="ignore"):
            total = matrix.sum()
        if np.isfinite(total):
            return matrix
        for k, column in enumerate(columns):
            names = [n for p in column.pieces for n in p.expression.names]
            check.finite(column.name, matrix[:, k], names)
        return matrix

    def _checked(self, term: CodedTerm, check: _Check) -> CodedColumns:
        """Return columns known by codes; the number that they are multiplied by must be finite."""
        columns = term.of(check.rows)
        if columns.pieces:
            names = [n for other in term.others for n in other.expression.names]
            text = self._plan.x[term.places[0]].name
            check.finite(text, multiplier(columns), names)
        return columns

    def _offset(self, check: _Check) -> Float | None:
        offsets = self.spec.parsed.offsets
        if not offsets:
            return None
        parts = [self._finite(e, check) for e in offsets]
        return np.asarray(sum(parts[1:], start=parts[0].copy()))

    def _finite(self, expression: Expression, check: _Check) -> Float:
        values = check.rows.numeric(expression)
        check.finite(expression.text, values, list(expression.names))
        return values

    def _response(self, check: _Check, offset: Float | None) -> Float:
        y = self._finite(self.spec.parsed.response, check)
        return (y - offset if offset is not None else y.copy())[:, None]

    def _stored_response(self, check: _Check) -> Any:
        """Return y less its offset, as it is stored where nothing is to be computed."""
        response = self.spec.parsed.response
        if self.spec.parsed.offsets or response.kind != "column":
            return self._response(check, self._offset(check))[:, 0]
        values = check.rows.stored(response.names[0])
        check.finite(response.text, values, list(response.names))
        return values

    def _weights(self, check: _Check) -> Float | None:
        name = self.spec.weights
        if name is None:
            return None
        weights = check.rows.numbers(name)
        check.finite(name, weights, [name])
        if (weights <= 0).any():
            first = int((weights <= 0).argmax())
            raise DataError(
                f"The weights column '{name}' holds {weights[first]:g} in {check.row(first)}; "
                "weights must be positive."
            )
        return weights


class _Check:
    """Finds the row of the source that a value of the complete rows came from."""

    def __init__(self, rows: Rows, positions: Int, place: PartitionPlace) -> None:
        self.rows = rows
        self.positions = positions
        self.place = place

    def row(self, index: int) -> str:
        """Name the row."""
        return self.place.row(int(self.positions[index]))

    def finite(self, text: str, values: Float, names: list[str]) -> None:
        """Raise for the first value that is not finite."""
        bad = ~np.isfinite(values)
        if bad.any():
            first = int(bad.argmax())
            raise DataError(
                f"'{text}' has no finite value in {self.row(first)}, where "
                f"{self.held(names, first)}."
            )

    def held(self, names: Iterable[str], index: int) -> str:
        """Say what columns hold in a row: ``x = 2, z = 5``."""
        return ", ".join(f"{n} = {self._value(n, index)}" for n in dict.fromkeys(names))

    def known(self, name: str, codes: Int, labels: list[str]) -> None:
        """Raise for the first level of a column that the schema does not have."""
        if codes.size and codes.min() < 0:
            self.unknown(name, (name,), codes, labels)

    def unknown(self, name: str, variables: tuple[str, ...], codes: Int, labels: list[str]) -> None:
        """Raise :class:`UnknownLevelError` for the first code -1."""
        first = int((codes < 0).argmax())
        found = ":".join(str(self._value(v, first)) for v in variables)
        near = did_you_mean(found, labels) if len(labels) <= 10_000 else ""
        raise UnknownLevelError(
            f"'{found}' in {self.row(first)} is not a level of '{name}', which has {len(labels):,} "
            f"levels{near}."
        )

    def _value(self, name: str, index: int) -> object:
        value = self.rows.table.column(name)[index].as_py()
        return f"{value:g}" if isinstance(value, float) else value


def _check_present(spec: ModelSpec, names: list[str], table: pa.Table, source: str) -> None:
    if not set(names) <= set(table.column_names):
        lacking = [n for n in spec.variables if n not in names]
        check_columns(spec, [*table.column_names, *lacking], source)


def _names(columns: tuple[Column, ...]) -> tuple[str, ...]:
    return tuple(column.name for column in columns)


def _constant(columns: tuple[Column, ...]) -> int | None:
    return next((k for k, column in enumerate(columns) if not column.pieces), None)
