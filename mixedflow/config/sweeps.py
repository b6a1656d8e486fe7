"""The keys of a sweep, ``sweep.NAME``: many responses, each by one model or several.

Stands outside the equations of ``docs/algorithm.md``; what the keys ask for stands there at
"Sweeps".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)

from mixedflow.config.inference import OneOrMore
from mixedflow.config.section import Levels, Names, Section
from mixedflow.errors import did_you_mean, listing

SweepDdf = Literal["satterthwaite", "residual", "asymptotic"]
QMethod = Literal["BH", "storey"]

REGEX = "re:"
"""What a regular expression among names of traits begins with."""

FILE = "@"
"""What a file of names begins with."""


class MatrixConfig(Section):
    """Traits in a matrix of numbers beside the data, as of an AnnData: rows are those of the data."""

    path: str = Field(min_length=1, description="An `.npy` file, rows by traits.")
    names: str = Field(
        min_length=1,
        description=(
            "The names of its columns: a text file with one a line, or a Parquet file with one column."
        ),
    )


class LongConfig(Section):
    """Traits below each other: the data have a row a measurement, not a row a sample."""

    trait: str = Field(min_length=1, description="Column with the name of the trait.")
    value: str = Field(min_length=1, description="Column with its value.")
    row: OneOrMore = Field(
        min_length=1,
        description="Columns that say which sample it is of; predictors are the same in all its rows.",
    )


class SweepModelConfig(Section):
    """One model of a sweep, where a formula is not enough."""

    formula: str = Field(min_length=1, description="Formula without a response: `~ x + (1 | g)`.")
    residual: str = Field(
        default="iid",
        min_length=1,
        description="Structure of the residuals, as of `models`; each trait is then fitted by itself.",
    )

    @model_serializer(mode="wrap")
    def _as_written(self, content: SerializerFunctionWrapHandler) -> Any:
        """Return the formula where nothing else was given."""
        return self.formula if self.model_fields_set == {"formula"} else content(self)

    @field_validator("formula")
    @classmethod
    def _formula_has_no_response(cls, value: str) -> str:
        left, tilde, _ = value.partition("~")
        if not tilde or left.strip():
            raise ValueError(
                f"the formula '{value}' must begin with '~', as '~ x + (1 | g)': its responses are"
                " the traits"
            )
        return value


def _as_model(value: Any) -> Any:
    """Read a formula as a section that holds it."""
    return {"formula": value} if isinstance(value, str) else value


_MODEL_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["formula"],
            "properties": {"formula": {"type": "string"}, "residual": {"type": "string"}},
        },
    ]
}
SweepModels = dict[
    str, Annotated[SweepModelConfig, BeforeValidator(_as_model), WithJsonSchema(_MODEL_SCHEMA)]
]


class SweepConfig(Section):
    """Many responses over one data set, each fitted by every model: a table with a row for each.

    A trait that cannot be fitted is a row with its reason. What is stored is not fitted again: with
    ten more traits, ten are fitted.
    """

    data: str = Field(description="Name of the data set, a key of `data`.")
    traits: OneOrMore = Field(
        default=(),
        description=(
            "Columns that are responses: names, patterns like `gene*`, regular expressions like"
            " `re:^gene[0-9]+$`, files of names like `@genes.txt`, one a line (for long lists), or a"
            " list of these. Must be given, but for a matrix or long data, of"
            " which all traits are taken when left out."
        ),
    )
    models: SweepModels = Field(
        min_length=1,
        description=(
            "Name to formula without a response, `~ x + (1 | g)`, or to a section (below)."
        ),
    )
    subsets: dict[str, dict[str, Levels] | None] = Field(
        default_factory=dict,
        description=(
            "Name to column to the values that rows of the subset have, `{women: {sex: [f]}}`, or to"
            " nothing for all rows; every trait is fitted by every model in every subset. All rows"
            " when left out."
        ),
    )
    matrix: MatrixConfig | None = Field(
        default=None,
        description="Where traits are not columns of the data: a matrix beside them (below).",
    )
    long: LongConfig | None = Field(
        default=None,
        description="Where the data have a row a measurement: which columns say what (below).",
    )
    tests: dict[str, Names] = Field(
        default_factory=dict,
        description=(
            "Name to two models, the smaller first, compared by likelihood ratio for every trait:"
            " `{slopes: [parallel, full]}`; by ML where their fixed parts differ."
        ),
    )
    reml: bool = Field(
        default=True, description="`true`: restricted likelihood (REML); `false`: likelihood (ML)."
    )
    weights: str | None = Field(
        default=None,
        description="Column of known weights; the residual variance is sigma² / weight.",
    )
    ddf: SweepDdf = Field(
        default="satterthwaite", description="Degrees of freedom of the fixed effects' tests."
    )
    q: QMethod = Field(
        default="BH",
        description=(
            "Correction for the number of traits, by coefficient: `BH` of Benjamini and Hochberg,"
            " `storey` with the share of true null hypotheses estimated."
        ),
    )
    traits_per_job: int | None = Field(
        default=None,
        ge=1,
        description=(
            "Traits that one job of the workflow fits; so many that a job takes half a minute or so"
            " when left out."
        ),
    )
    title: str | None = Field(default=None, description="How the report calls the sweep.")

    @field_validator("traits")
    @classmethod
    def _traits_can_be_read(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_patterns(value)

    @field_validator("models", "subsets", "tests")
    @classmethod
    def _names_can_be_told_apart(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not name.strip() or set(name) & set("=,"):
                raise ValueError(f"'{name}' cannot be a name; give it one without '=' and ','")
        return value

    @model_validator(mode="after")
    def _traits_are_somewhere(self) -> SweepConfig:
        if self.matrix is not None and self.long is not None:
            raise ValueError("'matrix' and 'long' both say where the traits are; leave one out")
        if not self.traits and self.matrix is None and self.long is None:
            raise ValueError("it needs at least one trait; name columns, or patterns like gene*")
        return self

    @model_validator(mode="after")
    def _tests_name_models(self) -> SweepConfig:
        for test, pair in self.tests.items():
            if len(pair) != 2 or len(set(pair)) != 2:
                raise ValueError(f"tests.{test} must name two models, the smaller first")
            for name in pair:
                if name not in self.models:
                    raise ValueError(
                        f"tests.{test} names '{name}', which is not one of its models"
                        f"{did_you_mean(name, self.models)}; 'models' has {listing(self.models)}"
                    )
        return self


def check_patterns(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names and patterns; ValueError where one is no regular expression."""
    for one in names:
        if not one.startswith(REGEX):
            continue
        try:
            re.compile(one[len(REGEX) :])
        except re.error as fault:
            raise ValueError(f"'{one}' is no regular expression: {fault}") from None
    return names


def check_sweeps(sweeps: Mapping[str, SweepConfig], data: Mapping[str, Any]) -> None:
    """Raise ValueError where a sweep names data that are not there, or rows that lose their order."""
    for name, sweep in sweeps.items():
        check_rows(f"sweep.{name}", sweep.data, sweep.matrix, data)


def check_rows(
    where: str, named: str, matrix: MatrixConfig | None, data: Mapping[str, Any]
) -> None:
    """Raise ValueError where the data that a sweep or a scan names are not there, or lose their order."""
    if named not in data:
        raise ValueError(
            f"{where}.data is '{named}', which is not a data set"
            f"{did_you_mean(named, data)}; 'data' has {listing(data)}"
        )
    if matrix is not None and data[named].group is not None:
        raise ValueError(
            f"{where}.matrix has the rows of '{named}' in their order, which"
            f" data.{named}.group changes; leave 'group' out"
        )
