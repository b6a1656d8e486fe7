"""statsmodels MixedLM: arrays, one grouping factor, its default optimisers."""

from __future__ import annotations

import warnings

import statsmodels.api as sm
from common import Case, design, main, read_pandas


def fit(frame: object, case: Case) -> dict[str, object]:
    """Fit; its restricted llf has lme4's constants."""
    (columns, group), *more = case["random"]
    if more or len(group) > 1:
        raise NotImplementedError("one grouping factor only")
    warnings.simplefilter("ignore")
    found = sm.MixedLM(
        endog=frame[case["response"]].to_numpy(),
        exog=design(frame, case["fixed"]),
        groups=frame[group[0]].to_numpy(),
        exog_re=design(frame, columns[1:]),
    ).fit(reml=case["reml"])
    return {"minus2ll": -2.0 * found.llf, "converged": bool(found.converged)}


main(read_pandas, fit, "statsmodels", "numpy", "pandas", "scipy")
