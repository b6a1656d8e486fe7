"""Slopes of Var(beta-hat) in the variance parameters, and the covariance of these.

Stands at "Degrees of freedom" in ``docs/algorithm.md``. Two evaluations on the sums a parameter beside
those of the observed information; for any structure of G and R, REML and ML.
"""

from __future__ import annotations

import numpy as np

from mixedflow.design.types import Float
from mixedflow.estimation.evaluation import AnyEvaluation
from mixedflow.estimation.observed import STEP, observed_information, parameter_sizes
from mixedflow.estimation.parameters import VarianceParameters
from mixedflow.estimation.problem import Problem
from mixedflow.inference.denominators import VarianceUncertainty


def observed_uncertainty(problem: Problem, params: VarianceParameters) -> VarianceUncertainty:
    """Return dPhi/dx by central differences and A = (-d2l/dx dx')^-1, x = [theta, psi, phi].

    Parameters at a bound are left out: Phi is even in a pivot of zero, so its slope is zero there.

    Parameters
    ----------
    problem : the fit's, exact
    params : the estimates
    """
    information = observed_information(problem, params)
    at = problem.evaluate(params)
    x, sizes = at.params.vector(), parameter_sizes(at)
    slopes = np.zeros((len(x), *at.S_inverse.shape))
    for i in np.flatnonzero(information.free):
        step = np.zeros(len(x))
        step[i] = STEP * sizes[i]
        above, below = (
            _user_vcov(problem.evaluate_at(at.params.with_vector(x + sign * step)))
            for sign in (1.0, -1.0)
        )
        slopes[i] = (above - below) / (2.0 * step[i])
    return VarianceUncertainty(slopes, information.covariance)


def _user_vcov(evaluation: AnyEvaluation) -> Float:
    scale = evaluation.system.fixed_scale
    T = scale.y_scale * scale.transform
    vcov: Float = T @ evaluation.S_inverse @ T.T
    return vcov
