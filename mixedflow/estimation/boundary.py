"""Fits on the boundary: a variance that runs to zero is set to zero, and said so.

Stands at "Boundary" in ``docs/algorithm.md``. While iterating, pivots are kept off zero by a
relative 1e-7; at the end a pivot below 1e-4 of what matters is set to exactly zero if the
likelihood is none the worse for it. The equations in scaled effects need no inverse of G.
"""

from __future__ import annotations

from mixedflow.equations.system import ModelSystem
from mixedflow.estimation.driver import FitState, Problem
from mixedflow.estimation.likelihood import Evaluation, evaluate
from mixedflow.estimation.parameters import VarianceParameters, term_scales, term_structures

SMALL_PIVOT = 1e-4
"""Pivot, relative to a column that matters as much as the residual, below which zero is tried."""

SLACK = 1e-8
"""Rise of -2 log-likelihood that a zero may cost."""


def settle(problem: Problem, state: FitState) -> Evaluation:
    """Return the evaluation with every vanishing pivot exactly zero."""
    best = evaluate(problem.system, state.evaluation.params, problem.engine, reml=problem.reml)
    for term, at in small_pivots(problem.system, best.params):
        trial = _zeroed(problem.system, best.params, term, at)
        after = evaluate(problem.system, trial, problem.engine, reml=problem.reml)
        if after.minus2ll <= best.minus2ll + SLACK:
            best = after
    return best


def small_pivots(system: ModelSystem, params: VarianceParameters) -> list[tuple[int, int]]:
    """Return (term, column) of the pivots that are nearly zero."""
    found = []
    structures = term_structures(system)
    for j, (structure, theta, guess) in enumerate(
        zip(structures, params.theta, term_scales(system), strict=True)
    ):
        pivots = structure.pivots(theta, system.dims[j])
        for at in range(system.dims[j]):
            if abs(pivots[at]) < SMALL_PIVOT * (params.sigma2 * guess[at, at]) ** 0.5:
                found.append((j, at))
    return found


def _zeroed(
    system: ModelSystem, params: VarianceParameters, term: int, at: int
) -> VarianceParameters:
    theta = list(params.theta)
    structure = term_structures(system)[term]
    theta[term] = structure.without_pivot(theta[term], system.dims[term], at)
    return VarianceParameters(tuple(theta), params.phi)


def singular_terms(system: ModelSystem, params: VarianceParameters) -> tuple[bool, ...]:
    """Return for every term whether its G is singular (a pivot is exactly zero)."""
    return tuple(
        bool((structure.pivots(theta, dim) == 0).any())
        for structure, theta, dim in zip(
            term_structures(system), params.theta, system.dims, strict=True
        )
    )
