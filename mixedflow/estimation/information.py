"""Score and information of the variance parameters from the sums alone.

Stands at "Score and average information" in ``docs/algorithm.md`` (DESIGN 3.4). The score of G is
D = 1/2 F^-T (sum b b' - T) F^-1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedflow.design.types import Float
from mixedflow.estimation.average import average_information
from mixedflow.estimation.evaluation import AnyEvaluation, AnyMoments
from mixedflow.estimation.parameters import term_structures
from mixedflow.linalg.triangular import solve_lower

__all__ = ["Information", "average_information", "information", "score"]


@dataclass(frozen=True, slots=True)
class Information:
    """Derivatives of the log-likelihood in the order of ``VarianceParameters.vector``.

    Attributes
    ----------
    score : (r,), dl/dtheta
    average : (r, r), average information
    hessian : (r, r), average information less the curvature of G(theta); at an optimum on the
        boundary the curvature is what keeps it definite
    """

    score: Float
    average: Float
    hessian: Float


def information(evaluation: AnyEvaluation, found: AnyMoments) -> Information:
    """Return score, average information and the Newton matrix at an evaluation."""
    system, params = evaluation.system, evaluation.params
    slopes = _matrix_scores(evaluation, found)
    curvature = [
        np.einsum("ikab,ab->ik", structure.second_derivatives(theta, len(slope)), slope)
        for structure, theta, slope in zip(
            term_structures(system), params.theta, slopes, strict=True
        )
    ]
    of_theta = score(evaluation, found)
    average = evaluation.average(found)
    return Information(
        score=of_theta,
        average=average,
        hessian=average - block_diagonal([*curvature, of_theta[-1:, None]]),
    )


def score(evaluation: AnyEvaluation, found: AnyMoments) -> Float:
    """Return dl/dtheta: tr(D_j dG_j) of every theta, then -1/2 (n - E[e'R^-1e]) for phi."""
    system, params = evaluation.system, evaluation.params
    parts = [
        np.einsum("iab,ab->i", structure.derivatives(theta, len(slope)), slope)
        for structure, theta, slope in zip(
            term_structures(system), params.theta, _matrix_scores(evaluation, found), strict=True
        )
    ]
    of_phi = -0.5 * (system.n_obs - found.residual - found.residual_trace)
    return np.concatenate([*parts, [of_phi]])


def _matrix_scores(evaluation: AnyEvaluation, found: AnyMoments) -> list[Float]:
    """Return D_j = dl/dG_j, (q_j, q_j), of every term."""
    system = evaluation.system
    out: list[Float] = [np.empty((0, 0))] * len(system.terms)
    for f, factor in enumerate(system.factors):
        inner = 0.5 * (found.bb[f] - 0.5 * (found.T[f] + found.T[f].T))
        for term, where in zip(factor.terms, factor.slices, strict=True):
            F = evaluation.factors[f][where, where]
            half = solve_lower(F, inner[where, where], transposed=True)
            out[term] = solve_lower(F, half.T, transposed=True).T
    return out


def block_diagonal(parts: list[Float]) -> Float:
    """Return the parts, of any shapes, down the diagonal of a matrix."""
    rows, cols = (sum(part.shape[axis] for part in parts) for axis in (0, 1))
    out = np.zeros((rows, cols))
    row = col = 0
    for part in parts:
        out[row : row + part.shape[0], col : col + part.shape[1]] = part
        row, col = row + part.shape[0], col + part.shape[1]
    return out
