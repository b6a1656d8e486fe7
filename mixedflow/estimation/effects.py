"""BLUPs and their conditional SDs, a stretch of levels at a time.

Stands at "Shards" in ``docs/algorithm.md``: what :func:`mixedflow.estimation.fit.random_effects` and
:func:`mixedflow.estimation.fit.conditional_covariances` give for all levels at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedflow.crossproducts.levels import LevelArrays, LevelStore, Span
from mixedflow.design.types import Float
from mixedflow.equations.system import ModelSystem
from mixedflow.estimation.fit import user_factors
from mixedflow.estimation.grouped import evaluate_grouped
from mixedflow.estimation.parameters import VarianceParameters


@dataclass(frozen=True, slots=True)
class LevelEffects:
    """u_l = y_scale T F M_l^-1 F'Z'R^-1(y - X beta) of levels that are elsewhere; picklable.

    Attributes
    ----------
    loading : A F; precision : 1/sigma2
    beta : fixed effects in stored columns
    units : y_scale T F, from scaled effects to the user's
    """

    loading: Float
    precision: float
    beta: Float
    units: Float

    def __call__(self, sums: LevelArrays, span: Span) -> tuple[Float, Float]:
        """Return the random effects and their conditional SDs, (m, q) each."""
        ZZ, ZX, Zy = (part[slice(*span)] for part in sums)
        T = self.loading
        M = (self.precision * T.T) @ ZZ @ T + np.eye(T.shape[1])
        right = self.precision * ((Zy - ZX @ self.beta) @ T)
        inverse = np.linalg.inv(M)
        scaled = np.einsum("lab,lb->la", inverse, right)
        spread = np.einsum("ab,lbc,ac->la", self.units, inverse, self.units)
        return scaled @ self.units.T, np.sqrt(spread)


def level_effects(
    system: ModelSystem, levels: LevelStore, params: VarianceParameters, *, reml: bool
) -> LevelEffects:
    """Return what gives every level's random effects at some variances, by one pass for beta."""
    found = evaluate_grouped(system, params, levels, reml=reml)
    (units,) = user_factors(found)
    return LevelEffects(*found.solution.scale, found.beta, units)


@dataclass(frozen=True, slots=True)
class LevelErrors:
    """Var(u-hat_l - u_l) = T F [M_l^-1 + H_l S H_l'] F'T', H_l = M_l^-1 F'Z'R^-1X; picklable.

    Attributes
    ----------
    effects : what gives the levels' effects
    spread : S, (p, p), (X'V^-1X)^-1; zero to take beta as known
    """

    effects: LevelEffects
    spread: Float

    def __call__(self, sums: LevelArrays, span: Span) -> Float:
        """Return the covariances, (m, q, q)."""
        ZZ, ZX, _ = (part[slice(*span)] for part in sums)
        T, f = self.effects.loading, self.effects.precision
        inverse = np.linalg.inv((f * T.T) @ ZZ @ T + np.eye(T.shape[1]))
        H = inverse @ ((f * T.T) @ ZX)
        total = inverse + H @ self.spread @ H.transpose(0, 2, 1)
        covariance: Float = self.effects.units @ total @ self.effects.units.T
        return covariance


def level_errors(
    system: ModelSystem,
    levels: LevelStore,
    params: VarianceParameters,
    *,
    reml: bool,
    known_beta: bool,
) -> LevelErrors:
    """Return what gives every level's prediction errors at some variances."""
    found = evaluate_grouped(system, params, levels, reml=reml)
    (units,) = user_factors(found)
    effects = LevelEffects(*found.solution.scale, found.beta, units)
    spread = found.solution.S_inverse
    return LevelErrors(effects, np.zeros_like(spread) if known_beta else spread)
