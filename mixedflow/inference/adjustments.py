"""Adjustment of t tests and intervals for their number.

Stands at "Marginal means" in ``docs/algorithm.md``. What is adjusted and how follows R's emmeans:
every test keeps its own degrees of freedom; intervals that a method of p alone (Holm; Benjamini and
Hochberg) cannot give are Bonferroni's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mixedflow.design.types import Float
from mixedflow.inference.hypotheses import t_below, t_quantile
from mixedflow.inference.multivariate_t import LargestT, largest_t
from mixedflow.inference.studentized_range import range_above, range_quantile

Adjustment = Literal["none", "tukey", "sidak", "bonferroni", "holm", "BH", "fdr", "mvt", "dunnett"]

NO_TUKEY = "tukey is for all pairs: sidak instead"


@dataclass(frozen=True, slots=True)
class Family:
    """Tests that are adjusted together.

    Attributes
    ----------
    spread : (m, p), B with B B' the covariance of the estimates
    means : number of means whose pairs they are; 0 for other families
    """

    spread: Float
    means: int = 0


@dataclass(frozen=True, slots=True)
class Adjusted:
    """p-values and factors of the standard errors in the intervals, (m,) each, and what to know."""

    p: Float
    critical: Float
    note: str


def adjusted(t: Float, df: Float, family: Family, adjust: Adjustment, level: float) -> Adjusted:
    """Adjust a family of two-sided t tests and their intervals.

    Parameters
    ----------
    t, df : (m,); NaN for a test that cannot be made, which counts in the size of the family
    family : what they are
    adjust : ``"tukey"`` by the studentized range; ``"mvt"`` and ``"dunnett"`` by the multivariate t;
        ``"holm"``, ``"BH"`` (``"fdr"``), ``"bonferroni"``, ``"sidak"``, ``"none"``
    level : of the intervals
    """
    m = len(t)
    known = ~np.isnan(t) & ~np.isnan(df)
    method, note = (adjust, "") if m > 1 else ("none", "")
    if method == "tukey" and not family.means:
        method, note = "sidak", NO_TUKEY
    out = Adjusted(np.full(m, np.nan), np.full(m, np.nan), note)
    if not known.any():
        return out
    size, nu = np.abs(t[known]), df[known]
    if method in ("mvt", "dunnett"):
        p, critical, error = _by_mvt(size, nu, largest_t(family.spread[known]), level)
        out = Adjusted(out.p, out.critical, f"mvt, Monte-Carlo error of p {error:.0e}")
    elif method == "tukey":
        p = range_above(np.sqrt(2.0) * size, family.means, nu)
        critical = _by_df(lambda d: range_quantile(level, family.means, d), nu) / np.sqrt(2.0)
    else:
        p = _adjusted_p(2.0 * t_below(-size, nu), method, m)
        critical = t_quantile(0.5 + _level(level, method, m) / 2.0, nu)
    out.p[known], out.critical[known] = p, critical
    return out


def _by_mvt(size: Float, df: Float, found: LargestT, level: float) -> tuple[Float, Float, float]:
    p, error = found.above(size, df)
    critical = _by_df(lambda d: found.quantile(level, d), df)
    return p, critical, float(error.max())


def _by_df(quantile: Callable[[Float], Float], df: Float) -> Float:
    """Compute a quantile once for every value of df."""
    values, where = np.unique(df, return_inverse=True)
    found: Float = quantile(values)[where]
    return found


def _level(level: float, method: str, m: int) -> float:
    """Return the level that an interval has by itself."""
    if method == "none":
        return level
    if method == "sidak":
        return float(level ** (1.0 / m))
    return 1.0 - (1.0 - level) / m


def _adjusted_p(p: Float, method: str, m: int) -> Float:
    """Return adjusted p-values of tests of which m were planned."""
    if method == "none":
        return p
    if method == "sidak":
        joint: Float = -np.expm1(m * np.log1p(-p))
        return joint
    if method == "bonferroni":
        return np.minimum(1.0, m * p)
    order = np.argsort(p)
    out = np.empty_like(p)
    if method == "holm":
        steps = np.maximum.accumulate(p[order] * (m - np.arange(len(p))))
    else:
        raised = p[order] * m / np.arange(1, len(p) + 1)
        steps = np.minimum.accumulate(raised[::-1])[::-1]
    out[order] = np.minimum(1.0, steps)
    return out
