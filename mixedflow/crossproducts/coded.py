"""Sums of categories with many levels, from level codes: their columns are never written out.

Stands at "Condensing" in ``docs/algorithm.md``. A category's indicator columns E, times a number m a
row, are condensed as if the category were one more grouping factor with the column m: E'BE is then
diagonal, E'B[X y] a sum by level, Z_f'BE and E'BE' tables of the levels that meet. Columns of X are
X_k = (E C - 1 s') / c with the contrast matrix C and the pilots s, c; C is applied to the sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mixedflow.crossproducts.linear import split_gram, whole_gram
from mixedflow.crossproducts.types import ONLY_KEY, CrossProducts, FactorSums, KeyedSums
from mixedflow.design.coded import contrast_matrix
from mixedflow.design.types import (
    CodedColumns,
    DesignColumns,
    DesignInfo,
    FactorDesign,
    Float,
    Int,
    Pieces,
    Pilots,
)

Condense = Callable[[DesignColumns, DesignInfo], CrossProducts]


def condense_coded(columns: DesignColumns, info: DesignInfo, condense: Condense) -> CrossProducts:
    """Return the sums of a partition some of whose columns are known by level codes.

    Parameters
    ----------
    columns : raw columns of the partition
    info : columns and pilots of the design
    condense : condenses columns none of which is coded
    """
    coded = _Coded(columns, info)
    sums = condense(coded.columns, coded.info)
    part = sums.keyed[ONLY_KEY]
    part = _written(coded, part) if _finite(coded, part) else _not_finite(coded, part)
    return CrossProducts(info, {ONLY_KEY: part}, columns.rows_in, dict(columns.missing))


def written_out(columns: DesignColumns) -> DesignColumns:
    """Return the same columns, none of them coded: (n, c) numbers for each."""
    x: dict[int, Pieces] = {}
    for one in columns.coded:
        C = contrast_matrix(one)
        for k, place in enumerate(one.places.tolist()):
            x[place] = (np.ascontiguousarray(C[:, k])[one.codes], *one.pieces)
    plain = iter(columns.x)
    p = len(columns.x) + len(x)
    return replace(columns, x=tuple(x[k] if k in x else next(plain) for k in range(p)), coded=())


@dataclass(frozen=True, slots=True)
class _Written:
    """X_k = (E C - 1 s') / c of one set of coded columns.

    Attributes
    ----------
    columns : what they are
    factor, number : the stand-in factor that has their sums, and which of its columns is m
    places : where they stand in [1? X]
    shift, scale : s and c
    """

    columns: CodedColumns
    factor: int
    number: int
    places: Int
    shift: Float
    scale: Float

    @property
    def n_levels(self) -> int:
        return len(self.columns.contrasts.column)

    def of(self, raw: Float, constant: Float) -> Float:
        """Return A'B X_k, (..., c), from A'BE, (..., L), and A'B1, (...)."""
        contrasts = self.columns.contrasts
        out = np.zeros((*raw.shape[:-1], len(self.places)))
        units = np.flatnonzero(contrasts.column >= 0)
        out[..., contrasts.column[units]] = raw[..., units]
        if len(contrasts.dense):
            out += raw[..., contrasts.dense] @ contrasts.rows
        if self.shift.any():
            out -= constant[..., None] * self.shift
        out /= self.scale
        return out


class _Coded:
    """The columns that are not coded, with a stand-in factor for each category."""

    def __init__(self, columns: DesignColumns, info: DesignInfo) -> None:
        taken = {k for one in columns.coded for k in one.places.tolist()}
        self.plain = np.array(
            [k for k in range(len(info.x_columns)) if k not in taken], dtype=np.int64
        )
        self.lead = int(info.intercept is None)
        self.n_factors = len(info.factors)
        self.width = self.lead + len(info.x_columns)
        categories = list(dict.fromkeys(one.category for one in columns.coded))
        members = [[one for one in columns.coded if one.category == c] for c in categories]
        self.written = [
            _Written(
                one,
                self.n_factors + f,
                number,
                self.lead + one.places,
                info.pilots.x_shift[one.places],
                info.pilots.x_scale[one.places],
            )
            for f, ones in enumerate(members)
            for number, one in enumerate(ones)
        ]
        self.info = self._plain_info(info, categories, members)
        self.constant = 0 if self.info.intercept is None else self.info.intercept
        self.columns = replace(
            columns,
            z=(*columns.z, *(tuple(one.pieces for one in ones) for ones in members)),
            codes=(*columns.codes, *(ones[0].codes for ones in members)),
            coded=(),
        )

    def _plain_info(
        self, info: DesignInfo, categories: list[str], members: list[list[CodedColumns]]
    ) -> DesignInfo:
        pilots, plain = info.pilots, self.plain
        names = tuple(info.x_columns[k] for k in plain)
        intercept = None if info.intercept is None else int(np.searchsorted(plain, info.intercept))
        one = "1" if intercept is None else names[intercept]
        sizes = [len(ones) for ones in members]
        stand_ins = tuple(
            FactorDesign(
                category,
                (category,),
                tuple(one if not m.pieces else f"{category}:{k}" for k, m in enumerate(ones)),
                len(ones[0].contrasts.column),
            )
            for category, ones in zip(categories, members, strict=True)
        )
        return replace(
            info,
            x_columns=names,
            intercept=intercept,
            factors=(*info.factors, *stand_ins),
            z_intercept=(*info.z_intercept, *(None for _ in stand_ins)),
            pilots=Pilots(
                pilots.x_shift[plain],
                pilots.x_scale[plain],
                pilots.y_shift,
                pilots.y_scale,
                (*pilots.z_shift, *(np.zeros(size) for size in sizes)),
                (*pilots.z_scale, *(np.ones(size) for size in sizes)),
            ),
        )


def _written(coded: _Coded, part: KeyedSums) -> KeyedSums:
    """Return the sums of all columns of X from those of the plain ones and the stand-in factors."""
    t = part.ytBy.shape[0]
    XtBX, XtBy, ytBy = split_gram(_gram(coded, part, t), coded.width)
    real = coded.n_factors
    return replace(
        part,
        XtBX=XtBX,
        XtBy=XtBy,
        ytBy=ytBy,
        factors=tuple(_factor(coded, part, f) for f in range(real)),
        pairs={(f, h): pair for (f, h), pair in part.pairs.items() if h < real},
    )


def _finite(coded: _Coded, part: KeyedSums) -> bool:
    return all(np.isfinite(one.ZtBZ).all() for one in part.factors[coded.n_factors :])


def _not_finite(coded: _Coded, part: KeyedSums) -> KeyedSums:
    """Return sums that say so where a number is not finite: C may have no column for its level."""
    nothing = np.full((coded.width, coded.width), np.nan)
    return replace(part, XtBX=nothing, factors=part.factors[: coded.n_factors])


def _plain_places(coded: _Coded) -> Int:
    """Return where the columns that are not coded stand in [1? X]."""
    return np.concatenate([np.arange(coded.lead), coded.lead + coded.plain])


def _gram(coded: _Coded, part: KeyedSums, t: int) -> Float:
    """Return [X y]'B[X y]."""
    width = coded.width
    gram = np.empty((width + t, width + t))
    plain = np.concatenate([_plain_places(coded), width + np.arange(t)])
    gram[np.ix_(plain, plain)] = whole_gram(part)
    beside = [_beside(part, one) for one in coded.written]
    for k, one in enumerate(coded.written):
        products = one.of(beside[k].T, whole_gram(part)[:, coded.constant])
        gram[np.ix_(plain, one.places)] = products
        gram[np.ix_(one.places, plain)] = products.T
        for j, other in enumerate(coded.written[: k + 1]):
            raw = _between(part, other, one)
            half = one.of(raw, beside[j][:, coded.constant])
            products = other.of(half.T, gram[one.places, _constant_place(coded)]).T
            gram[np.ix_(other.places, one.places)] = products
            gram[np.ix_(one.places, other.places)] = products.T
    return gram


def _constant_place(coded: _Coded) -> int:
    return int(_plain_places(coded)[coded.constant])


def _beside(part: KeyedSums, one: _Written) -> Float:
    """Return E'B[1? X y] with the plain columns of X, (L, P + t); zero where a level is not here."""
    sums = part.factors[one.factor]
    raw = np.zeros((one.n_levels, sums.ZtBX.shape[2] + sums.ZtBy.shape[2]))
    raw[sums.levels, : sums.ZtBX.shape[2]] = sums.ZtBX[:, one.number]
    raw[sums.levels, sums.ZtBX.shape[2] :] = sums.ZtBy[:, one.number]
    return raw


def _between(part: KeyedSums, a: _Written, b: _Written) -> Float:
    """Return E_a'B E_b, (L_a, L_b); a stands no later than b."""
    raw = np.zeros((a.n_levels, b.n_levels))
    if a.factor == b.factor:
        sums = part.factors[a.factor]
        raw[sums.levels, sums.levels] = sums.ZtBZ[:, a.number, b.number]
    else:
        pair = part.pairs[a.factor, b.factor]
        raw[pair.rows, pair.cols] = pair.ZtBZ[:, a.number, b.number]
    return raw


def _factor(coded: _Coded, part: KeyedSums, f: int) -> FactorSums:
    """Return the sums of a grouping factor with all columns of X."""
    sums = part.factors[f]
    m, Q, _ = sums.ZtBX.shape
    ZtBX = np.zeros((m, Q, coded.width))
    ZtBX[:, :, _plain_places(coded)] = sums.ZtBX
    for one in coded.written:
        _fill(ZtBX, one, part, f, sums.ZtBX[:, :, coded.constant])
    return replace(sums, ZtBX=ZtBX)


def _fill(ZtBX: Float, one: _Written, part: KeyedSums, f: int, constant: Float) -> None:
    """Write Z'BX_k of every level to its place, from the levels that meet."""
    contrasts = one.columns.contrasts
    pair = part.pairs[f, one.factor]
    levels = part.factors[f].levels
    every = len(levels) > 0 and levels[-1] == len(levels) - 1
    row = pair.rows if every else np.searchsorted(levels, pair.rows)
    values = pair.ZtBZ[:, :, one.number]
    if len(contrasts.dense):
        ZtBX[:, :, one.places] = _dense_part(one, row, pair.cols, values, len(ZtBX))
    at = contrasts.column[pair.cols]
    unit = at >= 0
    ZtBX[row[unit], :, one.places[at[unit]]] += values[unit]
    if one.shift.any():
        ZtBX[:, :, one.places] -= constant[:, :, None] * one.shift
    if (one.scale != 1.0).any():
        ZtBX[:, :, one.places] /= one.scale


def _dense_part(one: _Written, row: Int, level: Int, values: Float, m: int) -> Float:
    """Return what the levels with dense rows of C add to Z'BX_k, (m, Q, c)."""
    contrasts = one.columns.contrasts
    place = np.full(one.n_levels, -1)
    place[contrasts.dense] = np.arange(len(contrasts.dense))
    here = place[level] >= 0
    raw = np.zeros((m, values.shape[1], len(contrasts.dense)))
    raw[row[here], :, place[level[here]]] = values[here]
    out: Float = raw @ contrasts.rows
    return out
