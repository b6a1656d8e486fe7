"""The keys of the configuration file: one frozen pydantic model a section.

The manual (``config/README.md``) and the JSON schema (``workflow/schemas/config.schema.json``) are
written from the descriptions here by :mod:`mixedflow.config.manual`. Stands outside the equations
of ``docs/algorithm.md``.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from mixedflow.config.dask import DaskConfig
from mixedflow.config.inference import (
    ComparisonConfig,
    Comparisons,
    InferConfig,
    check_inference,
)
from mixedflow.config.scans import ScanConfig, check_scans
from mixedflow.config.section import Levels, Section
from mixedflow.config.sweeps import SweepConfig, check_sweeps
from mixedflow.errors import did_you_mean, listing

TypeName = Literal["category", "float", "int", "string"]
MissingPolicy = Literal["drop", "error"]
Method = Literal["auto", "em", "px-em", "ai"]
Solver = Literal["auto", "grouped", "dense", "schur", "sparse", "pcg"]
NonConverged = Literal["report", "error"]

NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
RESERVED_NAMES = ("models", "sweeps", "logs", "benchmarks", "report.html")


def check_name(name: str, what: str) -> str:
    """Return the name of a data set or model, or raise ValueError when it cannot be a folder."""
    if not NAME_PATTERN.fullmatch(name):
        raise ValueError(
            f"the {what} name '{name}' cannot be a folder name; use letters, digits, '_', '.' and"
            " '-', not starting with '.' or '-'"
        )
    return name


class DataConfig(Section):
    """One data set, read and prepared once whatever the number of its models."""

    path: str = Field(
        min_length=1,
        description=(
            "File, folder or glob: CSV, TSV (also `.gz`), Parquet, Feather/Arrow IPC. A relative"
            " path starts at the working directory of the run (where `snakemake` is called, or its"
            " `--directory`), not at the configuration file."
        ),
    )
    types: dict[str, TypeName] = Field(
        default_factory=dict,
        description="Column to type, where the file does not tell; codes are `category`.",
    )
    levels: dict[str, Levels] = Field(
        default_factory=dict,
        description=(
            "Column to its levels in order; the first is the reference. The column becomes a"
            " category and any other value in the data is an error."
        ),
    )
    missing: MissingPolicy = Field(
        default="drop",
        description=(
            "Rows that lack a value in a column of the model: `drop` leaves them out and counts"
            " them, `error` stops."
        ),
    )
    group: str | None = Field(
        default=None,
        description=(
            "Column whose rows must stay together in one partition. Models with independent residuals"
            " do not need it; where all models of the data have correlated residuals, it is the group"
            " of these unless another is named."
        ),
    )
    order: str | None = Field(
        default=None,
        description="Column that sorts the rows within `group`, such as time.",
    )
    partition_rows: int | None = Field(
        default=None,
        ge=1,
        description="Rows of one partition; about 128 MB of numbers when left out, whatever memory there is.",
    )
    units: dict[str, str] = Field(
        default_factory=dict, description="Column to unit, written on the axes of the report."
    )

    @field_validator("levels")
    @classmethod
    def _levels_are_distinct(cls, value: dict[str, Levels]) -> dict[str, Levels]:
        for column, levels in value.items():
            if not levels:
                raise ValueError(f"column '{column}' is given no level; list at least one")
            texts = sorted(str(level) for level in levels)
            for one, other in pairwise(texts):
                if one == other:
                    raise ValueError(f"column '{column}' lists the level '{one}' twice")
        return value

    @model_validator(mode="after")
    def _keys_agree(self) -> DataConfig:
        if self.order is not None and self.group is None:
            raise ValueError("'order' sorts rows within 'group', which is not given")
        for column in self.levels:
            declared = self.types.get(column, "category")
            if declared != "category":
                raise ValueError(
                    f"column '{column}' has 'levels', so its type is 'category', not '{declared}'"
                )
        return self


class ModelConfig(Section):
    """One model: a formula on a data set, and how to fit it."""

    data: str = Field(description="Name of the data set, a key of `data`.")
    formula: str = Field(
        min_length=1,
        description=(
            "Formula in lme4's grammar: `y ~ x + (1 + x | g)`; `||` for uncorrelated terms,"
            " `(1 | a/b)` for nested factors."
        ),
    )
    reml: bool = Field(
        default=True, description="`true`: restricted likelihood (REML); `false`: likelihood (ML)."
    )
    method: Method = Field(
        default="auto",
        description=(
            "`auto`: EM steps, then average information; `em`, `px-em`, `ai`: one of them alone."
        ),
    )
    weights: str | None = Field(
        default=None,
        description="Column of known weights; the residual variance is sigma² / weight.",
    )
    residual: str = Field(
        default="iid",
        min_length=1,
        description=(
            "Structure of the residuals: `iid`; `us(visit | subject)`, `us(visit | arm/subject)` with"
            " a covariance matrix for each arm, `ar1(t | g)`, `ar1(1 | g)` in the order of the rows,"
            " `car1(t | g)`, `sp_exp(x, y | g)` by the distance in any number of coordinates, `cs(1 | g)`;"
            " `strata(sex)` with a variance for each."
        ),
    )
    sharded: bool = Field(
        default=False,
        description=(
            "`true` leaves the sums of the groups where the rows are read, for more groups than memory"
            " holds: one grouping factor, and data prepared by `group`. The report then has no"
            " diagnostics."
        ),
    )
    title: str | None = Field(default=None, description="How the report calls the model.")
    infer: InferConfig | None = Field(
        default=None,
        description="Tests and intervals (below), for the report and as files; none when left out.",
    )

    @model_validator(mode="after")
    def _inference_fits_the_model(self) -> ModelConfig:
        if self.infer is not None:
            check_inference(self.infer, reml=self.reml, sharded=self.sharded)
        return self


class ReportConfig(Section):
    """What stands at the head of the report."""

    title: str = Field(default="Mixed models", description="Title of the page.")
    author: str | None = Field(default=None, description="Who answers for the analysis.")
    run_log: bool = Field(
        default=True,
        description=(
            "`true`: the section about times, memory and machines, *How it ran*; `false` leaves it out"
            " (the log itself is always written)."
        ),
    )


class ControlConfig(Section):
    """How equations are solved, and when a fit stops."""

    max_iter: int | None = Field(
        default=None,
        ge=1,
        description="Most iterations of a fit; when left out, the method's own.",
    )
    tolerance: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Convergence tolerance of the decrement; the method's own when left out.",
    )
    solver: Solver = Field(
        default="auto",
        description=(
            "The route for the equations; `auto` takes the one that is predicted to be cheapest, and"
            " `check` says which."
        ),
    )
    mc_probes: int | None = Field(
        default=None,
        ge=4,
        description=(
            "Random vectors that the solver `pcg` begins with; 16 when left out. Other solvers need"
            " none."
        ),
    )
    mc_target: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description=(
            "Largest Monte-Carlo error of a variance component, as a share of its standard error,"
            " that `pcg` may leave; 0.05 when left out."
        ),
    )
    mc_seed: int | None = Field(
        default=None,
        ge=0,
        description="Seed of the random vectors, 1 when left out; the same one gives the same fit.",
    )
    nonconverged: NonConverged = Field(
        default="report",
        description=(
            "A fit that did not converge: `report` finishes the report, which says so (and"
            " `mixedflow run` exits with 3); `error` stops the workflow at that fit."
        ),
    )


class Config(Section):
    """The whole configuration file."""

    data: dict[str, DataConfig] = Field(
        min_length=1, description="Name to data set; names become folders."
    )
    models: dict[str, ModelConfig] = Field(
        default_factory=dict,
        description="Name to model; names become folders. Must be given where no sweep or scan is.",
    )
    sweep: dict[str, SweepConfig] = Field(
        default_factory=dict,
        description="Name to sweep of many traits (below); names become folders.",
    )
    scan: dict[str, ScanConfig] = Field(
        default_factory=dict,
        description="Name to scan of many covariates (below); names become folders.",
    )
    compare: Comparisons | None = Field(
        default=None,
        description=(
            "Comparisons, each a list of model names or a section (below), with information criteria"
            " and likelihood-ratio tests; when left out, all models of a data set are compared with"
            " each other."
        ),
    )
    output: str = Field(
        default="results",
        min_length=1,
        description="Folder of the results, relative to the working directory of the run.",
    )
    report: ReportConfig = Field(default_factory=ReportConfig, description="Head of the report.")
    dask: DaskConfig = Field(default_factory=DaskConfig, description="Where the work runs.")
    control: ControlConfig = Field(default_factory=ControlConfig, description="When a fit stops.")

    @field_validator("data", "models", "sweep", "scan")
    @classmethod
    def _names_are_folders(cls, value: dict[str, Any], info: Any) -> dict[str, Any]:
        what = {"data": "data set", "models": "model"}.get(info.field_name, info.field_name)
        for name in value:
            check_name(name, what)
            if what == "data set" and name in RESERVED_NAMES:
                raise ValueError(
                    f"the data set name '{name}' is taken by a folder of the results;"
                    " choose another"
                )
        return value

    @model_validator(mode="after")
    def _names_are_known(self) -> Config:
        if not self.models and not self.sweep and not self.scan:
            empty = "models is empty; it needs at least one entry"
            lacking = "the file lacks the key 'models'"
            given = "models" in self.model_fields_set
            raise ValueError(f"{empty if given else lacking}, or 'sweep' or 'scan' one")
        check_sweeps(self.sweep, self.data)
        check_scans(self.scan, self.data)
        for name, model in self.models.items():
            if model.data not in self.data:
                raise ValueError(
                    f"models.{name}.data is '{model.data}', which is not a data set"
                    f"{did_you_mean(model.data, self.data)}; 'data' has {listing(self.data)}"
                )
            _check_solver(name, model, self.control)
        for comparison in self.compare or ():
            _check_comparison(comparison, self.models)
        return self

    def comparisons(self) -> tuple[ComparisonConfig, ...]:
        """Return what to compare: all models of a data set when nothing is given."""
        if self.compare is not None:
            return self.compare
        by_data: dict[str, list[str]] = {}
        for name, model in self.models.items():
            by_data.setdefault(model.data, []).append(name)
        lists = [tuple(names) for names in by_data.values() if len(names) > 1]
        return tuple(ComparisonConfig(models=names) for names in lists)


def _check_solver(name: str, model: ModelConfig, control: ControlConfig) -> None:
    """Raise ValueError where the solver that is asked for cannot give the degrees of freedom."""
    if model.infer is not None and control.solver == "pcg" and model.infer.by_curvature:
        raise ValueError(
            f"models.{name}.infer.ddf is '{model.infer.ddf}', which the solver 'pcg' cannot give; it"
            " gives 'between-within', 'residual' and 'asymptotic'"
        )


def _check_comparison(comparison: ComparisonConfig, models: dict[str, ModelConfig]) -> None:
    """Raise ValueError unless a comparison names two known models or more, each once."""
    names = comparison.models
    shown = f"the comparison [{', '.join(names)}]"
    for name in names:
        if name not in models:
            raise ValueError(
                f"{shown} names '{name}', which is not a model{did_you_mean(name, models)};"
                f" 'models' has {listing(models)}"
            )
    if len(set(names)) < len(names):
        raise ValueError(f"{shown} names a model twice")
    if len(names) < 2:
        raise ValueError(f"{shown} needs at least two models")
    sharded = [name for name in names if models[name].sharded and models[name].reml]
    if comparison.refit is not None and sharded:
        raise ValueError(
            f"{shown} has refit: ml, and '{sharded[0]}' is sharded, whose sums are not kept to fit it"
            " again; write 'reml: false' there, or leave 'refit' out"
        )
