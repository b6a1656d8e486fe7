"""The unknown variances: theta of every random term's G, psi and phi = log sigma2 of R.

Stands at "Parameters" in ``docs/algorithm.md``. While a model is fitted they are in y's stored
scale, and an unstructured G in stored columns; results are in the user's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.base import CovarianceStructure
from mixedflow.covariance.registry import get_structure
from mixedflow.design.types import Float
from mixedflow.equations.system import ModelSystem
from mixedflow.errors import FitError

START_SHARE = 0.3
"""Share of the residual variance that each random column gets at the start."""

FLOOR = 1e-7
"""Smallest relative pivot of a term's factor while iterating; zeros are made at the end."""

SMALL_PIVOT = 1e-4
"""Pivot, relative to a column that matters as much as the residual, below which zero is tried."""

VANISHING = 1e-13
"""Share of a variance below which sums in double precision cannot tell it from zero."""


@dataclass(frozen=True, slots=True)
class VarianceParameters:
    """theta of every term, psi and phi = log sigma2: G_j = G_j(theta_j), R = sigma2 R0(psi).

    Attributes
    ----------
    theta : one (n_params_j,) array a term
    phi : log of the residual variance
    psi : parameters of R0; none where residuals are independent and alike
    """

    theta: tuple[Float, ...]
    phi: float
    psi: Float = field(default_factory=lambda: np.empty(0))

    @property
    def sigma2(self) -> float:
        """Residual variance in y's stored scale."""
        return float(np.exp(self.phi))

    def vector(self) -> Float:
        """Return theta of all terms, then psi, then phi."""
        return np.concatenate([*self.theta, self.psi, [self.phi]])

    def with_vector(self, values: Float) -> VarianceParameters:
        """Return the parameters that a vector in the order of :meth:`vector` holds."""
        stops = np.cumsum([len(part) for part in self.theta], dtype=np.int64)
        *parts, psi = np.split(values[:-1], stops)
        return VarianceParameters(tuple(parts), float(values[-1]), psi)

    @property
    def psi_places(self) -> slice:
        """Where psi stands in the vector."""
        first = sum(len(part) for part in self.theta)
        return slice(first, first + len(self.psi))


def term_structures(system: ModelSystem) -> tuple[CovarianceStructure, ...]:
    """Return the covariance structure of every term, in y's stored scale."""
    y_scale = system.fixed_scale.y_scale
    return tuple(get_structure(term.structure).scaled(y_scale) for term in system.terms)


def term_factors(system: ModelSystem, params: VarianceParameters) -> tuple[Float, ...]:
    """Return F_j with G_j = F_j F_j' of every term."""
    return tuple(
        structure.factor(theta, dim)
        for structure, theta, dim in zip(
            term_structures(system), params.theta, system.dims, strict=True
        )
    )


def term_units(system: ModelSystem) -> tuple[Float, ...]:
    """Return T of every term, (q, q): the user's effects are T times those of the equations."""
    out: list[Float] = [np.empty((0, 0))] * len(system.terms)
    for factor in system.factors:
        for term, where in zip(factor.terms, factor.slices, strict=True):
            out[term] = factor.units[where, where]
    return tuple(out)


def term_scales(system: ModelSystem) -> tuple[Float, ...]:
    """Return a guess of G_j a term, of unit size in y's stored scale: its columns matter alike.

    (A_j' D A_j)^-1 with D the mean squares of the stored columns; its diagonal taken by itself
    where G_j belongs to the user's columns.
    """
    out: list[Float] = [np.empty((0, 0))] * len(system.terms)
    for factor, stored in zip(system.factors, _mean_squares(system), strict=True):
        for term, where in zip(factor.terms, factor.slices, strict=True):
            A = factor.basis[:, where]
            size = A.T @ np.diag(np.diag(stored)) @ A
            closed = term_structures(system)[term].expansion(len(size)).all()
            out[term] = np.asarray(np.linalg.inv(size if closed else np.diag(np.diag(size))))
    return tuple(out)


def _mean_squares(system: ModelSystem) -> list[Float]:
    """Return Z~'BZ~ / n of every factor, (Q, Q), 1 on the diagonal of a column of zeros."""
    out = []
    for factor in system.factors:
        stored = factor.ZtBZ.sum(axis=0) / max(1, system.n_obs)
        out.append(stored + np.diag(np.where(np.diag(stored) > 0, 0.0, 1.0)))
    return out


def pivot_floors(system: ModelSystem, sigma2: float) -> tuple[Float, ...]:
    """Return the smallest squared pivots a term: 1e-14 sigma2 / mean square of the column."""
    out: list[Float] = [np.empty(0)] * len(system.terms)
    for factor, stored in zip(system.factors, _mean_squares(system), strict=True):
        mean_square = np.einsum("aj,ab,bj->j", factor.basis, stored, factor.basis)
        floor = FLOOR**2 * sigma2 / np.where(mean_square > 0, mean_square, 1.0)
        for term, where in zip(factor.terms, factor.slices, strict=True):
            out[term] = floor[where]
    return tuple(out)


def at_floor(system: ModelSystem, params: VarianceParameters) -> NDArray[np.int8]:
    """Return which parameters stand at a bound, (r,): 1 at a lower, -1 at an upper, 2 held.

    Of psi none does here: its bounds are its structure's.
    """
    bounds = [
        structure.bounds(theta, floor)
        for structure, theta, floor in zip(
            term_structures(system),
            params.theta,
            pivot_floors(system, params.sigma2),
            strict=True,
        )
    ]
    free = np.zeros(len(params.psi) + 1, dtype=np.int8)
    return np.concatenate([*bounds, free])


def small_pivots(
    system: ModelSystem, params: VarianceParameters, limit: float = SMALL_PIVOT
) -> list[tuple[int, int]]:
    """Return (term, column) of the pivots below a limit, relative to a column that matters."""
    found = []
    structures = term_structures(system)
    for j, (structure, theta, guess) in enumerate(
        zip(structures, params.theta, term_scales(system), strict=True)
    ):
        pivots = structure.pivots(theta, system.dims[j])
        for at in range(len(pivots)):
            if abs(pivots[at]) < limit * (params.sigma2 * guess[at, at]) ** 0.5:
                found.append((j, at))
    return found


def without_pivot(
    system: ModelSystem, params: VarianceParameters, term: int, at: int
) -> VarianceParameters:
    """Return the parameters with one pivot of a term exactly zero."""
    theta = list(params.theta)
    structure = term_structures(system)[term]
    theta[term] = structure.without_pivot(theta[term], system.dims[term], at)
    return replace(params, theta=tuple(theta))


def start_parameters(system: ModelSystem) -> VarianceParameters:
    """Return sigma2 from the fit without random effects and G_j = 0.3 sigma2 in every direction.

    Raises
    ------
    FitError
        if the fixed effects leave no residual variance.
    """
    beta = np.linalg.solve(system.XtBX, system.XtBy)
    rss = float(system.ytBy - system.XtBy @ beta)
    if not rss > VANISHING * system.ytBy:
        raise FitError(
            "the fixed effects reproduce the response exactly (up to rounding); no residual "
            "variance is left to estimate"
        )
    sigma2 = rss / (system.n_obs - system.p)
    theta = tuple(
        structure.start(START_SHARE * sigma2 * guess)
        for structure, guess in zip(term_structures(system), term_scales(system), strict=True)
    )
    return VarianceParameters(theta, float(np.log(sigma2 * (1.0 - START_SHARE))))


def check_residual_variance(sigma2: float, before: float) -> None:
    """Raise where the residual variance has vanished beside what it was without random effects.

    Raises
    ------
    FitError
        if the random effects reproduce what the fixed effects leave.
    """
    if not sigma2 > VANISHING * before:
        raise FitError(
            "fixed and random effects together reproduce the response exactly (up to rounding); no "
            "residual variance is left to estimate"
        )
