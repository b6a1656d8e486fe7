"""Products of Z'V^-1Z and Z'V^-1X that Kenward and Roger's covariance takes, level by level.

Stands at "Kenward and Roger" in ``docs/algorithm.md``. dV/dx_i = Z_f (I x E_i) Z_f'. With one factor
they are sums over its levels, wherever these are; see :mod:`.crossed_products` for several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixedflow.crossproducts.levels import LevelArrays, LevelStore, LocalLevels, Span
from mixedflow.design.types import Float
from mixedflow.equations.system import PooledFactor
from mixedflow.estimation.evaluation import AnyEvaluation


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


def level_products(
    evaluation: AnyEvaluation, directions: Sequence[Direction], levels: LevelStore | None
) -> VarianceProducts:
    """Return the products of a model with one factor or none.

    Parameters
    ----------
    evaluation : of independent or weighted residuals
    directions : as many as V has beside its scale
    levels : the factor's, where they are elsewhere
    """
    p = evaluation.system.p
    if not evaluation.system.factors:
        return VarianceProducts((), np.zeros((0, 0, p, p)), np.zeros((0, 0)), np.zeros(0))
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
        return squared, Q, block_squares(A, A), A.sum(axis=0)


def block_squares(left: Float, right: Float) -> Float:
    """Return sum_l left_l[a, b] right_l[d, c], (q, s, q, s), for parts (L, q, s)."""
    out: Float = left.reshape(len(left), -1).T @ right.reshape(len(right), -1)
    return out.reshape(*left.shape[1:], *right.shape[1:])
