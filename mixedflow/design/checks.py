"""Whether the data can carry the model: each finding of the schema pass becomes a sentence.

Stands at "The schema pass" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixedflow.design.spec import ModelSpec
from mixedflow.design.summary import ColumnSummary, PartitionSummary
from mixedflow.errors import DataError, MissingValuesError, listing

if TYPE_CHECKING:
    from mixedflow.design.schema import Schema

MAX_COLUMNS = 10_000
"""Levels that a factor of the fixed part, or left of a bar, may have: X'X is dense."""


def check_summary(spec: ModelSpec, summary: PartitionSummary) -> None:
    """Raise for columns of the wrong kind, missing, infinite or impossible values."""
    if not summary.rows_in:
        raise MissingValuesError(f"{_capital(summary.source)} has no rows.")
    for name, column in summary.columns.items():
        _check_kind(spec, name, column, summary.source)
    if spec.missing == "error":
        for name, column in summary.columns.items():
            if column.missing:
                raise MissingValuesError(
                    f"The column '{name}' has {_values(column.missing.count, 'missing')}, the "
                    f"first in {column.missing.where}; missing='drop' would leave incomplete rows "
                    "out."
                )
    _check_rows(summary)
    for name, column in summary.columns.items():
        if column.infinite:
            raise DataError(
                f"The column '{name}' holds {_values(column.infinite.count, 'infinite')}: "
                f"{column.infinite.value} in {column.infinite.where}; a model needs finite numbers."
            )
    for what, found in summary.wrong.items():
        kind, _, text = what.partition(" ")
        if kind == "weights":
            raise DataError(
                f"The weights column '{text}' holds {found.value} in {found.where}; weights must "
                "be positive."
            )
        raise DataError(
            f"'{text}' has no finite value in {found.where}, where its column holds {found.value} "
            f"({found.count:,} such rows)."
        )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] if text.startswith("the ") else text


def _values(count: int, sort: str) -> str:
    return f"1 {sort} value" if count == 1 else f"{count:,} {sort} values"


def _check_kind(spec: ModelSpec, name: str, column: ColumnSummary, source: str) -> None:
    """Text where numbers should be."""
    bad = column.not_number
    declare = f"declare `types: {{{name}: category}}` if it is a category"
    if name in spec.numeric_variables and column.kind not in ("numeric", "unknown"):
        use = _use(spec, name)
        if bad:
            raise DataError(
                f"The column '{name}' is {use} and must hold numbers, but {bad.where} holds "
                f"'{bad.value}' ({_values(bad.count, 'such')} in all)."
            )
        raise DataError(
            f"The column '{name}' of {source} is {use} and must hold numbers, but it is a "
            f"category; declare `types: {{{name}: float}}` if it holds numbers."
        )
    if column.kind == "mixed":
        raise DataError(
            f"The column '{name}' of {source} holds text in one part and numbers in another; "
            f"{declare}."
        )
    if bad and name not in spec.levels and 0 < column.n_text - bad.count >= bad.count:
        raise DataError(
            f"The column '{name}' holds numbers but for {_values(bad.count, 'other')}: "
            f"{bad.where} holds '{bad.value}'; correct it, or {declare}."
        )


def _use(spec: ModelSpec, name: str) -> str:
    if name in spec.parsed.response.names:
        return "the response"
    if name == spec.weights:
        return "the weights"
    for expression in (*spec.parsed.offsets, *spec.linear_expressions):
        if expression.kind in ("numeric", "basis") and name in expression.names:
            return f"used in {expression.text}"
    if name in spec.parsed_residual.coordinates:
        return f"a coordinate of residual='{spec.residual}'"
    return "an offset"


def _check_rows(summary: PartitionSummary) -> None:
    if summary.rows_used:
        return
    lacking = {n: c.missing.count for n, c in summary.columns.items() if c.missing}
    everywhere = [n for n, count in lacking.items() if count == summary.rows_in]
    if everywhere:
        are = "is" if len(everywhere) == 1 else "are"
        columns = "column" if len(everywhere) == 1 else "columns"
        raise MissingValuesError(
            f"No complete row is left: the {columns} {listing(everywhere)} {are} missing in all "
            f"{summary.rows_in:,} rows of {summary.source}."
        )
    counts = ", ".join(f"'{n}' in {count:,}" for n, count in lacking.items())
    raise MissingValuesError(
        f"No complete row is left of {summary.rows_in:,} in {summary.source}; missing: {counts}."
    )


def check_learned(spec: ModelSpec, schema: Schema, summary: PartitionSummary) -> None:
    """Raise for levels and a response that cannot be modelled."""
    for name, values in spec.levels.items():
        if name in schema.levels:
            _check_declared(name, [str(v) for v in values], summary)
    for expression in spec.linear_expressions:
        name = expression.names[0]
        if schema.learned.is_category(expression) and len(schema.levels[name]) < 2:
            level = schema.levels[name].labels()
            raise DataError(
                f"The column '{name}' has one level, '{level[0]}', in the complete rows; "
                "contrasts need at least 2 levels."
            )
        if schema.learned.is_category(expression) and len(schema.levels[name]) > MAX_COLUMNS:
            raise DataError(
                f"The column '{name}' has {len(schema.levels[name]):,} levels, each a column of the "
                f"design, where at most {MAX_COLUMNS:,} are allowed; write (1 | {name}) for a "
                f"grouping factor, or declare `types: {{{name}: float}}` if it holds numbers."
            )
    check_factors(spec, schema)
    response = summary.moments.get("")
    if response is not None and response.low == response.high:
        raise DataError(
            f"The response '{spec.parsed.response.text}' is constant: {response.low:g} in all "
            f"{schema.rows_used:,} complete rows."
        )


def _check_declared(name: str, declared: list[str], summary: PartitionSummary) -> None:
    outside = [label for label in summary.levels[name].ordered().labels() if label not in declared]
    if outside:
        raise DataError(
            f"The column '{name}' of {summary.source} holds {listing(outside)}, outside its "
            f"declared levels {listing(declared)}."
        )


def check_factors(spec: ModelSpec, schema: Schema) -> None:
    """Raise for grouping factors whose levels are too few or too many."""
    for index, (name, _) in enumerate(schema.factors):
        count = schema.n_levels(index)
        if count < 2:
            label = schema.level_labels(index)[0]
            raise DataError(
                f"The grouping factor '{name}' has one level, '{label}', in the complete rows; at "
                "least 2 are needed."
            )
        constant = any(() in t.lhs.terms for t in spec.parsed.random if t.factor.name == name)
        if count >= schema.rows_used and constant and spec.weights is None:
            raise DataError(
                f"The grouping factor '{name}' has {count:,} levels in {schema.rows_used:,} "
                "complete rows; it needs fewer levels than rows, or its variance cannot be told "
                "from the residual's."
            )
