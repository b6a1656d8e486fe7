"""Bias-corrected and accelerated limits of bootstrap draws.

Stands at "Bootstrap" in ``docs/algorithm.md`` (Efron 1987; Davison and Hinkley 1997, section 5.3.2), as R's
boot computes them: from the draws, the estimate and the influence of every group.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixedflow.design.types import Float, Int


def influence_values(left_out: Float, strata: Sequence[Int]) -> Float:
    """Return (n_h - 1) (mean - t_j), t_j without group j of stratum h; as ``left_out``, (L, parameters)."""
    out = np.full_like(left_out, np.nan)
    for own in strata:
        part = left_out[own]
        known = np.isfinite(part)
        total = np.where(known, part, 0.0).sum(axis=0)
        mean = total / np.maximum(known.sum(axis=0), 1)
        out[own] = (len(own) - 1) * (mean - part)
    return out


def acceleration(influence: Float) -> float:
    """Return a = sum L^3 / [6 (sum L^2)^(3/2)]; 0 where nothing moves the estimate."""
    L = influence[np.isfinite(influence)]
    squared = float(np.sum(L**2))
    return float(np.sum(L**3)) / (6.0 * squared**1.5) if squared > 0 else 0.0


def bca_limits(
    draws: Float, estimate: float, influence: Float, level: float
) -> tuple[float, float]:
    """Return the quantiles of the draws at Phi(w + (w + z) / (1 - a (w + z))), z those of the level.

    w is the normal quantile of the share of draws below the estimate, a the acceleration. NaN where all
    draws lie on one side.
    """
    from scipy.special import ndtr, ndtri

    t = np.sort(draws[np.isfinite(draws)])
    w = float(ndtri(np.mean(t < estimate))) if len(t) else np.inf
    if not np.isfinite(w):
        return np.nan, np.nan
    reach = w + ndtri(np.array([0.5 - 0.5 * level, 0.5 + 0.5 * level]))
    low, high = ndtr(w + reach / (1.0 - acceleration(influence) * reach))
    return normal_quantile(t, float(low)), normal_quantile(t, float(high))


def normal_quantile(t: Float, alpha: float) -> float:
    """Return the quantile at (R + 1) alpha of R sorted draws, between two on the scale of the normal."""
    from scipy.special import ndtri

    place = (len(t) + 1) * alpha
    k = int(place)
    if k == 0 or k >= len(t):
        return float(t[0] if k == 0 else t[-1])
    below, above = ndtri(np.array([k, k + 1]) / (len(t) + 1))
    share = (float(ndtri(alpha)) - below) / (above - below)
    return float(t[k - 1] + share * (t[k] - t[k - 1]))
