"""mixedlm: a pandas frame and lme4's formula."""

from __future__ import annotations

import mixedlm
from common import Case, main, read_pandas


def fit(frame: object, case: Case) -> dict[str, object]:
    """Fit; its logLik has lme4's constants."""
    found = mixedlm.lmer(case["formula"], frame, REML=case["reml"])
    return {"minus2ll": -2.0 * float(found.logLik().value)}


main(read_pandas, fit, "mixedlm", "numpy", "pandas", "scipy")
