"""X'T X over rows, T = R0^-1 R0' R0^-1 R0' R0^-1 of autoregressions in steps or in time.

Stands at "Kenward and Roger" in ``docs/algorithm.md``. T is a full matrix, which sums by gap do not
hold. M = R0^-1 R0' R0^-1 = -d(R0^-1)/dpsi is tridiagonal, so T = M R0 M takes as many steps as the
largest group has rows: with U = M X and s_i = r_i s_(i-1) + u_i, U'R0 U = sum u_i s_i' + s_i u_i' - u_i u_i'.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from mixedflow.covariance.registry import get_residual
from mixedflow.covariance.residual_types import ResidualDesign
from mixedflow.covariance.residual_weights import stratum_places
from mixedflow.design.types import Float, Int
from mixedflow.inference.decorrelate import ResidualPlaces, within_groups


def gap_second(
    design: ResidualDesign, psi: Float, places: ResidualPlaces, X: Float, weights: Float
) -> Float:
    """Return sum_s w_s X'T_s X, (p, p).

    Parameters
    ----------
    design : with the basis of gaps
    psi : R0's parameters
    places : of the rows, in any order
    X : (n, p), already times the square root of known weights
    weights : (S,), by stratum
    """
    assert places.group is not None  # noqa: S101 - the structure has groups
    step = within_groups(places.group).astype(float)
    along = step if places.position is None else places.position
    order = np.lexsort((along, places.group))
    group, stratum, x = places.group[order], places.stratum[order], X[order]
    r, slope = _steps(design, psi, stratum, group, along[order])
    left = (1.0 - r) * (1.0 + r)
    same, cross = 2.0 * r * slope / left**2, -(1.0 + r * r) * slope / left**2
    U = np.zeros_like(x)
    U[1:] -= same[1:, None] * x[1:] + cross[1:, None] * x[:-1]
    U[:-1] -= same[1:, None] * x[:-1] + cross[1:, None] * x[1:]
    S = _carried(U, r, within_groups(group))
    each = weights[stratum][:, None]
    both = (each * U).T @ S
    out: Float = both + both.T - (each * U).T @ U
    return out


def _steps(
    design: ResidualDesign, psi: Float, stratum: Int, group: Int, along: Float
) -> tuple[Float, Float]:
    """Return the correlation with the row before and its slope, 0 for the first of a group."""
    structure = get_residual(design.structure)
    r, slope = np.zeros(len(group)), np.zeros(len(group))
    later = 1 + np.flatnonzero(group[1:] == group[:-1])
    for s in range(len(design.strata)):
        own = psi[stratum_places(design, s)[1]]
        mine = later[stratum[later] == s]
        if len(own) and len(mine):
            gaps = along[mine] - along[mine - 1]
            r[mine], slope[mine] = structure.gap_correlation(float(own[0]), gaps)
    return r, slope


def _carried(U: Float, r: Float, place: Int) -> Float:
    """Return s_i = r_i s_(i-1) + u_i within groups, all groups side by side."""
    S = U.copy()
    order = np.argsort(place, kind="stable")
    stops = np.cumsum(np.bincount(place))
    for start, stop in pairwise(stops.tolist()):
        at = order[start:stop]
        S[at] += r[at, None] * S[at - 1]
    return S
