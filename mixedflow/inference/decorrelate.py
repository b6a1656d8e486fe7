"""L^-1 e with L L' the correlation of a group's rows: residuals that are independent under the model.

Stands at "Structures of R" in ``docs/algorithm.md``. The rows of a group are taken in order of
position, and each residual less what those before it say of it (nlme's normalized residuals).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedflow.covariance.registry import get_residual
from mixedflow.covariance.residual_types import ResidualDesign
from mixedflow.covariance.residual_weights import residual_matrix, stratum_places
from mixedflow.design.types import Float, Int


@dataclass(frozen=True, slots=True)
class ResidualPlaces:
    """Where rows stand in R, (n,) each.

    Attributes
    ----------
    stratum, group : numbers; no group where rows are independent
    position : number of the position or its value; None for the order of the rows
    """

    stratum: Int
    group: Int | None
    position: Float | None


def row_sds(design: ResidualDesign, psi: Float, places: ResidualPlaces) -> Float:
    """Return the standard deviation of every row relative to sigma, (n,)."""
    return placed_sds(position_sds(design, psi), places)


def placed_sds(sds: Float, places: ResidualPlaces) -> Float:
    """Return the standard deviation of every row, (n,), from those of the positions."""
    if sds.shape[1] == 1:
        found: Float = sds[places.stratum, 0]
        return found
    position = places.position
    at = _order_in_group(places) if position is None else position.astype(np.int64)
    out: Float = sds[places.stratum, at]
    return out


def position_sds(design: ResidualDesign, psi: Float) -> Float:
    """Return standard deviations relative to sigma, (strata, positions or 1)."""
    R = [np.diag(residual_matrix(design, psi, s)) for s in range(len(design.strata))]
    sds: Float = np.sqrt(np.array(R))
    alike = not get_residual(design.structure).heterogeneous
    return sds[:, :1] if alike else sds


def _order_in_group(places: ResidualPlaces) -> Int:
    assert places.group is not None  # noqa: S101 - structures over positions have groups
    return within_groups(places.group)


def within_groups(group: Int) -> Int:
    """Return how many rows of its group come before each row, (n,)."""
    order = np.argsort(group, kind="stable")
    starts = _starts(group[order])
    out = np.empty(len(group), dtype=np.int64)
    out[order] = np.arange(len(group)) - starts
    return out


def _starts(ordered: Int) -> Int:
    """Return for every row where its group begins; equal numbers stand together."""
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    starts: Int = np.repeat(first, np.diff(np.r_[first, len(ordered)]))
    return starts


def decorrelated(
    design: ResidualDesign, psi: Float, places: ResidualPlaces, e: Float
) -> Float:  # fmt: skip
    """Return L^-1 e a group, e already over its standard deviations, (n,)."""
    if places.group is None or not len(e):
        return e
    step = within_groups(places.group).astype(float)
    along = step if places.position is None else places.position
    order = np.lexsort((along, places.group))
    stratum, group, values = places.stratum[order], places.group[order], e[order]
    out = np.empty(len(e))
    if design.basis == "gaps":
        out[order] = _after_gaps(design, psi, stratum, _starts(group), along[order], values)
    elif design.basis == "sizes":
        out[order] = _after_all(design, psi, stratum, _starts(group), values)
    else:
        at = along[order].astype(np.int64)
        out[order] = _after_positions(design, psi, stratum, _starts(group), at, values)
    return out


def _after_gaps(
    design: ResidualDesign, psi: Float, stratum: Int, start: Int, at: Float, e: Float
) -> Float:
    """Return (e_j - r e_{j-1}) / sqrt(1 - r^2), r the correlation over the gap."""
    structure = get_residual(design.structure)
    later = np.flatnonzero(start != np.arange(len(e)))
    r = np.zeros(len(e))
    for s in range(len(design.strata)):
        own = psi[stratum_places(design, s)[1]]
        mine = later[stratum[later] == s]
        if len(own) and len(mine):
            r[mine] = structure.gap_correlation(float(own[0]), at[mine] - at[mine - 1])[0]
    out = e.copy()
    out[later] = (e[later] - r[later] * e[later - 1]) / np.sqrt((1.0 - r[later]) * (1.0 + r[later]))
    return out


def _after_all(design: ResidualDesign, psi: Float, stratum: Int, start: Int, e: Float) -> Float:
    """Return (e_j - rho t / (1 + (j-1) rho)) / sd, t the sum of the j rows before in the group."""
    structure = get_residual(design.structure)
    rho = np.zeros(len(design.strata))
    for s in range(len(rho)):
        own = psi[stratum_places(design, s)[1]]
        rho[s] = structure.common_correlation(own, design.largest)[0] if len(own) else 0.0
    r, j = rho[stratum], np.arange(len(e)) - start
    before = _sums_before(e, start)
    spread = 1.0 + (j - 1.0) * r
    variance = np.where(j > 0, (1.0 - r) * (1.0 + j * r) / spread, 1.0)
    out: Float = (e - np.where(j > 0, r * before / spread, 0.0)) / np.sqrt(variance)
    return out


def _sums_before(e: Float, start: Int) -> Float:
    """Return the sum over the rows of the group that come before, (n,)."""
    out = np.empty(len(e))
    first = np.flatnonzero(start == np.arange(len(e)))
    for a, b in zip(first, np.r_[first[1:], len(e)], strict=True):
        out[a] = 0.0
        out[a + 1 : b] = np.cumsum(e[a : b - 1])
    return out


def _after_positions(
    design: ResidualDesign, psi: Float, stratum: Int, start: Int, at: Int, e: Float
) -> Float:
    """Return L^-1 e for groups of the same positions together."""
    m = len(design.positions)
    first = np.flatnonzero(start == np.arange(len(e)))
    masks = np.bitwise_or.reduceat(np.left_shift(np.int64(1), at), first)
    kinds, kind = np.unique(np.stack([stratum[first], masks]), axis=1, return_inverse=True)
    out = np.empty(len(e))
    for k, (s, mask) in enumerate(kinds.T):
        held = np.array([p for p in range(m) if int(mask) >> p & 1])
        rows = first[kind.ravel() == k][:, None] + np.arange(len(held))
        R = residual_matrix(design, psi, int(s))[np.ix_(held, held)]
        sd = np.sqrt(np.diag(R))
        L = np.linalg.cholesky(R / np.outer(sd, sd))
        out[rows] = np.linalg.solve(L, e[rows].T).T
    return out
