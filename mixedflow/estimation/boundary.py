"""Fits on the boundary: a variance that runs to zero is set to zero, and said so.

Stands at "Boundary" in ``docs/algorithm.md``. While iterating, pivots are kept off zero by a
relative 1e-7; at the end a pivot below 1e-4 of what matters is set to exactly zero if the
likelihood is none the worse for it. The equations in scaled effects need no inverse of G.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mixedflow.crossproducts.levels import LevelStore
from mixedflow.equations.system import ModelSystem
from mixedflow.estimation.driver import FitState
from mixedflow.estimation.grouped import GroupedEvaluation, evaluate_grouped
from mixedflow.estimation.likelihood import Evaluation
from mixedflow.estimation.parameters import (
    VarianceParameters,
    small_pivots,
    term_structures,
    without_pivot,
)
from mixedflow.estimation.problem import Problem

Found = TypeVar("Found", Evaluation, GroupedEvaluation)

SLACK = 1e-8
"""Rise of -2 log-likelihood that a zero may cost, besides 1e-12 of its size for rounding."""


def settle(problem: Problem, state: FitState) -> Evaluation:
    """Return the evaluation with every vanishing pivot exactly zero."""

    def at(params: VarianceParameters) -> Evaluation:
        found = problem.evaluate_at(params)
        assert isinstance(found, Evaluation)  # noqa: S101 - by arrays, not by passes
        return found

    reached = state.evaluation
    return _settled(
        problem.system, at, reached if isinstance(reached, Evaluation) else at(reached.params)
    )


def settle_passes(problem: Problem, levels: LevelStore, state: FitState) -> GroupedEvaluation:
    """Return the same by passes over all levels, whichever the driver went over."""

    def at(params: VarianceParameters) -> GroupedEvaluation:
        return evaluate_grouped(problem.system, params, levels, reml=problem.reml)

    reached = state.evaluation
    if not isinstance(reached, GroupedEvaluation) or reached.solution.levels is not levels:
        reached = at(reached.params)
    return _settled(problem.system, at, reached)


def _settled(
    system: ModelSystem, at: Callable[[VarianceParameters], Found], reached: Found
) -> Found:
    """Return where the driver ended, its evaluation used again, with small pivots zero."""
    best = reached
    for term, column in small_pivots(system, best.params):
        after = at(without_pivot(system, best.params, term, column))
        if after.minus2ll <= best.minus2ll + SLACK + 1e-12 * abs(best.minus2ll):
            best = after
    return best


def singular_terms(system: ModelSystem, params: VarianceParameters) -> tuple[bool, ...]:
    """Return for every term whether its G is on the boundary (a pivot is exactly zero)."""
    return tuple(
        structure.singular(theta, dim)
        for structure, theta, dim in zip(
            term_structures(system), params.theta, system.dims, strict=True
        )
    )
