"""Sums that grow in place are those that are added one by one, to the bit."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
import pytest

from mixedflow.crossproducts import totals
from mixedflow.crossproducts.total_kernels import add_rows
from mixedflow.crossproducts.totals import SumsTotal, add_in_place, add_rows_twin, finished
from mixedflow.crossproducts.types import (
    ONLY_KEY,
    CrossProducts,
    FactorSums,
    GroupSums,
    KeyedSums,
    PairSums,
)
from mixedflow.design.types import DesignInfo, FactorDesign, Pilots


def info() -> DesignInfo:
    factors = tuple(FactorDesign(n, (n,), ("a", "b"), 50) for n in "gh")
    one, two = np.ones(1), np.ones(2)
    pilots = Pilots(0 * two, two, 0 * one, one, (0 * two, 0 * two), (two, two))
    return DesignInfo(("y",), ("1", "x"), 0, factors, (None, None), pilots, weighted=False)


def piece(seed: int, levels: int, *, groups: bool) -> CrossProducts:
    rng = np.random.default_rng(seed)

    def rough(*shape: int) -> np.ndarray:
        return rng.normal(size=shape) * 10.0 ** rng.integers(-6, 6, shape)

    def some() -> np.ndarray:
        return np.sort(rng.choice(50, levels, replace=False))

    def factor(*, grouped: bool) -> FactorSums:
        own = GroupSums(rng.integers(1, 9, levels), rough(levels), rough(levels, 6))
        sums = rough(levels, 2, 2), rough(levels, 2, 2), rough(levels, 2, 1)
        return FactorSums(some(), *sums, own if grouped else None)

    first, second = factor(grouped=groups), factor(grouped=False)
    met = np.sort(rng.choice(levels * levels, 2 * levels, replace=False))
    pair = PairSums(first.levels[met // levels], second.levels[met % levels], rough(len(met), 2, 2))
    gram = rough(3, 3)
    part = KeyedSums(
        int(rng.integers(1, 99)),
        float(rough(1)[0]),
        gram[:2, :2],
        gram[:2, 2:],
        gram[2:, 2:],
        (first, second),
        {(0, 1): pair},
    )
    return CrossProducts(info(), {ONLY_KEY: part}, part.n_obs + 1, {"x": 1})


def arrays(sums: CrossProducts) -> list[np.ndarray]:
    (part,) = sums.keyed.values()
    found = [part.XtBX, part.XtBy, part.ytBy, np.array([part.n_obs, part.sum_log_weight])]
    for factor in part.factors:
        found += [factor.levels, factor.ZtBZ, factor.ZtBX, factor.ZtBy]
        if factor.groups is not None:
            g = factor.groups
            found += [g.n_obs, g.sum_log_weight, g.XYtBXY]
    for pair in part.pairs.values():
        found += [pair.rows, pair.cols, pair.ZtBZ]
    return found


def assert_same_bits(a: CrossProducts, b: CrossProducts) -> None:
    assert (a.rows_in, dict(a.missing)) == (b.rows_in, dict(b.missing))
    for x, y in zip(arrays(a), arrays(b), strict=True):
        assert x.dtype == y.dtype
        assert np.array_equal(x, y)


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("levels", [3, 20, 50])
@pytest.mark.parametrize("compile_above", [0, 1 << 20])
def test_growing_sums_are_those_added_one_by_one(
    monkeypatch: pytest.MonkeyPatch, levels: int, groups: bool, compile_above: int
) -> None:
    monkeypatch.setattr(totals, "COMPILE_ABOVE", compile_above)
    parts = [piece(seed, levels, groups=groups) for seed in range(9)]
    kept = [[a.copy() for a in arrays(part)] for part in parts]
    one = reduce(add, parts)
    assert_same_bits(finished(reduce(add_in_place, parts)), one)
    right = reduce(add_in_place, parts[5:])
    both = add_in_place(reduce(add_in_place, parts[:5]), right)
    assert_same_bits(finished(both), reduce(add, parts[:5]) + reduce(add, parts[5:]))
    assert finished(parts[0]) is parts[0]
    for part, before in zip(parts, kept, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(arrays(part), before, strict=True))


def test_levels_in_any_order_give_the_same_sums() -> None:
    parts = [piece(seed, 20, groups=True) for seed in range(4)]
    turned = SumsTotal(_turned(parts[0]))
    for part in parts[1:]:
        turned.add(_turned(part))
    assert_same_bits(finished(turned), reduce(add, parts))


def _turned(sums: CrossProducts) -> CrossProducts:
    part = sums.keyed[ONLY_KEY]

    def back(factor: FactorSums) -> FactorSums:
        own = factor.groups
        if own is not None:
            own = GroupSums(own.n_obs[::-1], own.sum_log_weight[::-1], own.XYtBXY[::-1])
        values = (factor.ZtBZ[::-1], factor.ZtBX[::-1], factor.ZtBy[::-1])
        return FactorSums(factor.levels[::-1], *values, own)

    pairs = {k: PairSums(p.rows[::-1], p.cols[::-1], p.ZtBZ[::-1]) for k, p in part.pairs.items()}
    factors = tuple(back(factor) for factor in part.factors)
    return replace(sums, keyed={ONLY_KEY: replace(part, factors=factors, pairs=pairs)})


def test_the_compiled_loop_is_its_twin() -> None:
    rng = np.random.default_rng(1)
    at, values = rng.permutation(40)[:25], rng.normal(size=(25, 6))
    one, two = (rng.normal(size=(1, 6)).repeat(40, axis=0) for _ in range(2))
    two[:] = one
    add_rows(one, at, values, 30)
    add_rows_twin(two, at, values, 30)
    assert np.array_equal(one, two)
