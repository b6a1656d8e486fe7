"""One partition's rows become its summary, in one pass.

Stands at "The schema pass" in ``docs/algorithm.md``. Rows that lack a value in any column of the
model do not count; what is found wrong is counted with its first row, and judged once all
partitions are in.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from mixedflow.design.arrow import (
    Mask,
    PartitionPlace,
    as_arrow,
    missing_in,
    not_numbers,
    numbers,
    plain,
    storage_kind,
)
from mixedflow.design.evaluate import State, evaluate, stateful_calls
from mixedflow.design.functions import FUNCTIONS
from mixedflow.design.levels import LevelSet, observed_levels, unique_rows
from mixedflow.design.moments import Moments, PowerSums, moments_of, power_sums
from mixedflow.design.positions import largest_group, with_points
from mixedflow.design.residual import stratum_name
from mixedflow.design.safety import Call, Expression
from mixedflow.design.sketch import DistinctSketch, distinct_sketch, few_distinct, row_sample
from mixedflow.design.spec import ModelSpec, check_columns
from mixedflow.design.summary import ColumnSummary, Finding, PartitionSummary
from mixedflow.design.transforms import check_parameters
from mixedflow.design.types import Float
from mixedflow.errors import DataError

NO_STATES: Mapping[str, State] = {}


def summarize_partition(
    spec: ModelSpec, table: pa.Table, where: PartitionPlace | None = None
) -> PartitionSummary:
    """Summarise the rows of one partition for the schema of a model."""
    place = where or PartitionPlace()
    check_columns(spec, table.column_names, place.source)
    table = chosen_columns(table, spec.variables, place.source)
    known = _moments_of_full(spec, table)
    kept, missing = complete_rows(table, known)
    columns = {n: _column_counts(spec, n, table.column(n), missing.get(n), place) for n in missing}
    used = int(np.count_nonzero(kept))
    readable = all(columns[n].kind in ("numeric", "unknown") for n in spec.numeric_variables)
    if not readable or not used:
        return PartitionSummary(place.source, table.num_rows, used, columns)
    full = used == table.num_rows
    positions = np.arange(used) if full else np.flatnonzero(kept)
    complete = table if full else table.filter(as_arrow(kept))
    complete = with_points(complete, spec.parsed_residual)
    learner = _Learner(spec, complete, positions, place)
    learner.learn(columns, known if full else {})
    pairs = {
        f.name: _pairs(complete, f.variables) for f in spec.parsed.factors if len(f.variables) > 1
    }
    residual = spec.parsed_residual
    if len(residual.strata) > 1:
        pairs[stratum_name(residual.strata)] = _pairs(complete, residual.strata)
    return PartitionSummary(
        place.source,
        table.num_rows,
        used,
        columns,
        learner.moments,
        learner.powers,
        learner.sketches,
        _levels(spec, complete, columns),
        pairs,
        learner.wrong,
        row_sample(complete, positions + place.row_offset),
        largest_group(complete, residual.group) if residual.needs_largest else 0,
    )


def chosen_columns(table: pa.Table, names: Sequence[str], source: str) -> pa.Table:
    """Return the columns of a model; a name that stands for two of them is a :class:`DataError`."""
    for name in names:
        if table.column_names.count(name) > 1:
            raise DataError(f"{source} has two columns named '{name}'; a model needs one.")
    return table.select(list(names))


def complete_rows(
    table: pa.Table, full: Collection[str] = ()
) -> tuple[Mask, dict[str, Mask | None]]:
    """Which rows lack nothing, and which are missing by column; ``full`` columns lack nothing."""
    missing = {
        name: None if name in full else missing_in(table.column(name))
        for name in table.column_names
    }
    kept = np.ones(table.num_rows, dtype=bool)
    for mask in missing.values():
        if mask is not None:
            kept &= ~mask
    return kept, missing


def _moments_of_full(spec: ModelSpec, table: pa.Table) -> dict[str, Moments]:
    """Moments of the decimal columns whose values are all finite: one pass tells both."""
    found = {}
    for name in dict.fromkeys((*spec.numeric_variables, *spec.bare_variables)):
        column = table.column(name)
        if pa.types.is_floating(column.type) and not column.null_count and name not in spec.levels:
            moments = moments_of(numbers(column))
            if math.isfinite(moments.base) and math.isfinite(moments.rest):
                found[name] = moments
    return found


def _column_counts(
    spec: ModelSpec, name: str, column: pa.ChunkedArray, missing: Mask | None, place: PartitionPlace
) -> ColumnSummary:
    kind = storage_kind(column.type, name, place.source)
    lacking = _finding(missing, place) if missing is not None else None
    checked = name in spec.numeric_variables or name in spec.bare_variables
    if kind != "text" or not checked or name in spec.levels:
        return ColumnSummary(kind, lacking)
    n_text, count, first, text = not_numbers(column)
    bad = Finding(count, place.row_offset + first, place.row(first), text) if count else None
    return ColumnSummary(kind, lacking, None, bad, n_text)


def _finding(mask: Mask, place: PartitionPlace, value: str = "") -> Finding:
    first = int(mask.argmax())
    return Finding(int(mask.sum()), place.row_offset + first, place.row(first), value)


def _pairs(table: pa.Table, variables: tuple[str, ...]) -> pa.Table:
    columns = [plain(table.column(name)) for name in variables]
    return unique_rows(pa.table(columns, names=list(variables)))


def _levels(
    spec: ModelSpec, table: pa.Table, columns: Mapping[str, ColumnSummary]
) -> dict[str, LevelSet]:
    residual = spec.parsed_residual
    either = (*spec.bare_variables, *(() if residual.coordinates else residual.places))
    words = [n for n in either if columns[n].kind in ("text", "category")]
    names = dict.fromkeys((*spec.level_variables, *words))
    return {name: observed_levels(table.column(name)) for name in names}


class _Numbers(Mapping[str, Float]):
    """Columns as float64, each converted when it is asked for: of narrow ones no copy stays."""

    def __init__(self, table: pa.Table, names: Iterable[str]) -> None:
        self._table = table
        self._names = dict.fromkeys(names)

    def __getitem__(self, name: str) -> Float:
        if name not in self._names:
            raise KeyError(name)
        return numbers(self._table.column(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Learner:
    """Evaluates the numeric expressions of a model on one partition's complete rows."""

    def __init__(
        self, spec: ModelSpec, table: pa.Table, positions: np.ndarray, place: PartitionPlace
    ) -> None:
        self.spec = spec
        self.table = table
        self.positions = positions
        self.place = place
        self.moments: dict[str, Moments] = {}
        self.powers: dict[str, PowerSums] = {}
        self.sketches: dict[str, DistinctSketch] = {}
        self.wrong: dict[str, Finding] = {}

    def learn(self, columns: dict[str, ColumnSummary], known: Mapping[str, Moments]) -> None:
        """Fill the dictionaries; columns with infinite values are noted and learned no further.

        ``known`` are moments of these rows that were taken before: of finite values.
        """
        spec = self.spec
        numeric = [n for n in spec.bare_variables if columns[n].kind == "numeric"]
        numeric = [n for n in numeric if n not in spec.levels]
        names = dict.fromkeys((*spec.numeric_variables, *numeric))
        data = _Numbers(self.table, names)
        clean = _Numbers(
            self.table,
            [n for n in names if n in known or not self._note_infinite(n, data[n], columns)],
        )
        for name in dict.fromkeys((*numeric, *self._inside())):
            if name in clean:
                self.moments[name] = known[name] if name in known else moments_of(clean[name])
        for expression in spec.linear_expressions:
            if expression.kind in ("numeric", "basis") and set(expression.names) <= set(clean):
                self._expression(expression, clean)
        response = spec.parsed.response
        if not spec.parsed.offsets and response.kind == "column" and response.names[0] in known:
            self.moments[""] = known[response.names[0]]
        else:
            self._response(clean)
        if spec.weights is not None and spec.weights in clean:
            self._note(f"weights {spec.weights}", clean[spec.weights] <= 0, clean[spec.weights])

    def _inside(self) -> list[str]:
        """Return the columns of X and the offsets that a function or an offset reads."""
        return [n for n in self.spec.covariates if n in self.spec.numeric_variables]

    def _note_infinite(self, name: str, values: Float, columns: dict[str, ColumnSummary]) -> bool:
        bad = ~np.isfinite(values)
        if not bad.any():
            return False
        first = int(bad.argmax())
        found = self._found(bad, f"{values[first]:g}")
        columns[name] += ColumnSummary(columns[name].kind, None, found)
        return True

    def _found(self, bad: Mask, value: str) -> Finding:
        position = int(self.positions[int(bad.argmax())])
        row = self.place.row_offset + position
        return Finding(int(bad.sum()), row, self.place.row(position), value)

    def _note(self, what: str, bad: Mask, values: Float) -> bool:
        if bad.any():
            self.wrong[what] = self._found(bad, f"{values[int(bad.argmax())]:g}")
        return bool(bad.any())

    def _finite(
        self, text: str, values: Float, names: tuple[str, ...], data: Mapping[str, Float]
    ) -> bool:
        """Note rows where an expression has no finite value, with what its first column held."""
        bad = ~np.isfinite(values)
        return not self._note(f"expression {text}", bad, data[names[0]])

    def _expression(self, expression: Expression, data: Mapping[str, Float]) -> None:
        calls = stateful_calls(expression.tree)
        for key, call in calls:
            check_parameters(call, expression.text)
            self._stateful(key, call, expression, data)
        if expression.kind == "numeric" and not calls:
            values = evaluate(expression.tree, data, NO_STATES)
            if self._finite(expression.text, values, expression.names, data):
                self.moments[expression.text] = moments_of(values)

    def _stateful(
        self, key: str, call: Call, expression: Expression, data: Mapping[str, Float]
    ) -> None:
        values = evaluate(call.argument, data, NO_STATES)
        if not self._finite(expression.text, values, expression.names, data):
            return
        moments = self.moments[key] = moments_of(values)
        if call.function == "poly" and not call.parameters["raw"]:
            self.powers[key] = power_sums(values, moments, 2 * call.parameters["degree"])
            self.sketches[key] = few_distinct(values)
        elif FUNCTIONS[call.function].kind == "basis" and call.function != "poly":
            self.sketches[key] = distinct_sketch(values)

    def _response(self, data: Mapping[str, Float]) -> None:
        """Learn y less its offsets; a response that itself needs a state is left to the sample."""
        parsed = self.spec.parsed
        parts = (parsed.response, *parsed.offsets)
        if not all(set(e.names) <= set(data) for e in parts):
            return
        for expression in parts:
            for key, call in stateful_calls(expression.tree):
                self._stateful(key, call, expression, data)
        if any(stateful_calls(e.tree) for e in parts):
            return
        columns = [evaluate(e.tree, data, NO_STATES) for e in parts]
        checks = [
            self._finite(e.text, values, e.names, data)
            for e, values in zip(parts, columns, strict=True)
        ]
        if all(checks):
            total = columns[0] - sum(columns[1:]) if len(columns) > 1 else columns[0]
            self.moments[""] = moments_of(total)
