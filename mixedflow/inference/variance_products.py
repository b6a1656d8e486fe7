"""Products of Z'V^-1Z and Z'V^-1X that Kenward and Roger's covariance takes, level by level or dense.

Stands at "Kenward and Roger" in ``docs/algorithm.md``. dV/dx_i = Z_f (I x E_i) Z_f'. With one factor
they are sums over its levels, wherever these are; with several Z'V^-1Z is laid out in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixedflow.crossproducts.levels import LevelArrays, LevelStore, LocalLevels, Span
from mixedflow.design.types import Float, Int
from mixedflow.equations.system import FactorSystem, ModelSystem, PooledFactor
from mixedflow.errors import UnsupportedError
from mixedflow.estimation.evaluation import AnyEvaluation

DENSE_LIMIT = 4_000
"""Random effects of several factors up to which Z'V^-1Z is laid out in full."""


@dataclass(frozen=True, slots=True)
class Direction:
    """dV/dx = Z_f (I x E) Z_f' of factor f, of a term."""

    factor: int
    E: Float
    term: int = 0


@dataclass(frozen=True, slots=True)
class VarianceProducts:
    """Products of A = Z'V^-1Z and B = Z'V^-1X for r directions.

    Attributes
    ----------
    squared : (q_f, q_f, p, p) a factor, sum_l B_l[a] B_l[b]'
    Q : (r, r, p, p), X'V^-1 D_i V^-1 D_j V^-1 X
    traces : (r, r), tr(V^-1 D_i V^-1 D_j)
    own : (r,), tr(V^-1 D_i)
    """

    squared: tuple[Float, ...]
    Q: Float
    traces: Float
    own: Float

    def within(self, factor: int, E: Float) -> Float:
        """Return X'V^-1 Z (I x E) Z'V^-1 X, (p, p)."""
        out: Float = np.tensordot(E, self.squared[factor], axes=2)
        return out


def variance_products(
    evaluation: AnyEvaluation, directions: Sequence[Direction], levels: LevelStore | None
) -> VarianceProducts:
    """Return the products.

    Parameters
    ----------
    evaluation : of independent or weighted residuals
    directions : as many as V has beside its scale
    levels : one factor's, where they are elsewhere

    Raises
    ------
    UnsupportedError
        where several factors have too many random effects.
    """
    system = evaluation.system
    if not system.factors:
        p = system.p
        return VarianceProducts((), np.zeros((0, 0, p, p)), np.zeros((0, 0)), np.zeros(0))
    if len(system.factors) == 1:
        return _of_levels(evaluation, directions, levels)
    return _of_matrices(directions, _dense(system, evaluation.factors, evaluation.precision))


@dataclass(frozen=True, slots=True)
class LevelProducts:
    """A pass over levels: A = K - K H K with H = F (I + F'KF)^-1 F', K = Z'R^-1Z, and B.

    Attributes
    ----------
    basis : (Q, q) columns of the equations in those of the sums
    F : (q, q); precision : 1 / sigma2
    E : (r, q, q)
    """

    basis: Float
    F: Float
    precision: float
    E: Float

    def __call__(self, sums: LevelArrays, span: Span) -> tuple[Float, ...]:
        """Return sums over levels: B[a] B[b]', Q, A (x) A and A."""
        ZZ, ZX, _ = (part[slice(*span)] for part in sums)
        F, p = self.F, ZX.shape[2]
        K = self.precision * (self.basis.T @ ZZ @ self.basis)
        Kx = self.precision * (self.basis.T @ ZX)
        H = F @ np.linalg.solve(np.eye(len(F)) + F.T @ K @ F, np.broadcast_to(F.T, K.shape))
        KH = K @ H
        A, B = K - KH @ K, Kx - KH @ Kx
        A = 0.5 * (A + A.transpose(0, 2, 1))
        q, r = len(F), len(self.E)
        flat = np.ascontiguousarray(B.reshape(len(B), q * p))
        squared = (flat.T @ flat).reshape(q, p, q, p).transpose(0, 2, 1, 3)
        moved = [E @ B for E in self.E]
        Q = np.zeros((r, r, p, p))
        for i in range(r):
            AY = (A @ moved[i]).reshape(-1, p)
            for j in range(i, r):
                Q[j, i] = moved[j].reshape(-1, p).T @ AY
                Q[i, j] = Q[j, i].T
        wide = A.reshape(len(A), -1)
        return squared, Q, (wide.T @ wide).reshape(q, q, q, q), A.sum(axis=0)


def _of_levels(
    evaluation: AnyEvaluation, directions: Sequence[Direction], levels: LevelStore | None
) -> VarianceProducts:
    (factor,) = evaluation.system.factors
    E = np.array([one.E for one in directions]).reshape(-1, factor.dim, factor.dim)
    task = LevelProducts(factor.basis, evaluation.factors[0], evaluation.precision, E)
    if levels is None:
        assert not isinstance(factor, PooledFactor)  # noqa: S101 - its problem has the store
        levels = LocalLevels((factor.ZtBZ, factor.ZtBX, factor.ZtBy))
    squared, Q, tensor, A = levels.total(task)
    traces = np.einsum("ida,abdc,jbc->ij", E, tensor, E, optimize=True)
    return VarianceProducts((squared,), Q, traces, np.einsum("iab,ab->i", E, A))


@dataclass(frozen=True, slots=True)
class DenseProducts:
    """A, a pair of factors (L_f, q_f, L_g, q_g), and B, (L_f, q_f, p) a factor."""

    A: dict[tuple[int, int], Float]
    B: tuple[Float, ...]

    def squares(self, f: int, g: int) -> Float:
        """Return sum over levels of A_lm[a, b] A_lm[d, c], (q_f, q_g, q_f, q_g)."""
        A = self.A[f, g]
        A = A.transpose(0, 2, 1, 3).reshape(-1, A.shape[1], A.shape[3])
        flat = A.reshape(len(A), -1)
        out: Float = (flat.T @ flat).reshape(*A.shape[1:], *A.shape[1:])
        return out


def _of_matrices(directions: Sequence[Direction], found: DenseProducts) -> VarianceProducts:
    r, p = len(directions), found.B[0].shape[-1] if found.B else 0
    Q, traces = np.zeros((r, r, p, p)), np.zeros((r, r))
    moved = [(one.E @ found.B[one.factor]).reshape(-1, p) for one in directions]
    used = sorted({one.factor for one in directions})
    squares = {(f, g): found.squares(f, g) for f in used for g in used}
    for i, one in enumerate(directions):
        for f in used:
            A = found.A[f, one.factor]
            AY = A.reshape(A.shape[0] * A.shape[1], -1) @ moved[i]
            for j, other in enumerate(directions):
                if other.factor == f:
                    Q[j, i] = moved[j].T @ AY
        for j, other in enumerate(directions):
            square = squares[one.factor, other.factor]
            traces[i, j] = np.einsum("da,abdc,bc->", one.E, square, other.E, optimize=True)
    own = [
        np.sum(one.E * np.einsum("lalb->ab", found.A[one.factor, one.factor])) for one in directions
    ]
    squared = tuple(np.einsum("lap,lbq->abpq", B, B, optimize=True) for B in found.B)
    return VarianceProducts(squared, Q, traces, np.array(own))


def _dense(system: ModelSystem, F: Sequence[Float], precision: float) -> DenseProducts:
    """Return A and B of several factors by matrices over all random effects."""
    at = _places(system)
    counts = [factor.n_levels for factor in system.factors]
    K, Kx = (precision * part for part in random_part(system))
    KF = times_factors(K, F, counts)
    M = times_factors(KF.T, F, counts)
    M[np.diag_indices(len(M))] += 1.0
    FKx = times_factors(Kx.T, F, counts).T
    solved = np.linalg.solve(M, np.column_stack([KF.T, FKx]))
    A, B = K - KF @ solved[:, : len(K)], Kx - KF @ solved[:, len(K) :]
    shapes = [(factor.n_levels, factor.dim) for factor in system.factors]
    pairs = [(f, g) for f in range(len(at)) for g in range(len(at))]
    return DenseProducts(
        {(f, g): A[at[f], at[g]].reshape(*shapes[f], *shapes[g]) for f, g in pairs},
        tuple(B[at[f]].reshape(*shapes[f], -1) for f in range(len(at))),
    )


def times_factors(matrix: Float, F: Sequence[Float], counts: Sequence[int]) -> Float:
    """Return the matrix, (m, N), times the block-diagonal matrix of F over all levels."""
    stops = np.cumsum([count * len(own) for own, count in zip(F, counts, strict=True)])
    parts = [
        (part.reshape(len(matrix), -1, len(own)) @ own).reshape(len(matrix), -1)
        for own, part in zip(F, np.split(matrix, stops[:-1], axis=1), strict=True)
    ]
    return np.concatenate(parts, axis=1)


def _places(system: ModelSystem) -> list[slice]:
    """Return where the factors' effects stand among all."""
    sizes = [factor.n_levels * factor.dim for factor in system.factors]
    if sum(sizes) > DENSE_LIMIT:
        raise UnsupportedError(
            f"ddf='kenward-roger' with several grouping factors is for up to {DENSE_LIMIT:,} random "
            f"effects, here are {sum(sizes):,}; offered is ddf='satterthwaite'"
        )
    stops = np.cumsum(sizes)
    return [slice(int(b) - a, int(b)) for a, b in zip(sizes, stops, strict=True)]


def random_part(system: ModelSystem) -> tuple[Float, Float]:
    """Return Z'BZ and Z'BX of several factors in the columns of the equations.

    Raises
    ------
    UnsupportedError
        where the random effects are too many.
    """
    at = _places(system)
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
