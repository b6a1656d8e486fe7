"""Another search in G's own directions, where the factor's order of columns hinders the first.

Stands at "The driver" in ``docs/algorithm.md``. Where the first pivot of an unstructured G = F F' is
small and the last one zero, as at a correlation of one, -2l has a curved ridge in F: turning the row
below the pivot hardly changes it. In the directions of G's eigenvectors, the largest first, F is
diagonal there and what vanishes is its last pivot alone. Any basis will do for an unstructured G, so
only the columns that the equations are solved in change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.system import ModelSystem
from mixedflow.estimation.driver import FitState, Progress, run_driver
from mixedflow.estimation.parameters import VarianceParameters, term_factors, term_scales
from mixedflow.estimation.problem import Problem

SMALLEST_START = 1e-3
"""SD, as a share of a column that matters, that every direction of G starts with at least."""

NEGLIGIBLE = 1e-12
"""Share of the largest pivot below which one is rounding."""


@dataclass(frozen=True, slots=True)
class TurnedSearch:
    """A problem in other columns, and where its search ended.

    Attributes
    ----------
    problem, state : of the search
    bases : unstructured term -> E, (q_j, q_j): the equations' effects are E times the turned ones
    """

    problem: Problem
    state: FitState
    bases: Mapping[int, Float]

    def back(self, params: VarianceParameters) -> VarianceParameters:
        """Return the parameters in the columns that the problem had before."""
        factors = term_factors(self.problem.system, params)
        theta = list(params.theta)
        for term, E in self.bases.items():
            upper: Float = np.asarray(np.linalg.qr((E @ factors[term]).T, mode="r"))
            R = upper.T
            R = np.where(np.abs(R) > NEGLIGIBLE * np.abs(np.diag(R)).max(), R, 0.0)
            theta[term] = R[np.tril_indices(len(R))]
        return replace(params, theta=tuple(theta))


def search_turned(
    problem: Problem, state: FitState, progress: Progress | None = None
) -> TurnedSearch | None:
    """Return a search that converged in other columns, begun where the first one stopped.

    None where the first one converged or was cut short on request, where no G is unstructured with
    several columns, and where this one does not converge either or ends lower.
    """
    if state.converged or problem.control.max_iter is not None or problem.method != "auto":
        return None
    if type(problem) is not Problem:
        return None
    params = state.evaluation.params
    bases, start = _directions(problem.system, params)
    if not bases:
        return None
    other = replace(problem, system=_turned(problem.system, bases))
    again = run_driver(other, start=start, progress=progress)
    if not again.converged or again.evaluation.minus2ll > state.evaluation.minus2ll:
        return None
    last = state.trace[-1].iteration
    later = (replace(row, iteration=last + row.iteration) for row in again.trace)
    return TurnedSearch(other, replace(again, trace=(*state.trace, *later)), bases)


def _directions(
    system: ModelSystem, params: VarianceParameters
) -> tuple[dict[int, Float], VarianceParameters]:
    """Return E of every unstructured term, G = E diag(s) E', and the parameters in these columns."""
    bases: dict[int, Float] = {}
    theta = list(params.theta)
    guesses, factors = term_scales(system), term_factors(system, params)
    for term, design in enumerate(system.terms):
        if design.structure != "us" or len(design.columns) < 2:
            continue
        size = np.sqrt(np.diag(guesses[term]))
        values, vectors = np.linalg.eigh(_product(factors[term] / size[:, None]))
        values, vectors = values[::-1], vectors[:, ::-1]
        least = SMALLEST_START * np.sqrt(params.sigma2)
        root = np.maximum(np.sqrt(np.maximum(values, 0.0)), least)
        bases[term] = size[:, None] * vectors
        theta[term] = np.diag(root)[np.tril_indices(len(root))]
    return bases, replace(params, theta=tuple(theta))


def _product(F: Float) -> Float:
    out: Float = F @ F.T
    return out


def _turned(system: ModelSystem, bases: Mapping[int, Float]) -> ModelSystem:
    """Return the system with the columns of some terms turned by E."""
    factors = []
    for factor in system.factors:
        E = np.eye(factor.dim)
        for term, where in zip(factor.terms, factor.slices, strict=True):
            if term in bases:
                E[where, where] = bases[term]
        factors.append(replace(factor, basis=factor.basis @ E, units=factor.units @ E))
    return replace(system, factors=tuple(factors))
