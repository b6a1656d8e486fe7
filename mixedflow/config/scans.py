"""The keys of a scan, ``scan.NAME``: one response, many covariates, each added by itself.

Stands outside the equations of ``docs/algorithm.md``; what the keys ask for stands there at "Scans".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from mixedflow.config.inference import OneOrMore
from mixedflow.config.section import Section
from mixedflow.config.sweeps import MatrixConfig, check_patterns, check_rows

ScanVariances = Literal["null", "reestimate"]
ScanSigma = Literal["each", "null"]
ScanMissing = Literal["error", "mean"]


class ScanConfig(Section):
    """One response and many covariates, added one at a time to a null model: a row for each.

    As an association scan does it: the variances are those of the null model, or estimated again with
    the covariate.
    """

    data: str = Field(description="Name of the data set, a key of `data`.")
    formula: str = Field(min_length=1, description="The null model, `height ~ age + (1 | family)`.")
    covariates: OneOrMore = Field(
        default=(),
        description=(
            "Columns that are tested: names, patterns like `snp*`, regular expressions like"
            " `re:^snp[0-9]+$`, files of names like `@snps.txt`, or a list of these. Must be given,"
            " but for a matrix, of which all columns are tested."
        ),
    )
    matrix: MatrixConfig | None = Field(
        default=None,
        description="Where covariates are not columns of the data: a matrix beside them.",
    )
    variances: ScanVariances = Field(
        default="null",
        description=(
            "`null`: relative to the residual's, those of the null model; `reestimate`: each"
            " covariate's own model is fitted, with Satterthwaite's degrees of freedom."
        ),
    )
    reestimate_below: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description=(
            "With `reestimate`: only covariates whose p with the null model's variances is at most"
            " this; all when left out."
        ),
    )
    sigma: ScanSigma = Field(
        default="each",
        description=(
            "The residual variance: `each` covariate's own, and t; or that of the `'null'` model, and the"
            " normal distribution."
        ),
    )
    missing: ScanMissing = Field(
        default="error",
        description=(
            "A covariate that lacks values: `error` gives a row with the reason, `mean` puts its mean"
            " there."
        ),
    )
    missing_value: float | None = Field(
        default=None, description="Number that stands for a missing value, as -9 in genotypes."
    )
    reml: bool = Field(
        default=True, description="`true`: restricted likelihood (REML); `false`: likelihood (ML)."
    )
    weights: str | None = Field(
        default=None,
        description="Column of known weights; the residual variance is sigma² / weight.",
    )
    title: str | None = Field(default=None, description="How the report calls the scan.")

    @model_validator(mode="before")
    @classmethod
    def _null_needs_quotes(cls, value: Any) -> Any:
        """Refuse ``null`` without quotes, which YAML reads as an empty key."""
        if isinstance(value, dict) and "sigma" in value and value["sigma"] is None:
            raise ValueError("sigma is empty to YAML; write 'null' in quotes, or each")
        return value

    @field_validator("covariates")
    @classmethod
    def _covariates_can_be_read(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_patterns(value)

    @model_validator(mode="after")
    def _covariates_are_somewhere(self) -> ScanConfig:
        if self.matrix is None and not self.covariates:
            raise ValueError(
                "it needs at least one covariate; name columns, or patterns like snp*, or a matrix"
            )
        if self.matrix is not None and self.covariates:
            raise ValueError("'matrix' and 'covariates' both say what is tested; leave one out")
        if self.reestimate_below is not None and self.variances != "reestimate":
            raise ValueError("reestimate_below needs variances: reestimate")
        return self


def check_scans(scans: Mapping[str, ScanConfig], data: Mapping[str, Any]) -> None:
    """Raise ValueError where a scan names data that are not there, or rows that lose their order."""
    for name, scan in scans.items():
        check_rows(f"scan.{name}", scan.data, scan.matrix, data)
        if data[scan.data].missing == "error":
            raise ValueError(
                f"scan.{name}.data is '{scan.data}', whose `missing: error` scans do not know; name a"
                " data set with `missing: drop`, and check the null model as one of `models`"
            )
