"""What psi says of R, as nlme and mmrm put it: variances, correlations, rho and range.

Stands at "Variance components" in ``docs/algorithm.md``. R = sigma2 R0(psi); a stratum has its own
variance, and its own correlations unless strata share them. Positions of a stratum are named
``stratum:position``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from mixedflow.covariance.registry import residual_structure
from mixedflow.covariance.residual_base import ResidualStructure
from mixedflow.covariance.residual_types import ResidualDesign
from mixedflow.covariance.residual_weights import shown_matrix, stratum_places
from mixedflow.design.types import Float

CorrelationKind = Literal["none", "one", "lags", "neighbours", "all"]
"""Which correlations over positions determine the others."""


class ResidualRow(NamedTuple):
    """A variance (``term2`` empty) or a covariance and correlation of the residuals."""

    term1: str
    term2: str
    vcov: float
    sdcor: float


class ResidualParameter(NamedTuple):
    """A parameter of R by the name that users of nlme or mmrm know."""

    stratum: str
    parameter: str
    estimate: float


@dataclass(frozen=True, slots=True)
class StratumResidual:
    """R of one stratum in the user's units.

    Attributes
    ----------
    label : of the stratum, empty without strata
    positions : labels; () where the structure has none
    R : (m, m) over the positions, (1, 1) without
    rho : the one correlation (of any two rows, or at distance one) where there is one, else None
    shared : whether the correlations are those of the first stratum
    """

    label: str
    positions: tuple[str, ...]
    R: Float
    rho: float | None
    shared: bool


def strata_of(design: ResidualDesign, psi: Float, sigma2: float) -> list[StratumResidual]:
    """Return R of every stratum."""
    out = []
    for s, label in enumerate(design.strata):
        own = stratum_places(design, s)[1]
        R = sigma2 * shown_matrix(design, psi, s)
        shared = s > 0 and own == stratum_places(design, 0)[1]
        rho = one_correlation(design, psi[own], R)
        out.append(StratumResidual(label, design.positions, R, rho, shared))
    return out


def one_correlation(design: ResidualDesign, own: Float, R: Float) -> float | None:
    """Return the one correlation of a stratum's structure; None where there are others or none."""
    structure = residual_structure(design)
    if not len(own):
        return None
    if design.basis == "sizes":
        return float(structure.common_correlation(own, design.largest)[0])
    if design.basis == "gaps" or structure.over_points:
        return float(structure.gap_correlation(float(own[0]), np.ones(1))[0][0])
    if correlation_kind(structure, len(R)) == "one":
        return float(R[0, 1] / np.sqrt(R[0, 0] * R[1, 1]))
    return None


def correlation_kind(structure: ResidualStructure, m: int) -> CorrelationKind:
    """Return which correlations a structure over m positions has: told by a look at one matrix."""
    count = structure.n_params(m) - (m - 1 if structure.heterogeneous else 0)
    if m < 2 or count < 1:
        return "none"
    if m == 2:
        return "all" if structure.heterogeneous else "one"
    if count == 1:
        return "one"
    if count != m - 1:
        return "all"
    psi: Float = 0.1 + 0.02 * np.arange(structure.n_params(m), dtype=np.float64)
    C = _correlation(structure.matrix(psi, m))
    diagonals = [np.diag(C, k) for k in range(1, m)]
    return "lags" if all(np.ptp(of_lag) < 1e-12 for of_lag in diagonals) else "neighbours"


def _correlation(R: Float) -> Float:
    sd = np.sqrt(np.diag(R))
    C: Float = R / np.outer(sd, sd)
    return C


def residual_rows(design: ResidualDesign, psi: Float, sigma2: float) -> list[ResidualRow]:
    """Return variances, then correlations of every stratum.

    Parameters
    ----------
    design : structure, positions and strata
    psi : parameters of R0
    sigma2 : variance at the first position of the first stratum
    """
    structure = residual_structure(design)
    rows: list[ResidualRow] = []
    for found in strata_of(design, psi, sigma2):
        rows += _variance_rows(found, structure)
        if not found.shared:
            rows += _correlation_rows(found, structure)
    return rows


def _variance_rows(found: StratumResidual, structure: ResidualStructure) -> Iterator[ResidualRow]:
    variance = np.diag(found.R)
    if not structure.heterogeneous:
        yield ResidualRow(found.label, "", float(variance[0]), float(np.sqrt(variance[0])))
        return
    for position, value in zip(found.positions, variance, strict=True):
        yield ResidualRow(_at(found, position), "", float(value), float(np.sqrt(value)))


def _correlation_rows(
    found: StratumResidual, structure: ResidualStructure
) -> Iterator[ResidualRow]:
    if found.rho is not None:
        variance = np.nan if structure.heterogeneous else float(found.R[0, 0])
        yield ResidualRow(found.label, "rho", found.rho * variance, found.rho)
        return
    C = _correlation(found.R)
    for name, a, b in correlation_pairs(correlation_kind(structure, len(found.R)), len(found.R)):
        if name:
            cov = np.nan if structure.heterogeneous else float(found.R[a, b])
            yield ResidualRow(found.label, name, cov, float(C[a, b]))
        else:
            first, second = _at(found, found.positions[a]), _at(found, found.positions[b])
            yield ResidualRow(first, second, float(found.R[a, b]), float(C[a, b]))


def correlation_pairs(kind: CorrelationKind, m: int) -> Iterator[tuple[str, int, int]]:
    """Yield (name or "", a, b) of the correlations over m positions that say all."""
    if kind == "lags":
        yield from ((f"rho({k})", 0, k) for k in range(1, m))
    elif kind == "neighbours":
        yield from (("", k, k + 1) for k in range(m - 1))
    elif kind == "all":
        yield from (("", a, b) for a in range(m) for b in range(a + 1, m))


def _at(found: StratumResidual, position: str) -> str:
    return f"{found.label}:{position}" if found.label else position


def residual_parameters(
    design: ResidualDesign, psi: Float, sigma2: float
) -> list[ResidualParameter]:
    """Return sigma, ratios of standard deviations, rho, range and correlations by stratum.

    ``sigma`` is the standard deviation at the stratum's first position, ``sd ratio`` that sigma
    over the first stratum's (nlme's varIdent), ``sd ratio(b)`` that of position b over the
    stratum's first; ``rho`` of a structure in time holds at distance one, and
    ``range`` = -1 / log rho (nlme's corExp).
    """
    structure = residual_structure(design)
    times = structure.over_distance
    rows: list[ResidualParameter] = []
    for s, found in enumerate(strata_of(design, psi, sigma2)):
        sd = np.sqrt(np.diag(found.R))
        named = [("sigma", float(sd[0]))]
        if s:
            named.append(("sd ratio", float(sd[0] / np.sqrt(sigma2))))
        if structure.heterogeneous:
            pairs = zip(found.positions[1:], sd[1:], strict=True)
            named += [(f"sd ratio({b})", float(value / sd[0])) for b, value in pairs]
        if not found.shared:
            named += _named_correlations(found, structure)
            if times and found.rho is not None:
                named.append(("range", float(-1.0 / np.log(found.rho))))
        rows += [ResidualParameter(found.label, name, value) for name, value in named]
    return rows


def _named_correlations(
    found: StratumResidual, structure: ResidualStructure
) -> list[tuple[str, float]]:
    if found.rho is not None:
        return [("rho", found.rho)]
    C, at = _correlation(found.R), found.positions
    return [
        (name or f"corr({at[a]}, {at[b]})", float(C[a, b]))
        for name, a, b in correlation_pairs(correlation_kind(structure, len(C)), len(C))
    ]
