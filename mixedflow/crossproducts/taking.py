"""Sums less others, over other level codes, and over some groups: all without rows.

Stands at "Sums" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mixedflow.covariance.residual_types import ResidualDesign, SumKey
from mixedflow.crossproducts.types import (
    CrossProducts,
    FactorSums,
    GroupSums,
    KeyedSums,
    PairSums,
    add_keyed,
    check_same_columns,
)
from mixedflow.design.types import Int
from mixedflow.errors import DataError

EMPTY = 1e-12
"""Part of a sum of squares that rounding may leave of a level whose rows are all taken away."""


def subtracted(a: CrossProducts, b: CrossProducts) -> CrossProducts:
    """Return the sums over the rows of ``a`` that are not rows of ``b``.

    Levels and pairs of levels whose rows are all taken away are left out of the store.

    Raises
    ------
    DataError
        where no rows can have the sums that would be left.
    """
    check_same_columns(a.info, b.info, "subtracted")
    absent = [key for key in b.keyed if key not in a.keyed]
    if absent:
        raise DataError(
            "cross-products cannot be subtracted: the second have a pattern of their own"
        )
    counts = {n: a.missing.get(n, 0) - b.missing.get(n, 0) for n in {**a.missing, **b.missing}}
    for what, left in (("rows", a.n_obs - b.n_obs), ("rows read", a.rows_in - b.rows_in)):
        if left < 0:
            raise _impossible(f"{-left:,} {what} fewer than none would be left")
    for name, left in counts.items():
        if left < 0:
            raise _impossible(f"{-left:,} missing values fewer than none would be left in '{name}'")
    names = [f.name for f in a.info.factors]
    keyed = {
        key: _subtracted_key(part, b.keyed[key], names, square=is_square(key, a.info.residual))
        if key in b.keyed
        else part
        for key, part in a.keyed.items()
    }
    if a.info.residual is not None:
        keyed = {key: part for key, part in keyed.items() if part.n_obs}
    return CrossProducts(
        a.info, keyed, a.rows_in - b.rows_in, {n: c for n, c in counts.items() if c}
    )


def _impossible(what: str) -> DataError:
    return DataError(
        f"cross-products cannot be subtracted: {what}; take away sums of rows that are in the first"
    )


def is_square(key: SumKey, residual: ResidualDesign | None) -> bool:
    """Say whether B_k of a key has no negative eigenvalue, so that its sums are sums of squares."""
    if residual is None or residual.basis in ("strata", "sizes"):
        return True
    if residual.basis == "gaps":
        return key[1] == 0 or key[1] % 2 == 1
    a, b = divmod(key[1], len(residual.positions))
    return a == b


def _subtracted_key(
    a: KeyedSums, b: KeyedSums, names: Sequence[str], *, square: bool = True
) -> KeyedSums:
    if a.n_obs < b.n_obs:
        raise _impossible(f"{b.n_obs - a.n_obs:,} rows of a pattern fewer than none would be left")
    for f, (one, other) in enumerate(zip(a.factors, b.factors, strict=True)):
        if not np.isin(other.levels, one.levels).all():
            raise _impossible(f"levels of '{names[f]}' in the second have no rows in the first")
    for key, pair in b.pairs.items():
        if not np.isin(_pair_keys(pair), _pair_keys(a.pairs[key])).all():
            raise _impossible("levels meet in the second that never meet in the first")
    left = add_keyed(a, _negative(b))
    for former, now, what in (
        (a.XtBX, left.XtBX, "fixed-effect columns"),
        (a.ytBy, left.ytBy, "response"),
    ):
        if square and (now.diagonal() < -EMPTY * former.diagonal()).any():
            raise _impossible(f"a sum of squares of the {what} would be negative")
    factors = []
    for before, after, other, name in zip(a.factors, left.factors, b.factors, names, strict=True):
        left_out = _without_empty if square else _without_zeros
        factors.append(left_out(before, after, other, name))
    pairs = {}
    for (f, h), pair in left.pairs.items():
        met = _pairs_left(a.pairs[f, h], pair, b.pairs[f, h])
        keep = np.isin(met.rows, factors[f].levels) & np.isin(met.cols, factors[h].levels)
        pairs[f, h] = PairSums(met.rows[keep], met.cols[keep], met.ZtBZ[keep])
    return replace(left, factors=tuple(factors), pairs=pairs)


def _negative(part: KeyedSums) -> KeyedSums:
    def minus(factor: FactorSums) -> FactorSums:
        groups = factor.groups
        if groups is not None:
            groups = GroupSums(-groups.n_obs, -groups.sum_log_weight, -groups.XYtBXY)
        return FactorSums(factor.levels, -factor.ZtBZ, -factor.ZtBX, -factor.ZtBy, groups)

    return KeyedSums(
        -part.n_obs,
        -part.sum_log_weight,
        -part.XtBX,
        -part.XtBy,
        -part.ytBy,
        tuple(minus(factor) for factor in part.factors),
        {key: replace(pair, ZtBZ=-pair.ZtBZ) for key, pair in part.pairs.items()},
    )


def _without_empty(a: FactorSums, left: FactorSums, b: FactorSums, name: str) -> FactorSums:
    before = np.einsum("laa->la", a.ZtBZ)
    after = np.einsum("laa->la", left.ZtBZ)
    if (after < -EMPTY * before).any():
        raise _impossible(f"a sum of squares of '{name}' would be negative")
    if left.groups is not None:
        if (left.groups.n_obs < 0).any():
            raise _impossible(f"a level of '{name}' would have fewer rows than none")
        empty = left.groups.n_obs == 0
    else:
        empty = (after <= EMPTY * before).all(axis=1)
    return levels_at(left, np.flatnonzero(~(empty & np.isin(a.levels, b.levels))))


def _without_zeros(a: FactorSums, left: FactorSums, b: FactorSums, name: str) -> FactorSums:  # noqa: ARG001 - as the one above
    """Leave out levels of which rounding alone is left."""
    empty = np.isin(a.levels, b.levels)
    for before, after in ((a.ZtBZ, left.ZtBZ), (a.ZtBX, left.ZtBX), (a.ZtBy, left.ZtBy)):
        size = np.abs(before).max(axis=(1, 2), initial=0.0)
        empty &= np.abs(after).max(axis=(1, 2), initial=0.0) <= EMPTY * size
    return levels_at(left, np.flatnonzero(~empty))


def levels_at(factor: FactorSums, at: Int) -> FactorSums:
    """Return the sums of the levels at some places of the store."""
    groups = factor.groups
    if groups is not None:
        groups = GroupSums(groups.n_obs[at], groups.sum_log_weight[at], groups.XYtBXY[at])
    return FactorSums(factor.levels[at], factor.ZtBZ[at], factor.ZtBX[at], factor.ZtBy[at], groups)


def _pair_keys(pair: PairSums) -> Int:
    keys: Int = (pair.rows << 32) + pair.cols
    return keys


def _pairs_left(a: PairSums, left: PairSums, b: PairSums) -> PairSums:
    axes = (1, 2)
    empty = np.abs(left.ZtBZ).max(axis=axes, initial=0.0) <= EMPTY * np.abs(a.ZtBZ).max(
        axis=axes, initial=0.0
    )
    keep = ~(empty & np.isin(_pair_keys(a), _pair_keys(b)))
    return PairSums(left.rows[keep], left.cols[keep], left.ZtBZ[keep])


def recoded(sums: CrossProducts, codes: Sequence[Int], n_levels: Sequence[int]) -> CrossProducts:
    """Return sums over other level codes: ``codes[f][old]`` is the new code, one to one.

    Parameters
    ----------
    sums : whose levels are renumbered
    codes : one (L_f,) array a factor; what it says of levels that do not occur is not looked at
    n_levels : their new numbers
    """
    factors = tuple(
        replace(factor, n_levels=n) for factor, n in zip(sums.info.factors, n_levels, strict=True)
    )
    keyed = {key: _recoded_key(part, codes) for key, part in sums.keyed.items()}
    return replace(sums, info=replace(sums.info, factors=factors), keyed=keyed)


def _recoded_key(part: KeyedSums, codes: Sequence[Int]) -> KeyedSums:
    factors = []
    for factor, code in zip(part.factors, codes, strict=True):
        levels = code[factor.levels]
        order = None if (np.diff(levels) > 0).all() else np.argsort(levels)
        moved = replace(factor, levels=levels)
        factors.append(moved if order is None else levels_at(moved, order))
    pairs = {}
    for (f, h), pair in part.pairs.items():
        moved_pair = PairSums(codes[f][pair.rows], codes[h][pair.cols], pair.ZtBZ)
        pairs[f, h] = sorted_pairs(moved_pair)
    return replace(part, factors=tuple(factors), pairs=pairs)


def sorted_pairs(pair: PairSums) -> PairSums:
    """Return the pairs by row, then column."""
    keys = _pair_keys(pair)
    if (np.diff(keys) > 0).all():
        return pair
    order = np.argsort(keys, kind="stable")
    return PairSums(pair.rows[order], pair.cols[order], pair.ZtBZ[order])
