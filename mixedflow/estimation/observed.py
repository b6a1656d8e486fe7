"""The observed information of all variance parameters: minus the Hessian of the log-likelihood.

Stands at "Standard errors of variances" in ``docs/algorithm.md``. Where the Hessian is not known in
closed form, central differences of the analytic score cost two evaluations on the sums a parameter.
What stands on its boundary has no
curvature to speak of, and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedflow.design.types import Float
from mixedflow.errors import FitError
from mixedflow.estimation.evaluation import AnyEvaluation
from mixedflow.estimation.parameters import VarianceParameters, term_scales
from mixedflow.estimation.problem import Problem

STEP = 1e-4
"""Half the distance of two scores, relative to the parameter's size."""


@dataclass(frozen=True, slots=True)
class ObservedInformation:
    """Curvature at the estimates in the order of ``VarianceParameters.vector``.

    Attributes
    ----------
    hessian : (r, r), -d2l/dx dx'; NaN in the rows and columns of what is not free
    free : (r,), False for parameters at a bound
    """

    hessian: Float
    free: NDArray[np.bool_]

    @property
    def covariance(self) -> Float:
        """Inverse over the free parameters, (r, r); zero rows for the others, NaN if not definite."""
        out = np.zeros_like(self.hessian)
        at = np.ix_(self.free, self.free)
        inner = self.hessian[at]
        try:
            np.linalg.cholesky(inner)
            out[at] = np.linalg.inv(inner)
        except np.linalg.LinAlgError:
            out[at] = np.nan
        return out


def observed_information(problem: Problem, params: VarianceParameters) -> ObservedInformation:
    """Return -d2l/dx dx' by central differences of the score.

    Raises
    ------
    FitError
        if the likelihood cannot be evaluated next to the estimates.
    """
    at = problem.evaluate(params)
    free = problem.bounds(at.params) == 0
    known = problem.observed(at)
    if known is not None:
        return _restricted(known, free)
    x, sizes = at.params.vector(), parameter_sizes(at)
    hessian = np.full((len(x), len(x)), np.nan)
    for i in np.flatnonzero(free):
        step = np.zeros(len(x))
        step[i] = STEP * sizes[i]
        up, down = (problem.score_at(at.params.with_vector(x + s * step)) for s in (1.0, -1.0))
        hessian[:, i] = -(up - down) / (2.0 * step[i])
    return _restricted(hessian, free)


def _restricted(hessian: Float, free: NDArray[np.bool_]) -> ObservedInformation:
    """Return the symmetric part over the free parameters."""
    kept = np.ix_(free, free)
    inner = 0.5 * (hessian[kept] + hessian[kept].T)
    if not np.all(np.isfinite(inner)):
        raise FitError("the log-likelihood has no curvature at the estimates")
    out = np.full_like(hessian, np.nan)
    out[kept] = inner
    return ObservedInformation(out, free)


def parameter_sizes(evaluation: AnyEvaluation) -> Float:
    """Return the size of every parameter: a tenth of a column that matters at least for theta."""
    system, params = evaluation.system, evaluation.params
    own = [
        np.maximum(np.abs(theta), 0.1 * np.sqrt(params.sigma2 * np.diag(guess).max()))
        for theta, guess in zip(params.theta, term_scales(system), strict=True)
    ]
    return np.concatenate([*own, np.ones(len(params.psi) + 1)])
