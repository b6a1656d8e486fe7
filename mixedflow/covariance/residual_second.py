"""Second-order products of R: sum_k R^-1 D_k R^-1 D_k R^-1 and R^-1 (d2R) R^-1 in the basis of R^-1.

Stands at "Kenward and Roger" in ``docs/algorithm.md``. D_k = dR along a move of [psi, log sigma2]. With
the pair basis, or that of I and J, they lie in the basis, as R^-1 does. With the basis of gaps what is
left over is T = R0^-1 R0' R0^-1 R0' R0^-1, a full matrix: R0^-1 R0'' R0^-1 = 2 T - d2(R0^-1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedflow.covariance.correlation import Float
from mixedflow.covariance.natural import no_coordinates
from mixedflow.covariance.registry import residual_structure
from mixedflow.covariance.residual_base import ResidualStructure
from mixedflow.covariance.residual_parts import (
    GapPart,
    PairPart,
    SizePart,
    StratumPart,
    inverses,
    taken,
)
from mixedflow.covariance.residual_points import PointPart
from mixedflow.covariance.residual_weights import ResidualPlan, stratum_places

_STEP = 1e-5
"""Half the distance of two slopes that show a second derivative."""


@dataclass(frozen=True, slots=True)
class SecondWeights:
    """Weights of the keyed sums for sigma2 = 1.

    Attributes
    ----------
    weights : (K,)
    beyond : (S,) of every stratum's T, which the basis does not hold; zeros but with gaps
    """

    weights: Float
    beyond: Float


def second_weights(plan: ResidualPlan, psi: Float, moves: Float, share: float) -> SecondWeights:
    """Return sum_k R^-1 D_k R^-1 D_k R^-1 - share R^-1 [sum_ij W_ij d2R/dx_i dx_j] R^-1.

    Parameters
    ----------
    plan : of the keys
    psi : R0's parameters
    moves : L, (n_psi + 1, k), of psi and log sigma2; W is the covariance of the natural coordinates x
        where theirs is L L'
    share : of the second derivatives; 0 where they are left out

    Raises
    ------
    UnsupportedError
        where the structure states no natural coordinates and ``share`` is not zero.
    """
    structure = residual_structure(plan.design)
    weights, beyond = np.zeros(plan.n_keys), np.zeros(len(plan.parts))
    for s, part in enumerate(plan.parts):
        scale, own = stratum_places(plan.design, s)
        growth = moves[-1] + (2.0 * moves[scale] if s else 0.0)
        shrink = np.exp(-2.0 * float(psi[scale])) if s else 1.0
        inner = np.vstack([moves[own], growth])
        found, beyond[s] = _of_part(part, structure, psi[own], inner, share)
        weights[part.at] = shrink * found
        beyond[s] *= shrink
    return SecondWeights(weights, beyond)


def _of_part(
    part: StratumPart, structure: ResidualStructure, psi: Float, moves: Float, share: float
) -> tuple[Float, float]:
    """Return the weights of one stratum's keys and of its T, its variance 1."""
    if isinstance(part, GapPart):
        return _gaps(part, structure, psi, moves, share)
    if isinstance(part, SizePart):
        return _sizes(part, psi, moves), 0.0
    if isinstance(part, PointPart) and len(psi):
        return part.second(psi, moves, share), 0.0
    if isinstance(part, PairPart):
        return _pairs(part, psi, moves, share), 0.0
    return np.full(len(part.at), float(moves[-1] @ moves[-1])), 0.0


def _pairs(part: PairPart, psi: Float, moves: Float, share: float) -> Float:
    structure, m = part.structure, part.m
    R, dR = structure.matrix(psi, m), structure.derivatives(psi, m)
    D = np.tensordot(moves.T, np.concatenate([dR, R[None]]), axes=1)
    second = share * _natural(structure, psi, m, moves) if share else np.zeros((m, m))
    out = np.zeros(len(part.at))
    for stack in part.stacks:
        inverse, _ = inverses(R, stack)
        inner = -taken(second, stack)
        for change in D:
            own = taken(change, stack)
            inner += own @ inverse @ own
        whole = inverse @ inner @ inverse
        rows, cols = np.triu_indices(stack.positions.shape[1])
        out[stack.keys] = 0.5 * (whole[:, rows, cols] + whole[:, cols, rows])
    return out


def _natural(structure: ResidualStructure, psi: Float, m: int, moves: Float) -> Float:
    found = structure.natural_second(psi, m, moves)
    if found is None:
        raise no_coordinates(structure.name)
    return found


def _sizes(part: SizePart, psi: Float, moves: Float) -> Float:
    """Return the weights of I and J through the eigenvalues 1 - rho and 1 + (n - 1) rho.

    V is linear in variance and covariance, so that there are no second derivatives.
    """
    rho, slope = part.structure.common_correlation(psi, part.largest)
    drho = moves[:-1].T @ slope
    growth, n = moves[-1], part.size[:, None]
    less, more = 1.0 - rho, 1.0 + (n - 1.0) * rho
    within = np.sum((growth * less - drho) ** 2) / less**3
    between = np.sum((growth * more + (n - 1.0) * drho) ** 2 / more**3, axis=1)
    out: Float = np.where(part.whole, (between - within) / part.size, within)
    return out


def _gaps(
    part: GapPart, structure: ResidualStructure, psi: Float, moves: Float, share: float
) -> tuple[Float, float]:
    """Return sum (l f - ...) in the basis and the weight of T.

    D_k = l_k R0 + d_k R0'; in the natural coordinates v and x(psi) of R = v R0 the second derivatives
    are 2 l_k d_k R0' + d_k^2 (R0'' - R0' x''/x').
    """
    growth = moves[-1]
    found = part.weights(psi)
    if not len(psi):
        return float(growth @ growth) * found.f, 0.0
    both, squared = float(growth @ moves[0]), float(moves[0] @ moves[0])
    df = found.df[0]
    out = float(growth @ growth) * found.f - 2.0 * both * df
    if share:
        up, down = (part.weights(psi + s * _STEP).df[0] for s in (1.0, -1.0))
        second = (up - down) / (2.0 * _STEP)
        bend = structure.gap_bend(float(psi[0]))
        if bend is None:
            raise no_coordinates(structure.name)
        out += share * (2.0 * both * df + squared * (second - bend * df))
    return out, squared * (1.0 - 2.0 * share)
