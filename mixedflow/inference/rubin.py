"""Rubin's rules: estimates of m imputed data sets brought together.

Stands at "Multiple imputation" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedflow.design.types import Float
from mixedflow.inference.hypotheses import JointTest, f_above, independent_rows


@dataclass(frozen=True, slots=True)
class Imputed:
    """Estimates and covariances of m imputed data sets.

    Attributes
    ----------
    Q : (m, p) estimates
    U : (m, p, p) covariances
    """

    Q: Float
    U: Float

    @property
    def m(self) -> int:
        """Number of data sets."""
        return len(self.Q)

    @property
    def mean(self) -> Float:
        """Mean of the estimates, (p,)."""
        return np.asarray(self.Q.mean(axis=0))

    @property
    def within(self) -> Float:
        """U-bar, mean of the covariances, (p, p)."""
        return np.asarray(self.U.mean(axis=0))

    @property
    def between(self) -> Float:
        """B, covariance of the estimates, (p, p)."""
        centred = self.Q - self.mean
        return np.asarray(centred.T @ centred / (self.m - 1))

    @property
    def total(self) -> Float:
        """T = U-bar + (1 + 1/m) B."""
        return self.within + (1.0 + 1.0 / self.m) * self.between


@dataclass(frozen=True, slots=True)
class PooledRows:
    """Rows l'b of imputed data sets, (r,) each.

    Attributes
    ----------
    estimate, se, df : to be set against t
    riv : relative increase of variance, (1 + 1/m) b / u
    lambda_ : share of the total variance, (1 + 1/m) b / t
    fmi : fraction of missing information
    """

    estimate: Float
    se: Float
    df: Float
    riv: Float
    lambda_: Float
    fmi: Float


def pooled_rows(data: Imputed, L: Float, complete_df: Float) -> PooledRows:
    """Return every row of L with Barnard and Rubin's degrees of freedom.

    Parameters
    ----------
    data : what is brought together
    L : (r, p)
    complete_df : (r,) degrees of freedom had no value been missing, infinite ones allowed
    """
    u = np.einsum("rp,pq,rq->r", L, data.within, L)
    added = (1.0 + 1.0 / data.m) * np.einsum("rp,pq,rq->r", L, data.between, L)
    total = u + added
    share, increase = added / total, added / u
    df = barnard_rubin_df(data.m, share, complete_df)
    return PooledRows(
        estimate=L @ data.mean,
        se=np.sqrt(total),
        df=df,
        riv=increase,
        lambda_=share,
        fmi=(increase + 2.0 / (df + 3.0)) / (increase + 1.0),
    )


def barnard_rubin_df(m: int, share: Float, complete_df: Float) -> Float:
    """Return 1 / (1 / old + 1 / observed) (Barnard and Rubin 1999).

    old = (m - 1) / lambda^2, observed = (nu + 1) / (nu + 3) nu (1 - lambda), nu of complete data.
    """
    missing = share**2 / (m - 1)
    finite = np.where(np.isinf(complete_df), 1.0, complete_df)
    seen = (finite + 1.0) / (finite + 3.0) * finite * (1.0 - share)
    known = np.where(np.isinf(complete_df), 0.0, 1.0 / seen)
    with np.errstate(divide="ignore"):
        df: Float = 1.0 / (missing + known)
    return df


def pooled_joint(data: Imputed, L: Float, complete_df: float) -> JointTest:
    """Return D1 of L b = 0: F with one increase of variance for all rows (Li et al. 1991)."""
    L = independent_rows(L)
    k, m = len(L), data.m
    u, b = L @ data.within @ L.T, L @ data.between @ L.T
    increase = (1.0 + 1.0 / m) * float(np.trace(np.linalg.solve(u, b))) / k
    estimate = L @ data.mean
    F = float(estimate @ np.linalg.solve(u, estimate)) / (k * (1.0 + increase))
    df = joint_df(k, m, increase, complete_df)
    return JointTest(k, df, F, f_above(F, k, df))


def joint_df(k: int, m: int, increase: float, complete_df: float) -> float:
    """Return the denominator's degrees of freedom of D1.

    Those of Li, Raghunathan and Rubin (1991) where the complete data's are infinite, of Reiter (2007)
    otherwise; where his do not exist, t = k (m - 1) <= 4 or few complete ones, the smaller of Li's and
    the complete data's.
    """
    t = float(k * (m - 1))
    if increase <= 0.0:
        old = float("inf")
    elif t > 4:
        old = 4.0 + (t - 4.0) * (1.0 + (1.0 - 2.0 / t) / increase) ** 2
    else:
        old = 0.5 * t * (1.0 + 1.0 / k) * (1.0 + 1.0 / increase) ** 2
    if np.isinf(complete_df):
        return old
    a = increase * t / (t - 2.0) if t > 4 else 0.0
    seen = (complete_df + 1.0) / (complete_df + 3.0) * complete_df
    c1, c2 = seen - 2.0 * (1.0 + a), seen - 4.0 * (1.0 + a)
    if t <= 4 or c2 <= 0:
        return min(old, complete_df)
    c0, r = 1.0 / (t - 4.0), 1.0 + a
    z = 1.0 / c2 + c0 * (
        a**2 * c1 / (r**2 * c2)
        + 8.0 * a**2 * c1 / (r * c2**2)
        + 4.0 * a**2 / (r * c2)
        + 4.0 * a**2 / (c2 * c1)
        + 16.0 * a**2 * c1 / c2**3
        + 8.0 * a**2 / c2**2
    )
    return 4.0 + 1.0 / z
