"""Kenward and Roger's covariance where residuals have a structure, R = sigma2 R0(psi), from keyed sums.

Stands at "Kenward and Roger" in ``docs/algorithm.md``. W is the covariance of the variance parameters
by their observed information, as SAS and mmrm have it; with W = L L' ::

    sum_ij W_ij Q_ij = sum_k X'V^-1 D_k V^-1 D_k V^-1 X,   D_k = dV along the k-th column of L

so that one product a column is enough. With X~ = X - Z C Z'R^-1X, C = (Z'R^-1Z + G^-1)^-1, B = Z'V^-1X,
dV = Z E Z' + D and M = R^-1 D R^-1, which is in the basis of R^-1 ::

    X'V^-1 dV V^-1X       = B'E B + X~'M X~
    X'V^-1 dV V^-1 dV V^-1X = X~'[R^-1 D R^-1 D R^-1]X~ + B'E K E B + B'E H + H'E B - h'C h

K = Z'R^-1Z, H = Z'M X~, h = K E B + H.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mixedflow.covariance.base import CovarianceStructure
from mixedflow.covariance.registry import get_residual
from mixedflow.covariance.residual_second import SecondWeights, second_weights
from mixedflow.design.types import Float
from mixedflow.equations.system import ModelSystem
from mixedflow.errors import FitError, UnsupportedError
from mixedflow.estimation.evaluation import AnyEvaluation
from mixedflow.estimation.observed import observed_information
from mixedflow.estimation.parameters import VarianceParameters, term_structures
from mixedflow.estimation.residual import ResidualProblem
from mixedflow.inference.crossed_products import DENSE_LIMIT
from mixedflow.inference.denominators import VarianceUncertainty
from mixedflow.inference.dense_products import random_part, times_factors
from mixedflow.inference.kenward_roger import (
    AdjustedCovariance,
    check_inside,
    natural_second,
)
from mixedflow.linalg.triangular import symmetric_root

FromRows = Callable[[Float, VarianceParameters, tuple[Float, ...]], Float]
"""Weights of the strata's T, parameters and Z's coefficients in X~ to sum_s w_s X~'T_s X~, (p, p)."""


@dataclass(frozen=True, slots=True)
class _Sums:
    """X'BX, Z'BX and Z'BZ in the columns of the equations: (p, p), (L, q, p), (L, q, q).

    With several factors there is one level that holds all random effects; without any, none.
    """

    XX: Float
    ZX: Float
    ZZ: Float

    def adjusted(self, C: Float) -> tuple[Float, Float]:
        """Return X~'B X~ and Z'B X~ for X~ = X - Z C."""
        ZX = self.ZX - self.ZZ @ C
        cross = _added(C, self.ZX)
        return self.XX - cross - cross.T + _added(C, self.ZZ @ C), ZX


def adjusted_for_structure(
    problem: ResidualProblem,
    params: VarianceParameters,
    *,
    second: bool,
    from_rows: FromRows,
) -> AdjustedCovariance:
    """Return Phi_A, dPhi/dx and W for x = L^-1 times a move of [theta, psi, log sigma2].

    Parameters
    ----------
    problem : the fit's
    params : the REML estimates
    second : whether second derivatives, in the natural coordinates, are taken in
    from_rows : what gives the products that the sums by gap do not hold

    Raises
    ------
    UnsupportedError
        where the structure states no natural coordinates, or several factors have too many effects.
    FitError
        where the observed information is not positive definite.
    """
    _check_room(problem.system)
    A = observed_information(problem, params).covariance
    if not np.all(np.isfinite(A)):
        raise FitError(
            "ddf='kenward-roger' has no answer here: the observed information of the variances is "
            "not positive definite; offered are ddf='residual' and 'asymptotic'"
        )
    work = _Work(problem, problem.evaluate(params), symmetric_root(A), 0.25 if second else 0.0)
    Phi = work.at.S_inverse
    found = [work.products(k) for k in range(len(A))]
    P = np.array([own for own, _ in found])
    inner = sum(Q for _, Q in found) - np.einsum("ipa,ab,ibq->pq", P, Phi, P)
    inner += work.common(from_rows)
    inner = 0.5 * (inner + inner.T)
    scale = problem.system.fixed_scale
    T = scale.y_scale * scale.transform
    slopes = T @ (Phi @ P @ Phi) @ T.T
    return AdjustedCovariance(
        T @ (Phi + 2.0 * Phi @ inner @ Phi) @ T.T, VarianceUncertainty(slopes, np.eye(len(A)))
    )


class _Work:
    """What every direction needs: X~, B and C at the estimates."""

    def __init__(
        self, problem: ResidualProblem, at: AnyEvaluation, moves: Float, share: float
    ) -> None:
        self.problem, self.at, self.moves, self.share = problem, at, moves, share
        self.free = problem.bounds(at.params) == 0
        params, plan = at.params, problem.residual.plan
        self.own = moves[params.psi_places.start :]
        weights = plan.weights(params.psi)
        slopes = np.vstack([-weights.df, weights.f])
        self.inner = at.precision * (self.own.T @ slopes)
        whole = _sums(problem.residual.weighted(at.precision * weights.f))
        self.K = whole.ZZ
        self.C = self._inverse()
        self.coefficients = self.C @ whole.ZX
        self.B = whole.adjusted(self.coefficients)[1]

    def _inverse(self) -> Float:
        """Return C = F (I + F'KF)^-1 F', (L, q, q)."""
        F = self.at.factors
        if len(F) == 1:
            M = np.eye(len(F[0])) + F[0].T @ self.K @ F[0]
            whole: Float = F[0] @ np.linalg.solve(M, np.broadcast_to(F[0].T, self.K.shape))
            return whole
        if not F:
            return np.zeros_like(self.K)
        counts = [factor.n_levels for factor in self.at.system.factors]
        root = times_factors(np.eye(self.K.shape[1]), F, counts)
        M = root.T @ self.K[0] @ root
        M[np.diag_indices(len(M))] += 1.0
        return (root @ np.linalg.solve(M, root.T))[None]

    def products(self, k: int) -> tuple[Float, Float]:
        """Return X'V^-1 dV V^-1X and the part of X'V^-1 dV V^-1 dV V^-1X that is k's alone."""
        XX, H = _sums(self.problem.residual.weighted(self.inner[k])).adjusted(self.coefficients)
        E = self._slopes(k)
        EB = self._times(E, self.B)
        h = self.K @ EB + H
        cross = _added(EB, H)
        Q = _added(EB, self.K @ EB) + cross + cross.T - _added(h, self.C @ h)
        return XX + _added(self.B, EB), Q

    def common(self, from_rows: FromRows) -> Float:
        """Return the part of sum_k X'V^-1 dV V^-1 dV V^-1X - share R that is one product for all k."""
        params, precision = self.at.params, self.at.precision
        plan = self.problem.residual.plan
        if self.share and not get_residual(plan.design.structure).linear:
            inside = bool(self.free[params.psi_places].all())
            check_inside(plan.design.structure, inside=inside)
        found: SecondWeights = second_weights(plan, params.psi, self.own, self.share)
        sums = _sums(self.problem.residual.weighted(precision * found.weights))
        out = sums.adjusted(self.coefficients)[0]
        if np.any(found.beyond):
            out = out + from_rows(precision * found.beyond, params, self._by_factor())
        if self.share:
            out = out - self.share * _added(self.B, self._times(self._second(), self.B))
        return out

    def _slopes(self, k: int) -> list[Float]:
        """Return E of every factor: dG along the k-th move."""
        changes, start = [], 0
        for structure, theta, dim in self._terms():
            own = self.moves[start : start + len(theta), k]
            changes.append(np.tensordot(own, structure.derivatives(theta, dim), axes=1))
            start += len(theta)
        return self._placed(changes)

    def _second(self) -> list[Float]:
        """Return E of every factor: sum W_ij d2G/dx_i dx_j."""
        changes, start = [], 0
        for structure, theta, dim in self._terms():
            own = slice(start, start + len(theta))
            changes.append(natural_second(structure, theta, dim, self.moves[own], self.free[own]))
            start += len(theta)
        return self._placed(changes)

    def _terms(self) -> list[tuple[CovarianceStructure, Float, int]]:
        system = self.at.system
        return list(zip(term_structures(system), self.at.params.theta, system.dims, strict=True))

    def _placed(self, changes: list[Float]) -> list[Float]:
        """Return the terms' matrices at their places in those of the factors."""
        out = []
        for factor in self.at.system.factors:
            E = np.zeros((factor.dim, factor.dim))
            for term, where in zip(factor.terms, factor.slices, strict=True):
                E[where, where] = changes[term]
            out.append(E)
        return out

    def _times(self, E: list[Float], B: Float) -> Float:
        """Return (I x E) B."""
        if len(E) == 1:
            out: Float = E[0] @ B
            return out
        if not E:
            return B
        counts = [factor.n_levels for factor in self.at.system.factors]
        return times_factors(B[0].T, [one.T for one in E], counts).T[None]

    def _by_factor(self) -> tuple[Float, ...]:
        """Return Z's coefficients in X~ by factor, (L_f, q_f, p) each."""
        factors = self.at.system.factors
        if len(factors) < 2:
            return (self.coefficients,)[: len(factors)]
        sizes = [factor.n_levels * factor.dim for factor in factors]
        parts = np.split(self.coefficients[0], np.cumsum(sizes)[:-1])
        return tuple(
            part.reshape(factor.n_levels, factor.dim, -1)
            for part, factor in zip(parts, factors, strict=True)
        )


def _check_room(system: ModelSystem) -> None:
    effects = sum(factor.n_levels * factor.dim for factor in system.factors)
    if len(system.factors) > 1 and effects > DENSE_LIMIT:
        raise UnsupportedError(
            f"ddf='kenward-roger' with several grouping factors and a residual structure is for up to "
            f"{DENSE_LIMIT:,} random effects, here are {effects:,}; offered is ddf='satterthwaite'"
        )


def _sums(system: ModelSystem) -> _Sums:
    """Return the sums of a system in the columns of the equations."""
    if not system.factors:
        return _Sums(system.XtBX, np.zeros((0, 0, system.p)), np.zeros((0, 0, 0)))
    if len(system.factors) == 1:
        (factor,) = system.factors
        basis = factor.basis
        return _Sums(system.XtBX, basis.T @ factor.ZtBX, basis.T @ factor.ZtBZ @ basis)
    ZZ, ZX = random_part(system)
    return _Sums(system.XtBX, ZX[None], ZZ[None])


def _added(left: Float, right: Float) -> Float:
    """Return sum over levels of left' right."""
    p = left.shape[-1]
    out: Float = left.reshape(-1, p).T @ right.reshape(-1, p)
    return out
