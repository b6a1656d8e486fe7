"""mixedflow: the formula and the Parquet file."""

from __future__ import annotations

from common import Case, columns_of, main


def load(case: Case) -> object:
    """Return the path; rows in memory where a warm fit is asked for."""
    if not case.get("repeat"):
        return case["data"]
    import pyarrow.parquet as pq

    return pq.read_table(case["data"], columns=columns_of(case))


def fit(data: object, case: Case) -> dict[str, object]:
    """Fit the case's own model."""
    import mixedflow as mf

    found = mf.fit(case["formula"], data, reml=case["reml"], residual=case["residual"])
    return {"minus2ll": -2.0 * found.loglik, "converged": found.converged}


main(load, fit, "mixedflow", "numpy", "pyarrow", "scipy", "numba")
