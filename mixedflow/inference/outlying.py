"""Groups that do not fit the model: distances of random effects and of groups' residuals from zero.

Stands at "Outlying groups" in ``docs/algorithm.md``. All at the variances of the fit; the uncertainty of
beta-hat is taken into account, that of the variances is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.equations.mme import MmeSolution
from mixedflow.inference.independent_groups import GroupProducts
from mixedflow.linalg.late import special

NOTHING = 1e-9
"""Share of the largest eigenvalue below which a direction has no variance."""


@dataclass(frozen=True, slots=True)
class Distances:
    """Squared distances that are chi-squared under the model.

    Attributes
    ----------
    square : (m,)
    df : (m,)
    """

    square: Float
    df: Int

    @property
    def p(self) -> Float:
        """P(chi2_df > square); NaN without degrees of freedom."""
        with np.errstate(invalid="ignore"):
            found = special.chdtrc(np.maximum(self.df, 1), self.square)
        return np.where(self.df > 0, found, np.nan)


def effect_variances(solution: MmeSolution) -> tuple[Float, ...]:
    """Return Var(b-hat) = I - Var(b-hat - b) of scaled effects, (L_f, q_f, q_f) a factor.

    Var(b-hat - b) = (M_zz^-1)_ll + H_l Phi H_l', H = M_zz^-1 Z'R^-1X: with the uncertainty of beta-hat.
    """
    return tuple(
        np.eye(part.shape[1]) - part - H @ solution.S_inverse @ H.transpose(0, 2, 1)
        for part, H in zip(solution.engine.inverse_diagonal(), solution.absorbed, strict=True)
    )


def effect_distances(effects: Float, variances: Float) -> Distances:
    """Return u'Var(u-hat)^-1 u of every level, along the directions that have a variance.

    Parameters
    ----------
    effects : (L, q)
    variances : (L, q, q), of the predictions
    """
    values, axes = np.linalg.eigh(variances)
    there = values > NOTHING
    along = np.einsum("lba,lb->la", axes, effects)
    square = np.sum(np.where(there, along**2 / np.where(there, values, 1.0), 0.0), axis=1)
    return Distances(square, there.sum(axis=1))


def group_distances(found: GroupProducts) -> Distances:
    """Return e_g'(V_g - X_g Phi X_g')^-1 e_g of independent groups, chi2 with n_g degrees of freedom.

    By Woodbury's identity it is e_g'V_g^-1e_g + s_g'(I - S_g)^-1 s_g, S_g = X_g'V_g^-1X_g and
    s_g = X_g'V_g^-1e_g in coordinates in which Phi is I: the squared distance of the group from what
    the others predict. Coefficients that it alone determines take a degree of freedom each.
    """
    share, axes = np.linalg.eigh(found.gram)
    left = 1.0 - share
    there = left > NOTHING
    along = np.einsum("gba,gb->ga", axes, found.score)
    more = np.sum(np.where(there, along**2 / np.where(there, left, 1.0), 0.0), axis=1)
    return Distances(found.squares + more, found.n_obs - (~there).sum(axis=1))


def bonferroni(p: Float) -> Float:
    """Return min(1, m p), m the number of tests."""
    adjusted: Float = np.minimum(1.0, np.isfinite(p).sum() * p)
    return adjusted


def benjamini_hochberg(p: Float) -> Float:
    """Return p adjusted for the share of false discoveries (Benjamini and Hochberg 1995)."""
    out = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(-p[known], kind="stable")]
    rank = np.arange(len(order), 0, -1)
    out[order] = np.minimum(1.0, np.minimum.accumulate(p[order] * len(order) / rank))
    return out


@dataclass(frozen=True, slots=True)
class Normality:
    """Are standardised effects normal: skewness, excess kurtosis, and Jarque and Bera's test (1980).

    Attributes
    ----------
    skewness, kurtosis : g1 and g2
    statistic : n / 6 (g1^2 + g2^2 / 4), chi2 with two degrees of freedom
    p : of it
    """

    skewness: float
    kurtosis: float
    statistic: float
    p: float


def normality(values: Float) -> Normality:
    """Return skewness and kurtosis of values that should be standard normal, with their test."""
    if len(values) < 3 or not np.ptp(values) > 0:
        return Normality(np.nan, np.nan, np.nan, np.nan)
    centred = values - values.mean()
    variance = float(np.mean(centred**2))
    skewness = float(np.mean(centred**3)) / variance**1.5
    kurtosis = float(np.mean(centred**4)) / variance**2 - 3.0
    statistic = len(values) / 6.0 * (skewness**2 + kurtosis**2 / 4.0)
    return Normality(skewness, kurtosis, statistic, float(special.chdtrc(2, statistic)))
