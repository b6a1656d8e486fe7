"""Sums that grow in place: what a stretch of partitions adds up to, without a copy for each.

Stands at "Sums are added in a fixed tree" in ``docs/algorithm.md``. The sums of a level stand where
the level was first met, and every partition adds to them in its turn: the same additions in the same
order as ``a + b + c`` of :class:`CrossProducts`, and so the same bits, at the cost of what is added
rather than of what is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mixedflow.covariance.residual_types import SumKey
from mixedflow.crossproducts.taking import levels_at
from mixedflow.crossproducts.types import (
    CrossProducts,
    FactorSums,
    GroupSums,
    KeyedSums,
    PairSums,
    check_same_columns,
    larger_design,
)
from mixedflow.design.types import Int

COMPILE_ABOVE = 1 << 20
"""Numbers to add from which the compiled loop pays."""

GROUP_ARRAYS = ("n_obs", "sum_log_weight", "XYtBXY")


class SumsTotal:
    """The sum of cross-products of one design; what it was begun with is not changed."""

    def __init__(self, first: CrossProducts) -> None:
        self.info = first.info
        self.rows_in = 0
        self.missing: dict[str, int] = {}
        self._keyed: dict[SumKey, _KeyedTotal] = {}
        self.add(first)

    def add(self, sums: CrossProducts) -> None:
        """Add sums; their levels may stand in any order."""
        check_same_columns(self.info, sums.info, "added")
        self.info = larger_design(self.info, sums.info)
        self.rows_in += sums.rows_in
        for name, count in sums.missing.items():
            self.missing[name] = self.missing.get(name, 0) + count
        for key, part in sums.keyed.items():
            if key not in self._keyed:
                self._keyed[key] = _KeyedTotal(len(part.factors))
            self._keyed[key].add(part)

    def sums(self) -> CrossProducts:
        """Return the sums as they stand, levels in the order in which they were met.

        Their arrays are those of the total: to be read before more is added.
        """
        keyed = {key: total.sums() for key, total in sorted(self._keyed.items())}
        return CrossProducts(self.info, keyed, self.rows_in, dict(self.missing))


def renumbered(sums: CrossProducts, codes: Sequence[Int]) -> CrossProducts:
    """Return sums over other level codes, in whatever order these are: no array of sums is moved.

    ``codes[f][old]`` is the new code. Numbers of levels are left out of the design.
    """
    factors = tuple(replace(factor, n_levels=0) for factor in sums.info.factors)
    keyed = {key: _renumbered_key(part, codes) for key, part in sums.keyed.items()}
    return replace(sums, info=replace(sums.info, factors=factors), keyed=keyed)


def _renumbered_key(part: KeyedSums, codes: Sequence[Int]) -> KeyedSums:
    factors = tuple(
        replace(factor, levels=code[factor.levels])
        for factor, code in zip(part.factors, codes, strict=True)
    )
    pairs = {
        (f, h): PairSums(codes[f][pair.rows], codes[h][pair.cols], pair.ZtBZ)
        for (f, h), pair in part.pairs.items()
    }
    return replace(part, factors=factors, pairs=pairs)


def add_in_place(total: CrossProducts | SumsTotal, other: CrossProducts | SumsTotal) -> SumsTotal:
    """Return a total with more added to it; it begins as a copy of the first sums."""
    grown = total if isinstance(total, SumsTotal) else SumsTotal(total)
    grown.add(other.sums() if isinstance(other, SumsTotal) else other)
    return grown


def finished(total: CrossProducts | SumsTotal) -> CrossProducts:
    """Return the sums with their levels ascending."""
    if not isinstance(total, SumsTotal):
        return total
    sums = total.sums()
    keyed = {
        key: replace(part, factors=tuple(_ascending(factor) for factor in part.factors))
        for key, part in sums.keyed.items()
    }
    return replace(sums, keyed=keyed)


def _ascending(factor: FactorSums) -> FactorSums:
    if (factor.levels[1:] > factor.levels[:-1]).all():
        return factor
    return levels_at(factor, np.argsort(factor.levels))


class _KeyedTotal:
    """The sums of one key."""

    def __init__(self, n_factors: int) -> None:
        self._plain: KeyedSums | None = None
        self._factors = [_FactorTotal() for _ in range(n_factors)]
        self._pairs: dict[tuple[int, int], _PairTotal] = {}

    def add(self, part: KeyedSums) -> None:
        plain = replace(part, factors=(), pairs={})
        self._plain = plain if self._plain is None else _plain_sum(self._plain, plain)
        for total, factor in zip(self._factors, part.factors, strict=True):
            total.add(factor)
        for key, pair in part.pairs.items():
            self._pairs.setdefault(key, _PairTotal()).add(pair)

    def sums(self) -> KeyedSums:
        assert self._plain is not None  # noqa: S101 - a key is made to be added to
        pairs: Mapping[Any, PairSums] = {key: total.sums() for key, total in self._pairs.items()}
        factors = tuple(total.sums() for total in self._factors)
        return replace(self._plain, factors=factors, pairs=pairs)


def _plain_sum(a: KeyedSums, b: KeyedSums) -> KeyedSums:
    return KeyedSums(
        a.n_obs + b.n_obs,
        a.sum_log_weight + b.sum_log_weight,
        a.XtBX + b.XtBX,
        a.XtBy + b.XtBy,
        a.ytBy + b.ytBy,
        (),
    )


class _FactorTotal:
    """Z'B[Z X y] by level; ``_place`` is one more than a level's row, 0 where it has none."""

    def __init__(self) -> None:
        self._place = np.zeros(0, dtype=np.int64)
        self._levels = _Rows()
        self._arrays: dict[str, _Rows] = {}

    def add(self, factor: FactorSums) -> None:
        at, known = self._rows_of(factor.levels)
        arrays = {name: getattr(factor, name) for name in ("ZtBZ", "ZtBX", "ZtBy")}
        if factor.groups is not None:
            arrays |= {name: getattr(factor.groups, name) for name in GROUP_ARRAYS}
        for name, values in arrays.items():
            self._arrays.setdefault(name, _Rows()).add(at, values, known)

    def _rows_of(self, levels: Int) -> tuple[Int, int]:
        """Return the row of every level and the number of rows before; new levels get the next."""
        known = len(self._levels)
        needed = int(levels.max(initial=-1)) + 1
        if needed > len(self._place):
            longer = np.zeros(max(needed, 2 * len(self._place)), dtype=np.int64)
            longer[: len(self._place)] = self._place
            self._place = longer
        at: Int = self._place[levels] - 1
        new = np.flatnonzero(at < 0)
        at[new] = known + np.arange(len(new))
        self._place[levels[new]] = at[new] + 1
        self._levels.append(levels[new])
        return at, known

    def sums(self) -> FactorSums:
        parts = {name: rows.values() for name, rows in self._arrays.items()}
        groups = None
        if "XYtBXY" in parts:
            groups = GroupSums(*(parts[name] for name in GROUP_ARRAYS))
        levels = self._levels.values()
        return FactorSums(levels, parts["ZtBZ"], parts["ZtBX"], parts["ZtBy"], groups)


class _Rows:
    """An array whose first axis grows; room is taken in doubling steps and touched when used."""

    def __init__(self) -> None:
        self._room: Any = None
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def values(self) -> Any:
        return self._room[: self._used]

    def append(self, values: Any) -> None:
        start = self._used
        self._grow(start + len(values), values)
        self._room[start : self._used] = values

    def add(self, at: Int, values: Any, known: int) -> None:
        """Add rows at distinct places; those from ``known`` on are new."""
        self._grow(max(self._used, int(at.max(initial=-1)) + 1), values)
        if len(at) <= known and np.array_equal(at, np.arange(len(at))):
            self._room[: len(at)] += values
        elif values.size > COMPILE_ABOVE and values.dtype == np.float64:
            from mixedflow.crossproducts.total_kernels import add_rows

            flat = np.ascontiguousarray(values).reshape(len(at), -1)
            add_rows(self._room.reshape(len(self._room), -1), at, flat, known)
        else:
            add_rows_twin(self._room, at, values, known)

    def _grow(self, size: int, like: Any) -> None:
        if self._room is None or size > len(self._room):
            room = np.empty((max(size, 2 * self._used), *like.shape[1:]), dtype=like.dtype)
            if self._used:
                room[: self._used] = self._room[: self._used]
            self._room = room
        self._used = size


def add_rows_twin(total: Any, at: Int, values: Any, known: int) -> None:
    """Do what :func:`mixedflow.crossproducts.total_kernels.add_rows` does."""
    old = at < known
    if old.all():
        total[at] += values
        return
    total[at[old]] += values[old]
    total[at[~old]] = values[~old]


class _PairTotal:
    """Z_f'B Z_h by pair of levels: a sorted sum, and parts that wait until they are as many."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Int, Any]] = []
        self._sorted = 0
        self._new = 0

    def add(self, pair: PairSums) -> None:
        keys: Int = (pair.rows << 32) + pair.cols
        if self._waiting:
            self._new += len(keys)
        else:
            self._sorted = len(keys)
        self._waiting.append((keys, pair.ZtBZ))
        if self._new >= self._sorted:
            self._settle()

    def _settle(self) -> None:
        self._waiting = [_settled(self._waiting)]
        self._sorted, self._new = len(self._waiting[0][0]), 0

    def sums(self) -> PairSums:
        self._settle()
        keys, values = self._waiting[0]
        return PairSums(keys >> 32, keys & ((1 << 32) - 1), values)


def _settled(parts: list[tuple[Int, Any]]) -> tuple[Int, Any]:
    """Return keys ascending with their values, those of equal keys added in the order of parts."""
    first, total = parts[0]
    if all(np.array_equal(first, keys) for keys, _ in parts[1:]) and (first[1:] > first[:-1]).all():
        for _, values in parts[1:]:
            total = total + values
        return first, total
    keys = np.concatenate([keys for keys, _ in parts])
    values = np.concatenate([values for _, values in parts])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    counts = np.diff(np.append(begins, len(keys)))
    total = values[order[begins]]
    for turn in range(1, int(counts.max(initial=1))):
        more = np.flatnonzero(counts > turn)
        total[more] += values[order[begins[more] + turn]]
    return keys[begins], total
