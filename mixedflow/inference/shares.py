"""Shares of the variance: Nakagawa's R2 and intraclass correlations, from the sums.

Stands at "Shares of variance" in ``docs/algorithm.md``. With random slopes the variance of Z u is
another in every row; its mean over the rows is tr(G Z'Z) / n (Johnson 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixedflow.crossproducts.types import ONLY_KEY, CrossProducts
from mixedflow.design.types import Float
from mixedflow.equations.system import ModelSystem


@dataclass(frozen=True, slots=True)
class VarianceShares:
    """Variances that add up to that of y.

    Attributes
    ----------
    fixed : var(X beta) over the rows
    random : mean variance of Z_j u_j, one a term
    residual : sigma2
    """

    fixed: float
    random: tuple[float, ...]
    residual: float

    @property
    def total(self) -> float:
        """Sum of all."""
        return self.fixed + sum(self.random) + self.residual

    @property
    def marginal(self) -> float:
        """Share of the fixed effects, fixed / total (Nakagawa and Schielzeth 2013)."""
        return self.fixed / self.total

    @property
    def conditional(self) -> float:
        """(fixed + random) / total."""
        return 1.0 - self.residual / self.total


def fixed_variance(sums: CrossProducts, system: ModelSystem, beta: Float) -> float:
    """Return var(X beta) = beta'(X'X - X'1 1'X / n) beta / (n - 1).

    Parameters
    ----------
    sums, system : of independent rows of equal weight
    beta : (p,) in the user's units
    """
    scale, part = system.fixed_scale, sums.keyed[ONLY_KEY]
    stored = np.linalg.solve(scale.transform, beta - scale.constant)
    constant = 0 if sums.info.intercept is None else sums.info.intercept
    ones = part.XtBX[system.kept + int(sums.constant), constant]
    centred = system.XtBX - np.outer(ones, ones) / system.n_obs
    return max(0.0, float(stored @ centred @ stored)) / max(1, system.n_obs - 1)


def random_variances(system: ModelSystem, G: Sequence[Float]) -> tuple[float, ...]:
    """Return tr(G_j Z_j'Z_j) / n, the mean over the rows of the variance of z'u, a term.

    Parameters
    ----------
    system : of independent rows of equal weight
    G : (q_j, q_j) a term, in the user's units
    """
    out = [0.0] * len(system.terms)
    for factor in system.factors:
        A = factor.basis @ np.linalg.inv(factor.units)
        ZtZ = A.T @ factor.ZtBZ.sum(axis=0) @ A
        for term, where in zip(factor.terms, factor.slices, strict=True):
            out[term] = float(np.sum(G[term] * ZtZ[where, where])) / system.n_obs
    return tuple(out)
