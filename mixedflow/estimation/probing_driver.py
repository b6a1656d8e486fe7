"""The driver's loop where the likelihood is only estimated: the score alone steers.

Stands at "The driver" in ``docs/algorithm.md``. A few EM steps, then Newton with the average
information. A step is taken if the score that it leads to is the smaller one in the metric of the
information it came from (Deuflhard 2004, natural monotonicity); the noisy log-likelihood decides
nothing. After convergence probes are added until the Monte-Carlo error is as small as is wanted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.iterative import IterativeRoute
from mixedflow.equations.probing import ProbedMoments
from mixedflow.equations.system import ModelSystem
from mixedflow.errors import FitError, UnsupportedError
from mixedflow.estimation.checkpoint import Going, plain_trace, trace_from
from mixedflow.estimation.control import FitControl, Method
from mixedflow.estimation.driver import FitState, Progress, TraceRow, limited, relative_size
from mixedflow.estimation.information import Information, information
from mixedflow.estimation.likelihood import Evaluation, evaluate
from mixedflow.estimation.parameters import (
    VarianceParameters,
    at_floor,
    check_residual_variance,
    small_pivots,
    start_parameters,
    term_structures,
)
from mixedflow.estimation.probed import (
    MonteCarloError,
    ProbedEvaluation,
    evaluate_probed,
    monte_carlo_error,
)
from mixedflow.estimation.steps import NewtonStep, ai_step, em_step, lifted

HALVINGS = 6
"""Times a Newton step is halved before an EM step is taken instead."""

MOST_PROBES = 1_024
"""Probes beyond which a Monte-Carlo error is reported as it is."""

NEAR = 1e-4
"""Decrement from which the last Newton step needs no evaluation to be a start for the exact driver."""

APPROACHES = 12
"""Steps after which the way to a start is given up."""

POLISHED = 1e-16
"""Decrement below which the tolerance of the solutions speaks, not the distance to the root."""


@dataclass(frozen=True, slots=True)
class ProbedProblem:
    """What is fitted and how.

    Attributes
    ----------
    system, route : the equations and what solves and probes them
    reml, method, control : how
    """

    system: ModelSystem
    route: IterativeRoute
    reml: bool
    method: Method
    control: FitControl


@dataclass(frozen=True, slots=True)
class ProbedFit:
    """Where the loop ended.

    Attributes
    ----------
    state : as the exact driver's
    settled : the evaluation with every vanishing pivot exactly zero
    error : what chance is left
    """

    state: FitState
    settled: Evaluation
    error: MonteCarloError


@dataclass(frozen=True, slots=True)
class _Point:
    """All that is known at some parameters."""

    evaluation: ProbedEvaluation
    found: ProbedMoments
    info: Information
    newton: NewtonStep
    change: float

    def converged(self, control: FitControl) -> bool:
        return (
            self.newton.decrement < control.tolerance and self.change < control.parameter_tolerance
        )


_Move = tuple[str, _Point, int]


def run_probed(
    problem: ProbedProblem,
    *,
    start: VarianceParameters | None = None,
    progress: Progress | None = None,
    going: Going | None = None,
) -> ProbedFit:
    """Return the fit, with probes added until the Monte-Carlo error meets its target.

    Raises
    ------
    UnsupportedError
        for the method 'px-em', whose regression needs the inverse itself.
    """
    if problem.method == "px-em":
        raise UnsupportedError(
            "method 'px-em' is not available with the solver 'pcg'; use 'auto', 'ai' or 'em'"
        )
    first = start_parameters(problem.system) if start is None else start
    problem, point, trace, steps = _begun(problem, first, going)
    began = time.perf_counter() - trace[-1].seconds
    next_one = trace[-1].iteration + 1
    for iteration in range(next_one, problem.control.iterations(problem.method) + 1):
        if point.converged(problem.control):
            problem, moved = _refined(problem, point)
        else:
            steps += 1
            moved = _move(problem, point, steps)
        if moved is None:
            break
        step, point, halvings = moved
        check_residual_variance(point.evaluation.params.sigma2, first.sigma2)
        trace.append(_row(point, iteration, step, halvings, time.perf_counter() - began))
        if progress is not None:
            progress(trace[-1])
        if going is not None:
            going.keep_plain(partial(_plain, problem, point, trace, steps))
    converged = point.converged(problem.control)
    state = FitState(point.evaluation, tuple(trace), converged, point.info, point.newton)
    return ProbedFit(state, _settle(problem, point), _error(problem, point))


def _begun(
    problem: ProbedProblem, start: VarianceParameters, going: Going | None
) -> tuple[ProbedProblem, _Point, list[TraceRow], int]:
    """Return problem, point, trace and steps to begin with, those of a search broken off if any."""
    before = None if going is None else going.before
    if before is None:
        point = _look(problem, start)
        return problem, point, [_row(point, 0, "start", 0, 0.0)], 0
    problem = replace(problem, route=problem.route.with_probes(before["probes"]))
    params = start.with_vector(np.array(before["point"], dtype=np.float64))
    return problem, _look_at(problem, params), [*trace_from(before["trace"])], before["steps"]


def _plain(
    problem: ProbedProblem, point: _Point, trace: Sequence[TraceRow], steps: int
) -> dict[str, Any]:
    """Return what the loop remembers, for :func:`_begun`."""
    return {
        "point": point.evaluation.params.vector().tolist(),
        "trace": plain_trace(trace),
        "steps": steps,
        "probes": problem.route.settings.probes,
    }


def warm_start(problem: ProbedProblem, start: VarianceParameters) -> VarianceParameters | None:
    """Return parameters near the optimum, for the exact driver to start from.

    The score of a few probes leads there. None where it does not, and where a variance runs to zero:
    whether it is zero is not for an estimate to say.
    """
    try:
        point = _look(problem, start)
        for number in range(1, APPROACHES + 1):
            if point.newton.decrement < NEAR:
                return _one_step_on(problem.system, point)
            moved = _move(problem, point, number)
            if moved is None:
                return None
            point = moved[1]
            check_residual_variance(point.evaluation.params.sigma2, start.sigma2)
    except FitError:
        return None
    return None


def _one_step_on(system: ModelSystem, point: _Point) -> VarianceParameters | None:
    params = point.evaluation.params
    ahead = params.with_vector(params.vector() + limited(point.newton.step))
    return None if list(small_pivots(system, ahead)) else ahead


def _refined(problem: ProbedProblem, point: _Point) -> tuple[ProbedProblem, _Move | None]:
    """Return what a converged point still needs: more probes, a last Newton step, or nothing.

    The distance to the root has to be small beside the Monte-Carlo error, else that is no measure
    of the distance to the exact answer.
    """
    error = _error(problem, point)
    if not error.met and error.probes < MOST_PROBES:
        more = _more_probes(error)
        problem = replace(problem, route=problem.route.with_probes(more))
        return problem, (f"{more} probes", _look(problem, point.evaluation.params), 0)
    smallest = min((share for share in error.relative if share > 0), default=0.0)
    if problem.method == "em" or point.newton.decrement <= max((0.1 * smallest) ** 2, POLISHED):
        return problem, None
    params = point.evaluation.params
    after = _look(problem, params.with_vector(params.vector() + point.newton.step))
    better = after.converged(problem.control) and (
        after.newton.decrement <= 0.1 * point.newton.decrement
    )
    return problem, ("ai", after, 0) if better else None


def _look(problem: ProbedProblem, params: VarianceParameters) -> _Point:
    return _look_at(problem, lifted(problem.system, params))


def _look_at(problem: ProbedProblem, params: VarianceParameters) -> _Point:
    """Return all that is known at these very parameters."""
    system = problem.system
    evaluation = evaluate_probed(system, params, problem.route, reml=problem.reml)
    found = evaluation.moments()
    info = information(evaluation, found)
    newton = ai_step(info, at_floor(system, evaluation.params))
    change = relative_size(system, evaluation.params, newton.step)
    return _Point(evaluation, found, info, newton, change)


def _row(point: _Point, iteration: int, step: str, halvings: int, seconds: float) -> TraceRow:
    value, newton = point.evaluation.minus2ll, point.newton
    return TraceRow(iteration, step, value, newton.decrement, point.change, halvings, seconds)


def _error(problem: ProbedProblem, point: _Point) -> MonteCarloError:
    looked = (point.info, point.newton)
    return monte_carlo_error(point.evaluation, point.found, looked, problem.control.mc_target)


def _more_probes(error: MonteCarloError) -> int:
    """Return the number that should meet the target, at least half as many again, at most 8 times."""
    factor = min(8.0, max(1.5, 1.2 * (error.largest / error.target) ** 2))
    return min(MOST_PROBES, math.ceil(error.probes * factor))


def _move(problem: ProbedProblem, point: _Point, iteration: int) -> _Move | None:
    """Return the step's name, the point after it and the halvings; None if none helps."""
    em_first = problem.method == "auto" and iteration <= problem.control.em_steps
    if problem.method == "em" or em_first:
        return "em", _em(problem, point), 0
    moved = _newton_move(problem, point)
    if moved is not None or problem.method == "ai":
        return moved
    return "em", _em(problem, point), HALVINGS


def _em(problem: ProbedProblem, point: _Point) -> _Point:
    return _look(problem, em_step(point.evaluation, point.found))


def _newton_move(problem: ProbedProblem, point: _Point) -> _Move | None:
    """Return the first of H^-1g, its half, ... whose score is smaller in the metric of H."""
    params = point.evaluation.params
    step = limited(point.newton.step)
    for halvings in range(HALVINGS + 1):
        trial = params.with_vector(params.vector() + step * 0.5**halvings)
        try:
            after = _look(problem, trial)
        except FitError:
            continue
        if _size(problem, point, after.info.score) <= point.newton.decrement:
            return "ai", after, halvings
    return None


def _size(problem: ProbedProblem, point: _Point, score: Float) -> float:
    """Return g'H^-1g for a score found elsewhere, H and the held parameters those of the point."""
    info = replace(point.info, score=np.where(point.newton.free, score, 0.0))
    return ai_step(info, at_floor(problem.system, point.evaluation.params)).decrement


def _settle(problem: ProbedProblem, point: _Point) -> Evaluation:
    """Return the evaluation with every pivot exactly zero that the score holds at its floor."""
    params, system = point.evaluation.params, problem.system
    theta = list(params.theta)
    starts = np.cumsum([0, *(len(part) for part in theta)])
    zeroed = False
    for term, at in small_pivots(system, params):
        structure, dim = term_structures(system)[term], system.dims[term]
        if not point.newton.free[starts[term] + structure.pivot_index(dim)[at]]:
            theta[term] = structure.without_pivot(theta[term], dim, at)
            zeroed = True
    if not zeroed:
        return point.evaluation.inner
    settled = VarianceParameters(tuple(theta), params.phi)
    return evaluate(system, settled, problem.route, reml=problem.reml)
