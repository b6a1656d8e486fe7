"""Denominator degrees of freedom of t and F from the uncertainty of the variances.

Stands at "Degrees of freedom" in ``docs/algorithm.md``. Phi(x) is the covariance of beta-hat at the
variance parameters x; all that is needed are its slopes and the covariance of x-hat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mixedflow.design.types import Float

CANCELLED = 1e-10
"""Size of a difference of numbers of size 1 that is taken for zero."""

NO_MEAN = 1e-2
"""Distance of df from 2, below which F has no mean, at which the scale is left at 1."""


@dataclass(frozen=True, slots=True)
class VarianceUncertainty:
    """How Phi moves with the variance parameters, and how uncertain these are.

    Attributes
    ----------
    slopes : (r, p, p), dPhi/dx_i in the user's units
    covariance : (r, r), of x-hat
    """

    slopes: Float
    covariance: Float


class ScaledF(NamedTuple):
    """scale * F has the F distribution with so many denominator degrees of freedom."""

    scale: float
    df: float


def row_df(L: Float, vcov: Float, uncertainty: VarianceUncertainty) -> Float:
    """Return 2 (l'Phi l)^2 / (g'Ag), g = d(l'Phi l)/dx, for every row l of L (Satterthwaite 1946).

    Parameters
    ----------
    L : (m, p)
    vcov : (p, p), Phi
    uncertainty : slopes of Phi, A

    Returns
    -------
    (m,), infinite where l'Phi l does not depend on what is estimated.
    """
    variance = np.einsum("mp,pq,mq->m", L, vcov, L)
    slopes = np.einsum("mp,ipq,mq->mi", L, uncertainty.slopes, L)
    spread = np.einsum("mi,ij,mj->m", slopes, uncertainty.covariance, slopes)
    with np.errstate(divide="ignore", invalid="ignore"):
        df: Float = 2.0 * variance**2 / np.where(spread == 0, 0.0, spread)
    return df


def fai_cornelius_df(L: Float, vcov: Float, uncertainty: VarianceUncertainty) -> float:
    """Return the denominator df of (L b)'(L Phi L')^-1 L b / q, as SAS and lmerTest have it.

    With L Phi L' = P D P' the statistic is a mean of squared independent t with nu_m df each;
    E = sum nu_m / (nu_m - 2) is matched by df = 2 E / (E - q) (Fai and Cornelius 1996).

    Parameters
    ----------
    L : (q, p) of rank q
    vcov, uncertainty : as for :func:`row_df`
    """
    _, P = np.linalg.eigh(L @ vcov @ L.T)
    nu = row_df(P.T @ L, vcov, uncertainty)
    if len(nu) == 1:
        return float(nu[0])
    if not np.all(nu > 2.0):
        return float("nan") if np.isnan(nu).any() else 2.0
    excess = float(np.sum(2.0 / (nu - 2.0)))  # E - q
    return 2.0 * (len(nu) + excess) / excess if excess > 0 else float("inf")


def kenward_roger_f(L: Float, vcov: Float, uncertainty: VarianceUncertainty) -> ScaledF:
    """Return scale and denominator df of Kenward and Roger's (1997) F of several rows.

    Moments of F are matched through A1 = sum W_ij tr(T_i) tr(T_j), A2 = sum W_ij tr(T_i T_j) with
    T_i = (L Phi L')^-1 L dPhi_i L'. One row has scale 1 and :func:`row_df`.

    Parameters
    ----------
    L : (q, p) of rank q
    vcov : (p, p), Phi without adjustment
    uncertainty : slopes of Phi, W
    """
    q = len(L)
    if q == 1:
        return ScaledF(1.0, float(row_df(L, vcov, uncertainty)[0]))
    slopes = np.einsum("ap,ipq,bq->iab", L, uncertainty.slopes, L)
    T = np.linalg.solve((L @ vcov @ L.T)[None], slopes)
    W, traces = uncertainty.covariance, np.einsum("iaa->i", T)
    A1 = float(traces @ W @ traces)
    A2 = float(np.einsum("ij,iab,jba->", W, T, T))
    if not A2 > 0:
        return ScaledF(1.0, float("inf") if A2 == 0 else float("nan"))
    return _matched(q, A1, A2)


def _matched(q: int, A1: float, A2: float) -> ScaledF:
    """Return scale and df whose F has the mean and variance of the statistic."""
    B = (A1 + 6.0 * A2) / (2.0 * q)
    g = ((q + 1) * A1 - (q + 4) * A2) / ((q + 2) * A2)
    below = 3.0 * q + 2.0 * (1.0 - g)
    c1, c2, c3 = g / below, (q - g) / below, (q + 2 - g) / below
    v0, v1, v2 = _clean(1.0 + c1 * B), _clean(1.0 - c2 * B), _clean(1.0 - c3 * B)
    shrink = 1.0 - A2 / q  # 1 / mean
    ratio = shrink / v1 if v1 else 1.0
    rho = ratio**2 * v0 / (v2 * q) if v2 else float("inf")  # variance / (2 mean^2)
    df = 4.0 + (q + 2) / (q * rho - 1.0)
    return ScaledF(df * shrink / (df - 2.0) if abs(df - 2.0) > NO_MEAN else 1.0, df)


def _clean(value: float) -> float:
    return value if abs(value) > CANCELLED else 0.0
