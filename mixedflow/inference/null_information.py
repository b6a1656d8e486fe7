"""Expected information of variances and covariances where some are zero.

Stands at "Tests of variances" in ``docs/algorithm.md``. V is linear in the entries of every G and in
sigma2, so I_ij = 1/2 tr(P V_i P V_j) is minus half the slope of tr(P V_i) along the j-th; that trace is
what an E-step has, for any number of factors. It is taken a hair inside, where every G has an inverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.moments import moments
from mixedflow.estimation.likelihood import Evaluation
from mixedflow.estimation.parameters import (
    VarianceParameters,
    term_scales,
    term_structures,
    term_units,
)
from mixedflow.estimation.problem import Problem
from mixedflow.linalg.triangular import solve_lower

INSIDE = 1e-4
"""How far from zero, in variances that matter as much as the residual, the trace is taken."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A variance (a = b) or covariance of a term's columns."""

    term: int
    a: int
    b: int


def null_covariance(
    problem: Problem, G: Sequence[Float], sigma2: float, entries: Sequence[Entry]
) -> Float:
    """Return the covariance of the estimates of all entries, units in which variances matter alike.

    Parameters
    ----------
    problem : of the larger model; independent or weighted residuals
    G, sigma2 : the smaller model's, in the larger one's terms and the user's units
    entries : all variances and covariances that the larger model has
    """
    system = problem.system
    y2 = system.fixed_scale.y_scale**2
    units = term_units(system)
    sizes: list[Float] = [
        np.sqrt(np.diag(T @ guess @ T.T) * sigma2 / y2)
        for T, guess in zip(units, term_scales(system), strict=True)
    ]
    inside: list[Float] = [
        part / y2 + INSIDE * np.diag(size**2) for part, size in zip(G, sizes, strict=True)
    ]
    directions = [_direction(one, sizes[one.term]) for one in entries]
    h = 0.5 * INSIDE

    def traces(moved: Sequence[Float], variance: float) -> Float:
        at = _evaluated(problem, units, moved, variance)
        own = _traces(at, units, entries, directions)
        own[-1] *= sigma2 / y2 / variance
        return own

    out = np.zeros((len(entries) + 1, len(entries) + 1))
    for i, (one, E) in enumerate(zip(entries, directions, strict=True)):
        both: list[list[Float]] = [
            [part + s * h * E if j == one.term else part for j, part in enumerate(inside)]
            for s in (1.0, -1.0)
        ]
        up, down = (traces(moved, sigma2 / y2) for moved in both)
        out[i] = -0.5 * (up - down) / (2.0 * h)
    up, down = (traces(inside, sigma2 / y2 * (1.0 + s * INSIDE)) for s in (1.0, -1.0))
    out[-1] = -0.5 * (up - down) / (2.0 * INSIDE)
    covariance = np.linalg.inv(0.5 * (out + out.T))
    return np.asarray(covariance[:-1, :-1])


def _direction(entry: Entry, size: Float) -> Float:
    out = np.zeros((len(size), len(size)))
    out[entry.a, entry.b] = out[entry.b, entry.a] = size[entry.a] * size[entry.b]
    return out


def _evaluated(
    problem: Problem, units: Sequence[Float], G: Sequence[Float], variance: float
) -> Evaluation:
    structures = term_structures(problem.system)
    theta = []
    for structure, T, part in zip(structures, units, G, strict=True):
        back = np.linalg.inv(T)
        theta.append(structure.start(back @ part @ back.T))
    found = problem.evaluate_at(VarianceParameters(tuple(theta), float(np.log(variance))))
    assert isinstance(found, Evaluation)  # noqa: S101 - by arrays, not by passes
    return found


def _traces(
    at: Evaluation,
    units: Sequence[Float],
    entries: Sequence[Entry],
    directions: Sequence[Float],
) -> Float:
    """Return tr(P V_i) of every entry, and tr(P R), R the residuals' covariance there, last."""
    found = moments(at.solution, reml=True)
    slopes: dict[int, Float] = {}
    for f, factor in enumerate(at.system.factors):
        inner = 0.5 * (found.T[f] + found.T[f].T)
        for term, where in zip(factor.terms, factor.slices, strict=True):
            F = at.factors[f][where, where]
            half = solve_lower(F, inner[where, where], transposed=True)
            D = solve_lower(F, half.T, transposed=True).T
            back = np.linalg.inv(units[term])
            slopes[term] = back.T @ D @ back
    own = [float(np.sum(E * slopes[one.term])) for one, E in zip(entries, directions, strict=True)]
    return np.array([*own, at.system.n_obs - found.residual_trace])
