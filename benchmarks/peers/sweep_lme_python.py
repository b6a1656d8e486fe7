"""lme-python: refit_lmer on a frame a trait, or one prepared design and a response a trait."""

from __future__ import annotations

import lme_python
import polars as pl
from sweeps_common import Request, main


def fit(request: Request) -> tuple[list[str], list[float]]:
    """Return traits and -2 log L; columns are taken by place, for names are looked for one by one."""
    traits, columns = request["traits"], [request["group"], *request["fixed"]]
    frame = pl.read_parquet(request["data"], columns=[*columns, *traits])
    shared, responses = frame.select(columns), frame.select(traits).get_columns()
    formula = "y" + request["formula"]
    frames = (shared.with_columns(y.alias("y")) for y in responses)
    if request["way"] == "refit":
        fits = (lme_python.refit_lmer(formula, one, True) for one in frames)
        return traits, [-2.0 * found.log_likelihood for found in fits]
    prepared = lme_python.prepare_lmer(formula, next(frames))
    fits = (lme_python.fit_prepared(prepared, True, y=y.to_list()) for y in responses)
    return traits, [-2.0 * found.log_likelihood for found in fits]


main(fit, "lme-python", "polars")
