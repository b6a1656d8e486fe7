"""What was learned from the data before any matrix: levels, states, pilots, counts. Frozen.

Stands at "The schema pass" in ``docs/algorithm.md``. The same schema encodes any partition to the
same columns, today's or next year's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mixedflow.design.checks import check_learned, check_summary
from mixedflow.design.columns import Learned
from mixedflow.design.evaluate import State, stateful_calls
from mixedflow.design.levels import LevelIndex, LevelSet, combined_key, split_key
from mixedflow.design.pilots import learn_pilots
from mixedflow.design.positions import ResidualSchema, residual_schema
from mixedflow.design.spec import ModelSpec
from mixedflow.design.summary import PartitionSummary
from mixedflow.design.transforms import (
    moments_state,
    poly_state,
    spline_state,
)
from mixedflow.design.types import Int, Pilots

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """The frozen result of the schema pass.

    Attributes
    ----------
    design_key : of the spec it was learned for, categories known
    source : name of the data
    rows_in, rows_used : rows seen, and rows complete in the model's columns
    missing : rows in which a column was missing, by column
    kinds : ``numeric`` or ``categorical``, by column
    levels : ordered levels, by column
    keys : observed combinations of an interaction factor, as ascending numbers in mixed radix
    factors : name and columns of the grouping factors, in order of first mention
    states : states of the transforms
    ranges : least and greatest value of the numeric columns
    means : of the numeric columns that the fixed part and the offsets read, over the rows used
    pilots : shift and scale of every column
    messages : what the user should know
    residual : positions and strata of R; None where rows are independent and alike
    """

    design_key: str
    source: str
    rows_in: int
    rows_used: int
    missing: Mapping[str, int]
    kinds: Mapping[str, str]
    levels: Mapping[str, LevelSet]
    keys: Mapping[str, Int]
    factors: tuple[tuple[str, tuple[str, ...]], ...]
    states: Mapping[str, State]
    ranges: Mapping[str, tuple[float, float]]
    pilots: Pilots
    messages: tuple[str, ...] = field(default=())
    residual: ResidualSchema | None = None
    means: Mapping[str, float] = field(default_factory=dict)

    @property
    def learned(self) -> Learned:
        """What columns depend on."""
        categories = frozenset(n for n, kind in self.kinds.items() if kind == "categorical")
        return Learned(self.levels, categories, self.states)

    def n_levels(self, factor: int) -> int:
        """Return the number of levels of a grouping factor, L."""
        name, variables = self.factors[factor]
        return len(self.keys[name]) if len(variables) > 1 else len(self.levels[variables[0]])

    def level_labels(self, factor: int) -> list[str]:
        """Labels of a grouping factor's levels, in the order of their codes; ``a:A`` for a:b."""
        name, variables = self.factors[factor]
        if len(variables) == 1:
            return self.levels[variables[0]].labels()
        labels = [np.asarray(self.levels[v].labels(), dtype=object) for v in variables]
        codes = split_key(self.keys[name], [len(of_one) for of_one in labels])
        parts = [of_one[code] for of_one, code in zip(labels, codes, strict=True)]
        return [":".join(row) for row in zip(*parts, strict=True)]

    def save(self, folder: str | Path) -> None:
        """Write ``schema.json`` and the long lists of levels as Parquet."""
        from mixedflow.design.stored import save_schema

        save_schema(self, Path(folder))

    @staticmethod
    def load(folder: str | Path) -> Schema:
        """Read what :meth:`save` wrote."""
        from mixedflow.design.stored import load_schema

        schema: Schema = load_schema(Path(folder))
        return schema


def finish_schema(spec: ModelSpec, summary: PartitionSummary) -> Schema:
    """Judge the summary of all rows, fix levels and states, and choose the pilots."""
    check_summary(spec, summary)
    schema = _assembled(spec, summary)
    check_learned(spec, schema, summary)
    return replace(schema, pilots=learn_pilots(spec, schema, summary))


def provisional_schema(spec: ModelSpec, summary: PartitionSummary) -> Schema:
    """Return the schema that some of the rows would give, unjudged: for its pilots."""
    schema = _assembled(spec, summary)
    return replace(schema, pilots=learn_pilots(spec, schema, summary))


def _assembled(spec: ModelSpec, summary: PartitionSummary) -> Schema:
    kinds = _kinds(spec, summary)
    messages: list[str] = []
    missing = {n: c.missing.count for n, c in summary.columns.items() if c.missing}
    levels = {n: _ordered(spec, n, v, messages) for n, v in summary.levels.items()}
    factors = tuple((f.name, f.variables) for f in spec.parsed.factors)
    keys = {
        name: _combinations(summary, name, variables, levels)
        for name, variables in factors
        if len(variables) > 1
    }
    return Schema(
        design_key=spec.design_key(kinds),
        source=summary.source,
        rows_in=summary.rows_in,
        rows_used=summary.rows_used,
        missing=missing,
        kinds=kinds,
        levels=levels,
        keys=keys,
        factors=factors,
        states=_states(spec, summary),
        ranges={n: (m.low, m.high) for n, m in summary.moments.items()},
        pilots=_no_pilots(),
        messages=(*dropped_rows(summary.rows_in, summary.rows_used, missing), *messages),
        residual=residual_schema(spec, summary, levels),
        means={
            name: summary.moments[name].mean
            for name in spec.covariates
            if name in summary.moments and kinds[name] == "numeric"
        },
    )


def _no_pilots() -> Pilots:
    none = np.empty(0)
    return Pilots(none, none, none, none, (), ())


def _kinds(spec: ModelSpec, summary: PartitionSummary) -> dict[str, str]:
    """Category or number, by column; behind a bar and in C() anything is a category."""
    kinds = dict.fromkeys(spec.variables, "numeric")
    found = [name for name in summary.levels if name in summary.columns]
    for name in dict.fromkeys((*found, *spec.parsed_residual.group)):
        stored = summary.columns[name].kind
        free = name not in spec.bare_variables and name not in spec.numeric_variables
        if free or name in spec.levels or stored in ("text", "category"):
            kinds[name] = "categorical"
    return kinds


def _ordered(spec: ModelSpec, name: str, observed: LevelSet, messages: list[str]) -> LevelSet:
    """Put levels in declared order, or ascending; a declared level that never occurs is left out."""
    levels = observed.ordered()
    if name not in spec.levels:
        return levels
    labels = levels.labels()
    place = {label: k for k, label in enumerate(labels)}
    declared = [str(level) for level in spec.levels[name]]
    unseen = [label for label in declared if label not in place]
    if unseen:
        messages.append(
            f"Declared levels of '{name}' that no complete row has are left out: "
            f"{', '.join(unseen)}."
        )
    return levels.take(
        np.array([place[label] for label in declared if label in place], dtype=np.int64)
    )


def _combinations(
    summary: PartitionSummary, name: str, variables: tuple[str, ...], levels: Mapping[str, LevelSet]
) -> Int:
    """Ascending keys sum_i code_i prod_{k>i} L_k of the observed combinations."""
    table = summary.pairs[name]
    columns = [LevelIndex(levels[v]).codes(table.column(v)) for v in variables]
    return np.unique(combined_key(columns, [len(levels[v]) for v in variables]))


def _states(spec: ModelSpec, summary: PartitionSummary) -> dict[str, State]:
    """States of all transforms of the model, from the merged sums."""
    states: dict[str, State] = {}
    expressions = (spec.parsed.response, *spec.parsed.offsets, *spec.linear_expressions)
    for expression in expressions:
        if expression.kind not in ("numeric", "basis"):
            continue
        for key, call in stateful_calls(expression.tree):
            moments = summary.moments[key]
            if call.function == "poly":
                distinct = summary.sketches.get(key)
                states[key] = poly_state(call, summary.powers.get(key), distinct, expression.text)
            elif key in summary.sketches:
                states[key] = spline_state(call, summary.sketches[key], moments, expression.text)
            else:
                states[key] = moments_state(call, moments, expression.text)
    return states


def dropped_rows(rows_in: int, rows_used: int, missing: Mapping[str, int]) -> list[str]:
    """Return the sentence on rows that were left out, if any were."""
    dropped = rows_in - rows_used
    if not dropped:
        return []
    counts = [f"{name} ({count:,})" for name, count in missing.items()]
    rows = f"{dropped:,} of {rows_in:,} rows were dropped"
    return [f"{rows} for missing values in {', '.join(counts)}."]
