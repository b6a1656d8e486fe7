"""The keys of ``models.NAME.infer`` that fit a model again: tests of variances, bootstraps.

Stands outside the equations of ``docs/algorithm.md``; what the keys ask for stands there at
"Tests of variances" and "Bootstrap".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from mixedflow.config.section import Names, Section
from mixedflow.errors import ConfigError, did_you_mean, listing

VarianceMethod = Literal["auto", "mixture", "exact"]
BootstrapKind = Literal["parametric", "group"]
BootstrapInterval = Literal["percentile", "basic", "normal", "bca"]

MOST_DRAWS = 1_000_000


class VarianceTestConfig(Section):
    """Likelihood-ratio tests that variances are zero, by the distribution that they have there."""

    method: VarianceMethod = Field(
        default="auto",
        description=(
            "`mixture`: of χ² distributions, as with many groups; `exact`: for any number of groups,"
            " where the random part is one term of one column; `auto`: exact where it is quick."
        ),
    )
    terms: Names | None = Field(
        default=None,
        description=(
            "What is dropped, as the table names it: `(1 | Subject)`, `Days in (1 + Days | Subject)`;"
            " all that can be when left out."
        ),
    )


class BootstrapConfig(Section):
    """Standard errors, bias and intervals of all parameters from fits to drawn data."""

    draws: int = Field(default=1000, ge=10, le=MOST_DRAWS, description="Number of draws.")
    kind: BootstrapKind = Field(
        default="parametric",
        description=(
            "`parametric`: responses simulated from the fit; `group`: groups drawn again, which"
            " reads the rows once more."
        ),
    )
    interval: BootstrapInterval = Field(
        default="percentile",
        description=(
            "`percentile`, `basic`, `normal`; or `bca`, of groups: corrected for bias and"
            " acceleration, with a fit without each group besides."
        ),
    )
    factor: str | None = Field(
        default=None,
        description="Grouping factor that is drawn from, where the model has several.",
    )
    seed: int = Field(default=1, ge=0, description="Of the draws.")

    @model_validator(mode="after")
    def _groups_are_drawn(self) -> BootstrapConfig:
        if self.kind == "group":
            return self
        if self.interval == "bca":
            raise ValueError(
                "'interval' is 'bca', which is for groups that are drawn again; write `kind: group`,"
                " or `interval: percentile`"
            )
        if self.factor is not None:
            raise ValueError(
                "'factor' names the groups that are drawn again, and 'kind' is 'parametric'; write"
                " `kind: group`, or leave 'factor' out"
            )
        return self


def check_dropped(asked: VarianceTestConfig | None, offered: Sequence[str], where: str) -> None:
    """Raise where a test is asked of what cannot be dropped of the random terms."""
    for name in () if asked is None or asked.terms is None else asked.terms:
        if name not in offered:
            raise ConfigError(
                f"{where}variance_test.terms: '{name}' is nothing that can be dropped of the random"
                f" terms{did_you_mean(name, offered)}; that is {listing(offered) or 'nothing'}"
            )


def check_drawn(asked: BootstrapConfig | None, factors: Sequence[str], where: str) -> None:
    """Raise where groups are drawn of what is no grouping factor."""
    if asked is not None and asked.factor is not None and asked.factor not in factors:
        raise ConfigError(
            f"{where}bootstrap.factor: '{asked.factor}' is no grouping factor"
            f"{did_you_mean(asked.factor, factors)}; they are {listing(factors)}"
        )
