"""Where p-values lie when the null hypothesis holds.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from mixedflow.design.types import Float

BAND_POINTS = 60


def uniform_band(n: int, level: float = 0.95) -> tuple[Float, Float, Float]:
    """Return where sorted p-values lie when they are uniform: expected, lower, upper.

    The i-th smallest of n uniform numbers is Beta(i, n + 1 - i); its interval holds for each rank
    by itself. Ranks are spread evenly on the logarithmic scale, ends included.

    Parameters
    ----------
    n : number of p-values
    level : of the interval
    """
    ranks = np.unique(np.round(np.geomspace(1, max(n, 1), BAND_POINTS)))
    ranks = ranks[ranks <= n]
    tail = 0.5 * (1.0 - level)
    lower = stats.beta.ppf(tail, ranks, n + 1 - ranks)
    upper = stats.beta.ppf(1.0 - tail, ranks, n + 1 - ranks)
    return (ranks - 0.5) / n, lower, upper
