"""The sums that one model needs, in the columns that its equations are solved in.

Stands at "From sums to equations" in ``docs/algorithm.md``. Stored columns are shifted and scaled
by pilots, Z = Z~ A with a small A. Fixed effects, and random effects of an unstructured G, are
solved in stored columns and carried back at the end: any G = T G~ T' is unstructured when G~ is. A
structured G belongs to the user's columns; there only the q x q factor of G meets the shift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from mixedflow.covariance.registry import get_structure
from mixedflow.crossproducts.levels import LevelArrays
from mixedflow.crossproducts.types import ONLY_KEY, CrossProducts, FactorSums, KeyedSums, PairSums
from mixedflow.design.types import DesignInfo, Float, Int, TermDesign
from mixedflow.equations.engines import RandomPattern
from mixedflow.equations.expand import expanded_rows
from mixedflow.errors import FitError, UnsupportedError
from mixedflow.linalg.aliasing import independent_columns
from mixedflow.linalg.compressed import CompressedRows

SPAN_TOLERANCE = 1e-10
"""Relative residual of the constant column below which X is taken to span it."""


@dataclass(frozen=True, slots=True)
class FactorSystem:
    """One grouping factor's sums; Q stored columns, q columns in the model, L levels.

    Attributes
    ----------
    name : the factor
    ZtBZ : (L, Q, Q), ZtBX : (L, Q, p), ZtBy : (L, Q)
    basis : (Q, q), A T: the columns of the equations' effects are Z~ A T
    units : (q, q), T: the user's effects are T times those of the equations
    terms : indices of the model's terms on this factor
    slices : for each of them its columns among the q
    """

    name: str
    ZtBZ: Float
    ZtBX: Float
    ZtBy: Float
    basis: Float
    units: Float
    terms: tuple[int, ...]
    slices: tuple[slice, ...]

    @property
    def n_levels(self) -> int:
        """L."""
        return int(self.ZtBZ.shape[0])

    @property
    def dim(self) -> int:
        """q, the model's columns on this factor."""
        return int(self.basis.shape[1])


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    """The model's own columns of X and its response among those that are stored.

    Attributes
    ----------
    at : stored columns of X
    trait : which response
    shift : constants to add to the stored response
    """

    at: Int
    trait: int
    shift: float

    def __call__(self, stored: FactorSums) -> LevelArrays:
        """Return ZZ, ZX, Zy of some levels."""
        Zy = stored.ZtBy[:, :, self.trait]
        shifted = Zy + self.shift * stored.ZtBX[:, :, 0] if self.shift else Zy
        return (
            stored.ZtBZ,
            np.ascontiguousarray(stored.ZtBX[:, :, self.at]),
            np.ascontiguousarray(shifted),
        )


@dataclass(frozen=True, slots=True)
class PooledFactor(FactorSystem):
    """One grouping factor whose levels' sums are elsewhere; those held here are added up as one.

    Attributes
    ----------
    levels : L
    """

    levels: int

    @property
    def n_levels(self) -> int:
        """L."""
        return self.levels


@dataclass(frozen=True, slots=True)
class PairSystem:
    """Z_f'B Z_h of two factors, as a list of pairs and as a sparse matrix.

    Attributes
    ----------
    rows, cols : (m,) level indices, sorted by (row, col)
    ZtBZ : (m, Q_f, Q_h)
    matrix : (L_f Q_f, L_h Q_h) compressed rows
    """

    rows: Int
    cols: Int
    ZtBZ: Float
    matrix: CompressedRows


@dataclass(frozen=True, slots=True)
class FixedScale:
    """How coefficients of stored columns become the user's: beta = y_scale T b + constant.

    Attributes
    ----------
    transform : (p, p), T
    constant : (p,)
    y_scale : scale of the response
    log_det : 2 sum log(scale of X columns), what log|X'V^-1 X| gains in the user's units
    """

    transform: Float
    constant: Float
    y_scale: float
    log_det: float


@dataclass(frozen=True, slots=True)
class ModelSystem:
    """Sums of one model with independent (or weighted) residuals and one trait.

    Attributes
    ----------
    n_obs : rows; p : rank of X
    XtBX : (p, p), XtBy : (p,), ytBy : scalar
    factors, pairs : see :class:`FactorSystem`, :class:`PairSystem`
    terms : the random terms
    kept, aliased : indices into the design's X columns
    alias_note : sentence on the aliased columns, or empty
    fixed_scale : the way back to the user's units
    sum_log_weight : sum of log w
    """

    n_obs: int
    XtBX: Float
    XtBy: Float
    ytBy: float
    factors: tuple[FactorSystem, ...]
    pairs: Mapping[tuple[int, int], PairSystem]
    terms: tuple[TermDesign, ...]
    kept: Int
    aliased: Int
    fixed_scale: FixedScale
    sum_log_weight: float

    @property
    def p(self) -> int:
        """Rank of X."""
        return int(self.XtBX.shape[0])

    @property
    def pattern(self) -> RandomPattern:
        """Where the random part of the equations has entries."""
        shapes = tuple((factor.n_levels, factor.dim) for factor in self.factors)
        return RandomPattern(shapes, {k: (p.rows, p.cols) for k, p in self.pairs.items()})

    @property
    def dims(self) -> tuple[int, ...]:
        """Number of columns of each random term."""
        return tuple(len(term.columns) for term in self.terms)


def model_system(
    sums: CrossProducts, terms: Sequence[TermDesign], *, trait: int = 0
) -> ModelSystem:
    """Return the sums of the model's own columns, aliased columns of X left out.

    Parameters
    ----------
    sums : of a design that holds the model's columns
    terms : the model's random terms
    trait : which response

    Raises
    ------
    FitError
        if no fixed-effect column or too few rows are left.
    """
    if set(sums.keyed) != {ONLY_KEY}:
        raise UnsupportedError("this route is for sums of independent or weighted residuals")
    part = sums.keyed[ONLY_KEY]
    lead = int(sums.constant)
    aliases = independent_columns(part.XtBX[lead:, lead:])
    kept = np.asarray(aliases.kept, dtype=np.int64)
    _check_rows(part.n_obs, len(kept))
    at = kept + lead
    response = _response(sums.info, part, at, trait)
    choice = ColumnChoice(at, trait, response.shift)
    used = sorted({term.factor for term in terms})
    return ModelSystem(
        n_obs=part.n_obs,
        XtBX=part.XtBX[np.ix_(at, at)],
        XtBy=part.XtBy[at, trait] + response.shift * part.XtBX[at, 0],
        ytBy=_squared_response(part, trait, response.shift),
        factors=tuple(_factor_system(sums, f, terms, choice) for f in used),
        pairs=_pair_systems(sums, used),
        terms=_renumbered(terms, used),
        kept=kept,
        aliased=np.asarray(aliases.aliased, dtype=np.int64),
        fixed_scale=_fixed_scale(sums.info, kept, response.unit, trait),
        sum_log_weight=part.sum_log_weight,
    )


def pooled_system(
    sums: CrossProducts, terms: Sequence[TermDesign], n_levels: int, *, trait: int = 0
) -> tuple[ModelSystem, ColumnChoice]:
    """Return the sums of a model of one factor whose levels are elsewhere, and what to take there.

    Parameters
    ----------
    sums : of the design, the factor's levels added up as if they were one
    terms : the model's random terms
    n_levels : L
    trait : which response
    """
    system, choice = system_and_choice(sums, terms, trait=trait)
    (only,) = system.factors
    names = [field.name for field in fields(only)]
    pooled = PooledFactor(**{name: getattr(only, name) for name in names}, levels=n_levels)
    return replace(system, factors=(pooled,)), choice


def system_and_choice(
    sums: CrossProducts, terms: Sequence[TermDesign], *, trait: int = 0
) -> tuple[ModelSystem, ColumnChoice]:
    """Return the model's sums, and what they took of those that are stored."""
    system = model_system(sums, terms, trait=trait)
    at = system.kept + int(sums.constant)
    shift = _response(sums.info, sums.keyed[ONLY_KEY], at, trait).shift
    return system, ColumnChoice(at, trait, shift)


def _check_rows(n_obs: int, rank: int) -> None:
    if rank == 0:
        raise FitError(
            "no fixed-effect column is left: each is 0 in all rows; write at least the intercept, y ~ 1"
        )
    if n_obs <= rank:
        raise FitError(
            f"{n_obs} rows are too few for {rank} fixed-effect coefficients; more rows than "
            "coefficients are needed"
        )


class _Response(NamedTuple):
    """How the pilot shift of y is undone: add ``shift`` constants, or let X's ``unit`` carry it."""

    shift: float
    unit: Float


def _response(info: DesignInfo, part: KeyedSums, at: Int, trait: int) -> _Response:
    """Return c with 1 = X c where X spans the constant; otherwise the shift in units of y's scale.

    A coefficient takes a shift of y back only if X spans the constant column, as y ~ 0 + group
    does without naming it.
    """
    if info.intercept is not None:
        return _Response(0.0, (at == info.intercept).astype(float))
    one = part.XtBX[at, 0]
    unit = np.linalg.solve(part.XtBX[np.ix_(at, at)], one)
    left = part.XtBX[0, 0] - unit @ one
    if left <= SPAN_TOLERANCE * part.XtBX[0, 0]:
        return _Response(0.0, unit)
    pilots = info.pilots
    return _Response(float(pilots.y_shift[trait] / pilots.y_scale[trait]), np.zeros(len(at)))


def _squared_response(part: KeyedSums, trait: int, shift: float) -> float:
    squared = part.ytBy[trait, trait]
    if shift:
        squared += 2 * shift * part.XtBy[0, trait] + shift**2 * part.XtBX[0, 0]
    return float(squared)


def _fixed_scale(info: DesignInfo, kept: Int, unit: Float, trait: int) -> FixedScale:
    scale, shift = info.pilots.x_scale[kept], info.pilots.x_shift[kept]
    transform = np.diag(1.0 / scale)
    if info.intercept is not None:
        transform[kept == info.intercept, :] -= shift / scale
    return FixedScale(
        transform=transform,
        constant=info.pilots.y_shift[trait] * (transform @ unit),
        y_scale=float(info.pilots.y_scale[trait]),
        log_det=float(2.0 * np.log(scale).sum()),
    )


def _factor_system(
    sums: CrossProducts, f: int, terms: Sequence[TermDesign], choice: ColumnChoice
) -> FactorSystem:
    stored = sums.keyed[ONLY_KEY].factors[f]
    factor = sums.info.factors[f]
    if len(stored.levels) != factor.n_levels:
        stored = _all_levels(stored, factor.n_levels)
    mine = [j for j, term in enumerate(terms) if term.factor == f]
    stops = np.cumsum([len(terms[j].columns) for j in mine])
    columns = [column for j in mine for column in terms[j].columns]
    slices = tuple(
        slice(int(b) - len(terms[j].columns), int(b)) for j, b in zip(mine, stops, strict=True)
    )
    A = _z_basis(sums.info, f)
    units = _z_units(A, [terms[j] for j in mine], slices)
    ZtBZ, ZtBX, ZtBy = choice(stored)
    return FactorSystem(
        name=factor.name,
        ZtBZ=ZtBZ,
        ZtBX=ZtBX,
        ZtBy=ZtBy,
        basis=A[:, columns] @ units,
        units=units,
        terms=tuple(mine),
        slices=slices,
    )


def _z_basis(info: DesignInfo, f: int) -> Float:
    """Return A in Z = Z~ A: a column is its scale times the stored one, plus its shift."""
    A = np.diag(info.pilots.z_scale[f])
    constant = info.z_intercept[f]
    if constant is not None:
        A[constant, :] += info.pilots.z_shift[f]
    return A


def _z_units(A: Float, terms: Sequence[TermDesign], slices: Sequence[slice]) -> Float:
    """Return T, block-diagonal by term: A_jj^-1 where G_j may be in any basis, I otherwise.

    A term that lacks the constant column its others are shifted by stays in the user's columns.
    """
    T = np.eye(slices[-1].stop)
    for term, where in zip(terms, slices, strict=True):
        own = list(term.columns)
        closed = get_structure(term.structure).expansion(len(own)).all()
        if closed and not np.delete(A, own, axis=0)[:, own].any():
            T[where, where] = np.linalg.inv(A[np.ix_(own, own)])
    return T


def _all_levels(stored: FactorSums, n_levels: int) -> FactorSums:
    """Return the sums with a zero for every level that no row has."""

    def spread(values: Float) -> Float:
        out = np.zeros((n_levels, *values.shape[1:]))
        out[stored.levels] = values
        return out

    arrays = spread(stored.ZtBZ), spread(stored.ZtBX), spread(stored.ZtBy)
    return FactorSums(np.arange(n_levels), *arrays)


def _renumbered(terms: Sequence[TermDesign], used: list[int]) -> tuple[TermDesign, ...]:
    """Return the terms with factors counted among those that the model uses."""
    return tuple(replace(term, factor=used.index(term.factor)) for term in terms)


def _pair_systems(sums: CrossProducts, used: list[int]) -> dict[tuple[int, int], PairSystem]:
    levels = [factor.n_levels for factor in sums.info.factors]
    pairs = sums.keyed[ONLY_KEY].pairs
    return {
        (i, j): _pair_system(pairs[f, h], (levels[f], levels[h]))
        for i, f in enumerate(used)
        for j, h in enumerate(used)
        if i < j
    }


def _pair_system(pair: PairSums, n_levels: tuple[int, int]) -> PairSystem:
    matrix = expanded_rows(pair.rows, pair.cols, pair.ZtBZ, n_levels)
    return PairSystem(pair.rows, pair.cols, pair.ZtBZ, matrix)
