"""Variance parameters on the scale that people read them on: SDs, correlations, ratios, ranges.

Stands at "Profile intervals" in ``docs/algorithm.md``. Each is a function of x = [theta, psi, phi]; a
profile looks for it in a coordinate that runs over all real numbers: the log of a positive number, and
atanh of a correlation, stretched to the values that its structure allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from mixedflow.covariance.correlation import LIMIT, Correlation
from mixedflow.covariance.registry import residual_structure
from mixedflow.covariance.residual_types import ResidualDesign
from mixedflow.covariance.residual_weights import shown_matrix, stratum_places
from mixedflow.covariance.structured import CorrelatedColumns
from mixedflow.design.types import Float
from mixedflow.equations.system import ModelSystem
from mixedflow.estimation.parameters import VarianceParameters, term_structures, term_units
from mixedflow.inference.residual import correlation_kind, correlation_pairs, one_correlation

OPEN = (-1.0, 1.0)
"""Between which values any correlation lies."""

NEAR_ONE = 1e-6
"""How near 1 a correlation at the limit of psi is taken for 1."""

Read = Callable[[VarianceParameters], float]


class Scale(NamedTuple):
    """A coordinate over all real numbers, and the way back."""

    there: Callable[[float], float]
    back: Callable[[float], float]


def _exp(t: float) -> float:
    return float(np.exp(t))


def _log(value: float) -> float:
    return float(np.log(value))


LOG = Scale(_log, _exp)


FADING = Scale(lambda r: -_log(-_log(r)), lambda t: float(np.exp(-np.exp(-t))))
"""Of exp(-rate): minus the log of the rate."""


def between(low: float, high: float) -> Scale:
    """Return t = atanh((2 r - low - high) / (high - low))."""
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    return Scale(
        lambda r: float(np.arctanh((r - middle) / half)),
        lambda t: float(middle + half * np.tanh(t)),
    )


@dataclass(frozen=True, slots=True)
class Natural:
    """A variance parameter on its natural scale.

    Attributes
    ----------
    name : of it
    read : it, of the parameters, in the user's units
    scale : the coordinate that it is looked for in
    ends : between which values it can lie
    """

    name: str
    read: Read
    scale: Scale = LOG
    ends: tuple[float, float] = (0.0, np.inf)

    @property
    def correlation(self) -> bool:
        """Whether it is a correlation."""
        return self.scale is not LOG


def term_covariance(system: ModelSystem, params: VarianceParameters, term: int) -> Float:
    """Return G of a term in the user's units, (q, q)."""
    structure, y_scale = term_structures(system)[term], system.fixed_scale.y_scale
    T = term_units(system)[term]
    out: Float = y_scale**2 * (T @ structure.matrix(params.theta[term], len(T)) @ T.T)
    return out


def term_naturals(
    system: ModelSystem, term: int, label: str, columns: list[str]
) -> Iterator[Natural]:
    """Yield SDs and correlations of a term whose G has a structure.

    Parameters
    ----------
    system : the sums
    term, label, columns : which term, its label, and the names of its columns
    """
    structure, q = term_structures(system)[term], len(columns)
    if not structure.n_params(q):
        return
    common = isinstance(structure, CorrelatedColumns) and not structure.heterogeneous and q > 1
    for a in range(1 if common else q):
        name = f"sd|{label}" if common else f"sd_{columns[a]}|{label}"
        yield Natural(name, _term_sd(system, term, a))
    if not structure.correlated:
        return
    if not isinstance(structure, CorrelatedColumns):
        pairs = [("", a, b) for a in range(q) for b in range(a + 1, q)]
        ends = OPEN
    else:
        kind = correlation_kind(_Look(structure.correlation), q)  # type: ignore[arg-type]
        pairs = [("rho", 0, 1)] if kind == "one" else list(correlation_pairs(kind, q))
        ends = _ends(structure.correlation, q)
    for name, a, b in pairs:
        said = f"{name}|{label}" if name else f"cor_{columns[b]}.{columns[a]}|{label}"
        yield Natural(said, _term_correlation(system, term, a, b), between(*ends), ends)


def _term_sd(system: ModelSystem, term: int, a: int) -> Read:
    return lambda params: float(np.sqrt(term_covariance(system, params, term)[a, a]))


def _term_correlation(system: ModelSystem, term: int, a: int, b: int) -> Read:
    def read(params: VarianceParameters) -> float:
        return correlation_at(term_covariance(system, params, term), a, b)

    return read


def correlation_at(G: Float, a: int, b: int) -> float:
    """Return the correlation of two columns; NaN beside a variance of zero."""
    size = np.sqrt(G[a, a] * G[b, b])
    return float(np.clip(G[a, b] / size, -1.0, 1.0)) if size > 0 else float("nan")


@dataclass(frozen=True, slots=True)
class _Look:
    """A family of correlations as a structure without variances of its own."""

    family: Correlation
    heterogeneous: bool = False

    def n_params(self, m: int) -> int:
        return self.family.n_params(m)

    def matrix(self, psi: Float, m: int) -> Float:
        C: Float = self.family.matrix(psi, m)
        return C


def _ends(family: Correlation, m: int) -> tuple[float, float]:
    """Return the values that a correlation by itself can have; (-1, 1) where there are several."""
    if family.n_params(m) != 1:
        return OPEN
    found = [float(family.matrix(np.array([end]), m)[0, 1]) for end in (-LIMIT, LIMIT)]
    return _ordered(found)


def _ordered(values: Sequence[float]) -> tuple[float, float]:
    """Return the lower and the higher, +-1 where they are that to what psi can tell."""
    low, high = (np.sign(v) if abs(abs(v) - 1.0) < NEAR_ONE else v for v in sorted(values))
    return float(low), float(high)


def residual_naturals(
    design: ResidualDesign, y_scale: float, limits: tuple[Float, Float]
) -> Iterator[Natural]:
    """Yield sigma, SDs, their ratios and correlations of every stratum, named as in residual_params.

    ``sd(b)`` is the SD at position b; a stratum's stand with its label in brackets.

    Parameters
    ----------
    design : structure, positions and strata
    y_scale : of the response
    limits : between which psi R0 is of use
    """
    structure, several = residual_structure(design), len(design.strata) > 1
    for s, label in enumerate(design.strata):
        found = list(_variances(design, y_scale, s))
        own = stratum_places(design, s)[1]
        if not (s and own == stratum_places(design, 0)[1]) and own.stop > own.start:
            ends = limits[0][own], limits[1][own]
            found += _correlations(design, s, ends, times=structure.over_distance)
        for one in found:
            yield replace(one, name=f"{one.name}[{label}]") if several else one


def _variances(design: ResidualDesign, y_scale: float, s: int) -> Iterator[Natural]:
    def sd(a: int) -> Read:
        return lambda at: y_scale * float(np.sqrt(at.sigma2 * _matrix(design, at, s)[a, a]))

    def ratio(a: int, of: int) -> Read:
        return lambda at: float(
            np.sqrt(_matrix(design, at, s)[a, a] / _matrix(design, at, of)[0, 0])
        )

    yield Natural("sigma", sd(0))
    if s:
        yield Natural("sd ratio", ratio(0, 0))
    if residual_structure(design).heterogeneous:
        for a, position in enumerate(design.positions[1:], start=1):
            yield Natural(f"sd({position})", sd(a))
        for a, position in enumerate(design.positions[1:], start=1):
            yield Natural(f"sd ratio({position})", ratio(a, s))


def _matrix(design: ResidualDesign, params: VarianceParameters, s: int) -> Float:
    return shown_matrix(design, params.psi, s)


def _correlations(
    design: ResidualDesign, s: int, limits: tuple[Float, Float], *, times: bool
) -> Iterator[Natural]:
    own = stratum_places(design, s)[1]
    structure, m = residual_structure(design), max(1, len(design.positions))

    def rho_at(psi: Float) -> float | None:
        full = design.basis == "pairs" and not structure.over_points
        shape: Float = structure.matrix(psi, m) if full else np.eye(1)
        return one_correlation(design, psi, shape)

    def rho(params: VarianceParameters) -> float:
        return float(rho_at(params.psi[own]) or 0.0)

    start = np.clip(np.zeros(own.stop - own.start), *limits)
    if rho_at(start) is not None:
        ends = _ordered([rho_at(np.r_[start[:-1], limit[-1]]) or 0.0 for limit in limits])
        yield Natural("rho", rho, FADING if times else between(*ends), ends)
        if times:
            yield Natural("range", lambda at: float(-1.0 / np.log(rho(at))))
        return

    def correlation(a: int, b: int) -> Read:
        return lambda at: correlation_at(_matrix(design, at, s), a, b)

    for name, a, b in correlation_pairs(correlation_kind(structure, m), m):
        said = name or f"corr({design.positions[a]}, {design.positions[b]})"
        yield Natural(said, correlation(a, b), between(*OPEN), OPEN)
