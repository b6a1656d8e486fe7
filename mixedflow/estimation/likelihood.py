"""-2 log-likelihood, REML and ML, as lme4, nlme, SAS and mmrm report it.

Stands at "Likelihood" in ``docs/algorithm.md`` (DESIGN 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedflow.equations.engines import MakeEngine
from mixedflow.equations.mme import MmeSolution, assemble_mme, solve_mme
from mixedflow.equations.moments import Moments, moments
from mixedflow.equations.system import ModelSystem
from mixedflow.estimation.parameters import VarianceParameters, term_factors


def minus2_loglik(solution: MmeSolution, *, reml: bool) -> float:
    """Return -2l = m log 2pi + log|R| + log|V R^-1| [+ log|X'V^-1X|] + y'Py, in the user's units.

    m is n - p for REML, whose value has no log|X'X| term, and n for ML. With known weights
    log|R| = n log sigma2 - sum log w, as in lme4.
    """
    system = solution.mme.system
    scale = system.fixed_scale
    m = system.n_obs - system.p if reml else system.n_obs
    value = (
        m * np.log(2.0 * np.pi)
        - system.n_obs * np.log(solution.mme.precision)
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
    """The likelihood at some variances, with the moments once they are asked for.

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

    def moments(self) -> Moments:
        """Return the E-step's moments."""
        return moments(self.solution, reml=self.reml)


def evaluate(
    system: ModelSystem, params: VarianceParameters, engine: MakeEngine, *, reml: bool
) -> Evaluation:
    """Return -2 log-likelihood and the solution of the equations at given variances."""
    mme = assemble_mme(system, term_factors(system, params), params.sigma2)
    solution = solve_mme(mme, engine)
    return Evaluation(params, solution, minus2_loglik(solution, reml=reml), reml)
