"""mixedlm-rs: its arrays' way in, which costs less than its formulas; one grouping factor."""

from __future__ import annotations

import mixedlm_rs
from common import Case, design, main, read_pandas


def fit(frame: object, case: Case) -> dict[str, object]:
    """Fit by its default optimiser; its llf has lme4's constants."""
    (columns, group), *more = case["random"]
    if more or len(group) > 1:
        raise NotImplementedError("one grouping factor only")
    found = mixedlm_rs.MixedLM(
        endog=frame[case["response"]].to_numpy(),
        exog=design(frame, case["fixed"]),
        groups=frame[group[0]].to_numpy(),
        exog_re=design(frame, columns[1:]),
    ).fit(reml=case["reml"])
    return {"minus2ll": -2.0 * found.llf, "converged": bool(found.converged)}


main(read_pandas, fit, "mixedlm-rs", "numpy", "pandas", "scipy")
