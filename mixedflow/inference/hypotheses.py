"""Tests of L beta = 0: t a row, F of several rows, confidence limits.

Stands at "Degrees of freedom" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mixedflow.design.types import Float
from mixedflow.inference.denominators import (
    ScaledF,
    VarianceUncertainty,
    fai_cornelius_df,
    kenward_roger_f,
    row_df,
)
from mixedflow.linalg.aliasing import independent_columns
from mixedflow.linalg.late import special

DfMethod = Literal[
    "satterthwaite",
    "kenward-roger",
    "kenward-roger-linear",
    "between-within",
    "residual",
    "asymptotic",
]

KENWARD_ROGER: tuple[DfMethod, ...] = ("kenward-roger", "kenward-roger-linear")
"""Methods that adjust the covariance of beta-hat and scale F."""


@dataclass(frozen=True, slots=True)
class RowTests:
    """t tests of rows, (m,) each.

    Attributes
    ----------
    estimate, se, df, statistic, p : l'b, its standard error, degrees of freedom, t, two-sided p
    lower, upper : confidence limits
    """

    estimate: Float
    se: Float
    df: Float
    statistic: Float
    p: Float
    lower: Float
    upper: Float


@dataclass(frozen=True, slots=True)
class JointTest:
    """An F test: numerator and denominator degrees of freedom, F, p."""

    num_df: int
    den_df: float
    F: float
    p: float


@dataclass(frozen=True, slots=True)
class FixedTests:
    """What tests of the fixed effects rest on.

    Attributes
    ----------
    method : of the degrees of freedom
    beta : (p,)
    vcov : (p, p), of beta-hat; Kenward and Roger's adjusted one under their method
    plain : (p, p), (X'V^-1X)^-1
    common_df : degrees of freedom of every test, where there is no uncertainty
    uncertainty : of the variances
    """

    method: DfMethod
    beta: Float
    vcov: Float
    plain: Float
    common_df: float
    uncertainty: VarianceUncertainty | None = None

    def rows(self, L: Float, level: float) -> RowTests:
        """Return l'b / se against t for every row of L, (m, p)."""
        estimate = L @ self.beta
        se = np.sqrt(np.einsum("mp,pq,mq->m", L, self.vcov, L))
        df = self._row_df(L)
        statistic = estimate / np.where(se > 0, se, np.nan)
        half = t_quantile(0.5 + level / 2.0, df) * se
        p = 2.0 * t_below(-np.abs(statistic), df)
        return RowTests(estimate, se, df, statistic, p, estimate - half, estimate + half)

    def joint(self, L: Float) -> JointTest:
        """Return F of the rows of L, (m, p), those that depend on others left out; NaN of none."""
        L = independent_rows(L)
        q = len(L)
        if not q:
            return JointTest(0, float("nan"), float("nan"), float("nan"))
        estimate = L @ self.beta
        wald = float(estimate @ np.linalg.solve(L @ self.vcov @ L.T, estimate))
        scale, df = self._denominator(L)
        F = scale * wald / q
        return JointTest(q, df, F, f_above(F, q, df))

    def _row_df(self, L: Float) -> Float:
        if self.uncertainty is None:
            return np.full(len(L), self.common_df)
        return row_df(L, self.plain, self.uncertainty)

    def _denominator(self, L: Float) -> ScaledF:
        if self.uncertainty is None:
            return ScaledF(1.0, self.common_df)
        if self.method in KENWARD_ROGER:
            return kenward_roger_f(L, self.plain, self.uncertainty)
        return ScaledF(1.0, fai_cornelius_df(L, self.plain, self.uncertainty))


def independent_rows(L: Float) -> Float:
    """Return the rows of L that no earlier rows add up to; rows of zeros never stay."""
    size = np.sqrt(np.einsum("mp,mp->m", L, L))
    L = L[size > 0]
    unit = L / size[size > 0, None]
    return L[list(independent_columns(unit @ unit.T).kept)] if len(L) else L


def t_below(t: Float, df: Float) -> Float:
    """Return P(T <= t); the normal distribution's where df is infinite."""
    finite = np.where(np.isinf(df), 1.0, df)
    out: Float = np.where(np.isinf(df), special.ndtr(t), special.stdtr(finite, t))
    return out


def t_quantile(share: float, df: Float) -> Float:
    """Return the quantile of T; the normal distribution's where df is infinite."""
    finite = np.where(np.isinf(df), 1.0, df)
    out: Float = np.where(np.isinf(df), special.ndtri(share), special.stdtrit(finite, share))
    return out


def f_above(F: float, num_df: int, den_df: float) -> float:
    """Return P(F' > F); chi-squared's of q F where den_df is infinite."""
    if np.isinf(den_df):
        return float(special.chdtrc(num_df, num_df * F))
    return float(special.fdtrc(num_df, den_df, F))
