"""The one loop: steps until the likelihood's own curvature says that nothing is left to gain.

Stands at "The driver" in ``docs/algorithm.md``. ``auto``: a few PX-EM steps, then Newton with the
average information and the curvature that its own moves show, a PX-EM step wherever no Newton step
raises the likelihood. Convergence is judged by the decrement g'H^-1g and by the size of the Newton
step, never by the change of the likelihood alone. Newton methods then take the few steps that
rounding allows: a decrement of 1e-8 still leaves 1e-4 standard errors. Non-convergence is a state of
the outcome.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.system import ModelSystem
from mixedflow.errors import FitError
from mixedflow.estimation.acceleration import squarem
from mixedflow.estimation.evaluation import AnyEvaluation, AnyMoments
from mixedflow.estimation.information import Information
from mixedflow.estimation.parameters import (
    VarianceParameters,
    check_residual_variance,
    small_pivots,
    term_scales,
    term_structures,
    without_pivot,
)
from mixedflow.estimation.problem import POLISHING, EmStep, Problem
from mixedflow.estimation.secants import Look, extended, with_secants
from mixedflow.estimation.steps import (
    NewtonStep,
    ai_step,
)

HALVINGS = 12
"""Times a Newton step is halved before it is given up."""

CHECK_EVERY = 10
"""EM iterations between looks at the information."""

LARGEST_CHANGE = 2.0
"""Change of log sigma2 that a step may make."""

EM_MARGIN = 1e-4
"""Share of the tolerance that EM has to meet: it stops short by more than Newton steps do."""

DWINDLING = 0.1
"""Relative pivot below which EM tries whether the variance is zero."""

EM_STEPS = ("em", "px-em")
"""Steps of the trace that EM's monotonicity holds for."""

MISS = 4
"""Polishing steps for each that may miss: what it shows of the curvature puts the next one right."""

NEAR = 0.1
"""Newton step, relative to the parameters, from which on EM has done its part."""

SETTLED = 1e-12
"""Newton step of a large system, relative to the parameters, at which nothing is left to polish."""

POLISHED = 1e-26
"""Decrement below which nothing is left to polish."""


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One iteration: the step that led to it and what was found there.

    ``decrement`` and ``rel_change`` are NaN where the information was not looked at.
    """

    iteration: int
    step: str
    minus2ll: float
    decrement: float
    rel_change: float
    halvings: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FitState:
    """Where the driver stands; enough to go on from.

    Attributes
    ----------
    evaluation : current parameters and likelihood
    trace : rows so far
    converged : whether the last look said so
    info, newton : of the last look, or None
    history : parameters after the last EM steps in a row, three at most
    look : the last one, and the curvature that Newton's moves up to it have shown
    """

    evaluation: AnyEvaluation
    trace: tuple[TraceRow, ...]
    converged: bool = False
    info: Information | None = None
    newton: NewtonStep | None = None
    history: tuple[Float, ...] = ()
    look: Look | None = None


Progress = Callable[[TraceRow], None]


class Resumed(Protocol):
    """What knows where a search was broken off, and is told where this one stands."""

    def begun(self, problem: Problem) -> FitState | None:
        """Return the state to go on from, None for the start."""

    def keep(self, state: FitState) -> None:
        """Take note of a state."""


def run_driver(
    problem: Problem,
    *,
    start: VarianceParameters | None = None,
    progress: Progress | None = None,
    going: Resumed | None = None,
) -> FitState:
    """Return the state at which the fit converged, or after its last iteration."""
    first = problem.start() if start is None else start
    state = _begun(problem, first, going)
    began = time.perf_counter() - state.trace[-1].seconds
    next_one = state.trace[-1].iteration + 1
    for iteration in range(next_one, problem.control.iterations(problem.method) + 1):
        found = state.evaluation.moments()
        state = _look(problem, state, found, iteration)
        if state.converged:
            return _polished(problem, state, iteration, began)
        moved = _move(problem, state, found, iteration)
        if moved is None:
            break
        step, after, halvings = moved
        check_residual_variance(after.params.sigma2, first.sigma2)
        row = TraceRow(
            iteration, step, after.minus2ll, *_UNSEEN, halvings, time.perf_counter() - began
        )
        state = FitState(
            after,
            (*state.trace, row),
            info=state.info,
            newton=state.newton,
            history=_history(state, step, after.params.vector()),
            look=state.look,
        )
        if progress is not None:
            progress(row)
        if going is not None:
            going.keep(state)
    return _final_look(problem, state)


def _begun(problem: Problem, start: VarianceParameters, going: Resumed | None) -> FitState:
    """Return the state to begin with: that of a search that was broken off, or the start."""
    before = None if going is None else going.begun(problem)
    if before is not None:
        return before
    evaluation = problem.evaluate(start)
    return FitState(evaluation, (TraceRow(0, "start", evaluation.minus2ll, *_UNSEEN, 0, 0.0),))


_UNSEEN = (float("nan"), float("nan"))


def _history(state: FitState, step: str, point: Float) -> tuple[Float, ...]:
    """Return the points that an extrapolation may use: EM's since the last other step."""
    before = state.history or (state.evaluation.params.vector(),)
    return (*before, point)[-3:] if step in EM_STEPS and len(before) < 3 else (point,)


def _polished(problem: Problem, state: FitState, iteration: int, began: float) -> FitState:
    """Return the converged state after the Newton steps that still cut the decrement."""
    last = min(iteration + problem.polishing, problem.control.iterations(problem.method) + 1)
    best, missed = state, 0
    for number in range(iteration, last if problem.method in ("ai", "auto") else iteration):
        assert state.newton is not None  # noqa: S101 - a converged state has been looked at
        settled = SETTLED if problem.polishing < POLISHING else 0.0
        if state.newton.decrement <= POLISHED or state.trace[-1].rel_change <= settled:
            break
        params = state.evaluation.params
        try:
            after = problem.evaluate(params.with_vector(params.vector() + state.newton.step))
        except FitError:
            break
        row = TraceRow(number, "ai", after.minus2ll, *_UNSEEN, 0, time.perf_counter() - began)
        moved = FitState(after, (*state.trace, row), look=state.look)
        state = _look(problem, moved, after.moments(), None)
        if state.converged and _cut(best, state):
            best = state
            continue
        missed += 1
        if not state.converged or missed * MISS > problem.polishing:
            break
    return best


def _cut(before: FitState, after: FitState) -> bool:
    """Return whether the decrement fell to a tenth and the likelihood did not fall."""
    assert before.newton is not None  # noqa: S101
    assert after.newton is not None  # noqa: S101
    value = before.evaluation.minus2ll
    return (
        after.newton.decrement <= 0.1 * before.newton.decrement
        and after.evaluation.minus2ll <= value + _noise(before.evaluation)
    )


def _final_look(problem: Problem, state: FitState) -> FitState:
    """Return the state with the information at its own parameters."""
    if state.converged or not np.isnan(state.trace[-1].decrement):
        return state
    return _look(problem, state, state.evaluation.moments(), None)


def _look(problem: Problem, state: FitState, found: AnyMoments, iteration: int | None) -> FitState:
    """Return the state with decrement, step size and verdict, where it is time to look."""
    newton_method = problem.method in ("ai", "auto")
    if iteration is not None and not newton_method and iteration % CHECK_EVERY:
        return state
    info = problem.information(state.evaluation, found)
    newton, look = _newton(problem, state, info)
    change = relative_size(problem.system, state.evaluation.params, newton.step)
    tolerance = problem.control.tolerance * (1.0 if newton_method else EM_MARGIN)
    converged = newton.decrement < tolerance and change < problem.control.parameter_tolerance
    last = state.trace[-1]
    row = TraceRow(
        last.iteration,
        last.step,
        last.minus2ll,
        newton.decrement,
        change,
        last.halvings,
        last.seconds,
    )
    trace = (*state.trace[:-1], row)
    return FitState(state.evaluation, trace, converged, info, newton, state.history, look)


def _newton(problem: Problem, state: FitState, info: Information) -> tuple[NewtonStep, Look]:
    """Return the step by the information and the secants, its decrement the larger with or without."""
    params = state.evaluation.params
    floored = problem.bounds(params)
    plain = ai_step(info, floored)
    look = Look(params.vector(), info.score, plain.decrement)
    if state.look is None or state.trace[-1].step != "ai":
        return plain, look
    secants = extended(state.look, look.point, look.score)
    bent = ai_step(with_secants(info, secants), floored)
    decrement = max(plain.decrement, bent.decrement)
    step = replace(plain, step=bent.step, decrement=decrement)
    return step, replace(look, decrement=decrement, secants=secants)


def relative_size(system: ModelSystem, params: VarianceParameters, step: Float) -> float:
    """Return max |step_i| / (|theta_i| + size of a term that matters), phi's step as it is."""
    scales = [
        np.full(len(theta), np.sqrt(params.sigma2 * np.diag(guess).max()))
        for theta, guess in zip(params.theta, term_scales(system), strict=True)
    ]
    floor = np.concatenate([*scales, np.ones(len(params.psi) + 1)])
    floor[:-1] += np.abs(params.vector()[:-1])
    return float(np.max(np.abs(step) / floor))


Move = tuple[str, AnyEvaluation, int]


def _move(problem: Problem, state: FitState, found: AnyMoments, iteration: int) -> Move | None:
    """Return the step's name, the evaluation after it and the halvings; None if none helps."""
    px_first = problem.method == "auto" and iteration <= problem.control.em_steps
    px_first = px_first and not state.trace[-1].rel_change < NEAR
    if problem.method in EM_STEPS or px_first:
        return _em_move(problem, state, found, iteration)
    moved = _newton_move(problem, state)
    if moved is not None or problem.method == "ai":
        return moved
    after = problem.evaluate(problem.em(state.evaluation, found, "px-em"))
    if after.minus2ll < state.evaluation.minus2ll:
        return "px-em", after, 0
    return None


def _em_move(problem: Problem, state: FitState, found: AnyMoments, iteration: int) -> Move:
    """Return a step of EM or PX-EM, or where EM by itself goes on, a shortcut that is no worse."""
    if problem.method in EM_STEPS:
        zeroed = None if iteration % CHECK_EVERY else _at_zero(problem, state)
        if zeroed is not None:
            return "boundary", zeroed, 0
        ahead = _extrapolated(problem, state)
        if ahead is not None:
            return "squarem", ahead, 0
    step: EmStep = "em" if problem.method == "em" else "px-em"
    return step, problem.evaluate(problem.em(state.evaluation, found, step)), 0


def _at_zero(problem: Problem, state: FitState) -> AnyEvaluation | None:
    """Return the evaluation with a dwindling variance at its floor, if that is no worse.

    EM approaches a zero variance as O(1/t), slower than rounding lets it go on.
    """
    system, now = problem.system, state.evaluation
    floored = problem.bounds(now.params)
    starts = np.cumsum([0, *(len(theta) for theta in now.params.theta)])
    for term, at in small_pivots(system, now.params, DWINDLING):
        place = term_structures(system)[term].pivot_index(system.dims[term])[at]
        if floored[starts[term] + place]:
            continue
        trial = problem.evaluate(without_pivot(system, now.params, term, at))
        if trial.minus2ll <= now.minus2ll:
            return trial
    return None


def _extrapolated(problem: Problem, state: FitState) -> AnyEvaluation | None:
    """Return the evaluation at EM's extrapolated point, if there is one and it is no worse."""
    wanted = problem.control.accelerate and problem.method in EM_STEPS
    if not wanted or len(state.history) < 3:
        return None
    point = squarem(state.history)
    if point is None or abs(point[-1] - state.history[-1][-1]) > LARGEST_CHANGE:
        return None
    try:
        ahead = problem.evaluate(state.evaluation.params.with_vector(point))
    except FitError:
        return None
    better = np.isfinite(ahead.minus2ll) and ahead.minus2ll <= state.evaluation.minus2ll
    return ahead if better else None


def _newton_move(problem: Problem, state: FitState) -> Move | None:
    """Return the first of H^-1g, its half, its quarter, ... that raises the likelihood."""
    assert state.newton is not None  # noqa: S101 - Newton methods look at every iteration
    params, before = state.evaluation.params, state.evaluation.minus2ll
    step = limited(state.newton.step, params.psi_places)
    slack = _noise(state.evaluation)
    if state.newton.decrement < problem.control.tolerance:
        slack += problem.control.tolerance
    for halvings in range(HALVINGS + 1):
        trial = params.with_vector(params.vector() + step * 0.5**halvings)
        try:
            after = problem.evaluate(trial)
        except FitError:
            continue
        if np.isfinite(after.minus2ll) and after.minus2ll <= before + slack:
            return "ai", after, halvings
    return None


def limited(step: Float, psi: slice = slice(0, 0)) -> Float:
    """Return the step with log sigma2 changing by 2 at most, and each psi by 1."""
    largest = max(abs(step[-1]), *(2.0 * np.abs(step[psi])), 1e-300)
    limited: Float = step * min(1.0, LARGEST_CHANGE / largest)
    return limited


def _noise(evaluation: AnyEvaluation) -> float:
    """Return the rounding error that two equal likelihoods may differ by.

    y'Py is what is left of y'R^-1y, which is large where no column takes the mean of y.
    """
    whole = evaluation.precision * evaluation.system.ytBy
    return 1e-12 * max(1.0, abs(evaluation.minus2ll)) + 64.0 * float(np.finfo(float).eps) * whole
