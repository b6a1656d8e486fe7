"""What the profile of every variance parameter runs along: its coordinate, its start, its deviance.

Stands at "Profile intervals" in ``docs/algorithm.md``. SDs and correlations of unstructured and
diagonal terms have coordinates of their own (:mod:`mixedflow.inference.held`), sigma of independent
residuals too; all others are held by a constraint (:mod:`mixedflow.inference.constrained`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mixedflow.design.types import Float
from mixedflow.estimation.observed import observed_information
from mixedflow.estimation.parameters import term_scales, term_units
from mixedflow.estimation.problem import Problem
from mixedflow.estimation.residual import ResidualProblem
from mixedflow.inference.constrained import NaturalProfile, Whitened, direction, whitened
from mixedflow.inference.held import HeldVariance, held_component, held_sigma
from mixedflow.inference.natural import (
    LOG,
    Natural,
    correlation_at,
    residual_naturals,
    term_naturals,
)
from mixedflow.inference.profile import Search, VarianceProfile
from mixedflow.inference.ratio import FREE_STRUCTURES

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult

SMALLEST = 1e-4
"""Share of an SD that is as good as zero."""

STEEPEST = 7.0
"""Coordinate of a correlation that is as good as at its end."""

FIRST = 0.3
"""Share of the residual SD that an SD estimated as zero is first looked for at."""

UNDEFINED = "undefined: an SD is estimated as zero"


@dataclass(frozen=True, slots=True)
class Line:
    """What a profile runs along.

    Attributes
    ----------
    name, estimate : of the parameter
    search : where it is looked for, in its coordinate
    deviance : -2 log-likelihood at a value of the coordinate
    back : from the coordinate to the parameter
    """

    name: str
    estimate: float
    search: Callable[[], Search]
    deviance: Callable[[float], float]
    back: Callable[[float], float]


def variance_lines(fit: FitResult, problem: Problem) -> Iterator[Line]:
    """Yield SDs and correlations, by term and column as lme4 lists them, then those of R.

    Parameters
    ----------
    fit : by the likelihood that is profiled
    problem : of that likelihood
    """
    natural = NaturalLines(fit, problem)
    info = fit.crossproducts.info
    for j, (term, G) in enumerate(zip(fit.encoder.terms, fit.estimates.G, strict=True)):
        factor = info.factors[term.factor]
        names = [factor.columns[c] for c in term.columns]
        if term.structure in FREE_STRUCTURES:
            yield from _free_lines(fit, problem, j, G, names, factor.name)
        else:
            for one in term_naturals(problem.system, j, term.label, names):
                yield natural.line(one)
    if isinstance(problem, ResidualProblem):
        scale = problem.system.fixed_scale.y_scale
        for one in residual_naturals(problem.residual.design, scale, problem.residual.limits):
            yield natural.line(one)
        return
    held = held_sigma(problem.system, fit.estimates.params)
    step = 1.0 / np.sqrt(2.0 * fit.nobs)
    yield _sd_line(fit, problem, "sigma", fit.sigma, held, float(step))


def _free_lines(
    fit: FitResult, problem: Problem, j: int, G: Float, names: list[str], group: str
) -> Iterator[Line]:
    """Yield the SDs and correlations of an unstructured or diagonal term."""
    params, system = fit.estimates.params, problem.system
    for a, name in enumerate(names):
        held = held_component(system, params, j, (a,))
        sd = float(np.sqrt(G[a, a]))
        begin = 0.25 if sd > 0 else _first(fit, problem, j, a)
        yield _sd_line(fit, problem, f"sd_{name}|{group}", sd, held, begin)
        for b in range(a + 1, len(names)) if fit.encoder.terms[j].structure == "us" else ():
            label = f"cor_{names[b]}.{name}|{group}"
            yield _correlation_line(fit, problem, label, correlation_at(G, a, b), (j, a, b))


def _first(fit: FitResult, problem: Problem, j: int, a: int) -> float:
    """Return an SD of a column that matters beside the residual, in the user's units."""
    system = problem.system
    guess = term_scales(system)[j]
    T = term_units(system)[j]
    return FIRST * fit.sigma * float(np.sqrt((T @ guess @ T.T)[a, a]))


def _sd_line(
    fit: FitResult, problem: Problem, name: str, sd: float, held: HeldVariance, step: float
) -> Line:
    """Return the line of an SD: by its log, or from zero on by itself."""
    profile = VarianceProfile(problem, fit.estimates.params, held)
    if sd > 0:
        at = float(np.log(sd))
        search = Search(at, step, at + float(np.log(SMALLEST)))
        return Line(name, sd, lambda: search, lambda t: profile(float(np.exp(t)), name), LOG.back)
    search = Search(0.0, step, 0.0)
    return Line(name, 0.0, lambda: search, lambda v: profile(v, name), lambda v: max(v, 0.0))


def _correlation_line(
    fit: FitResult, problem: Problem, name: str, r: float, where: tuple[int, int, int]
) -> Line:
    j, a, b = where
    at = float(np.clip(np.arctanh(r), -STEEPEST, STEEPEST)) if abs(r) < 1 else STEEPEST * np.sign(r)
    end = max(STEEPEST, abs(at) + 2.0)
    search = Search(at, 0.4, -end, end)
    if not np.isfinite(r):
        return Line(name, r, lambda: search, lambda _: np.nan, lambda t: float(np.tanh(t)))
    held = held_component(problem.system, fit.estimates.params, j, (a, b))
    profile = VarianceProfile(problem, fit.estimates.params, held)
    return Line(
        name,
        r,
        lambda: search,
        lambda t: profile(float(np.tanh(t)), name),
        lambda t: float(np.tanh(t)),
    )


class NaturalLines:
    """Lines of parameters that are held by a constraint; they share the curvature at the estimates."""

    def __init__(self, fit: FitResult, problem: Problem) -> None:
        self.fit, self.problem = fit, problem
        self._at: Whitened | None = None

    @property
    def at(self) -> Whitened:
        """The coordinates at the estimates."""
        if self._at is None:
            params = self.fit.estimates.params
            self._at = whitened(self.problem, params, observed_information(self.problem, params))
        return self._at

    def line(self, natural: Natural) -> Line:
        """Return the line of a parameter."""
        estimate = natural.read(self.fit.estimates.params)
        made, (there, back) = cache(lambda: self._deviance(natural)), natural.scale

        def deviance(value: float) -> float:
            return made()(value)

        if natural.ends[0] == 0.0 and estimate == 0.0:
            step = FIRST if natural.correlation else FIRST * self.fit.sigma
            from_zero = Search(0.0, step, 0.0)
            return Line(natural.name, 0.0, lambda: from_zero, deviance, lambda v: max(v, 0.0))

        def search() -> Search:
            at = there(float(np.clip(estimate, *_inside(natural))))
            step = float(np.linalg.norm(NaturalProfile(self.problem, self.at, natural, 0.0).slope))
            return Search(at, step if step > 0 else 0.25, *_span(natural, at))

        return Line(natural.name, estimate, search, lambda t: deviance(back(t)), back)

    def _deviance(self, natural: Natural) -> Callable[[float], float]:
        """Return the deviance with a parameter held at a value."""
        least, lowest = self.fit.deviance, natural.ends[0]
        share = natural.correlation and natural.read(self.fit.estimates.params) == lowest
        held = None if share else direction(self.problem.system, natural, self.at)
        if held is not None:
            profile = VarianceProfile(self.problem, self.at.params, held, held.spread(self.at.root))
            return lambda value: profile(value, natural.name)
        general, there = NaturalProfile(self.problem, self.at, natural, least), natural.scale.there
        return lambda v: least if lowest == 0.0 and v <= 0 else general(there(v), natural.name)


def _inside(natural: Natural) -> tuple[float, float]:
    low, high = natural.ends
    return float(np.nextafter(low, high)), float(np.nextafter(high, low))


def _span(natural: Natural, at: float) -> tuple[float, float]:
    """Return the coordinates that are as good as the ends."""
    if natural.correlation:
        end = max(STEEPEST, abs(at) + 2.0)
        return -end, end
    return at + float(np.log(SMALLEST)), np.inf
