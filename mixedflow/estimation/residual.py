"""Fits under a residual structure: psi's score and curvature, its M-step, and the problem.

Stands at "Structures of R" in ``docs/algorithm.md`` (DESIGN 3.3, 3.4). With s_k = E[e'B_k e] ::

    dl/dpsi_i = -1/2 [dlog|R0|/dpsi_i + sum_k df_k/dpsi_i s_k / sigma2]

R0 is not linear in psi, so the curvature is that of the likelihood itself. Without random effects it
is exact: with A = X'R^-1X, T_i = X'(dR^-1/dpsi_i)X and r_i = X'(dR^-1/dpsi_i)e ::

    -d2l/dpsi_i dpsi_j = 1/2 d2(sum_k f_k s_k / sigma2 + log|R0|) at these s_k
                         - r_i'A^-1 r_j - 1/2 tr(A^-1 T_i A^-1 T_j)

(the trace under REML only). With random effects it is central differences of the whole score, two
evaluations on the sums for each psi, which serve again for parameters near by.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.residual_weights import psi_names
from mixedflow.design.types import Float
from mixedflow.equations.moments import Moments
from mixedflow.equations.residual_system import ResidualSums
from mixedflow.estimation.evaluation import AnyEvaluation, AnyMoments
from mixedflow.estimation.information import Information, information, score
from mixedflow.estimation.likelihood import Evaluation, evaluate
from mixedflow.estimation.parameters import (
    VarianceParameters,
    at_floor,
    start_parameters,
)
from mixedflow.estimation.problem import EmStep, Problem
from mixedflow.estimation.psi_step import psi_m_step
from mixedflow.estimation.steps import em_step, lifted, px_em_step

DIFFERENCE = 1e-4
"""Half the distance of two scores that show a curvature; psi are of order one."""

NEAR = 1e-2
"""Largest move of the parameters, theta's relative, over which differences serve again."""

AT_LIMIT = 1e-9
"""How near its limit a psi stands on it."""


@dataclass(frozen=True, slots=True)
class Differences:
    """dscore/dpsi_i in the rows, (n_psi, r), and the parameters where they were taken."""

    params: VarianceParameters
    slopes: Float

    def serve(self, params: VarianceParameters) -> bool:
        """Say whether other parameters are so near that the slopes are much the same there."""
        x = self.params.vector()
        sizes = np.ones(len(x))
        start = params.psi_places.start
        sizes[:start] = np.abs(x[:start]).max(initial=0.0)
        return bool(np.all(np.abs(params.vector() - x) <= NEAR * sizes))


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualProblem(Problem):
    """A fit with R = sigma2 R0(psi).

    Attributes
    ----------
    residual : the keyed sums and what psi makes of them
    solver : name of the route for the equations
    last : the last differences of the score that were taken, if any
    """

    residual: ResidualSums
    solver: str
    last: list[Differences] = field(default_factory=list, compare=False)

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

    def at_limits(self, params: VarianceParameters) -> tuple[tuple[str, str], ...]:
        """Return the names of psi at their limits, and what R is there."""
        names = psi_names(self.residual.design)
        held = np.flatnonzero(self.bounds(params)[params.psi_places]).tolist()
        return tuple((names[i], self.residual.plan.at_limit(i, params.psi)) for i in held)

    def information(self, evaluation: AnyEvaluation, found: AnyMoments) -> Information:
        """Return score and information, psi's rows by differences of the score."""
        assert isinstance(evaluation, Evaluation)  # noqa: S101 - it is this problem's
        assert isinstance(found, Moments)  # noqa: S101
        other = information(evaluation, found)
        if not len(evaluation.params.psi):  # one position, or groups of one row
            return other
        if self.system.factors:
            return _widened(self, evaluation, other, found)
        return without_effects(self, evaluation, other, found)

    def observed(self, evaluation: AnyEvaluation) -> Float | None:
        """Return -d2l/d[psi, phi]2 at a maximum of a model without random effects."""
        if self.system.factors:
            return None
        return self.information(evaluation, evaluation.moments()).hessian

    def score(self, evaluation: Evaluation, found: Moments) -> Float:
        """Return dl/d[theta, psi, phi]."""
        return self.with_psi(score(evaluation, found), evaluation, found)

    def with_psi(self, other: Float, evaluation: Evaluation, found: Moments) -> Float:
        """Return the score of [theta, phi] with psi's put between."""
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


def without_effects(
    problem: ResidualProblem, evaluation: Evaluation, info: Information, found: Moments
) -> Information:
    """Return score and observed information of [psi, phi] in a model without random effects."""
    residual, solution = problem.residual, evaluation.solution
    psi, precision, inverse = evaluation.params.psi, evaluation.precision, solution.S_inverse
    s = precision * residual.expected(solution, found)
    weights = residual.plan.weights(psi)
    T = precision * np.tensordot(weights.df, residual.XtBX, axes=1)
    r = precision * weights.df @ residual.XtBy - T @ solution.beta
    hessian = np.zeros((len(psi) + 1, len(psi) + 1))
    hessian[:-1, :-1] = 0.5 * residual.plan.curvature(psi, s) - r @ inverse @ r.T
    slopes = weights.df @ s
    of_fit = slopes
    if problem.reml:
        M = inverse @ T
        flat = M.reshape(len(psi), -1)
        hessian[:-1, :-1] -= 0.5 * flat @ M.swapaxes(1, 2).reshape(len(psi), -1).T
        of_fit = slopes - np.trace(M, axis1=1, axis2=2)
    hessian[-1, :-1] = hessian[:-1, -1] = -0.5 * of_fit
    hessian[-1, -1] = info.hessian[-1, -1]
    average = np.diag(np.abs(np.diag(hessian)))
    average[-1, -1] = info.average[-1, -1]
    own = -0.5 * (weights.dlogdet + slopes)
    return Information(np.concatenate([own, info.score]), average, hessian)


def _widened(
    problem: ResidualProblem, evaluation: Evaluation, info: Information, found: Moments
) -> Information:
    """Return the information with psi's rows between theta's and phi's."""
    params = evaluation.params
    where = params.psi_places
    size = len(params.vector())
    others = np.r_[0 : where.start, size - 1]
    whole = problem.with_psi(info.score, evaluation, found)
    if not (problem.last and problem.last[0].serve(params)):
        found_here = [_slope(problem, params, i) for i in range(where.start, where.stop)]
        problem.last[:] = [Differences(params, np.array(found_here))]
    slopes = problem.last[0].slopes
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
