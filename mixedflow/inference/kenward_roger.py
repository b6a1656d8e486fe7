"""Kenward and Roger's covariance of beta-hat, and what their degrees of freedom rest on.

Stands at "Kenward and Roger" in ``docs/algorithm.md``, here for independent or weighted residuals; see
:mod:`.kenward_roger_residual` for others. V's own scale takes the place of sigma2, so that no power of
V^-1 beyond the first is needed: what is of first order does not depend on the coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.base import CovarianceStructure
from mixedflow.covariance.natural import no_coordinates
from mixedflow.crossproducts.levels import LevelStore
from mixedflow.design.types import Float
from mixedflow.equations.system import ModelSystem
from mixedflow.errors import FitError, UnsupportedError
from mixedflow.estimation.evaluation import AnyEvaluation
from mixedflow.estimation.parameters import term_structures
from mixedflow.inference.crossed_products import crossed_products
from mixedflow.inference.denominators import VarianceUncertainty
from mixedflow.inference.variance_products import Direction, VarianceProducts, level_products
from mixedflow.linalg.triangular import symmetric_root

ENTRIES = ("us", "diag", "id")
"""Structures of G whose entries are their parameters."""

IN_SPAN = 1e-8
"""Relative distance of G from what its own directions add up to, above which it has no scale."""


@dataclass(frozen=True, slots=True)
class AdjustedCovariance:
    """Covariance of beta-hat in the user's units.

    Attributes
    ----------
    vcov : (p, p), Phi_A
    uncertainty : dPhi/dx and W, x the coordinates of V
    """

    vcov: Float
    uncertainty: VarianceUncertainty


def adjusted_covariance(
    evaluation: AnyEvaluation,
    free: NDArray[np.bool_],
    *,
    second: bool,
    levels: LevelStore | None = None,
) -> AdjustedCovariance:
    """Return Phi_A = Phi + 2 Phi [sum W_ij (Q_ij - P_i Phi P_j - R_ij / 4)] Phi, with dPhi/dx and W.

    P_i = X'V^-1 D_i V^-1 X, Q_ij = X'V^-1 D_i V^-1 D_j V^-1 X, D_i = dV/dx_i, R_ij = X'V^-1 D_ij V^-1 X;
    W is the inverse of the expected REML information. Kenward and Roger (1997).

    Parameters
    ----------
    evaluation : at the REML estimates; independent or weighted residuals
    free : which parameters are not at a bound, in the order of ``VarianceParameters.vector``
    second : whether R_ij, in the natural coordinates, is taken in
    levels : one factor's, where they are elsewhere

    Raises
    ------
    UnsupportedError
        where a structure states no natural coordinates, or several factors have too many effects.
    """
    system = evaluation.system
    directions = _directions(evaluation, free)
    if len(system.factors) > 1:
        products = crossed_products(evaluation, directions)
    else:
        products = level_products(evaluation, directions, levels)
    Phi, r = evaluation.S_inverse, len(directions)
    P = np.array([products.within(one.factor, one.E) for one in directions])
    P = P.reshape(r, *Phi.shape)
    W = _inverse(_information(system, products, Phi, P))
    PPhiP = np.einsum("ipa,ab,jbq->ijpq", P, Phi, P)
    inner = np.einsum("ij,ijpq->pq", W[:r, :r], products.Q - PPhiP)
    if second:
        inner -= 0.25 * _second_products(evaluation, free, directions, products, W)
    adjusted = Phi + Phi @ (inner + inner.T) @ Phi
    T = system.fixed_scale.y_scale * system.fixed_scale.transform
    slopes = np.concatenate([Phi @ P @ Phi, Phi[None]])
    return AdjustedCovariance(T @ adjusted @ T.T, VarianceUncertainty(T @ slopes @ T.T, W))


def _directions(evaluation: AnyEvaluation, free: NDArray[np.bool_]) -> list[Direction]:
    """Return one direction an entry or free parameter of G, in the columns of the equations."""
    system, out = evaluation.system, []
    for f, factor in enumerate(system.factors):
        for term, where in zip(factor.terms, factor.slices, strict=True):
            size = where.stop - where.start
            back = np.linalg.inv(factor.units[where, where])
            if system.terms[term].structure in ENTRIES:
                entries = _entries(system.terms[term].structure, size)
            else:
                entries = _slopes(evaluation, term, free)
            for entry in entries:
                E = np.zeros((factor.dim, factor.dim))
                E[where, where] = back @ entry @ back.T
                out.append(Direction(f, E, term))
    return out


def _slopes(evaluation: AnyEvaluation, term: int, free: NDArray[np.bool_]) -> list[Float]:
    """Return dG/dtheta_i of the free parameters of a term that is solved in the user's columns."""
    system, theta = evaluation.system, evaluation.params.theta
    structure, dim = term_structures(system)[term], system.dims[term]
    slopes = structure.derivatives(theta[term], dim)[_own_free(evaluation, term, free)]
    _in_span(slopes, structure.matrix(theta[term], dim), system.terms[term].structure)
    return list(slopes)


def _own_free(
    evaluation: AnyEvaluation, term: int, free: NDArray[np.bool_]
) -> NDArray[np.bool_]:  # fmt: skip
    theta = evaluation.params.theta
    start = sum(len(part) for part in theta[:term])
    return free[start : start + len(theta[term])]


def _in_span(slopes: Float, G: Float, structure: str) -> Float:
    """Return c with G = sum c_i slopes_i: where in its own directions a change of V's scale lies."""
    flat = slopes.reshape(len(slopes), G.size).T
    c: Float = np.asarray(np.linalg.lstsq(flat, G.ravel(), rcond=None)[0], dtype=np.float64)
    if np.abs(flat @ c - G.ravel()).max(initial=0.0) > IN_SPAN * np.abs(G).max(initial=0.0):
        raise UnsupportedError(
            f"ddf='kenward-roger' is for G whose scale is estimated, not for '{structure}'; offered is "
            "ddf='satterthwaite', for all structures"
        )
    return c


def _second_products(
    evaluation: AnyEvaluation,
    free: NDArray[np.bool_],
    directions: Sequence[Direction],
    products: VarianceProducts,
    W: Float,
) -> Float:
    """Return sum W_ij R_ij = sum B'[sum W_ij d2G/dx_i dx_j]B, (p, p).

    A change of V's scale moves theta too, by c: the moves of theta are those of its own directions and
    c times that of the scale.
    """
    system, theta = evaluation.system, evaluation.params.theta
    out = np.zeros_like(evaluation.S_inverse)
    for term, structure in enumerate(term_structures(system)):
        if structure.linear:
            continue
        dim, at = system.dims[term], [i for i, d in enumerate(directions) if d.term == term]
        own = _own_free(evaluation, term, free)
        slopes = structure.derivatives(theta[term], dim)[own]
        c = _in_span(slopes, structure.matrix(theta[term], dim), structure.spelled)
        change = np.column_stack([np.eye(len(at)), c])
        moves = np.zeros((len(theta[term]), len(at)))
        moves[own] = symmetric_root(change @ W[np.ix_([*at, -1], [*at, -1])] @ change.T)
        second = natural_second(structure, theta[term], dim, moves, own)
        f = system.terms[term].factor
        where = dict(zip(system.factors[f].terms, system.factors[f].slices, strict=True))[term]
        E = np.zeros((system.factors[f].dim,) * 2)
        E[where, where] = second
        out = out + products.within(f, E)
    return out


def natural_second(
    structure: CovarianceStructure,
    theta: Float,
    dim: int,
    moves: Float,
    free: NDArray[np.bool_],
) -> Float:
    """Return sum W_ij d2G/dx_i dx_j, (q, q); see :mod:`mixedflow.covariance.natural`.

    Raises
    ------
    UnsupportedError
        where the structure states no natural coordinates, or stands where they end.
    """
    if structure.linear:
        return np.zeros((dim, dim))
    check_inside(structure.name, inside=bool(free.all()) and not structure.singular(theta, dim))
    second = structure.natural_second(theta, dim, moves)
    if second is None:
        raise no_coordinates(structure.name)
    return second


def check_inside(structure: str, *, inside: bool) -> None:
    """Raise where parameters stand at a bound: variances and correlations have no slope there."""
    if not inside:
        raise UnsupportedError(
            f"ddf='kenward-roger' takes second derivatives in variances and correlations, and "
            f"'{structure}' stands on its boundary here; offered are ddf='kenward-roger-linear', which "
            "leaves them out, and 'satterthwaite'"
        )


def _entries(structure: str, size: int) -> list[Float]:
    unit = np.eye(size)
    if structure == "id":
        return [unit]
    if structure == "diag":
        return [np.diag(row) for row in unit]
    pairs = [(a, b) for a in range(size) for b in range(a, size)]
    return [
        np.outer(unit[a], unit[b]) + (np.outer(unit[b], unit[a]) if a != b else 0.0)
        for a, b in pairs
    ]


def _information(system: ModelSystem, products: VarianceProducts, Phi: Float, P: Float) -> Float:
    """Return I_ij = 1/2 [tr(V^-1D_iV^-1D_j) - 2 tr(Phi Q_ij) + tr(Phi P_i Phi P_j)].

    The last coordinate is V's scale, D = V: I_iv = 1/2 tr(P_V D_i), I_vv = (n - p) / 2.
    """
    r = len(P)
    PhiP = Phi @ P
    shared = np.einsum("iab,jba->ij", PhiP, PhiP) - 2.0 * np.einsum("ab,ijba->ij", Phi, products.Q)
    out = np.zeros((r + 1, r + 1))
    out[:r, :r] = 0.5 * (products.traces + shared)
    out[:r, r] = out[r, :r] = 0.5 * (products.own - np.trace(PhiP, axis1=1, axis2=2))
    out[r, r] = 0.5 * (system.n_obs - system.p)
    return out


def _inverse(information: Float) -> Float:
    """Return W, the inverse, scaled to a unit diagonal on the way."""
    size = np.sqrt(np.diag(information))
    try:
        unit = information / np.outer(size, size)
        np.linalg.cholesky(unit)
    except np.linalg.LinAlgError:
        raise FitError(
            "ddf='kenward-roger' has no answer here: the expected information of the variances is "
            "not positive definite; offered is ddf='satterthwaite'"
        ) from None
    W: Float = np.linalg.inv(unit) / np.outer(size, size)
    return W
