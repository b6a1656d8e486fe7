"""The keys that say what is asked of a finished fit: ``models.NAME.infer`` and ``compare``.

Stands outside the equations of ``docs/algorithm.md``; what the keys ask for stands there at
"Degrees of freedom" and after.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticKnownError

from mixedflow.config.resampling import BootstrapConfig, VarianceTestConfig
from mixedflow.config.section import Levels, Names, Section, as_tuple
from mixedflow.errors import ConfigError, did_you_mean, listing

Ddf = Literal[
    "satterthwaite",
    "kenward-roger",
    "kenward-roger-linear",
    "between-within",
    "residual",
    "asymptotic",
]  # fmt: skip
AnovaType = Literal[3, 2, 1, "none"]
IntervalMethod = Literal["profile", "wald"]
Likelihood = Literal["ml", "reml"]
RobustKind = Literal["CR0", "CR1", "CR2", "CR3"]
MeanWeights = Literal["equal", "proportional", "cells"]
MeanContrast = Literal["pairwise", "trt.vs.ctrl", "consecutive", "eff", "poly", "identity"]
Adjustment = Literal[
    "none", "tukey", "sidak", "bonferroni", "holm", "BH", "fdr", "mvt", "dunnett"
]  # fmt: skip
Refit = Literal["ml"]


TABLE_COLUMNS = ("contrast", "estimate", "se", "df", "statistic", "p", "lower", "upper", "note")
"""Columns of a table of means beside its variables."""


def _as_names(value: Any) -> Any:
    """Read one name as a list with one."""
    return (value,) if isinstance(value, str) else as_tuple(value)


_NAMES_SCHEMA = {"type": "array", "items": {"type": "string"}}
OneOrMore = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_names),
    PlainSerializer(lambda names: names[0] if len(names) == 1 else names),
    WithJsonSchema({"anyOf": [{"type": "string"}, _NAMES_SCHEMA]}),
]

Weights = dict[str, Annotated[float, Field(allow_inf_nan=False)]]


def _as_rows(value: Any) -> Any:
    """Read one mapping of weights as a list with one row."""
    return (value,) if isinstance(value, Mapping) else as_tuple(value)


_WEIGHTS_SCHEMA = {"type": "object", "additionalProperties": {"type": "number"}}
Rows = Annotated[
    tuple[Weights, ...],
    BeforeValidator(_as_rows),
    PlainSerializer(lambda rows: rows[0] if len(rows) == 1 else rows),
    WithJsonSchema({"anyOf": [_WEIGHTS_SCHEMA, {"type": "array", "items": _WEIGHTS_SCHEMA}]}),
]


class EmmeansConfig(Section):
    """Estimated marginal means, or slopes, as R's emmeans; means of X β over a grid of the factors."""

    specs: OneOrMore = Field(
        description=(
            "Variables of the means, `treatment` or `[treatment, sex]`; `treatment | sex` compares the"
            " treatments within each sex."
        )
    )
    by: OneOrMore = Field(
        default=(), description="Variables within whose levels means are compared."
    )
    at: dict[str, Levels] = Field(
        default_factory=dict,
        description=(
            "Variable to the values that it takes; otherwise factors take all their levels and"
            " covariates their mean."
        ),
    )
    weights: MeanWeights = Field(
        default="equal", description="Of the levels that are averaged over."
    )
    trend: str | None = Field(
        default=None, description="Covariate whose slopes are wanted in the place of means."
    )
    contrast: MeanContrast | None = Field(
        default=None,
        description="Contrasts among the means, `pairwise` for all differences; none when left out.",
    )
    adjust: Adjustment | None = Field(
        default=None,
        description=(
            "Adjustment of these contrasts for their number; when left out, that of the contrasts:"
            " `tukey` for pairs, `dunnett` for `trt.vs.ctrl`."
        ),
    )

    @model_validator(mode="after")
    def _adjust_needs_contrasts(self) -> EmmeansConfig:
        if self.adjust is not None and self.contrast is None:
            raise ValueError(
                "'adjust' is for contrasts, and 'contrast' is not given; write `contrast: pairwise`,"
                " or leave 'adjust' out"
            )
        return self


class IntervalsConfig(Section):
    """Intervals of standard deviations, correlations and fixed effects."""

    method: IntervalMethod = Field(
        default="profile",
        description=(
            "`profile`: by the profile likelihood, for all of them, with their plots; `wald`:"
            " estimate ± z standard errors, for fixed effects."
        ),
    )
    parameters: Names | None = Field(
        default=None,
        description=(
            "What intervals are wanted of, as the table names it: `sigma`, `sd_Days|Subject`,"
            " `Days`; `theta_` for all variance parameters, `beta_` for all fixed effects; all when"
            " left out."
        ),
    )
    likelihood: Likelihood = Field(
        default="ml",
        description=(
            "Likelihood that is profiled: `ml`, as lme4 does, also of a REML fit; or `reml`, which"
            " has no fixed effects."
        ),
    )
    plot: bool = Field(
        default=True,
        description=(
            "Draw the profiles, which takes two or three times as long as their intervals alone."
        ),
    )


Emmeans = Annotated[tuple[EmmeansConfig, ...], BeforeValidator(as_tuple)]


class InferConfig(Section):
    """Tests and intervals of a fit, written by the rule `infer` and shown in the report.

    A fit that did not converge gets none; its page says so. Names of coefficients are those of the
    fit (`(Intercept)`, `Days`, `sex[T.male]`): `mixedflow check` compares them with the data.
    """

    ddf: Ddf = Field(
        default="satterthwaite",
        description=(
            "Degrees of freedom of tests and intervals of fixed effects; those of Kenward and"
            " Roger need `reml: true`."
        ),
    )
    level: float = Field(default=0.95, gt=0, lt=1, description="Level of all intervals.")
    anova: AnovaType = Field(
        default=3, description="F tests by term: the type of sums of squares, or `none`."
    )
    contrasts: dict[str, Rows] = Field(
        default_factory=dict,
        description=(
            "Name to weights by coefficient, `{Days: 1}`, tested against zero by t; or to a list of"
            " such weights, tested together by F."
        ),
    )
    emmeans: Emmeans = Field(
        default=(), description="Estimated marginal means and contrasts among them."
    )
    robust: RobustKind | None = Field(
        default=None,
        description=(
            "The coefficients and contrasts once more by a covariance that holds whatever the"
            " covariance of a group's rows is; `CR2` is bias-reduced. Reads the rows once more."
        ),
    )
    influence: OneOrMore = Field(
        default=(),
        description=(
            "Grouping factors of which each level is left out in turn: leverage, Cook's distance,"
            " DFBETAS. Reads the rows once more."
        ),
    )
    intervals: IntervalsConfig | None = Field(
        default=None, description="Intervals of variance parameters; none when left out."
    )
    random_tests: bool = Field(
        default=False,
        description=(
            "`true`: likelihood-ratio tests of all that can be dropped of the random terms, each"
            " smaller model fitted on the same sums."
        ),
    )

    variance_test: VarianceTestConfig | None = Field(
        default=None, description="Tests that variances are zero; none when left out."
    )
    bootstrap: BootstrapConfig | None = Field(
        default=None, description="Intervals from draws; none when left out."
    )
    caic: bool = Field(
        default=False, description="`true`: the conditional AIC, of predictions for these groups."
    )

    @property
    def by_curvature(self) -> bool:
        """Whether degrees of freedom come from the curvature of the likelihood."""
        return self.ddf == "satterthwaite" or self.by_expectation

    @property
    def by_expectation(self) -> bool:
        """Whether degrees of freedom are those of Kenward and Roger, which are for REML."""
        return self.ddf.startswith("kenward-roger")

    @field_validator("contrasts")
    @classmethod
    def _contrasts_say_something(cls, value: dict[str, Rows]) -> dict[str, Rows]:
        for name, rows in value.items():
            if not name.strip():
                raise ValueError("a contrast has no name; give it one, it is a row of the table")
            if not rows or not all(any(row.values()) for row in rows):
                raise ValueError(
                    f"the contrast '{name}' has weights of zero alone, which test nothing; write it"
                    " like {Days: 1}"
                )
        return value


def _as_comparison(value: Any) -> Any:
    """Read a list of names as a section that holds it."""
    if isinstance(value, list | tuple):
        return {"models": value}
    if not isinstance(value, Mapping | Section):
        raise PydanticKnownError("tuple_type")
    return value


class ComparisonConfig(Section):
    """One comparison, where a list of names is not enough."""

    models: Names = Field(description="Names of two models or more.")
    refit: Refit | None = Field(
        default=None,
        description=(
            "`ml`: models fitted by REML are fitted again by ML for the likelihood-ratio tests, on"
            " their sums, as different fixed parts need."
        ),
    )

    @model_serializer(mode="wrap")
    def _as_written(self, content: SerializerFunctionWrapHandler) -> Any:
        """Return a list of names where nothing else was given."""
        return list(self.models) if self.model_fields_set == {"models"} else content(self)


_COMPARISON_SCHEMA = {
    "anyOf": [
        _NAMES_SCHEMA,
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["models"],
            "properties": {"models": _NAMES_SCHEMA, "refit": {"enum": ["ml", None]}},
        },
    ]
}
Comparisons = Annotated[
    tuple[
        Annotated[
            ComparisonConfig, BeforeValidator(_as_comparison), WithJsonSchema(_COMPARISON_SCHEMA)
        ],
        ...,
    ],
    BeforeValidator(as_tuple),
]


def check_inference(asked: InferConfig, *, reml: bool, sharded: bool) -> None:
    """Raise ValueError where a fit of that kind cannot give what is asked."""
    if asked.by_expectation and not reml:
        raise ValueError(
            f"infer.ddf is '{asked.ddf}', which is for REML, and 'reml' is false; write 'reml: true',"
            " or 'ddf: satterthwaite'"
        )
    if not sharded:
        return
    if asked.ddf not in ("residual", "asymptotic"):
        raise ValueError(
            f"infer.ddf is '{asked.ddf}', which needs the sums of the groups, and a sharded fit leaves"
            " them in its shards; write 'ddf: residual' or 'ddf: asymptotic'"
        )
    profiled = asked.intervals is not None and asked.intervals.method == "profile"
    needed = {
        "robust": asked.robust is not None,
        "influence": bool(asked.influence),
        "intervals": profiled,
        "random_tests": asked.random_tests,
        "variance_test": asked.variance_test is not None,
        "bootstrap": asked.bootstrap is not None,
        "caic": asked.caic,
    }
    for key, wanted in needed.items():
        if wanted:
            raise ValueError(
                f"infer.{key} needs the sums of the groups, and a sharded fit leaves them in its"
                " shards; leave it out, or fit the model without 'sharded'"
            )


def check_coefficients(settings: InferConfig, names: Sequence[str], where: str) -> None:
    """Raise where a contrast weighs what is no coefficient.

    Parameters
    ----------
    settings : what is asked
    names : of the coefficients that the model has
    where : opens the message, ``config.yaml: models.slope.infer.``
    """
    for name, rows in settings.contrasts.items():
        unknown = [weight for row in rows for weight in row if weight not in names]
        if unknown:
            raise ConfigError(
                f"{where}contrasts.{name}: '{unknown[0]}' is no coefficient"
                f"{did_you_mean(unknown[0], names)}; they are {listing(names)}"
            )


def check_variables(settings: InferConfig, variables: Sequence[str], where: str) -> None:
    """Raise where means are asked of what is no variable of the fixed part."""
    for place, means in enumerate(settings.emmeans, 1):
        trend = () if means.trend is None else (means.trend,)
        for name in (*_variables(means.specs), *means.by, *means.at, *trend):
            if name not in variables:
                raise ConfigError(
                    f"{where}emmeans[{place}]: '{name}' is no variable of the fixed part"
                    f"{did_you_mean(name, variables)}; they are {listing(variables) or 'none'}"
                )
            if name in TABLE_COLUMNS:
                raise ConfigError(
                    f"{where}emmeans[{place}]: '{name}' is a column of the table of means by itself;"
                    " give the variable another name in the data"
                )


def check_factors(settings: InferConfig, factors: Sequence[str], where: str) -> None:
    """Raise where influence is asked of what is no grouping factor."""
    for name in settings.influence:
        if name not in factors:
            raise ConfigError(
                f"{where}influence: '{name}' is no grouping factor{did_you_mean(name, factors)};"
                f" they are {listing(factors)}"
            )


def _variables(specs: Sequence[str]) -> list[str]:
    """Return the variables in ``treatment | sex``."""
    parts = (part.strip(" ~`") for text in specs for part in re.split(r"[*+:|]", text))
    return [part for part in parts if part not in ("", "1")]
