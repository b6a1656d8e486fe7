"""Before a run: is everything there, what will it cost; and the first configuration.

Stands at "The schema pass" in ``docs/algorithm.md``: the plan comes from that pass alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np

from mixedflow.config import Config, DataConfig
from mixedflow.config.inference import check_coefficients
from mixedflow.config.plan import make_plan
from mixedflow.config.template import template
from mixedflow.covariance.residual_types import ResidualDesign
from mixedflow.covariance.residual_weights import psi_names
from mixedflow.data import Source, open_source
from mixedflow.design import (
    DesignInfo,
    Encoder,
    ModelSpec,
    PartitionPlace,
    Schema,
    check_columns,
    make_spec,
)
from mixedflow.design.types import Int
from mixedflow.equations.budget import machine_memory
from mixedflow.equations.choice import EnginePlan, plan_engine
from mixedflow.equations.engines import RandomPattern
from mixedflow.errors import DataError, MixedflowError, did_you_mean, listing
from mixedflow.parallel import learn_schema, map_reduce
from mixedflow.steps.opening import OnDone, source_of
from mixedflow.steps.rows import spec_of

SECONDS_PER_CELL = 5e-8
"""Reading and condensing one value of a row, on one core (measured at 10 million rows)."""
FLOPS_PER_SECOND = 2e9
ITERATIONS = 15
BYTES_OF_LIBRARIES = 2e8
ROWS_OF_A_PARTITION = 1 << 20
COPIES_OF_A_PARTITION = 4
SHOWN = 40
"""Fixed columns that are listed by name."""

COPIES_OF_SUMS = 12
"""Arrays of the size of Z'BX while equations are solved (measured at 1,000 fixed columns)."""

Meetings = dict[tuple[int, int], Int]


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What a run would do for one model.

    Attributes
    ----------
    name, formula : the model
    source : name of its data
    schema : what the rows told
    info : the columns of its design
    engine : the route for its equations
    coded : how many columns of X are condensed from level codes
    shared_with : other models that use the same pass over the rows
    residual : what stands in R; empty where residuals are independent and alike
    """

    name: str
    formula: str
    source: str
    schema: Schema
    info: DesignInfo
    engine: EnginePlan
    coded: int = 0
    shared_with: tuple[str, ...] = ()
    residual: str = ""

    @property
    def memory(self) -> float:
        """Bytes, roughly: a partition, the cross-products, the solver."""
        rows = min(self.schema.rows_in, ROWS_OF_A_PARTITION)
        partition = 8.0 * rows * self.width * COPIES_OF_A_PARTITION
        return BYTES_OF_LIBRARIES + partition + COPIES_OF_SUMS * self.sums + self.engine.bytes

    @property
    def sums(self) -> float:
        """Bytes of the cross-products: levels x columns of Z x columns of X, and X'BX."""
        p = len(self.info.x_columns) + 1
        groups = sum(f.n_levels * len(f.columns) * (len(f.columns) + p) for f in self.info.factors)
        return 8.0 * (groups + p * p)

    @property
    def width(self) -> int:
        """Numbers that a row becomes: its columns of X, y and Z, and level codes."""
        info = self.info
        return len(info.x_columns) - self.coded + 1 + sum(len(f.columns) for f in info.factors)

    @property
    def seconds(self) -> float:
        """Seconds on one core, roughly: two passes over the rows and the iterations."""
        passes = 3 * SECONDS_PER_CELL * self.schema.rows_in * self.width
        return 1.0 + passes + ITERATIONS * self.engine.flops / FLOPS_PER_SECOND

    def rows(self) -> list[tuple[str, str]]:
        """Return the plan as lines to print."""
        schema, info = self.schema, self.info
        dropped = schema.rows_in - schema.rows_used
        missing = ", ".join(f"{column} {n:,}" for column, n in schema.missing.items() if n)
        lines = [
            ("formula", self.formula),
            ("data", self.source),
            ("rows", f"{schema.rows_used:,} of {schema.rows_in:,}"),
        ]
        if dropped:
            lines.append(("rows dropped", f"{dropped:,} (missing: {missing})"))
        for factor in info.factors:
            columns = ", ".join(factor.columns)
            lines.append((f"group {factor.name}", f"{factor.n_levels:,} levels; {columns}"))
        if self.residual:
            lines.append(("residuals", self.residual))
        fixed = ", ".join(info.x_columns[:SHOWN])
        if len(info.x_columns) > SHOWN:
            fixed += f" and {len(info.x_columns) - SHOWN:,} more"
        lines.append(("fixed columns", f"{len(info.x_columns)}: {fixed}"))
        lines.append(("solver", f"{self.engine.name} ({self.engine.why})"))
        lines.append(("memory, about", amount(self.memory)))
        lines.append(("time, about", duration(self.seconds)))
        if self.shared_with:
            lines.append(("pass shared with", ", ".join(self.shared_with)))
        lines += [("note", message) for message in schema.messages]
        if self.memory > machine_memory():
            lines.append(("warning", self.too_large))
        return lines

    @property
    def too_large(self) -> str:
        """Say that the machine's memory will not do, and what fills it."""
        if not self.info.factors:
            return (
                f"about {amount(self.memory)} are needed and this machine has "
                f"{amount(machine_memory())}; the {len(self.info.x_columns):,} fixed columns fill it"
            )
        largest = max(self.info.factors, key=lambda f: f.n_levels * len(f.columns))
        advice = "; let the category of many levels be a random term, or merge levels"
        return (
            f"about {amount(self.memory)} are needed and this machine has "
            f"{amount(machine_memory())}; the sums alone are {amount(self.sums)}, "
            f"{largest.n_levels:,} levels of '{largest.name}' by {len(largest.columns):,} columns "
            f"by {len(self.info.x_columns):,} fixed columns{advice if self.coded else ''}"
        )


def _residual_line(spec: ModelSpec, design: ResidualDesign | None) -> str:
    """Say how residuals are correlated, over what, and how many parameters that takes."""
    if design is None:
        return ""
    own = replace(design, structure=spec.parsed_residual.structure)
    parts = [spec.residual]
    if own.positions:
        where = "the rows of a group" if own.position is None else own.position
        parts.append(f"{len(own.positions)} positions of {where}")
    if own.stratum:
        parts.append(f"{len(own.strata)} strata of {':'.join(own.stratum)}")
    parts.append(f"{1 + len(psi_names(own))} parameters")
    return "; ".join(parts)


def amount(size: float) -> str:
    """Return a number of bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6)):,} MB"


def duration(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def check_step(
    config: Config, directory: Path, *, where: str, on_done: OnDone | None = None
) -> list[ModelPlan]:
    """Check configuration, formulas and data, and return what a run would do."""
    make_plan(config, where)
    sources = {
        name: _checked_source(data, directory, f"{where}: data.{name}")
        for name, data in config.data.items()
    }
    learned: dict[tuple[str, str], Schema] = {}
    plans = []
    for name, model in config.models.items():
        data, source = config.data[model.data], sources[model.data]
        spec = spec_of(model.formula, data, model.weights, model.residual)
        try:
            check_columns(spec, source.columns(), source.name)
            schema = _learn(spec, source, learned, on_done)
            encoder = Encoder(spec, schema)
            engine = plan_engine(_pattern(encoder, source, on_done))
            if model.infer is not None:
                check_coefficients(model.infer, encoder.info.x_columns, "infer.")
        except MixedflowError as fault:
            raise type(fault)(f"{where}: models.{name}: {fault}") from None
        plans.append(
            ModelPlan(
                name,
                model.formula,
                source.name,
                schema,
                encoder.info,
                engine,
                coded=encoder.coded_columns,
                residual=_residual_line(spec, encoder.info.residual),
            )
        )
    return [replace(one, shared_with=_sharing(one, plans)) for one in plans]


def _sharing(one: ModelPlan, plans: Sequence[ModelPlan]) -> tuple[str, ...]:
    """Return the other models that use the same pass over the rows."""
    return tuple(p.name for p in plans if p.schema is one.schema and p.name != one.name)


def _checked_source(data: DataConfig, directory: Path, where: str) -> Source:
    """Open a data set, its path as seen from here; every column that is named must be there."""
    try:
        source = source_of(data.model_copy(update={"path": str(directory / data.path)}))
    except MixedflowError as fault:
        raise type(fault)(f"{where}: {fault}") from None
    columns = source.columns()
    named = [("group", data.group), ("order", data.order)]
    for key, name in [*named, *(("units", column) for column in data.units)]:
        if name is not None and name not in columns:
            raise DataError(
                f"{where}.{key}: {source.name} has no column '{name}'"
                f"{did_you_mean(name, columns)}; it has {listing(columns)}"
            )
    return source


def _learn(
    spec: ModelSpec,
    source: Source,
    learned: dict[tuple[str, str], Schema],
    on_done: OnDone | None,
) -> Schema:
    """Return the schema, from an earlier model's pass where that had the same design."""
    for (name, _), schema in learned.items():
        if name == source.name and spec.design_key(schema.kinds) == schema.design_key:
            return schema
    schema = learn_schema(spec, source, on_done=on_done)
    learned[source.name, schema.design_key] = schema
    return schema


def _pattern(encoder: Encoder, source: Source, on_done: OnDone | None) -> RandomPattern:
    """Return the factors and the levels that meet in a row; one factor needs no look at the rows."""
    factors = encoder.info.factors
    shapes = tuple((factor.n_levels, len(factor.columns)) for factor in factors)
    if len(factors) < 2:
        return RandomPattern(shapes, {})
    work = partial(_meetings, encoder, source)
    met = map_reduce(work, source.n_partitions, _union, on_done=on_done)
    return RandomPattern(
        shapes, {(f, h): divmod(keys, factors[h].n_levels) for (f, h), keys in met.items()}
    )


def _meetings(encoder: Encoder, source: Source, index: int) -> Meetings:
    """Return for each pair of factors the pairs of levels in a partition, as sorted numbers."""
    table = source.read(index, encoder.variables())
    where = PartitionPlace(source.name, index, source.row_offset(index))
    codes = encoder.columns(table, where=where).codes
    sizes = [factor.n_levels for factor in encoder.info.factors]
    return {
        (f, h): np.unique(codes[f] * sizes[h] + codes[h])
        for f, h in combinations(range(len(sizes)), 2)
    }


def _union(a: Meetings, b: Meetings) -> Meetings:
    return {pair: np.union1d(a[pair], b[pair]) for pair in a}


def init_step(data: str, formula: str) -> str:
    """Return a commented configuration for a data file and a formula that fits it."""
    spec = make_spec(formula)
    source = open_source(data)
    kinds = source.columns()
    check_columns(spec, kinds, source.name)
    grouping = {name for factor in spec.parsed.factors for name in factor.variables}
    codes = sorted(name for name in grouping if kinds[name] == "numeric")
    return template(data, formula, codes, {name: kinds[name] for name in spec.variables})
