"""Profiles of any function of the variance parameters: the likelihood maximised where it has a value.

Stands at "Profile intervals" in ``docs/algorithm.md``. In x = x-hat + S z with S S' the inverse of the
observed information, half the deviance is nearly |z|^2 / 2 + const; sequential quadratic programming
(Kraft 1988) then needs few evaluations to minimise it over g(x) = v.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.structured import CorrelatedColumns
from mixedflow.design.types import Float
from mixedflow.equations.system import ModelSystem
from mixedflow.errors import FitError
from mixedflow.estimation.observed import ObservedInformation, parameter_sizes
from mixedflow.estimation.parameters import VarianceParameters, term_structures
from mixedflow.estimation.problem import Problem
from mixedflow.estimation.steps import lifted
from mixedflow.inference.held import HeldDirection
from mixedflow.inference.natural import Natural
from mixedflow.inference.profile import LEFT, NOT_FOLLOWED, whole_score

ACCURACY = 1e-10
"""Change of half the deviance at which sequential quadratic programming stops."""

MISSED = 1e-6
"""How far from its value a held parameter may end, in its coordinate."""

DIFFERENCE = 1e-6
"""Half the distance of two values of a parameter, relative to the size of what it is made of."""

NUDGE = 0.3
"""Share of its size that a parameter at a bound starts with: at zero the likelihood has no slope."""

MOVED = 0.2
"""Relative distance over which a parameter must keep its slopes to be called affine."""

AFFINE = 1e-5
"""Relative change of slopes of an affine function by rounding."""

NOWHERE = 1e6
"""What stands for half the deviance where there is no likelihood."""


@dataclass(frozen=True, slots=True)
class Whitened:
    """x = x-hat + S z, half the deviance nearly |z|^2 / 2.

    Attributes
    ----------
    params : the estimates, pivots off zero
    root : S, (r, r)
    sizes : (r,), of the parameters
    nudge : (r,), z at which parameters that stand at a bound have left it
    """

    params: VarianceParameters
    root: Float
    sizes: Float
    nudge: Float


def whitened(
    problem: Problem, params: VarianceParameters, information: ObservedInformation
) -> Whitened:
    """Return the coordinates at the estimates; their own sizes for what is not free.

    Parameters
    ----------
    problem : of the likelihood that is profiled
    params, information : its estimates, and the curvature there
    """
    at = problem.evaluate(params)
    sizes, free = parameter_sizes(at), information.free
    root = np.diag(NUDGE * sizes)
    inner = np.ix_(free, free)
    covariance = information.covariance[inner]
    if np.isfinite(covariance).all():
        root[inner] = np.linalg.cholesky(covariance)
    return Whitened(at.params, root, sizes, np.where(free, 0.0, 1.0))


def coordinate_spread(
    problem: Problem,
    params: VarianceParameters,
    information: ObservedInformation,
    natural: Natural,
) -> float:
    """Return the standard error of a parameter's coordinate by the delta method."""
    sizes = parameter_sizes(problem.evaluate(params))

    def read(point: Float) -> float:
        return natural.scale.there(_inside(natural, params.with_vector(point)))

    slopes = np.where(information.free, _slopes(read, params.vector(), sizes), 0.0)
    return float(np.sqrt(max(float(slopes @ information.covariance @ slopes), 0.0)))


def direction(system: ModelSystem, natural: Natural, at: Whitened) -> HeldDirection | None:
    """Return how to hold a parameter that is affine in x, itself or by its coordinate; else None.

    Affine are SDs that are parameters themselves, and logs and atanhs of what psi and phi are made of.
    """
    params, x = at.params, at.params.vector()
    for coordinate in (lambda v: v, natural.scale.there):

        def read(point: Float, t: Callable[[float], float] = coordinate) -> float:
            return t(_inside(natural, params.with_vector(point)))

        moved = x * (1.0 + MOVED * np.cos(np.arange(len(x)))) + MOVED * at.sizes * (x == 0)
        c, again = (_slopes(read, point, at.sizes) for point in (x, moved))
        pivot = int(np.argmax(np.abs(c[:-1]) * at.sizes[:-1])) if len(c) > 1 else 0
        if not c[:-1].any():
            pivot = len(c) - 1
        if np.abs(c - again).max() <= AFFINE * np.abs(c).max() and c.any():
            return HeldDirection(coordinate, c, x, read(x), pivot, _sds(system, params))
    return None


def _sds(system: ModelSystem, params: VarianceParameters) -> NDArray[np.bool_]:
    """Return which parameters are SDs of columns that may covary: the likelihood has a kink at zero."""
    out = np.zeros(len(params.vector()), dtype=bool)
    first = 0
    structures = zip(term_structures(system), params.theta, system.dims, strict=True)
    for structure, theta, dim in structures:
        if isinstance(structure, CorrelatedColumns):
            out[first + np.unique(structure.pivot_index(dim))] = True
        first += len(theta)
    return out


def _inside(natural: Natural, params: VarianceParameters) -> float:
    low, high = natural.ends
    value = natural.read(params)
    return float(np.clip(value, np.nextafter(low, high), np.nextafter(high, low)))


def _slopes(read: Callable[[Float], float], x: Float, sizes: Float) -> Float:
    """Return the slopes of a function of x by central differences."""
    out = np.zeros_like(x)
    for i, size in enumerate(sizes):
        step = np.zeros_like(x)
        step[i] = DIFFERENCE * max(size, abs(x[i]))
        out[i] = (read(x + step) - read(x - step)) / (2.0 * step[i])
    return out


class NaturalProfile:
    """Deviance with a natural parameter held in its coordinate, maximised over all else.

    Each maximum is looked for from the nearest one that is known, then from the estimates.
    """

    def __init__(self, problem: Problem, at: Whitened, natural: Natural, least: float) -> None:
        self.problem, self.at, self.natural, self.least = problem, at, natural, least
        self.known: list[tuple[float, Float]] = []

    @property
    def slope(self) -> Float:
        """Slope of the coordinate at the estimates, in z; its length is a standard error."""
        return self._coordinate(self.at.nudge)[1]

    def __call__(self, value: float, name: str = "a variance") -> float:
        """Return the deviance at a value of the coordinate."""
        starts = [self.at.nudge, 0.5 * self.at.nudge]
        if self.known:
            starts.insert(0, min(self.known, key=lambda one: abs(one[0] - value))[1])
        for start in starts:
            found = self._held(value, start)
            if found is not None:
                self.known.append((value, found.x))
                return self.least + 2.0 * float(found.fun)
        raise FitError(NOT_FOLLOWED.format(name=name, value=self.natural.scale.back(value)))

    def _held(self, value: float, start: Float) -> Any:
        """Return what is found from a start; None where it is no maximum."""
        from scipy.optimize import minimize

        constraint = {
            "type": "eq",
            "fun": lambda z: self._read(self._inner(z)) - value,
            "jac": lambda z: self._coordinate(z)[1],
        }
        found = minimize(
            self._half,
            start,
            jac=True,
            method="SLSQP",
            constraints=[constraint],
            options={"ftol": ACCURACY, "maxiter": 200},
        )
        reached, slope = self._coordinate(found.x)
        size = float(slope @ slope)
        if not (found.fun < NOWHERE and size > 0 and abs(reached - value) < MISSED):
            return None
        gradient = self._half(found.x)[1]
        across = gradient - slope * (slope @ gradient) / size
        return found if float(across @ across) < LEFT else None

    def _point(self, z: Float) -> Float:
        x: Float = self.at.params.vector() + self.at.root @ z
        return x

    def _half(self, z: Float) -> tuple[float, Float]:
        """Return half of what the deviance is more than at the estimates, and its slope."""
        x = self._point(z)
        try:
            evaluation = self.problem.evaluate(self.at.params.with_vector(x))
            slopes = whole_score(self.problem, evaluation)
        except (FitError, FloatingPointError, np.linalg.LinAlgError):
            return NOWHERE, np.zeros_like(z)
        value = 0.5 * (evaluation.minus2ll - self.least)
        if not (np.isfinite(value) and np.isfinite(slopes).all()):
            return NOWHERE, np.zeros_like(z)
        signs = np.where(evaluation.params.vector() * x < 0, -1.0, 1.0)
        return value, -self.at.root.T @ (signs * slopes)

    def _coordinate(self, z: Float) -> tuple[float, Float]:
        """Return the held parameter's coordinate and its slope, by central differences."""
        x, params = self._point(z), self._inner(z)
        here = params.vector()
        slopes = _slopes(lambda v: self._read(params.with_vector(v)), here, self.at.sizes)
        slopes = np.where(here * x < 0, -slopes, slopes)
        return self._read(params), self.at.root.T @ slopes

    def _inner(self, z: Float) -> VarianceParameters:
        return lifted(self.problem.system, self.at.params.with_vector(self._point(z)))

    def _read(self, params: VarianceParameters) -> float:
        return self.natural.scale.there(_inside(self.natural, params))
