"""The convergence certificate: what speaks for the fit, in figures that can be checked.

Stands at "Certificate" in ``docs/algorithm.md`` (DESIGN 3.4): scaled score, decrement,
definiteness of the information, a verdict per term on the boundary, monotonicity of the EM part,
and -2 log-likelihood once more by LU factors instead of Cholesky factors and without elimination.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from mixedflow.crossproducts.levels import LevelArrays, Span
from mixedflow.design.types import Float
from mixedflow.equations.engines import Engine, dense_matrix, split_matrix, stack
from mixedflow.equations.expand import by_levels, expanded, expanded_diagonal
from mixedflow.equations.mme import MixedModelEquations, fixed_gram
from mixedflow.estimation.driver import FitState, TraceRow
from mixedflow.estimation.grouped import GroupedEvaluation, GroupedSolution
from mixedflow.estimation.likelihood import Evaluation
from mixedflow.linalg.compressed import symmetric_product
from mixedflow.linalg.late import lapack, sparse

if TYPE_CHECKING:
    from scipy.sparse import csc_array

DENSE_LIMIT = 1_500
"""Order of the whole system up to which LU of all of it is the second path."""

REST_LIMIT = 3_000
"""Order of what is left after eliminating one factor up to which that is the second path."""

SPARSE_FLOPS = 5e8
"""Predicted operations of the sparse factorisation up to which sparse LU is the second path."""

Row = tuple[str, str, str]

SettledEvaluation = Evaluation | GroupedEvaluation


@dataclass(frozen=True, slots=True)
class Certificate:
    """Evidence on convergence.

    Attributes
    ----------
    converged : the driver's verdict
    scaled_score : largest |dl/dtheta_i| / sqrt(information_ii), variances held at zero left out
    decrement : g'H^-1g at the end
    rel_change : size of the last Newton step relative to the parameters
    smallest_eigenvalue : of the Newton matrix scaled to a unit diagonal; positive at a maximum
    boundary : for every term its label and whether G is singular
    em_monotone : whether no EM step lowered the likelihood
    minus2ll : -2 log-likelihood as fitted
    minus2ll_check : the same by another path, or NaN if the system is too large for it
    check_path : which path
    condition_fixed : condition number of X'V^-1X scaled to a unit diagonal
    condition_information : condition number of the information, so scaled
    limits : residual parameters at the limit of double precision, and what that means
    """

    converged: bool
    scaled_score: float
    decrement: float
    rel_change: float
    smallest_eigenvalue: float
    boundary: tuple[tuple[str, bool], ...]
    em_monotone: bool
    minus2ll: float
    minus2ll_check: float
    check_path: str
    condition_fixed: float
    condition_information: float
    limits: tuple[tuple[str, str], ...] = ()

    def as_rows(self) -> list[Row]:
        """Return (what, figure, verdict) with the verdict ``ok``, ``note`` or ``warning``."""
        gap = abs(self.minus2ll - self.minus2ll_check)
        agrees = bool(gap <= 1e-9 * max(1.0, abs(self.minus2ll)))
        rows = [
            ("converged", "yes" if self.converged else "no", _verdict(self.converged)),
            ("scaled score", f"{self.scaled_score:.2e}", _verdict(self.scaled_score < 1e-3)),
            ("decrement g'H^-1 g", f"{self.decrement:.2e}", _verdict(self.decrement < 1e-6)),
            ("relative Newton step", f"{self.rel_change:.2e}", _verdict(self.rel_change < 1e-4)),
            (
                "smallest eigenvalue of the information",
                f"{self.smallest_eigenvalue:.2e}",
                "ok" if self.smallest_eigenvalue > 1e-8 else "note",
            ),
            *(
                (
                    f"boundary: {label}",
                    "G is singular" if on else "interior",
                    "note" if on else "ok",
                )
                for label, on in self.boundary
            ),
            *((f"limit: {name}", meaning, "note") for name, meaning in self.limits),
            ("EM steps monotone", "yes" if self.em_monotone else "no", _verdict(self.em_monotone)),
        ]
        if np.isnan(self.minus2ll_check):
            return [*rows, ("-2 log-likelihood again", self.check_path, "note")]
        return [
            *rows,
            (f"-2 log-likelihood by {self.check_path}", f"{gap:.1e} apart", _verdict(agrees)),
        ]


def _verdict(good: bool) -> str:
    return "ok" if good else "warning"


def certify(
    state: FitState,
    settled: SettledEvaluation,
    boundary: Sequence[tuple[str, bool]],
    limits: tuple[tuple[str, str], ...] = (),
) -> Certificate:
    """Return the evidence at the end of a fit."""
    newton = state.newton
    nan = float("nan")
    if isinstance(settled, GroupedEvaluation):
        check = _from_parts(settled, *_stretchwise_lu(settled.solution))
        path = "LU level by level"
    else:
        check, path = independent_minus2ll(settled)
    return Certificate(
        converged=state.converged,
        scaled_score=newton.scaled_score if newton is not None else nan,
        decrement=newton.decrement if newton is not None else nan,
        rel_change=state.trace[-1].rel_change,
        smallest_eigenvalue=newton.smallest if newton is not None else nan,
        boundary=tuple(boundary),
        em_monotone=_monotone(state.trace),
        minus2ll=settled.minus2ll,
        minus2ll_check=check,
        check_path=path,
        condition_fixed=_condition(settled.solution.S_inverse),
        condition_information=_free_condition(state),
        limits=limits,
    )


def _positive(values: Float) -> Float:
    return np.where(values > 0, values, 1.0)


def _condition(M: Float) -> float:
    """Return the condition number of M scaled to a unit diagonal."""
    scale = np.sqrt(_positive(np.abs(np.diag(M))))
    return float(np.linalg.cond(M / np.outer(scale, scale)))


def _free_condition(state: FitState) -> float:
    if state.info is None or state.newton is None:
        return float("nan")
    free = state.newton.free
    return _condition(state.info.hessian[np.ix_(free, free)])


def _monotone(trace: Sequence[TraceRow]) -> bool:
    steps = pairwise(trace)
    return all(
        after.minus2ll <= before.minus2ll + 1e-8 * max(1.0, abs(before.minus2ll))
        for before, after in steps
        if after.step in ("em", "px-em")
    )


def independent_minus2ll(evaluation: Evaluation) -> tuple[float, str]:
    """Return -2 log-likelihood by LU of the equations, and the path's name.

    The whole matrix [Z X] when it is small; LU level by level for one factor; the largest factor
    eliminated by LU and the rest dense; sparse LU where little fills in; NaN beyond.
    """
    solution = evaluation.solution
    if not solution.engine.exact:
        return float("nan"), "not evaluated: it is a Monte-Carlo estimate with this solver"
    mme = solution.mme
    sizes = [L * q for L, q in mme.random.shapes]
    if sum(sizes) + mme.system.p <= DENSE_LIMIT:
        return _from_parts(evaluation, *_dense_lu(mme)), "dense LU of the whole system"
    if len(sizes) == 1:
        return _from_parts(evaluation, *_levelwise_lu(mme)), "LU level by level"
    if sum(sizes) - max(sizes) <= REST_LIMIT:
        return _from_parts(evaluation, *_eliminated_lu(mme)), "LU after eliminating a factor"
    if _fills_little(solution.engine):
        return _from_parts(evaluation, *_sparse_lu(mme)), "sparse LU"
    return float("nan"), "not evaluated: the system is too large for the second path"


def _fills_little(engine: Engine) -> bool:
    """Say whether it is a sparse factorisation that LU can afford too."""
    if engine.name != "sparse":
        return False
    from mixedflow.equations.sparse import SparseEngine

    return isinstance(engine, SparseEngine) and engine.flops <= SPARSE_FLOPS


Parts3 = tuple[float, float, float]


def _from_parts(evaluation: SettledEvaluation, random: float, fixed: float, ypy: float) -> float:
    solution = evaluation.solution
    swap = random - solution.logdet_random + ypy - solution.ypy
    if evaluation.reml:
        swap += fixed - solution.logdet_fixed
    return evaluation.minus2ll + swap


def _right_sides(mme: MixedModelEquations) -> Float:
    if not mme.ZtRX:
        return np.empty((0, mme.system.p + 1))
    return np.hstack([stack(mme.ZtRX), stack(tuple(Zy[:, :, None] for Zy in mme.ZtRy))])


def _reduced(mme: MixedModelEquations, right: Float, solved: Float) -> tuple[float, float]:
    """Return log|X'V^-1X| and y'Py by LU of the absorbed equations."""
    return _by_lu(mme.precision * fixed_gram(mme.system) - right.T @ solved)


def _by_lu(gram: Float) -> tuple[float, float]:
    p = len(gram) - 1
    ypy = gram[p, p] - gram[p, :p] @ np.linalg.solve(gram[:p, :p], gram[:p, p])
    return float(np.linalg.slogdet(gram[:p, :p])[1]), float(ypy)


def _dense_lu(mme: MixedModelEquations) -> Parts3:
    M = dense_matrix(mme.random)
    right = _right_sides(mme)
    p = mme.system.p
    whole = np.block([[M, right[:, :p]], [right[:, :p].T, mme.XtRX]])
    r = np.concatenate([right[:, p], mme.XtRy])
    random = float(np.linalg.slogdet(M)[1])
    ypy = mme.ytRy - float(r @ np.linalg.solve(whole, r))
    return random, float(np.linalg.slogdet(whole)[1]) - random, ypy


def _levelwise_lu(mme: MixedModelEquations) -> Parts3:
    M = mme.random.diagonal[0]
    right = _right_sides(mme)
    shape = (M.shape[0], M.shape[1], -1)
    solved = np.asarray(np.linalg.solve(M, right.reshape(shape)).reshape(right.shape))
    return float(np.linalg.slogdet(M)[1].sum()), *_reduced(mme, right, solved)


@dataclass(frozen=True, slots=True)
class LuPass:
    """The pass that :class:`mixedflow.estimation.grouped.Absorption` is, by LU factors.

    Attributes
    ----------
    loading : A F; precision : 1/sigma2
    """

    loading: Float
    precision: float

    def __call__(self, sums: LevelArrays, span: Span) -> tuple[float, Float]:
        """Return sum log|M_l| and sum_l R_l'M_l^-1R_l, R_l = F'Z'R^-1[X y]."""
        ZZ, ZX, Zy = (part[slice(*span)] for part in sums)
        T = self.loading
        M = (self.precision * T.T) @ ZZ @ T + np.eye(T.shape[1])
        right = (self.precision * T.T) @ np.concatenate([ZX, Zy[:, :, None]], axis=2)
        pivots = _eliminated(M, right)
        flat = right.reshape(-1, right.shape[2])
        taken = flat.T @ (flat / pivots.reshape(-1, 1))
        return float(np.log(pivots).sum()), taken


def _eliminated(M: Float, right: Float) -> Float:
    """Replace right by L^-1 right of M = L D L', level by level at once; return D, (m, q).

    Elimination without exchange of rows: the eigenvalues of M_l are at least 1.
    """
    q = M.shape[1]
    for i in range(q):
        for j in range(i + 1, q):
            share = (M[:, j, i] / M[:, i, i])[:, None]
            M[:, j, i:] -= share * M[:, i, i:]
            right[:, j] -= share * right[:, i]
    return np.ascontiguousarray(np.diagonal(M, axis1=1, axis2=2))


def _stretchwise_lu(solution: GroupedSolution) -> Parts3:
    random, taken = solution.levels.total(LuPass(*solution.scale))
    return random, *_by_lu(solution.precision * fixed_gram(solution.system) - taken)


def _eliminated_lu(mme: MixedModelEquations) -> Parts3:
    sizes = [L * q for L, q in mme.random.shapes]
    first = int(np.argmax(sizes))
    start = sum(sizes[:first])
    stop = start + sizes[first]
    rest = np.r_[0:start, stop : sum(sizes)]
    N = mme.random.diagonal[first]
    inverse = np.asarray(np.linalg.inv(N))
    B, D = split_matrix(mme.random, first)
    F = by_levels(inverse, B)
    right = _right_sides(mme)
    head = (inverse @ right[start:stop].reshape(len(N), N.shape[1], -1)).reshape(sizes[first], -1)
    lu, pivots, _ = lapack.dgetrf(D - symmetric_product(B, F))
    solved = np.empty_like(right)
    solved[rest] = lapack.dgetrs(lu, pivots, right[rest] - F.transposed_times(right[start:stop]))[0]
    solved[start:stop] = head - F @ solved[rest]
    random = float(np.linalg.slogdet(N)[1].sum() + np.log(np.abs(np.diagonal(lu))).sum())
    return random, *_reduced(mme, right, solved)


def _sparse_lu(mme: MixedModelEquations) -> Parts3:
    from scipy.sparse.linalg import splu

    lu = splu(
        _sparse_matrix(mme),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    right = _right_sides(mme)
    random = float(np.log(np.abs(lu.U.diagonal())).sum())
    return random, *_reduced(mme, right, np.asarray(lu.solve(right)))


def _sparse_matrix(mme: MixedModelEquations) -> csc_array:
    shapes = mme.random.shapes
    grid: list[list[Any]] = [[None] * len(shapes) for _ in shapes]
    for f, part in enumerate(mme.random.diagonal):
        grid[f][f] = expanded_diagonal(part)
    for (f, h), (rows, cols, values) in mme.random.pairs.items():
        grid[f][h] = expanded(rows, cols, values, (shapes[f][0], shapes[h][0]))
        grid[h][f] = grid[f][h].T
    return sparse.csc_array(sparse.block_array(grid))
