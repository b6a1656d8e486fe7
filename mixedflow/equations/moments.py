"""What an E-step needs of the solution: S_j = sum E[b b'], traces of C W'R^-1W, residual moments.

Stands at "E-step" in ``docs/algorithm.md`` (DESIGN 3.3). REML takes C from the whole of M, ML from
its random part alone. All are in scaled effects, in which a zero variance costs no digits: the
trace T_f = sum_l (F'Z'R^-1W C)_ll is summed from products of the size of the variance instead of
being had as L I - sum_l C_ll.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.engines import Parts
from mixedflow.equations.mme import MmeSolution


@dataclass(frozen=True, slots=True)
class Moments:
    """Second moments given y, at the current variances.

    Attributes
    ----------
    reml : whether C is that of REML
    covariance : C at every level, (L_f, q_f, q_f) a factor
    cross_fixed : C between a level's effects and beta, (L_f, q_f, p) a factor; zero for ML
    pair_covariance : C at the pairs of two factors
    bb : sum_l b b', (q_f, q_f) a factor
    T : (q_f, q_f) a factor; S = bb + L I - T
    residual : e'R^-1e at the solution
    residual_trace : tr(C W'R^-1W); E[e'R^-1e] = residual + residual_trace
    """

    reml: bool
    covariance: Parts
    cross_fixed: Parts
    pair_covariance: dict[tuple[int, int], Float]
    bb: Parts
    T: Parts
    residual: float
    residual_trace: float

    def second_moments(self) -> Parts:
        """Return S_f = sum_l E[b b'] a factor, (q_f, q_f)."""
        return tuple(
            bb + C.shape[0] * np.eye(C.shape[1]) - 0.5 * (T + T.T)
            for bb, C, T in zip(self.bb, self.covariance, self.T, strict=True)
        )


def moments(solution: MmeSolution, *, reml: bool) -> Moments:
    """Return the moments of an E-step at the solution."""
    cross = tuple(
        -_by_rows(H, solution.S_inverse) if reml else np.zeros_like(H) for H in solution.absorbed
    )
    covariance = _covariance(solution, cross, reml=reml)
    pairs = {
        key: _pair_covariance(solution, cross, key, reml=reml) for key in solution.mme.random.pairs
    }
    T = _traces(solution, covariance, cross, pairs)
    bb = tuple(b.T @ b for b in solution.b)
    shrunk = sum(float(np.trace(part)) for part in bb)
    trace = sum(float(np.trace(part)) for part in T) + (solution.mme.system.p if reml else 0)
    return Moments(
        reml=reml,
        covariance=covariance,
        cross_fixed=cross,
        pair_covariance=pairs,
        bb=bb,
        T=T,
        residual=solution.ypy - shrunk,
        residual_trace=trace,
    )


def _by_rows(stack: Float, matrix: Float) -> Float:
    """Return stack @ matrix as one product: a product for every level takes several times as long."""
    L, q, p = stack.shape
    product: Float = (stack.reshape(L * q, p) @ matrix).reshape(L, q, p)
    return product


def _covariance(solution: MmeSolution, cross: Parts, *, reml: bool) -> Parts:
    inverse = solution.engine.inverse_diagonal()
    if not reml:
        return inverse
    return tuple(
        part - c @ H.transpose(0, 2, 1)
        for part, c, H in zip(inverse, cross, solution.absorbed, strict=True)
    )


def _pair_covariance(
    solution: MmeSolution, cross: Parts, key: tuple[int, int], *, reml: bool
) -> Float:
    values = solution.engine.inverse_pairs(key)
    if not reml:
        return values
    rows, cols, _ = solution.mme.random.pairs[key]
    f, h = key
    return values - cross[f][rows] @ solution.absorbed[h][cols].transpose(0, 2, 1)


def _traces(
    solution: MmeSolution,
    covariance: Parts,
    cross: Parts,
    pairs: dict[tuple[int, int], Float],
) -> Parts:
    """Return T_f[a, b] = sum_l (M_zz C_zb - C_lb + Z'R^-1X C_xb), term by term."""
    mme = solution.mme
    out = []
    for f, C in enumerate(covariance):
        own = np.tensordot(mme.ZtRZ[f], C, axes=([0, 2], [0, 1]))
        out.append(own + np.tensordot(mme.ZtRX[f], cross[f], axes=([0, 2], [0, 2])))
    for (f, h), C in pairs.items():
        values = mme.random.pairs[f, h][2]
        out[f] += np.tensordot(values, C, axes=([0, 2], [0, 2]))
        out[h] += np.tensordot(values, C, axes=([0, 1], [0, 1]))
    return tuple(out)
