"""-2 log-likelihood, REML and ML, as lme4, nlme, SAS and mmrm report it.

Stands at "Likelihood" in ``docs/algorithm.md`` (DESIGN 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.engines import MakeEngine, Parts
from mixedflow.equations.mme import MmeSolution, assemble_mme, solve_mme
from mixedflow.equations.moments import Moments, moments
from mixedflow.equations.system import ModelSystem
from mixedflow.estimation.average import average_information
from mixedflow.estimation.evaluation import FreeEntry
from mixedflow.estimation.expanded import expanded_normal_equations
from mixedflow.estimation.parameters import VarianceParameters, term_factors


class Solved(Protocol):
    """What the likelihood needs of a solution."""

    @property
    def logdet_random(self) -> float:
        """log|M_zz|."""

    @property
    def logdet_fixed(self) -> float:
        """log|X'V^-1X|."""

    @property
    def ypy(self) -> float:
        """Y'Py."""


def minus2_loglik(system: ModelSystem, solution: Solved, sigma2: float, *, reml: bool) -> float:
    """Return -2l = m log 2pi + log|R| + log|V R^-1| [+ log|X'V^-1X|] + y'Py, in the user's units.

    m is n - p for REML, whose value has no log|X'X| term, and n for ML. With known weights
    log|R| = n log sigma2 - sum log w, as in lme4.
    """
    scale = system.fixed_scale
    m = system.n_obs - system.p if reml else system.n_obs
    value = (
        m * np.log(2.0 * np.pi)
        + system.n_obs * np.log(sigma2)
        - system.sum_log_weight
        + solution.logdet_random
        + solution.ypy
        + 2.0 * m * np.log(scale.y_scale)
    )
    if reml:
        value += solution.logdet_fixed + scale.log_det
    return float(value)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The likelihood at some variances, by arrays over all levels.

    Attributes
    ----------
    params : where
    solution : of the mixed model equations there
    minus2ll : -2 log-likelihood, user's units
    reml : which likelihood
    """

    params: VarianceParameters
    solution: MmeSolution
    minus2ll: float
    reml: bool

    @property
    def system(self) -> ModelSystem:
        """The sums."""
        return self.solution.mme.system

    @property
    def factors(self) -> Parts:
        """F of every grouping factor."""
        return self.solution.mme.factors

    @property
    def precision(self) -> float:
        """1 / sigma2."""
        return self.solution.mme.precision

    @property
    def beta(self) -> Float:
        """Fixed effects in stored columns."""
        return self.solution.beta

    @property
    def S_inverse(self) -> Float:
        """(X'V^-1X)^-1 in stored columns."""
        return self.solution.S_inverse

    def moments(self) -> Moments:
        """Return the E-step's moments."""
        return moments(self.solution, reml=self.reml)

    def average(self, found: Moments) -> Float:
        """Return the average information."""
        return average_information(self.solution, self.params, found)

    def expanded(self, found: Moments, index: Sequence[FreeEntry]) -> tuple[Float, Float]:
        """Return PX-EM's normal equations."""
        return expanded_normal_equations(self.solution, found, index)


def evaluate(
    system: ModelSystem, params: VarianceParameters, engine: MakeEngine, *, reml: bool
) -> Evaluation:
    """Return -2 log-likelihood and the solution of the equations at given variances."""
    mme = assemble_mme(system, term_factors(system, params), params.sigma2)
    solution = solve_mme(mme, engine)
    value = minus2_loglik(system, solution, params.sigma2, reml=reml)
    return Evaluation(params, solution, value, reml)
