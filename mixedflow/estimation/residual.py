"""Fits under a residual structure: psi's score and curvature, its M-step, and the problem.

Stands at "Structures of R" in ``docs/algorithm.md`` (DESIGN 3.3, 3.4). With s_k = E[e'B_k e] ::

    dl/dpsi_i = -1/2 [dlog|R0|/dpsi_i + sum_k df_k/dpsi_i s_k / sigma2]

R0 is not linear in psi, so the curvature is that of the likelihood itself: central differences of
the whole score, two evaluations on the sums for each psi.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixedflow.design.types import Float
from mixedflow.equations.moments import Moments
from mixedflow.equations.residual_system import ResidualSums
from mixedflow.errors import FitError
from mixedflow.estimation.evaluation import AnyEvaluation, AnyMoments
from mixedflow.estimation.information import Information, information, score
from mixedflow.estimation.likelihood import Evaluation, evaluate
from mixedflow.estimation.parameters import (
    VarianceParameters,
    at_floor,
    start_parameters,
)
from mixedflow.estimation.problem import EmStep, Problem
from mixedflow.estimation.steps import em_step, lifted, px_em_step

DIFFERENCE = 1e-4
"""Half the distance of two scores that show a curvature; psi are of order one."""

AT_LIMIT = 1e-9
"""How near its limit a psi stands on it."""

M_STEPS = 30
"""Iterations of the M-step's search for psi, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualProblem(Problem):
    """A fit with R = sigma2 R0(psi).

    Attributes
    ----------
    residual : the keyed sums and what psi makes of them
    solver : name of the route for the equations
    """

    residual: ResidualSums
    solver: str

    def evaluate(self, params: VarianceParameters) -> Evaluation:
        """Return the likelihood at the parameters, pivots off zero and psi within its limits."""
        psi = np.clip(params.psi, *self.residual.limits)
        return self.evaluate_at(lifted(self.system, replace(params, psi=psi)))

    def evaluate_at(self, params: VarianceParameters) -> Evaluation:
        """Return the likelihood at these very parameters."""
        system = self.residual.system(params.psi)
        return evaluate(system, params, self.engine, reml=self.reml)

    def start(self) -> VarianceParameters:
        """Return where the search begins: psi as its structure says."""
        return replace(start_parameters(self.system), psi=self.residual.psi)

    def bounds(self, params: VarianceParameters) -> NDArray[np.int8]:
        """Return which parameters stand at a bound, psi's limits among them."""
        out = at_floor(self.system, params)
        low, high = self.residual.limits
        own = out[params.psi_places]
        own[params.psi <= low + AT_LIMIT] = 1
        own[params.psi >= high - AT_LIMIT] = -1
        return out

    def information(self, evaluation: AnyEvaluation, found: AnyMoments) -> Information:
        """Return score and information, psi's rows by differences of the score."""
        assert isinstance(evaluation, Evaluation)  # noqa: S101 - it is this problem's
        assert isinstance(found, Moments)  # noqa: S101
        return _widened(self, evaluation, information(evaluation, found), found)

    def score(self, evaluation: Evaluation, found: Moments) -> Float:
        """Return dl/d[theta, psi, phi]."""
        other = score(evaluation, found)
        own = psi_score(self.residual, evaluation, found)
        return np.concatenate([other[:-1], own, other[-1:]])

    def score_at(self, params: VarianceParameters) -> Float:
        """Return the score at other parameters."""
        evaluation = self.evaluate_at(params)
        return self.score(evaluation, evaluation.moments())

    def em(self, evaluation: AnyEvaluation, found: AnyMoments, step: EmStep) -> VarianceParameters:
        """Return the parameters after one step: of theta, then of psi and sigma2 given E[e e'].

        EM takes both from one E-step. PX-EM's working columns are in e, so there psi follows
        upon an E-step of its own.
        """
        assert isinstance(evaluation, Evaluation)  # noqa: S101 - it is this problem's
        assert isinstance(found, Moments)  # noqa: S101
        if step == "em":
            moved = em_step(evaluation, found)
        else:
            moved = px_em_step(evaluation, found)
            evaluation = self.evaluate(moved)
            moved, found = evaluation.params, evaluation.moments()
        expected = self.residual.expected(evaluation.solution, found)
        psi = psi_m_step(self.residual, expected, evaluation.params.psi)
        f, _ = self.residual.plan.values(psi)
        sigma2 = float(f @ expected) / self.system.n_obs
        return replace(moved, psi=psi, phi=float(np.log(sigma2)))


def psi_score(residual: ResidualSums, evaluation: Evaluation, found: Moments) -> Float:
    """Return dl/dpsi, (n_psi,)."""
    expected = residual.expected(evaluation.solution, found)
    of_sum, of_log = residual.plan.slopes(evaluation.params.psi, expected)
    gradient: Float = -0.5 * (of_log + evaluation.precision * of_sum)
    return gradient


def psi_m_step(residual: ResidualSums, expected: Float, psi: Float) -> Float:
    """Return argmin over psi of n log sum_k f_k s_k + log|R0|, sigma2 profiled out; never above psi.

    Parameters
    ----------
    expected : (K,), s_k
    psi : where EM comes from
    """
    from scipy.optimize import minimize

    n, plan = residual.start.n_obs, residual.plan

    def objective(point: Float) -> tuple[float, Float]:
        try:
            f, logdet = plan.values(point)
        except FitError:
            return np.inf, np.zeros(len(point))
        total = float(f @ expected)
        if not total > 0:
            return np.inf, np.zeros(len(point))
        of_sum, of_log = plan.slopes(point, expected)
        return (n * np.log(total) + logdet) / n, (of_sum / total) + of_log / n

    if not len(psi):
        return psi
    found = minimize(
        objective,
        psi,
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(*residual.limits, strict=True)),
        options={"maxiter": M_STEPS, "ftol": 1e-15, "gtol": 1e-12},
    )
    better = found.fun <= objective(psi)[0]
    return np.asarray(found.x, dtype=float) if better else psi


def _widened(
    problem: ResidualProblem, evaluation: Evaluation, info: Information, found: Moments
) -> Information:
    """Return the information with psi's rows between theta's and phi's."""
    params = evaluation.params
    where = params.psi_places
    size = len(params.vector())
    others = np.r_[0 : where.start, size - 1]
    whole = problem.score(evaluation, found)
    slopes = np.array([_slope(problem, params, i) for i in range(where.start, where.stop)])
    hessian, average = np.empty((size, size)), np.zeros((size, size))
    hessian[np.ix_(others, others)] = info.hessian
    average[np.ix_(others, others)] = info.average
    slopes = slopes.reshape(-1, size)
    hessian[where, :], hessian[:, where] = -slopes, -slopes.T
    inner = -slopes[:, where]
    hessian[where, where] = 0.5 * (inner + inner.T)
    average[where, where] = np.diag(np.abs(np.diag(hessian)[where]))
    return Information(whole, average, hessian)


def _slope(problem: ResidualProblem, params: VarianceParameters, i: int) -> Float:
    """Return dscore/dx_i, x the vector of parameters, by central differences."""
    step = np.zeros(len(params.vector()))
    step[i] = DIFFERENCE
    up, down = (
        problem.score_at(params.with_vector(params.vector() + sign * step)) for sign in (1.0, -1.0)
    )
    return (up - down) / (2.0 * DIFFERENCE)
