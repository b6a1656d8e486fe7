"""mixedflow's sweep, with all that it gives: standard errors, degrees of freedom, p-values."""

from __future__ import annotations

from pathlib import Path

from sweeps_common import Request, main

import mixedflow as mf


def fit(request: Request) -> tuple[list[str], list[float]]:
    """Return traits and -2 log L, NaN where there is none."""
    found = mf.sweep(request["formula"], request["data"], traits=request["traits"]).table
    if request["way"] == "table":
        found.to_parquet(Path(request["keep"]).with_suffix(".parquet"))
    return list(found["trait"]), list(found["deviance"])


main(fit, "mixedflow", "pyarrow", "pandas", "numpy", "numba")
