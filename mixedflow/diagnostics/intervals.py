"""estimate +- z_0.975 se: Wald intervals of the fixed effects.

Stands at "A second pass" in ``docs/algorithm.md``. Intervals here rest on the normal distribution;
those with degrees of freedom belong to the inference room.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtri

from mixedflow.results.fit_result import FitResult

LEVEL = 0.95
Z = float(ndtri(0.5 + LEVEL / 2))


def wald_table(fit: FitResult) -> pd.DataFrame:
    """Return estimate, se, lower, upper and statistic of every fixed effect."""
    estimate = fit.fixef.astype(float)
    se = pd.Series(np.sqrt(np.diag(fit.vcov.to_numpy(dtype=float))), index=estimate.index)
    return pd.DataFrame(
        {
            "estimate": estimate,
            "se": se,
            "lower": estimate - Z * se,
            "upper": estimate + Z * se,
            "statistic": estimate / se.where(se > 0),
        }
    )
