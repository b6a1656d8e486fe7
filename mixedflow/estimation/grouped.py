"""The likelihood of one grouping factor with many levels, through the compiled passes.

Stands at "One grouping factor" in ``docs/algorithm.md``. The same quantities as :mod:`.likelihood` and
:mod:`.information` give by arrays, had from two passes over the levels that store nothing. A pass is
an object of its own, so that it can be sent to where the levels are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixedflow.covariance.base import CovarianceStructure
from mixedflow.crossproducts.levels import LevelArrays, LevelStore, LocalLevels, Span
from mixedflow.design.types import Float
from mixedflow.equations.engines import NOT_DEFINITE
from mixedflow.equations.mme import factor_matrices, fixed_gram, solve_fixed
from mixedflow.equations.system import ModelSystem
from mixedflow.errors import FitError
from mixedflow.estimation.evaluation import FreeEntry
from mixedflow.estimation.likelihood import minus2_loglik
from mixedflow.estimation.parameters import VarianceParameters, term_factors, term_structures

COMPILE_ABOVE = 20_000
"""Random effects above which the compiled passes pay for their start."""


@dataclass(frozen=True, slots=True)
class GroupedSolution:
    """Solution of the equations, absorbed to the fixed effects.

    Attributes
    ----------
    system : the sums; levels : those of the levels
    factor : F (q, q); loading : A F (Q, q); precision : 1/sigma2
    beta : (p,); S_inverse : (p, p), inverse of X'V^-1X; gram : (p + 1, p + 1), [X y]'V^-1[X y]
    logdet_random, logdet_fixed, ypy : what the likelihood needs
    """

    system: ModelSystem
    levels: LevelStore
    factor: Float
    loading: Float
    precision: float
    beta: Float
    S_inverse: Float
    logdet_random: float
    logdet_fixed: float
    ypy: float

    @property
    def scale(self) -> tuple[Float, float]:
        """Loadings and precision, as the kernels take them."""
        return self.loading, self.precision

    @property
    def b(self) -> tuple[Float, ...]:
        """Scaled effects, (L, q); nothing where the levels are elsewhere."""
        if not isinstance(self.levels, LocalLevels):
            return ()
        from mixedflow.equations.grouped_kernels import level_effects

        b = np.empty((self.levels.n_levels, self.factor.shape[1]))
        level_effects(self.levels.arrays, self.scale, self.beta, b)
        return (b,)


def compiled_pays(system: ModelSystem) -> bool:
    """Say whether the compiled passes are the quicker way."""
    if len(system.factors) != 1:
        return False
    only = system.factors[0]
    return only.n_levels * only.dim > COMPILE_ABOVE


def local_levels(system: ModelSystem, threads: int = 1) -> LocalLevels:
    """Return the levels of a system with one grouping factor, in this process."""
    only = system.factors[0]
    return LocalLevels((only.ZtBZ, only.ZtBX, only.ZtBy), threads)


@dataclass(frozen=True, slots=True)
class Absorption:
    """The pass that takes sum_l E_l'E_l off [X y]'R^-1[X y], E_l = L_l^-1 F'Z'R^-1[X y].

    Attributes
    ----------
    scale : A F and 1/sigma2
    """

    scale: tuple[Float, float]

    def __call__(self, sums: LevelArrays, span: Span) -> tuple[float, Float]:
        """Return sum log|M_l| and the lower triangle of what is taken off, negative."""
        from mixedflow.equations.grouped_kernels import absorb_levels

        width = sums[1].shape[2] + 1
        gram = np.zeros((width, width))
        return absorb_levels(span, *sums, *self.scale, gram), gram


def solve_grouped(
    system: ModelSystem, params: VarianceParameters, levels: LevelStore
) -> GroupedSolution:
    """Return the solution of Henderson's equations for one grouping factor."""
    only = system.factors[0]
    F = factor_matrices(system, term_factors(system, params))[0]
    T, f = np.ascontiguousarray(only.basis @ F), 1.0 / params.sigma2
    logdet, lower = levels.total(Absorption((T, f)))
    gram = lower + np.tril(lower, -1).T + f * fixed_gram(system)
    if not np.isfinite(logdet):
        raise FitError(NOT_DEFINITE)
    fixed = solve_fixed(gram)
    return GroupedSolution(
        system=system,
        levels=levels,
        factor=F,
        loading=T,
        precision=f,
        beta=fixed.beta,
        S_inverse=fixed.S_inverse,
        logdet_random=float(logdet),
        logdet_fixed=fixed.logdet,
        ypy=fixed.ypy,
    )


@dataclass(frozen=True, slots=True)
class VariateSums:
    """What the average information needs of all levels, whatever the derivatives of G.

    Attributes
    ----------
    spread : sum t_a t_b (Z'V^-1Z)_cd, t = Z'R^-1e, (Q, Q, Q, Q)
    cross : sum t_a (t - Z'R^-1Z F M^-1 b)_b, (Q, Q)
    drift : sum (Z'V^-1X)_ac t_b, (p, Q, Q)
    of_phi : sum (M^-1Z'R^-1X)'b and sum b'M^-1 b, (p + 1,)
    """

    spread: Float
    cross: Float
    drift: Float
    of_phi: Float


@dataclass(frozen=True, slots=True)
class GroupedMoments:
    """What an E-step needs; see :class:`mixedflow.equations.moments.Moments`.

    Attributes
    ----------
    reml : which likelihood
    bb, T : one (q, q) matrix
    n_levels : L
    tensor, right : PX-EM's sums (q, q, q, q) and (q, q)
    residual, residual_trace : e'R^-1e and tr(C W'R^-1W)
    variates : for the average information
    """

    reml: bool
    bb: tuple[Float]
    T: tuple[Float]
    n_levels: int
    tensor: Float
    right: Float
    residual: float
    residual_trace: float
    variates: VariateSums

    def second_moments(self) -> tuple[Float]:
        """Return S = sum_l E[b b']."""
        T = self.T[0]
        return (self.bb[0] + self.n_levels * np.eye(T.shape[0]) - 0.5 * (T + T.T),)


@dataclass(frozen=True, slots=True)
class MomentsPass:
    """The pass of an E-step and of the average information.

    Attributes
    ----------
    scale : A F and 1/sigma2
    fixed : beta and (X'V^-1X)^-1, the latter zero for the full likelihood
    """

    scale: tuple[Float, float]
    fixed: tuple[Float, Float]

    def __call__(self, sums: LevelArrays, span: Span) -> tuple[Float, ...]:
        """Return bb, T (q, q), tensor (q, q, q, q), right (q, q), then :class:`VariateSums`."""
        from mixedflow.equations.moments_kernels import lanes_of, level_moments

        (Q, q), p = self.scale[0].shape, sums[1].shape[2]
        shapes: tuple[tuple[int, ...], ...] = (
            (q, q), (q, q), (q, q, q, q), (q, q),
            (Q, Q, Q, Q), (Q, Q), (p, Q, Q), (p + 1,),
        )  # fmt: skip
        lanes = [np.zeros((math.prod(shape), lanes_of(Q))) for shape in shapes]
        level_moments(span, sums, self.scale, self.fixed, tuple(lanes[:4]), tuple(lanes[4:]))
        return tuple(
            found.sum(axis=1).reshape(shape) for found, shape in zip(lanes, shapes, strict=True)
        )


def grouped_moments(solution: GroupedSolution, *, reml: bool) -> GroupedMoments:
    """Return the moments of an E-step by one pass over the levels."""
    S = solution.S_inverse if reml else np.zeros_like(solution.S_inverse)
    task = MomentsPass(solution.scale, (solution.beta, S))
    bb, T, tensor, right, *variates = solution.levels.total(task)
    return GroupedMoments(
        reml=reml,
        bb=(bb,),
        T=(T,),
        n_levels=solution.levels.n_levels,
        tensor=tensor,
        right=right,
        residual=solution.ypy - float(np.trace(bb)),
        residual_trace=float(np.trace(T)) + (solution.system.p if reml else 0),
        variates=VariateSums(*variates),
    )


def grouped_average(
    solution: GroupedSolution, params: VarianceParameters, found: GroupedMoments
) -> Float:
    """Return AI_ij = 1/2 q_i'P q_j, phi last, from the sums of the E-step's pass.

    With q_i = Z K_i t, q_i'V^-1q_j = sum_l t'K_i (Z'V^-1Z) K_j t and X'V^-1q_i = sum_l (X'V^-1Z) K_i t.
    """
    K, sums = _variate_matrices(solution.system, params), found.variates
    r, p = K.shape[0], solution.system.p
    lower = np.tril(np.ones(sums.cross.shape, dtype=bool), -1)[:, :, None, None]
    spread = sums.spread + np.where(lower, sums.spread, 0.0).transpose(1, 0, 2, 3)
    whole, reduced = np.empty((r + 1, r + 1)), np.empty((p, r + 1))
    whole[:r, :r] = np.einsum("iac,jbd,abcd->ij", K, K, spread, optimize=True)
    whole[:r, r] = whole[r, :r] = np.einsum("iab,ab->i", K, sums.cross)
    whole[r, r] = found.residual - sums.of_phi[p]
    reduced[:, :r] = np.einsum("iab,dab->di", K, sums.drift)
    reduced[:, r] = -sums.of_phi[:p]
    average = 0.5 * (whole - reduced.T @ solution.S_inverse @ reduced)
    symmetric: Float = 0.5 * (average + average.T)
    return symmetric


def _variate_matrices(system: ModelSystem, params: VarianceParameters) -> Float:
    """Return K_i = A dG_i A', (r, Q, Q), for every theta in the order of the parameters."""
    only = system.factors[0]
    structures: tuple[CovarianceStructure, ...] = term_structures(system)
    where = dict(zip(only.terms, only.slices, strict=True))
    parts = []
    for j, (structure, theta) in enumerate(zip(structures, params.theta, strict=True)):
        A = only.basis[:, where[j]]
        parts.append(A @ structure.derivatives(theta, system.dims[j]) @ A.T)
    return np.ascontiguousarray(np.concatenate(parts))


@dataclass(frozen=True, slots=True)
class GroupedEvaluation:
    """The likelihood at some variances, by compiled passes over one factor's levels.

    Attributes
    ----------
    params, solution, minus2ll, reml : as in :class:`mixedflow.estimation.likelihood.Evaluation`
    """

    params: VarianceParameters
    solution: GroupedSolution
    minus2ll: float
    reml: bool

    @property
    def system(self) -> ModelSystem:
        """The sums."""
        return self.solution.system

    @property
    def factors(self) -> tuple[Float]:
        """F of the factor."""
        return (self.solution.factor,)

    @property
    def precision(self) -> float:
        """1 / sigma2."""
        return self.solution.precision

    @property
    def beta(self) -> Float:
        """Fixed effects in stored columns."""
        return self.solution.beta

    @property
    def S_inverse(self) -> Float:
        """(X'V^-1X)^-1 in stored columns."""
        return self.solution.S_inverse

    def moments(self) -> GroupedMoments:
        """Return the E-step's moments."""
        return grouped_moments(self.solution, reml=self.reml)

    def average(self, found: GroupedMoments) -> Float:
        """Return the average information."""
        return grouped_average(self.solution, self.params, found)

    def expanded(self, found: GroupedMoments, index: Sequence[FreeEntry]) -> tuple[Float, Float]:
        """Return PX-EM's normal equations."""
        a = np.array([entry[1] for entry in index])
        b = np.array([entry[2] for entry in index])
        H = found.tensor[a[:, None], a[None, :], b[:, None], b[None, :]]
        return H, found.right[a, b]


def evaluate_grouped(
    system: ModelSystem,
    params: VarianceParameters,
    levels: LevelStore | None = None,
    *,
    reml: bool,
) -> GroupedEvaluation:
    """Return -2 log-likelihood at given variances by one compiled pass.

    Parameters
    ----------
    system : of one grouping factor
    params : where
    levels : its levels' sums, where the system does not hold them itself
    reml : which likelihood
    """
    solution = solve_grouped(system, params, local_levels(system) if levels is None else levels)
    value = minus2_loglik(system, solution, params.sigma2, reml=reml)
    return GroupedEvaluation(params, solution, value, reml)
