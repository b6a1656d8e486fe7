"""q-values: the share of false discoveries among tests that are at least as extreme.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from mixedflow.design.types import Float
from mixedflow.errors import ConfigError, did_you_mean, listing

QMethod = Literal["BH", "storey"]

CUTS = np.round(np.arange(0.05, 0.951, 0.05), 2)
"""Values lambda above which p-values are taken as those of true null hypotheses."""

SMOOTHNESS = 3.0
"""Degrees of freedom of the spline through the shares above lambda."""


def checked_q(method: str) -> QMethod:
    """Return a method of q-values, or raise."""
    for one in get_args(QMethod):
        if one.lower() == str(method).lower():
            found: QMethod = one
            return found
    offered = get_args(QMethod)
    raise ConfigError(
        f"q={method!r} is not offered; allowed are {listing(offered)}"
        f"{did_you_mean(str(method), offered)}"
    )


def q_values(p: Float, method: QMethod = "BH") -> Float:
    """Return q_(i) = min_(j >= i) pi0 m p_(j) / j, at most 1; NaN where p is.

    Parameters
    ----------
    p : (m,) p-values
    method : ``BH`` takes pi0 = 1 (Benjamini and Hochberg 1995), ``storey`` :func:`null_share`
    """
    out = np.full(len(p), np.nan)
    at = np.flatnonzero(np.isfinite(p))
    if not len(at):
        return out
    order = at[np.argsort(-p[at], kind="stable")]
    rank = np.arange(len(at), 0, -1)
    share = null_share(p[at]) if method == "storey" else 1.0
    out[order] = np.minimum(1.0, np.minimum.accumulate(p[order] * share * len(at) / rank))
    return out


def null_share(p: Float) -> float:
    """Return pi0, the share of true null hypotheses, by Storey's and Tibshirani's smoother (2003).

    Shares #(p >= lambda) / (m (1 - lambda)), lambda from 0.05 to 0.95, are smoothed by a cubic
    spline of three degrees of freedom, whose value at 0.95 it is; 1 where it is not between 0 and 1,
    or no p-value is as large as the largest lambda.
    """
    if not len(p) or p.max() < CUTS[-1]:
        return 1.0
    shares = (p[:, None] >= CUTS).sum(axis=0) / (len(p) * (1.0 - CUTS))
    found = float(smoothed(CUTS, shares, SMOOTHNESS)[-1])
    return found if 0.0 < found < 1.0 else 1.0


def smoothed(x: Float, y: Float, df: float) -> Float:
    """Return (I + a K)^-1 y with trace((I + a K)^-1) = df, K = Q R^-1 Q'.

    The cubic smoothing spline at ascending points x (Green and Silverman 1994, section 2.3).
    """
    h = np.diff(x)
    m = len(x)
    Q, R = np.zeros((m, m - 2)), np.zeros((m - 2, m - 2))
    for j in range(m - 2):
        Q[j : j + 3, j] = 1.0 / h[j], -1.0 / h[j] - 1.0 / h[j + 1], 1.0 / h[j + 1]
        R[j, j] = (h[j] + h[j + 1]) / 3.0
        if j:
            R[j, j - 1] = R[j - 1, j] = h[j] / 6.0
    values, vectors = np.linalg.eigh(Q @ np.linalg.solve(R, Q.T))
    values = np.maximum(values, 0.0)
    values[:2] = 0.0
    low, high = -40.0, 40.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        too_rough = (1.0 / (1.0 + np.exp(middle) * values)).sum() > df
        low, high = (middle, high) if too_rough else (low, middle)
    out: Float = vectors @ ((vectors.T @ y) / (1.0 + np.exp(low) * values))
    return out
