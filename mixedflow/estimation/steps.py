"""One step of each method: EM, PX-EM, and Newton with the average information.

Stands at "Steps" in ``docs/algorithm.md`` (DESIGN 3.4). EM: G_j <- F_j S_j F_j' / L_j through the
structure's M-step, sigma2 <- E[e'Be] / n. PX-EM (Liu, Rubin and Wu 1998; Foulley and van Dyk 2000)
also regresses y on the expected working columns F alpha b and folds alpha into G.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixedflow.design.types import Float
from mixedflow.equations.system import ModelSystem
from mixedflow.estimation.evaluation import AnyEvaluation, AnyMoments, FreeEntry
from mixedflow.estimation.information import Information, block_diagonal
from mixedflow.estimation.parameters import (
    VarianceParameters,
    check_residual_variance,
    pivot_floors,
    term_structures,
)

EIGEN_FLOOR = 1e-9
"""Smallest scaled eigenvalue of the Newton matrix that a step divides by."""


def em_step(evaluation: AnyEvaluation, found: AnyMoments) -> VarianceParameters:
    """Return G_j <- argmax -1/2 [L log|G| + tr(G^-1 F S F')], sigma2 <- E[e'Be] / n."""
    return _m_step(evaluation, found, None, found.residual + found.residual_trace)


def px_em_step(evaluation: AnyEvaluation, found: AnyMoments) -> VarianceParameters:
    """Return the EM step with u = F alpha b, alpha from the regression of y on E[columns].

    Residuals of the expanded model: E|y - X beta|^2 - 2 alpha'h + alpha'H alpha.
    """
    system, beta = evaluation.system, evaluation.beta
    index, free, held = _working_entries(evaluation)
    H, h = evaluation.expanded(found, index)
    alpha = held + free @ _solve_semidefinite(free.T @ H @ free, free.T @ (h - H @ held))
    fixed = system.ytBy - 2.0 * system.XtBy @ beta + beta @ system.XtBX @ beta
    if found.reml:
        fixed += float(np.sum(system.XtBX * evaluation.S_inverse))
    residual = float(evaluation.precision * fixed - 2.0 * alpha @ h + alpha @ H @ alpha)
    return _m_step(evaluation, found, _working_matrices(system, index, alpha), residual)


def _m_step(
    evaluation: AnyEvaluation, found: AnyMoments, alpha: list[Float] | None, residual: float
) -> VarianceParameters:
    system = evaluation.system
    second = found.second_moments()
    structures = term_structures(system)
    theta: list[Float] = [np.empty(0)] * len(system.terms)
    for f, factor in enumerate(system.factors):
        for term, where in zip(factor.terms, factor.slices, strict=True):
            F = evaluation.factors[f][where, where]
            if alpha is not None:
                F = F @ alpha[f][where, where]
            S = F @ second[f][where, where] @ F.T
            theta[term] = structures[term].m_step(S, factor.n_levels, evaluation.params.theta[term])
    sigma2 = residual / (evaluation.precision * system.n_obs)
    check_residual_variance(sigma2, evaluation.params.sigma2)
    return replace(evaluation.params, theta=tuple(theta), phi=float(np.log(sigma2)))


def _working_entries(evaluation: AnyEvaluation) -> tuple[list[FreeEntry], Float, Float]:
    """Return the entries of the working matrices alpha = held + free t: (m,), (m, k) and (m,).

    A term whose structure says how t enters has its own matrices, one that can be rescaled by
    nothing keeps I; the others have every entry of their pattern free.
    """
    system = evaluation.system
    structures = term_structures(system)
    index: list[FreeEntry] = []
    blocks: list[Float] = []
    held: list[Float] = []
    for f, factor in enumerate(system.factors):
        for term, where in zip(factor.terms, factor.slices, strict=True):
            dim = where.stop - where.start
            P = structures[term].working(evaluation.params.theta[term], dim)
            at = np.argwhere(structures[term].expansion(dim) if len(P) else np.eye(dim))
            index += [(f, where.start + int(a), where.start + int(b)) for a, b in at]
            blocks.append(P[:, at[:, 0], at[:, 1]].T)
            held.append(np.full(len(at), 0.0 if len(P) else 1.0))
    return index, block_diagonal(blocks), np.concatenate([*held, np.empty(0)])


def _solve_semidefinite(H: Float, h: Float) -> Float:
    """Return the least-norm alpha of H alpha = h after scaling to a unit diagonal.

    A working column that has vanished (its variance is zero) keeps alpha near 1 by that norm.
    """
    if not len(h):
        return h
    scale = np.sqrt(np.maximum(np.diag(H), 0.0))
    safe = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(H / np.outer(safe, safe))
    usable = values > 1e-12 * values.max(initial=0.0)
    inverse = np.where(usable, 1.0 / np.where(usable, values, 1.0), 0.0)
    alpha: Float = (vectors @ (inverse * (vectors.T @ (h / safe)))) / safe
    return alpha


def _working_matrices(system: ModelSystem, index: list[FreeEntry], alpha: Float) -> list[Float]:
    out = [np.zeros((factor.dim, factor.dim)) for factor in system.factors]
    for (f, a, b), value in zip(index, alpha, strict=True):
        out[f][a, b] = value
    return out


@dataclass(frozen=True, slots=True)
class NewtonStep:
    """A Newton step and what it says of the distance to the optimum.

    Attributes
    ----------
    step : (r,), H^-1 g over the free parameters, zero elsewhere
    decrement : g'H^-1 g, twice the expected gain in log-likelihood
    smallest : smallest eigenvalue of H scaled to a unit diagonal
    scaled_score : largest |g_i| / sqrt(AI_ii)
    free : (r,), False for a variance held at zero because the score points below zero
    """

    step: Float
    decrement: float
    smallest: float
    scaled_score: float
    free: NDArray[np.bool_]


def ai_step(info: Information, bounds: NDArray[np.int8] | NDArray[np.bool_]) -> NewtonStep:
    """Return theta <- theta + H^-1 g, H made positive definite where it is not.

    Negative eigenvalues of the scaled H enter by their size, so the step still goes uphill.

    Parameters
    ----------
    info : score and information
    bounds : (r,), 1 where a parameter stands at its lower bound and -1 at its upper; those that
        the score pushes beyond are held, as the Kuhn-Tucker conditions say; 2 where held anyway
    """
    free = ~((bounds != 0) & (bounds * info.score <= 0) | (bounds == 2))
    H, g = info.hessian[np.ix_(free, free)], info.score[free]
    average = np.diag(info.average)[free]
    diagonal = np.maximum(np.abs(np.diag(H)), average)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(H / np.outer(scale, scale))
    size = np.maximum(np.abs(values), EIGEN_FLOOR)
    step = np.zeros(len(free))
    step[free] = (vectors @ ((vectors.T @ (g / scale)) / size)) / scale
    scaled = np.abs(g) / np.sqrt(np.where(average > 0, average, 1.0))
    return NewtonStep(step, float(info.score @ step), float(values[0]), float(scaled.max()), free)


def lifted(system: ModelSystem, params: VarianceParameters) -> VarianceParameters:
    """Return the parameters with every factor's pivots kept off zero by a relative 1e-7."""
    theta = tuple(
        structure.lifted(part, floor)
        for structure, part, floor in zip(
            term_structures(system),
            params.theta,
            pivot_floors(system, params.sigma2),
            strict=True,
        )
    )
    return replace(params, theta=theta)
