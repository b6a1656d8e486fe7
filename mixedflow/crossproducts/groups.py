"""Sums over some groups, each as often as it was drawn: group bootstrap, jackknife, a subset.

Stands at "Sums" in ``docs/algorithm.md``. What a group adds to the global sums is known where
``by_group`` kept it. What it adds to another factor's sums is known if every level of that factor
belongs to one group, or if every group belongs to one level and the factor's columns stand in X.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mixedflow.crossproducts.condense import places_in_x
from mixedflow.crossproducts.linear import group_gram, oriented, packed, split_gram, unpacked
from mixedflow.crossproducts.taking import levels_at, sorted_pairs
from mixedflow.crossproducts.types import (
    ONLY_KEY,
    CrossProducts,
    FactorSums,
    GroupSums,
    KeyedSums,
    PairSums,
)
from mixedflow.design.types import Int
from mixedflow.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class DrawnLevels:
    """What the levels of a factor are after groups were drawn.

    Attributes
    ----------
    former : (m,) former level index of every level
    draw : (m,) the draw that it belongs to, or None where levels hold whole draws
    """

    former: Int
    draw: Int | None


def drawn(sums: CrossProducts, f: int, levels: Int) -> tuple[CrossProducts, list[DrawnLevels]]:
    """Return the sums over the rows of some levels of a factor; a repeat counts as another level.

    Parameters
    ----------
    sums : condensed with ``by_group`` for the factor
    f : the factor
    levels : level indices that occur in the sums

    Returns
    -------
    sums
        every factor's levels numbered anew
    list of DrawnLevels
        what these numbers mean

    Raises
    ------
    UnsupportedError
        if the sums of the groups, or of another factor by group, are not known.
    """
    check_iid(sums)
    part = sums.keyed[ONLY_KEY]
    name = sums.info.factors[f].name
    groups = part.factors[f].groups
    if groups is None:
        raise UnsupportedError(
            f"these sums do not say what each level of '{name}' adds to them; condense with "
            f"by_group='{name}'"
        )
    at = np.searchsorted(part.factors[f].levels, levels).astype(np.int64)
    draw = _Draw(sums, part, f, at, groups)
    levels_of = [
        DrawnLevels(factor.levels[side.place], side.draw)
        for factor, side in zip(part.factors, draw.sides, strict=True)
    ]
    return draw.sums(), levels_of


def check_iid(sums: CrossProducts) -> None:
    """Raise unless residuals are independent and alike."""
    if sums.info.residual is not None or set(sums.keyed) != {ONLY_KEY}:
        raise UnsupportedError(
            "groups can be taken from sums of residual='iid' only; condense the chosen rows"
        )


@dataclass(frozen=True, slots=True)
class _Side:
    """The levels of one factor after the draw.

    Attributes
    ----------
    place : (m,) place in the store of every new level
    draw : (m,) the draw it belongs to, or None where levels hold whole draws
    of_draw : (draws,) the new level of a draw, where a draw has one
    owner : place of the group of every former level, where it has one
    inside : places in [1? X y] of the factor's columns, where levels hold whole draws
    n_draws : number of draws
    """

    place: Int
    draw: Int | None
    of_draw: Int | None
    owner: Int | None
    inside: Int | None
    n_draws: int

    def code(self, place: Int, draw: Int) -> Int:
        """Return the new number of a former level in a draw."""
        if self.of_draw is not None:
            return self.of_draw[draw]
        assert self.draw is not None  # noqa: S101 - a level has its draw, or a draw its level
        known = self.place * self.n_draws + self.draw
        return np.searchsorted(known, place * self.n_draws + draw).astype(np.int64)


def _own_side(m: int, draws: Int) -> _Side:
    """Return the factor that is drawn from: a level a draw, in the order of the draws."""
    numbers = np.arange(len(draws))
    return _Side(draws, numbers, numbers, np.arange(m), None, len(draws))


def _fine_side(owner: Int, draws: Int) -> _Side:
    """Return a factor each of whose levels belongs to one group."""
    place, draw = expand(owner, draws)
    order = np.lexsort((draw, place))
    return _Side(place[order], draw[order], None, owner, None, len(draws))


def _coarse_side(home: Int, draws: Int, inside: Int) -> _Side:
    """Return a factor each of whose levels holds whole groups."""
    place, of_draw = np.unique(home[draws], return_inverse=True)
    return _Side(place, None, of_draw, None, inside, len(draws))


class _Draw:
    """Everything over the draws of one factor's levels."""

    def __init__(
        self, sums: CrossProducts, part: KeyedSums, f: int, draws: Int, groups: GroupSums
    ) -> None:
        self.whole, self.part, self.f, self.draws, self.groups = sums, part, f, draws, groups
        self.P, self.t = part.XtBy.shape
        self.sides = [self._side(h) for h in range(len(part.factors))]

    def _side(self, h: int) -> _Side:
        part, own = self.part, self.part.factors[self.f].levels
        if h == self.f:
            return _own_side(len(own), self.draws)
        pair = oriented(part, self.f, h)
        group = np.searchsorted(own, pair.rows).astype(np.int64)
        level = np.searchsorted(part.factors[h].levels, pair.cols).astype(np.int64)
        if len(np.unique(level)) == len(level):
            owner = np.empty(len(level), dtype=np.int64)
            owner[level] = group
            return _fine_side(owner, self.draws)
        inside = places_in_x(self.whole.info, h)
        if len(np.unique(group)) == len(group) and inside is not None:
            home = np.empty(len(group), dtype=np.int64)
            home[group] = level
            return _coarse_side(home, self.draws, inside)
        names = [factor.name for factor in self.whole.info.factors]
        raise UnsupportedError(
            f"groups of '{names[self.f]}' cannot be taken: '{names[h]}' is crossed with it, and its "
            f"sums cannot be told apart by group; leave (... | {names[h]}) out of the condensed "
            "model, or condense the chosen rows"
        )

    def sums(self) -> CrossProducts:
        """Return the sums over the draws."""
        info = self.whole.info
        gram = group_gram(self.groups, self.draws, self.P + self.t)
        XtBX, XtBy, ytBy = split_gram(gram, self.P)
        n_obs = int(self.groups.n_obs[self.draws].sum())
        part = KeyedSums(
            n_obs=n_obs,
            sum_log_weight=float(self.groups.sum_log_weight[self.draws].sum()),
            XtBX=XtBX,
            XtBy=XtBy,
            ytBy=ytBy,
            factors=tuple(self._factor(h) for h in range(len(self.sides))),
            pairs={key: self._pair(*key) for key in self.part.pairs},
        )
        factors = tuple(
            replace(factor, n_levels=len(side.place))
            for factor, side in zip(info.factors, self.sides, strict=True)
        )
        return CrossProducts(replace(info, factors=factors), {ONLY_KEY: part}, n_obs, {})

    def _factor(self, h: int) -> FactorSums:
        side = self.sides[h]
        numbers = np.arange(len(side.place), dtype=np.int64)
        if side.inside is None or side.of_draw is None:
            return replace(levels_at(self.part.factors[h], side.place), levels=numbers)
        upper = _added(self.groups.XYtBXY[self.draws], side.of_draw, len(numbers))
        grams = unpacked(upper, self.P + self.t)
        Z = grams[:, side.inside, :]
        groups = None
        if self.part.factors[h].groups is not None:
            n_obs = _added(self.groups.n_obs[self.draws], side.of_draw, len(numbers))
            logs = _added(self.groups.sum_log_weight[self.draws], side.of_draw, len(numbers))
            groups = GroupSums(n_obs, logs, packed(grams))
        return FactorSums(
            numbers,
            np.ascontiguousarray(Z[:, :, side.inside]),
            np.ascontiguousarray(Z[:, :, : self.P]),
            np.ascontiguousarray(Z[:, :, self.P :]),
            groups,
        )

    def _pair(self, h: int, k: int) -> PairSums:
        one, other = self.sides[h], self.sides[k]
        if one.inside is not None and other.inside is not None:
            return self._coarse_pair(one, other)
        pair = self.part.pairs[h, k]
        a = np.searchsorted(self.part.factors[h].levels, pair.rows)
        b = np.searchsorted(self.part.factors[k].levels, pair.cols)
        owner = one.owner[a] if one.owner is not None else other.owner[b]  # type: ignore[index]  # one of them has it
        at, draw = expand(owner, self.draws)
        found = PairSums(one.code(a[at], draw), other.code(b[at], draw), pair.ZtBZ[at])
        return sorted_pairs(found)

    def _coarse_pair(self, one: _Side, other: _Side) -> PairSums:
        every = np.arange(len(self.draws))
        first, second = one.code(every, every), other.code(every, every)
        width = len(other.place)
        keys, code = np.unique(first * width + second, return_inverse=True)
        grams = unpacked(_added(self.groups.XYtBXY[self.draws], code, len(keys)), self.P + self.t)
        ZtBZ = np.ascontiguousarray(grams[:, one.inside][:, :, other.inside])
        return PairSums(keys // width, keys % width, ZtBZ)


def _added(values: Any, code: Int, size: int) -> Any:
    out: Any = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
    np.add.at(out, code, values)
    return out


def expand(owner: Int, draws: Int) -> tuple[Int, Int]:
    """Return (i, d) for every item i and every draw d of its owner."""
    order = np.argsort(draws, kind="stable")
    ordered = draws[order]
    low = np.searchsorted(ordered, owner, side="left")
    times = np.searchsorted(ordered, owner, side="right") - low
    item = np.repeat(np.arange(len(owner)), times)
    within = np.arange(len(item)) - np.repeat(np.cumsum(times) - times, times)
    return item, order[low[item] + within]
