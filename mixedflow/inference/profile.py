"""Profile likelihood intervals: where the likelihood, maximised over all others, has fallen enough.

Stands at "Profile intervals" in ``docs/algorithm.md``. Everything happens on the sums: a held
coefficient is an offset, X'y - X'x b and so on; a held variance is a choice of coordinates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.moments import Moments
from mixedflow.equations.residual_system import ResidualSums
from mixedflow.equations.system import ModelSystem
from mixedflow.errors import FitError
from mixedflow.estimation.driver import run_driver
from mixedflow.estimation.evaluation import AnyEvaluation
from mixedflow.estimation.information import score
from mixedflow.estimation.likelihood import Evaluation
from mixedflow.estimation.parameters import VarianceParameters, small_pivots
from mixedflow.estimation.problem import Problem
from mixedflow.estimation.residual import ResidualProblem
from mixedflow.inference.held import HeldDirection, HeldVariance

GROWTH = 1.6
"""How much farther the search for a bracket goes each time."""

TRIES = 60
"""Points that a bracket is looked for at."""

PRECISION = 1e-6
"""Length of the last bracket, relative to the first step."""

LEFT = 1e-3
"""Twice the log-likelihood that a maximum may have left to gain, g'H^-1g: 3e-4 standard errors."""

STEEPNESS = 3e-6
"""Slope at which BFGS stops; where an SD runs to zero by its log, it is what is left to gain."""

VANISHED = 1e-5
"""Share of its size below which a free coordinate is as good as zero."""

NOT_FOLLOWED = "the likelihood could not be maximised along the profile of {name} at {value:.6g}"

Deviance = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Search:
    """Where an interval is looked for.

    Attributes
    ----------
    estimate : in the coordinate of the search
    step : a first guess of the standard error there
    lowest, highest : where the coordinate is as good as at its end
    """

    estimate: float
    step: float
    lowest: float = -np.inf
    highest: float = np.inf


def profile_interval(
    deviance: Deviance, search: Search, least: float, z: float
) -> tuple[float, float]:
    """Return both values with sqrt(deviance - least) = z; an end of the coordinate if never reached.

    Parameters
    ----------
    deviance : -2 log-likelihood maximised over all else, at a value
    search : where to look
    least : deviance at the estimates
    z : quantile of the normal distribution
    """

    def zeta(value: float) -> float:
        return float(np.sqrt(max(deviance(value) - least, 0.0))) - z

    return _side(zeta, search, -1.0, z), _side(zeta, search, 1.0, z)


def _side(zeta: Callable[[float], float], search: Search, sign: float, z: float) -> float:
    from scipy.optimize import brentq

    end = search.highest if sign > 0 else search.lowest
    inner, below, distance = search.estimate, -z, z * search.step
    for _ in range(TRIES):
        outer = search.estimate + sign * distance
        if sign * outer >= sign * end:
            outer = end
        above = zeta(outer)
        if above >= 0:
            break
        if outer == end:
            return float(sign * np.inf)
        inner, below = outer, above
        distance *= GROWTH
    else:
        raise FitError("the profile of the likelihood does not fall off; no interval was found")
    if above == 0 or below == 0:
        return outer if above == 0 else inner
    found: float = brentq(zeta, inner, outer, xtol=PRECISION * search.step, rtol=1e-12)
    return found


def whole_score(problem: Problem, evaluation: AnyEvaluation) -> Float:
    """Return dl/d[theta, psi, phi] at an evaluation of the problem."""
    found = evaluation.moments()
    if isinstance(problem, ResidualProblem):
        assert isinstance(evaluation, Evaluation)  # noqa: S101 - by arrays, not by passes
        assert isinstance(found, Moments)  # noqa: S101
        return problem.score(evaluation, found)
    return score(evaluation, found)


class VarianceProfile:
    """Deviance of a held SD, correlation or sigma, maximised by BFGS over the rest and beta.

    Each maximum is looked for from the estimates and from the nearest one that is known: where an SD
    can vanish there are two. ``spread`` is the covariance of the free coordinates, the held number being
    known: with it the first steps are Newton's.
    """

    def __init__(
        self,
        problem: Problem,
        params: VarianceParameters,
        held: HeldVariance | HeldDirection,
        spread: Float | None = None,
    ) -> None:
        self.problem, self.params, self.held = problem, params, held
        start = held.start
        sizes = np.maximum(np.abs(start), 0.3 * np.abs(start[:-1]).max(initial=1e-3))
        sizes[-1] = 1.0
        self.sizes = 0.2 * sizes
        self.curvature = np.eye(len(start))
        if spread is not None:
            self.curvature = 0.5 * spread / np.outer(self.sizes, self.sizes)
        self.known: list[tuple[float, Float, Float]] = []

    def __call__(self, value: float, name: str = "a variance") -> float:
        """Return the deviance at a value."""
        start = self.held.start
        if not len(start):
            return self._at(value, start)[0]
        starts = [(one, self.curvature) for one in (*self._begun, *self.held.vanishing)]
        if self.known:
            starts.append(min(self.known, key=lambda one: abs(one[0] - value))[1:])
        found = min((self._climbed(value, *one) for one in starts), key=lambda one: one.fun)
        if not found.jac @ found.hess_inv @ found.jac < LEFT:
            raise FitError(NOT_FOLLOWED.format(name=name, value=value))
        inverse = 0.5 * (found.hess_inv + found.hess_inv.T)
        if np.linalg.eigvalsh(inverse)[0] > 0:
            self.known.append((value, found.x * self.sizes, inverse))
        return float(found.fun)

    @property
    def _begun(self) -> list[Float]:
        """Return the estimates, and off zero what stands there: at zero it has no slope."""
        start = self.held.start
        zero = np.abs(start) < VANISHED * self.sizes
        zero[-1] = False
        return [start, np.where(zero, self.sizes, start)] if zero.any() else [start]

    def _climbed(self, value: float, free: Float, curvature: Float) -> Any:
        """Return what BFGS finds from a start, in scaled coordinates."""
        from scipy.optimize import minimize

        return minimize(
            lambda x: self._at(value, x * self.sizes),
            free / self.sizes,
            jac=True,
            method="BFGS",
            options={"gtol": STEEPNESS, "maxiter": 200, "hess_inv0": curvature},
        )

    def _at(self, value: float, free: Float) -> tuple[float, Float]:
        """Return deviance and its slope in scaled coordinates."""
        try:
            point = self.held.vector(value, free)
            evaluation = self.problem.evaluate(self.params.with_vector(point))
            slopes = whole_score(self.problem, evaluation)
        except (FitError, FloatingPointError, np.linalg.LinAlgError):
            return float("inf"), np.zeros_like(free)
        # pivots were made positive: the slope by a column that changed its sign has the other one
        slopes = np.where(evaluation.params.vector() * point < 0, -slopes, slopes)
        return evaluation.minus2ll, -2.0 * self.sizes * self.held.slope(value, free, slopes)


class CoefficientProfile:
    """Deviance with a coefficient held: y less its part, on the sums, and the driver for the rest."""

    def __init__(self, problem: Problem, params: VarianceParameters, at: int) -> None:
        self.problem, self.at = problem, at
        self.known: list[tuple[float, VarianceParameters]] = [(np.nan, params)]

    def __call__(self, value: float, name: str = "a coefficient") -> float:
        """Return the deviance at a value, in the user's units."""
        start = min(self.known, key=lambda one: np.nan_to_num(abs(one[0] - value), nan=1e300))[1]
        held = held_problem(self.problem, self.at, value)
        vanished = small_pivots(held.system, start)  # at zero there is no slope to leave it by
        state = run_driver(replace(held, polishing=0), start=None if vanished else start)
        if not state.converged:
            raise FitError(NOT_FOLLOWED.format(name=name, value=value))
        self.known.append((value, state.evaluation.params))
        return state.evaluation.minus2ll


def held_problem(problem: Problem, at: int, value: float) -> Problem:
    """Return the problem with a coefficient held."""
    if isinstance(problem, ResidualProblem):
        return replace(problem, **_held_residual(problem.residual, at, value), last=[])
    return replace(problem, system=held_coefficient(problem.system, at, value))


def _held_residual(residual: ResidualSums, at: int, value: float) -> dict[str, Any]:
    """Return sums and start of a problem of keyed sums, every key's as :func:`held_coefficient`."""
    N, b0 = held_directions(residual.start, at, value)
    XtBy = residual.XtBy - residual.XtBX @ b0
    held = replace(
        residual,
        start=held_coefficient(residual.start, at, value),
        XtBX=N.T @ residual.XtBX @ N,
        XtBy=XtBy @ N,
        ytBy=residual.ytBy - (residual.XtBy + XtBy) @ b0,
        factors=tuple(
            replace(
                factor,
                ZtBX=np.ascontiguousarray(factor.ZtBX @ N),
                ZtBy=factor.ZtBy - factor.ZtBX @ b0,
            )
            for factor in residual.factors
        ),
    )
    return {"residual": held, "system": held.start}


def held_directions(system: ModelSystem, at: int, value: float) -> tuple[Float, Float]:
    """Return N, (p, p - 1), and b0, (p,): b = b0 + N z has the user's coefficient at the value."""
    scale = system.fixed_scale
    row = scale.transform[at]
    pivot = int(np.argmax(np.abs(row)))
    N = np.delete(np.eye(system.p), pivot, axis=1)
    N[pivot] = -np.delete(row, pivot) / row[pivot]
    b0 = np.zeros(system.p)
    b0[pivot] = (value - scale.constant[at]) / (scale.y_scale * row[pivot])
    return N, b0


def held_coefficient(system: ModelSystem, at: int, value: float) -> ModelSystem:
    """Return the sums of y - X b0 on X N, where b = b0 + N z has every coefficient but one free.

    Parameters
    ----------
    system : the sums
    at : which of the kept coefficients
    value : of the coefficient, in the user's units
    """
    N, b0 = held_directions(system, at, value)
    XtBy = system.XtBy - system.XtBX @ b0
    return replace(
        system,
        XtBX=N.T @ system.XtBX @ N,
        XtBy=N.T @ XtBy,
        ytBy=float(system.ytBy - b0 @ (system.XtBy + XtBy)),
        factors=tuple(
            replace(
                factor,
                ZtBX=np.ascontiguousarray(factor.ZtBX @ N),
                ZtBy=factor.ZtBy - factor.ZtBX @ b0,
            )
            for factor in system.factors
        ),
    )
