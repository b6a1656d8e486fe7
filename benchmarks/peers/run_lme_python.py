"""lme-python: a Polars frame and lme4's formula."""

from __future__ import annotations

import lme_python
import polars as pl
from common import Case, columns_of, main


def load(case: Case) -> pl.DataFrame:
    """Read with Polars; categories as text, as it wants them."""
    frame = pl.read_parquet(case["data"], columns=columns_of(case))
    return frame.with_columns(pl.col(pl.Categorical).cast(pl.String))


def fit(frame: pl.DataFrame, case: Case) -> dict[str, object]:
    """Fit; its log-likelihood has lme4's constants."""
    found = lme_python.lmer(case["formula"], frame, reml=case["reml"])
    return {"minus2ll": -2.0 * found.log_likelihood, "converged": bool(found.converged)}


main(load, fit, "lme-python", "polars")
