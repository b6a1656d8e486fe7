"""The keys that say what is asked of a finished fit: ``models.NAME.infer`` and ``compare``.

Stands outside the equations of ``docs/algorithm.md``; what the keys ask for stands there at
"Degrees of freedom" and after.
"""

from __future__ import annotations

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
)
from pydantic_core import PydanticKnownError

from mixedflow.config.section import Names, Section, as_tuple
from mixedflow.errors import ConfigError, did_you_mean, listing

Ddf = Literal["satterthwaite", "kenward-roger", "residual", "asymptotic"]
AnovaType = Literal[3, "none"]
IntervalMethod = Literal["profile", "wald"]
Refit = Literal["ml"]

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


class IntervalsConfig(Section):
    """Intervals of standard deviations, correlations and fixed effects."""

    method: IntervalMethod = Field(
        default="profile",
        description=(
            "`profile`: by the profile likelihood, for all of them; `wald`: estimate ± z standard"
            " errors, for fixed effects."
        ),
    )


class InferConfig(Section):
    """Tests and intervals of a fit, written by the rule `infer` and shown in the report.

    A fit that did not converge gets none; its page says so. Names of coefficients are those of the
    fit (`(Intercept)`, `Days`, `sex[male]`): `mixedflow check` compares them with the data.
    """

    ddf: Ddf = Field(
        default="satterthwaite",
        description=(
            "Degrees of freedom of tests and intervals of fixed effects; `kenward-roger` needs"
            " `reml: true`."
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


_NAMES_SCHEMA = {"type": "array", "items": {"type": "string"}}
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
