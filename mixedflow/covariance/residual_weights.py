"""R^-1 = sum_k f_k(psi) B_k: weights of the keyed sums and log|R0|, with their derivatives.

Stands at "Structures" in ``docs/algorithm.md`` (DESIGN 3.1). R0 = v_s R0_s for a group of stratum
s, v_s its variance relative to the first. psi is, stratum by stratum, log v_s / 2 (absent for the
first), then the structure's own. With S = sum of e e' over the groups of a pattern,
d sum f_k s_k = -tr(R0^-1 dR0 R0^-1 S), which needs no derivative of a single weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mixedflow.covariance.correlation import Float
from mixedflow.covariance.registry import residual_structure
from mixedflow.covariance.residual_base import ResidualStructure
from mixedflow.covariance.residual_parts import (
    STRATUM_OF_SIZE,
    GapPart,
    IndependentPart,
    PairPart,
    SizePart,
    StratumPart,
    decoded,
)
from mixedflow.covariance.residual_points import PointPart, point_distances
from mixedflow.covariance.residual_types import Int, ResidualDesign, SumKey
from mixedflow.errors import DataError

_WIDEST = 12.0
"""Largest |log of a relative standard deviation|."""


@dataclass(frozen=True, slots=True)
class ResidualWeights:
    """What a psi makes of K keyed sums.

    Attributes
    ----------
    f : (K,), R0^-1 = sum f_k B_k
    df : (n_psi, K), df_k/dpsi
    logdet : log|R0| of all groups
    dlogdet : (n_psi,)
    """

    f: Float
    df: Float
    logdet: float
    dlogdet: Float


@dataclass(frozen=True)
class ResidualPlan:
    """The keys of the sums, sorted out once; the rest is arithmetic in psi.

    Attributes
    ----------
    design : what the sums know of R
    parts : the keys of every stratum
    n_keys : K
    """

    design: ResidualDesign
    parts: tuple[StratumPart, ...]
    n_keys: int

    def weights(self, psi: Float) -> ResidualWeights:
        """Return f, log|R0| and their derivatives."""
        f, df = np.zeros(self.n_keys), np.zeros((len(psi), self.n_keys))
        logdet, dlogdet = 0.0, np.zeros(len(psi))
        for s, part in enumerate(self.parts):
            scale, own = _places(self.design, s)
            log_sd = float(psi[scale]) if s else 0.0
            found = part.weights(psi[own])
            shrink = np.exp(-2.0 * log_sd)
            f[part.at] = shrink * found.f
            df[own, part.at] = shrink * found.df
            logdet += found.logdet + 2.0 * part.rows * log_sd
            dlogdet[own] += found.dlogdet
            if s:
                df[scale, part.at] = -2.0 * f[part.at]
                dlogdet[scale] = 2.0 * part.rows
        return ResidualWeights(f, df, logdet, dlogdet)

    def values(self, psi: Float) -> tuple[Float, float]:
        """Return f and log|R0| without derivatives."""
        f, logdet = np.zeros(self.n_keys), 0.0
        for s, part in enumerate(self.parts):
            scale, own = _places(self.design, s)
            log_sd = float(psi[scale]) if s else 0.0
            found, of_part = part.values(psi[own])
            f[part.at] = np.exp(-2.0 * log_sd) * found
            logdet += of_part + 2.0 * part.rows * log_sd
        return f, logdet

    def slopes(self, psi: Float, s_k: Float) -> tuple[Float, Float]:
        """Return d(sum f_k s_k)/dpsi and dlog|R0|/dpsi, (n_psi,) each, without df."""
        of_sum, of_log = np.zeros(len(psi)), np.zeros(len(psi))
        for s, part in enumerate(self.parts):
            scale, own = _places(self.design, s)
            shrink = np.exp(-2.0 * float(psi[scale])) if s else 1.0
            total, slope, slope_of_log = part.slopes(psi[own], s_k[part.at])
            of_sum[own] += shrink * slope
            of_log[own] += slope_of_log
            if s:
                of_sum[scale] = -2.0 * shrink * total
                of_log[scale] = 2.0 * part.rows
        return of_sum, of_log

    def curvature(self, psi: Float, s_k: Float) -> Float:
        """Return the second derivatives of sum f_k s_k + log|R0| for these s_k, (n_psi, n_psi)."""
        out = np.zeros((len(psi), len(psi)))
        for s, part in enumerate(self.parts):
            scale, own = _places(self.design, s)
            shrink = np.exp(-2.0 * float(psi[scale])) if s else 1.0
            scaled = shrink * s_k[part.at]
            out[own, own] += part.curvature(psi[own], scaled)
            if s:
                total, slope, _ = part.slopes(psi[own], scaled)
                out[scale, scale] = 4.0 * total
                out[scale, own] = out[own, scale] = -2.0 * slope
        return out

    @cached_property
    def limits(self) -> tuple[Float, Float]:
        """Between which psi R0 is of use in double precision, (n_psi,) each: +-9 mostly."""
        names = psi_names(self.design)
        low, high = np.full(len(names), -np.inf), np.full(len(names), np.inf)
        for s, part in enumerate(self.parts):
            scale, own = _places(self.design, s)
            if s:
                low[scale], high[scale] = -_WIDEST, _WIDEST
            bounds = part.limits()
            low[own], high[own] = np.maximum(low[own], bounds[0]), np.minimum(high[own], bounds[1])
        return low, high

    def at_limit(self, i: int, psi: Float) -> str:
        """Return in words what R is with parameter ``i`` at its limit."""
        for s, part in enumerate(self.parts):
            own = _places(self.design, s)[1]
            if own.start <= i < own.stop and part.independent(psi[own]):
                return "neighbouring rows are as good as independent"
        return "the residual covariance is nearly singular"


def residual_plan(
    design: ResidualDesign, keys: Sequence[SumKey], counts: Sequence[int]
) -> ResidualPlan:
    """Return the plan for keys in this order.

    Parameters
    ----------
    design : structure, basis, positions and strata
    keys : keys of the sums
    counts : groups of the pattern (pairs, sizes), rows (strata, I of gaps), or consecutive pairs
        with that gap (D, O of gaps)
    """
    structure = residual_structure(design)
    parts = [_part(design, structure, s, keys, counts) for s in range(len(design.strata))]
    return ResidualPlan(design, tuple(parts), len(keys))


def _part(
    design: ResidualDesign,
    structure: ResidualStructure,
    stratum: int,
    keys: Sequence[SumKey],
    counts: Sequence[int],
) -> StratumPart:
    """Return the part of a stratum: its keys, read as the basis says."""
    shift = {"sizes": STRATUM_OF_SIZE, "pairs": design.mask_bits}.get(design.basis, 0)
    at = [i for i, key in enumerate(keys) if key[0] >> shift == stratum]
    own = [(keys[i][0] - (stratum << shift), keys[i][1]) for i in at]
    where, groups = np.array(at, dtype=np.int64), np.array([counts[i] for i in at], dtype=float)
    if design.basis == "pairs":
        kind = PointPart if structure.over_points else PairPart
        return kind(structure, len(design.positions), where, own, groups)
    if design.basis == "sizes":
        return SizePart(structure, design.largest, where, own, groups)
    if design.basis == "gaps":
        return GapPart(structure, where, own, groups)
    return IndependentPart(structure, where, groups)


def check_pairs(design: ResidualDesign, keys: Sequence[SumKey]) -> None:
    """Refuse a correlation of neighbours, or of a group's rows, where no group has two.

    Raises
    ------
    DataError
        naming the stratum, if there are several, and what to write.
    """
    of_points = design.basis == "pairs" and residual_structure(design).over_points
    one = design.basis in ("gaps", "sizes") or of_points
    if not one or (_places(design, 0)[1] == slice(0, 0) and not of_points):
        return
    m = len(design.positions)
    if of_points:
        paired = {k >> design.mask_bits for k, element in keys if element // m != element % m}
    elif design.basis == "gaps":
        paired = {stratum for stratum, element in keys if element}
    else:
        paired = {k >> STRATUM_OF_SIZE for k, _ in keys if k & ((1 << STRATUM_OF_SIZE) - 1) > 1}
    everyone = set(range(len(design.strata)))
    for strata in [everyone] if design.common else [{s} for s in sorted(everyone)]:
        if not strata & paired:
            raise DataError(_no_pairs(design, min(strata)))


def _no_pairs(design: ResidualDesign, stratum: int) -> str:
    text = f"{design.structure}({design.position or 1} | {':'.join(design.group)})"
    where, advice = "", "iid"
    if len(design.strata) > 1 and not design.common:
        where = f" in the stratum '{design.strata[stratum]}'"
        advice = f"strata({', '.join(design.stratum)}) * {text}"
    return (
        f"{text}: no group has two rows{where}, so its correlation cannot be estimated; write "
        f"residual='{advice}'"
    )


def residual_weights(
    design: ResidualDesign, keys: Sequence[SumKey], counts: Sequence[int], psi: Float
) -> ResidualWeights:
    """Return f_k, log|R0| and their derivatives; see :func:`residual_plan` for many psi."""
    return residual_plan(design, keys, counts).weights(np.asarray(psi, dtype=float))


def residual_matrix(
    design: ResidualDesign, psi: Float, stratum: int = 0, held: Int | None = None
) -> Float:
    """Return R0 over the positions, or those held, v_s on its diagonal; (1, 1) without positions."""
    scale, own = _places(design, stratum)
    variance = np.exp(2.0 * psi[scale]) if stratum else 1.0
    size, structure = max(1, len(design.positions)), residual_structure(design)
    R0 = (
        structure.matrix(psi[own], size)
        if held is None
        else structure.restricted(psi[own], size, held)
    )
    R: Float = variance * R0
    return R


def shown_matrix(design: ResidualDesign, psi: Float, stratum: int = 0) -> Float:
    """Return R0 over the positions, over the first alone where these are points."""
    first = np.zeros(1, dtype=np.int64) if residual_structure(design).over_points else None
    return residual_matrix(design, psi, stratum, first)


def stratum_places(design: ResidualDesign, stratum: int) -> tuple[int, slice]:
    """Return where in psi a stratum's log relative sd (no meaning for the first) and its own stand."""
    return _places(design, stratum)


def start_psi(
    design: ResidualDesign, keys: Sequence[SumKey] = (), counts: Sequence[int] = ()
) -> Float:
    """Return where the search begins: strata alike; gaps tell the unit of time where keys do."""
    structure, out = residual_structure(design), np.zeros(len(psi_names(design)))
    gaps = np.empty(0)
    if design.basis == "gaps":
        gaps = decoded(keys, counts)
    elif structure.over_points:
        gaps = point_distances(structure, design, keys)
    for s in range(len(design.strata)):
        own = _places(design, s)[1]
        if len(gaps) and own.stop > own.start:
            out[own] = structure.gap_start(float(np.median(gaps)))
        else:
            out[own] = structure.start(_size(design))
    return out


def psi_names(design: ResidualDesign) -> tuple[str, ...]:
    """Return a label for every parameter; a stratum's stand with its label in brackets."""
    structure = residual_structure(design)
    labels = design.positions or tuple(str(k + 1) for k in range(min(2, _size(design))))
    own = structure.param_names(labels)
    several = len(design.strata) > 1
    if design.common:
        return (*own, *(f"log sd ratio[{stratum}]" for stratum in design.strata[1:]))
    out: list[str] = []
    for s, stratum in enumerate(design.strata):
        if s:
            out.append(f"log sd ratio[{stratum}]")
        out += [f"{name}[{stratum}]" if several else name for name in own]
    return tuple(out)


def _size(design: ResidualDesign) -> int:
    """Return the number of positions that the structure's parameters are counted for."""
    if design.basis == "pairs":
        return len(design.positions)
    return design.largest if design.basis == "sizes" else 2


def _places(design: ResidualDesign, stratum: int) -> tuple[int, slice]:
    """Return where in psi a stratum's log sd (of no meaning for the first) and its own stand."""
    count = residual_structure(design).n_params(_size(design))
    if design.common:
        return count + stratum - 1, slice(0, count)
    first = stratum * (count + 1)
    return first - 1, slice(first, first + count)
