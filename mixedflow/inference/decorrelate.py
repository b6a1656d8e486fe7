"""L^-1 e and L z with L L' the correlation of a group's rows: residuals made independent, and the reverse.

Stands at "Structures of R" in ``docs/algorithm.md``. The rows of a group are taken in order of
position, and each residual less what those before it say of it (nlme's normalized residuals).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mixedflow.covariance.registry import residual_structure
from mixedflow.covariance.residual_types import ResidualDesign
from mixedflow.covariance.residual_weights import residual_matrix, shown_matrix, stratum_places
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
    R = [np.diag(shown_matrix(design, psi, s)) for s in range(len(design.strata))]
    sds: Float = np.sqrt(np.array(R))
    alike = not residual_structure(design).heterogeneous
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
    return _along_groups(design, psi, places, e, inverse=True)


def correlated(design: ResidualDesign, psi: Float, places: ResidualPlaces, z: Float) -> Float:
    """Return L z a group, (n,): independent z become residuals over their standard deviations."""
    return _along_groups(design, psi, places, z, inverse=False)


def _along_groups(
    design: ResidualDesign, psi: Float, places: ResidualPlaces, e: Float, *, inverse: bool
) -> Float:
    if places.group is None or not len(e):
        return e
    step = within_groups(places.group).astype(float)
    along = step if places.position is None else places.position
    order = np.lexsort((along, places.group))
    stratum, group, values = places.stratum[order], places.group[order], e[order]
    start, out = _starts(group), np.empty(len(e))
    if design.basis == "gaps":
        r = _gap_correlations(design, psi, stratum, start, along[order])
        out[order] = _after_gaps(r, start, values) if inverse else _along_gaps(r, start, values)
    elif design.basis == "sizes":
        r = _common_correlations(design, psi)[stratum]
        out[order] = _after_all(r, start, values) if inverse else _along_all(r, start, values)
    else:
        at = along[order].astype(np.int64)
        out[order] = _by_positions(design, psi, (stratum, start, at), values, inverse=inverse)
    return out


def _gap_correlations(
    design: ResidualDesign, psi: Float, stratum: Int, start: Int, at: Float
) -> Float:
    """Return the correlation of every row with the one before it in its group, 0 for the first."""
    structure = residual_structure(design)
    later = np.flatnonzero(start != np.arange(len(at)))
    r = np.zeros(len(at))
    for s in range(len(design.strata)):
        own = psi[stratum_places(design, s)[1]]
        mine = later[stratum[later] == s]
        if len(own) and len(mine):
            r[mine] = structure.gap_correlation(float(own[0]), at[mine] - at[mine - 1])[0]
    return r


def _after_gaps(r: Float, start: Int, e: Float) -> Float:
    """Return (e_j - r e_{j-1}) / sqrt(1 - r^2)."""
    later = np.flatnonzero(start != np.arange(len(e)))
    out = e.copy()
    out[later] = (e[later] - r[later] * e[later - 1]) / np.sqrt((1.0 - r[later]) * (1.0 + r[later]))
    return out


def _along_gaps(r: Float, start: Int, z: Float) -> Float:
    """Return e_j = r e_{j-1} + sqrt(1 - r^2) z_j."""
    out = z.copy()
    for rows in _by_step(start):
        own = r[rows]
        out[rows] = own * out[rows - 1] + np.sqrt((1.0 - own) * (1.0 + own)) * z[rows]
    return out


def _by_step(start: Int) -> Iterator[Int]:
    """Yield the second rows of all groups, the third rows, and so on."""
    step = np.arange(len(start)) - start
    order = np.argsort(step, kind="stable")
    ends = np.cumsum(np.bincount(step))
    for a, b in pairwise(ends.tolist()):
        yield order[a:b]


def _common_correlations(design: ResidualDesign, psi: Float) -> Float:
    """Return the correlation of any two rows of a group, by stratum."""
    structure = residual_structure(design)
    rho = np.zeros(len(design.strata))
    for s in range(len(rho)):
        own = psi[stratum_places(design, s)[1]]
        rho[s] = structure.common_correlation(own, design.largest)[0] if len(own) else 0.0
    return rho


def _given_all(r: Float, start: Int) -> tuple[Float, Float]:
    """Return what the sum of the rows before says of a row, a factor, and the variance that is left."""
    j = np.arange(len(start)) - start
    spread = 1.0 + (j - 1.0) * r
    variance = np.where(j > 0, (1.0 - r) * (1.0 + j * r) / spread, 1.0)
    return np.where(j > 0, r / spread, 0.0), variance


def _after_all(r: Float, start: Int, e: Float) -> Float:
    """Return (e_j - rho t / (1 + (j-1) rho)) / sd, t the sum of the j rows before in the group."""
    factor, variance = _given_all(r, start)
    out: Float = (e - factor * _sums_before(e, start)) / np.sqrt(variance)
    return out


def _along_all(r: Float, start: Int, z: Float) -> Float:
    """Return e_j = rho t / (1 + (j-1) rho) + sd z_j."""
    factor, variance = _given_all(r, start)
    out = z * np.sqrt(variance)
    before = np.zeros(len(z))
    for rows in _by_step(start):
        before[rows] = before[rows - 1] + out[rows - 1]
        out[rows] += factor[rows] * before[rows]
    return out


def _sums_before(e: Float, start: Int) -> Float:
    """Return the sum over the rows of the group that come before, (n,)."""
    out = np.empty(len(e))
    first = np.flatnonzero(start == np.arange(len(e)))
    for a, b in zip(first, np.r_[first[1:], len(e)], strict=True):
        out[a] = 0.0
        out[a + 1 : b] = np.cumsum(e[a : b - 1])
    return out


def _by_positions(
    design: ResidualDesign, psi: Float, rows: tuple[Int, Int, Int], e: Float, *, inverse: bool
) -> Float:
    """Return L^-1 e, or L e, for groups of the same positions together."""
    stratum, start, at = rows
    first = np.flatnonzero(start == np.arange(len(e)))
    alike: dict[tuple[int, ...], list[int]] = {}
    for a, b in zip(first.tolist(), [*first[1:].tolist(), len(e)], strict=True):
        alike.setdefault((int(stratum[a]), *at[a:b].tolist()), []).append(a)
    out = np.empty(len(e))
    for (s, *places), begin in alike.items():
        held = np.array(places)
        own = np.array(begin)[:, None] + np.arange(len(held))
        R = residual_matrix(design, psi, s, held)
        sd = np.sqrt(np.diag(R))
        L = np.linalg.cholesky(R / np.outer(sd, sd))
        out[own] = np.linalg.solve(L, e[own].T).T if inverse else e[own] @ L.T
    return out
