"""lme-python: refit_lmer on a frame a trait, or one prepared design and a response a trait."""

from __future__ import annotations

import lme_python
import polars as pl
from sweeps_common import Request, main


def fit(request: Request) -> tuple[list[str], list[float]]:
    """Return traits and -2 log L."""
    traits, columns = request["traits"], [request["group"], *request["fixed"]]
    frame = pl.read_parquet(request["data"], columns=[*columns, *traits])
    formula = request["formula"]
    if request["way"] == "refit":
        fits = (
            lme_python.refit_lmer(t + formula, frame.select([*columns, t]), True) for t in traits
        )
        return traits, [-2.0 * found.log_likelihood for found in fits]
    first = frame.select([*columns, traits[0]])
    prepared = lme_python.prepare_lmer(traits[0] + formula, first)
    fits = (lme_python.fit_prepared(prepared, True, y=frame[t].to_list()) for t in traits)
    return traits, [-2.0 * found.log_likelihood for found in fits]


main(fit, "lme-python", "polars")
