"""Kenward and Roger's covariance of beta-hat, and what their degrees of freedom rest on.

Stands at "Kenward and Roger" in ``docs/algorithm.md``. V is linear in the entries of every G and in
sigma2. Any other coordinates that are linear in these give the same answer: V's own scale takes the
place of sigma2, so that no power of V^-1 beyond the first is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.equations.system import FactorSystem, ModelSystem, PooledFactor
from mixedflow.errors import FitError, UnsupportedError
from mixedflow.estimation.evaluation import AnyEvaluation
from mixedflow.inference.denominators import VarianceUncertainty

LINEAR = ("us", "diag", "id")
"""Structures of G whose entries are their parameters."""

DENSE_LIMIT = 4_000
"""Random effects of several factors up to which Z'V^-1Z is laid out in full."""


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


@dataclass(frozen=True, slots=True)
class _Direction:
    """dV/dx = Z_f (I x E) Z_f' of factor f."""

    factor: int
    E: Float


@dataclass(frozen=True, slots=True)
class _Products:
    """A = Z'V^-1Z and B = Z'V^-1X.

    Attributes
    ----------
    A : a pair of factors (L_f, q_f, L_g, q_g); (L, q, q) where there is one factor
    B : (L_f, q_f, p) a factor
    """

    A: dict[tuple[int, int], Float]
    B: tuple[Float, ...]

    def times(self, f: int, g: int, Y: Float) -> Float:
        """Return A_fg Y, (L_f, q_f, p)."""
        A = self.A[f, g]
        out: Float = A @ Y if A.ndim == 3 else np.tensordot(A, Y, axes=([2, 3], [0, 1]))
        return out

    def squares(self, f: int, g: int) -> Float:
        """Return sum over levels of A_lm[a, b] A_lm[d, c], (q_f, q_g, q_f, q_g)."""
        A = self.A[f, g]
        if A.ndim == 4:
            A = A.transpose(0, 2, 1, 3).reshape(-1, A.shape[1], A.shape[3])
        flat = A.reshape(len(A), -1)
        out: Float = (flat.T @ flat).reshape(*A.shape[1:], *A.shape[1:])
        return out

    def diagonal(self, f: int) -> Float:
        """Return the sum over levels of A_ll, (q_f, q_f)."""
        A = self.A[f, f]
        out: Float = A.sum(axis=0) if A.ndim == 3 else np.einsum("lalb->ab", A)
        return out


def adjusted_covariance(evaluation: AnyEvaluation) -> AdjustedCovariance:
    """Return Phi_A = Phi + 2 Phi [sum W_ij (Q_ij - P_i Phi P_j)] Phi, with dPhi/dx and W.

    P_i = X'V^-1 D_i V^-1 X, Q_ij = X'V^-1 D_i V^-1 D_j V^-1 X, D_i = dV/dx_i; W is the inverse of the
    expected REML information. Kenward and Roger (1997); their R_ij are zero, for V is linear in x.

    Parameters
    ----------
    evaluation : at the REML estimates; independent or weighted residuals

    Raises
    ------
    UnsupportedError
        where V is not linear in its parameters, or the factors are too many for dense matrices.
    """
    system = evaluation.system
    directions = _directions(system)
    products = _products(evaluation)
    Phi = evaluation.S_inverse
    P, Q = _slope_products(directions, products)
    W = _inverse(_information(system, directions, products, Phi, P, Q))
    r = len(directions)
    inner = np.einsum("ij,ijpq->pq", W[:r, :r], Q - np.einsum("ipa,ab,jbq->ijpq", P, Phi, P))
    adjusted = Phi + Phi @ (inner + inner.T) @ Phi
    T = system.fixed_scale.y_scale * system.fixed_scale.transform
    slopes = np.concatenate([Phi @ P @ Phi, Phi[None]])
    return AdjustedCovariance(T @ adjusted @ T.T, VarianceUncertainty(T @ slopes @ T.T, W))


def _directions(system: ModelSystem) -> list[_Direction]:
    """Return one direction an entry of G, in the columns of the equations."""
    out = []
    for f, factor in enumerate(system.factors):
        for term, where in zip(factor.terms, factor.slices, strict=True):
            size = where.stop - where.start
            back = np.linalg.inv(factor.units[where, where])
            for entry in _entries(system.terms[term].structure, size):
                E = np.zeros((factor.dim, factor.dim))
                E[where, where] = back @ entry @ back.T
                out.append(_Direction(f, E))
    return out


def _entries(structure: str, size: int) -> list[Float]:
    if structure not in LINEAR:
        raise UnsupportedError(
            f"ddf='kenward-roger' is for G whose entries are its parameters (us, diag, id), not for "
            f"'{structure}'; offered is ddf='satterthwaite', for all structures"
        )
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


def _products(evaluation: AnyEvaluation) -> _Products:
    system = evaluation.system
    if any(isinstance(factor, PooledFactor) for factor in system.factors):
        raise UnsupportedError(
            "ddf='kenward-roger' needs the sums of the groups in one place, which a sharded fit does "
            "not have; offered is ddf='satterthwaite'"
        )
    if len(system.factors) == 1:
        return _by_level(system.factors[0], evaluation.factors[0], evaluation.precision)
    return _dense(system, evaluation.factors, evaluation.precision)


def _by_level(factor: FactorSystem, F: Float, precision: float) -> _Products:
    """Return A and B level by level: K - K H K with H = F (I + F'KF)^-1 F', K = Z'R^-1Z."""
    K = precision * (factor.basis.T @ factor.ZtBZ @ factor.basis)
    Kx = precision * (factor.basis.T @ factor.ZtBX)
    H = F @ np.linalg.solve(np.eye(len(F)) + F.T @ K @ F, np.broadcast_to(F.T, K.shape))
    KH = K @ H
    A = K - KH @ K
    return _Products({(0, 0): 0.5 * (A + A.transpose(0, 2, 1))}, (Kx - KH @ Kx,))


def _dense(system: ModelSystem, F: Sequence[Float], precision: float) -> _Products:
    """Return A and B of several factors by matrices over all random effects."""
    sizes = [factor.n_levels * factor.dim for factor in system.factors]
    if sum(sizes) > DENSE_LIMIT:
        raise UnsupportedError(
            f"ddf='kenward-roger' with several grouping factors is for up to {DENSE_LIMIT:,} random "
            f"effects, here are {sum(sizes):,}; offered is ddf='satterthwaite'"
        )
    stops = np.cumsum(sizes)
    at = [slice(int(b) - a, int(b)) for a, b in zip(sizes, stops, strict=True)]
    K, Kx = (precision * part for part in _whole(system, at))
    KF = _times_factors(K, F, at)
    M = _times_factors(KF.T, F, at)
    M[np.diag_indices(len(M))] += 1.0
    FKx = _times_factors(Kx.T, F, at).T
    solved = np.linalg.solve(M, np.column_stack([KF.T, FKx]))
    A, B = K - KF @ solved[:, : len(K)], Kx - KF @ solved[:, len(K) :]
    shapes = [(factor.n_levels, factor.dim) for factor in system.factors]
    pairs = [(f, g) for f in range(len(at)) for g in range(len(at))]
    return _Products(
        {(f, g): A[at[f], at[g]].reshape(*shapes[f], *shapes[g]) for f, g in pairs},
        tuple(B[at[f]].reshape(*shapes[f], -1) for f in range(len(at))),
    )


def _times_factors(matrix: Float, F: Sequence[Float], at: Sequence[slice]) -> Float:
    """Return the matrix, (m, N), times the block-diagonal matrix of F over all levels."""
    parts = [
        (matrix[:, where].reshape(len(matrix), -1, len(own)) @ own).reshape(len(matrix), -1)
        for own, where in zip(F, at, strict=True)
    ]
    return np.concatenate(parts, axis=1)


def _whole(system: ModelSystem, at: Sequence[slice]) -> tuple[Float, Float]:
    """Return Z'BZ and Z'BX in the columns of the equations."""
    K = np.zeros((at[-1].stop, at[-1].stop))
    Kx = np.zeros((len(K), system.p))
    for f, factor in enumerate(system.factors):
        levels = np.arange(factor.n_levels)
        own = factor.basis.T @ factor.ZtBZ @ factor.basis
        K[at[f], at[f]] = _spread(levels, levels, own, (factor, factor))
        Kx[at[f]] = (factor.basis.T @ factor.ZtBX).reshape(-1, system.p)
    for (f, g), pair in system.pairs.items():
        both = system.factors[f], system.factors[g]
        values = both[0].basis.T @ pair.ZtBZ @ both[1].basis
        K[at[f], at[g]] = _spread(pair.rows, pair.cols, values, both)
        K[at[g], at[f]] = K[at[f], at[g]].T
    return K, Kx


def _spread(
    rows: Int, cols: Int, values: Float, factors: tuple[FactorSystem, FactorSystem]
) -> Float:
    """Return a dense matrix from its small parts at (row, col)."""
    first, second = factors
    out = np.zeros((first.n_levels, first.dim, second.n_levels, second.dim))
    out[rows, :, cols, :] = values
    return out.reshape(first.n_levels * first.dim, -1)


def _slope_products(directions: Sequence[_Direction], products: _Products) -> tuple[Float, Float]:
    """Return P_i = sum B'E_iB, (r, p, p), and Q_ij = (E_iB)'A(E_jB), (r, r, p, p)."""
    r, p = len(directions), products.B[0].shape[-1] if products.B else 0
    P, Q = np.zeros((r, p, p)), np.zeros((r, r, p, p))
    moved = [one.E @ products.B[one.factor] for one in directions]
    for i, (one, Y) in enumerate(zip(directions, moved, strict=True)):
        P[i] = products.B[one.factor].reshape(-1, p).T @ Y.reshape(-1, p)
        for f in {other.factor for other in directions}:
            AY = products.times(f, one.factor, Y).reshape(-1, p)
            for j, other in enumerate(directions):
                if other.factor == f:
                    Q[j, i] = moved[j].reshape(-1, p).T @ AY
    return P, Q


def _information(
    system: ModelSystem,
    directions: Sequence[_Direction],
    products: _Products,
    Phi: Float,
    P: Float,
    Q: Float,
) -> Float:
    """Return I_ij = 1/2 [tr(V^-1D_iV^-1D_j) - 2 tr(Phi Q_ij) + tr(Phi P_i Phi P_j)].

    The last coordinate is V's scale, D = V: I_iv = 1/2 tr(P_V D_i), I_vv = (n - p) / 2.
    """
    r = len(directions)
    out = np.zeros((r + 1, r + 1))
    PhiP = Phi @ P
    shared = np.einsum("iab,jba->ij", PhiP, PhiP) - 2.0 * np.einsum("ab,ijba->ij", Phi, Q)
    squares = {
        (f, g): products.squares(f, g)
        for f in {one.factor for one in directions}
        for g in {one.factor for one in directions}
    }
    for i, one in enumerate(directions):
        for j, other in enumerate(directions):
            square = squares[one.factor, other.factor]
            trace = np.einsum("da,abdc,bc->", one.E, square, other.E, optimize=True)
            out[i, j] = 0.5 * (trace + shared[i, j])
        own = np.sum(one.E * products.diagonal(one.factor))
        out[i, r] = out[r, i] = 0.5 * (own - np.trace(PhiP[i]))
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
