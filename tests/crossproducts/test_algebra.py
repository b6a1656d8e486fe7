"""Sums less others, in other columns, over other codes and over some groups: against condensed rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dense_problems import RECIPES, arrays, problem

from mixedflow.crossproducts.condense import condense_block
from mixedflow.crossproducts.groups import drawn, expand
from mixedflow.crossproducts.linear import packed, unpacked
from mixedflow.crossproducts.taking import recoded
from mixedflow.crossproducts.types import ONLY_KEY, CrossProducts
from mixedflow.design.types import DesignBlock, Pilots
from mixedflow.errors import DataError, UnsupportedError

recipes = pytest.mark.parametrize("name", list(RECIPES))
kernels = pytest.mark.parametrize("kernel", ["numpy", "numba"])
NESTED = ["nested", "one", "slope", "weighted", "no constant", "aliased"]


def rows_of(block: DesignBlock, rows) -> DesignBlock:
    rows = np.asarray(rows, dtype=np.int64)
    return replace(
        block,
        X=block.X[rows],
        y=block.y[rows],
        Z=tuple(z[rows] for z in block.Z),
        codes=tuple(c[rows] for c in block.codes),
        weights=None if block.weights is None else block.weights[rows],
        rows_in=len(rows),
        kept=np.ones(len(rows), dtype=bool),
        missing={},
    )


def same(a: CrossProducts, b: CrossProducts, limit=1e-11):
    left, right = arrays(a), arrays(b)
    assert list(left) == list(right)
    for name, values in left.items():
        size = max(1.0, np.abs(values).max(initial=0.0))
        np.testing.assert_allclose(right[name], values, rtol=0, atol=limit * size, err_msg=name)
    assert a.n_obs == b.n_obs
    for one, other in zip(a.keyed.values(), b.keyed.values(), strict=True):
        assert one.sum_log_weight == pytest.approx(other.sum_log_weight, abs=1e-11)


def by_level(block: DesignBlock, f: int):
    return [np.flatnonzero(block.codes[f] == level) for level in range(block.codes[f].max() + 1)]


@recipes
@kernels
def test_groups_add_up_to_the_whole(name, kernel):
    p = problem(name)
    sums = condense_block(p.block, p.info, kernel=kernel, by_group=0)
    same(sums, p.sums)
    part = sums.keyed[ONLY_KEY]
    groups = part.factors[0].groups
    gram = unpacked(groups.XYtBXY, part.XtBX.shape[0] + 1)
    scale = np.abs(part.XtBX).max() + np.abs(part.ytBy).max()
    np.testing.assert_allclose(gram.sum(axis=0)[:-1, :-1], part.XtBX, atol=1e-12 * scale)
    np.testing.assert_allclose(gram.sum(axis=0)[:-1, -1:], part.XtBy, atol=1e-12 * scale)
    np.testing.assert_allclose(gram.sum(axis=0)[-1:, -1:], part.ytBy, atol=1e-12 * scale)
    assert groups.n_obs.sum() == part.n_obs
    assert groups.sum_log_weight.sum() == pytest.approx(part.sum_log_weight, abs=1e-11)
    for at, rows in enumerate(r for r in by_level(p.block, 0) if len(r)):
        one = condense_block(rows_of(p.block, rows), p.info).keyed[ONLY_KEY]
        np.testing.assert_allclose(gram[at, :-1, :-1], one.XtBX, atol=1e-11)
        assert groups.n_obs[at] == len(rows)
    with pytest.raises(UnsupportedError):
        drawn(p.sums, 0, np.array([0]))


@recipes
def test_groups_add_up_over_parts(name):
    p = problem(name)
    n = len(p.block.y)
    order = np.random.default_rng(3).permutation(n)
    parts = [
        condense_block(rows_of(p.block, rows), p.info, by_group=0)
        for rows in (order[:20], order[20:])
    ]
    whole = condense_block(p.block, p.info, by_group=0)
    total = (parts[0] + parts[1]).keyed[ONLY_KEY].factors[0].groups
    expected = whole.keyed[ONLY_KEY].factors[0].groups
    np.testing.assert_array_equal(total.n_obs, expected.n_obs)
    np.testing.assert_allclose(total.XYtBXY, expected.XYtBXY, atol=1e-11)
    assert (parts[0] + p.sums).keyed[ONLY_KEY].factors[0].groups is None
    left = (whole - parts[0]).keyed[ONLY_KEY].factors[0].groups
    own = parts[1].keyed[ONLY_KEY].factors[0].groups
    np.testing.assert_array_equal(left.n_obs, own.n_obs)
    np.testing.assert_allclose(left.XYtBXY, own.XYtBXY, atol=1e-10)


@recipes
def test_what_was_added_can_be_subtracted(name):
    p = problem(name)
    n = len(p.block.y)
    order = np.random.default_rng(2).permutation(n)
    a, b = (
        condense_block(rows_of(p.block, rows), p.info, kernel="numpy")
        for rows in (order[:60], order[60:])
    )
    same(a + b - b, a)
    same(a + b - a, b)
    nothing = a - a
    assert nothing.n_obs == nothing.rows_in == 0
    assert all(len(factor.levels) == 0 for factor in nothing.keyed[ONLY_KEY].factors)
    assert all(len(pair.rows) == 0 for pair in nothing.keyed[ONLY_KEY].pairs.values())
    with pytest.raises(DataError, match="fewer than none"):
        b - a


def test_levels_and_pairs_that_lose_their_rows_are_left_out():
    p = problem("crossed slopes")
    gone = np.flatnonzero(p.block.codes[0] < 2)
    rest = np.flatnonzero(p.block.codes[0] >= 2)
    left = p.sums - condense_block(rows_of(p.block, gone), p.info)
    same(left, condense_block(rows_of(p.block, rest), p.info))
    assert left.keyed[ONLY_KEY].factors[0].levels.min() == 2
    assert left.keyed[ONLY_KEY].pairs[0, 1].rows.min() == 2


def test_nothing_is_changed_by_any_of_it():
    p = problem("crossed slopes")
    a = condense_block(p.block, p.info, by_group=0)
    b = condense_block(rows_of(p.block, np.arange(30)), p.info, by_group=0)
    before = [{name: v.copy() for name, v in arrays(part).items()} for part in (a, b)]
    a - b
    a.rebase(other_pilots(p))
    for part, copies in zip((a, b), before, strict=True):
        for name, values in arrays(part).items():
            np.testing.assert_array_equal(values, copies[name])


def test_missing_values_are_subtracted_by_column():
    p = problem("one")
    few = rows_of(p.block, np.arange(30))
    a = condense_block(replace(p.block, missing={"x": 5, "z": 2}, rows_in=99), p.info)
    b = condense_block(replace(few, missing={"x": 2, "z": 2}, rows_in=33), p.info)
    assert dict((a - b).missing) == {"x": 3}
    assert (a - b).rows_in == 66
    c = condense_block(replace(few, missing={"x": 6}, rows_in=33), p.info)
    with pytest.raises(DataError, match="'x'"):
        a - c


def other_pilots(p) -> Pilots:
    """Return pilots of other values, shifts only where the problem's own are not zero."""
    rng = np.random.default_rng(7)
    old = p.info.pilots

    def moved(shift):
        return np.where(shift != 0, shift + rng.normal(0, 3, shift.shape), 0.0)

    def scaled(scale):
        return np.where(scale != 1, scale * 2.0 ** rng.integers(-3, 4, scale.shape), 1.0)

    return Pilots(
        moved(old.x_shift), scaled(old.x_scale), moved(old.y_shift), scaled(old.y_scale),
        tuple(map(moved, old.z_shift)), tuple(map(scaled, old.z_scale)),
    )  # fmt: skip


@recipes
def test_other_pilots(name):
    p = problem(name)
    sums = condense_block(p.block, p.info, by_group=0)
    pilots = other_pilots(p)
    moved = sums.rebase(pilots)
    direct = condense_block(p.block, replace(p.info, pilots=pilots), by_group=0)
    same(moved, direct, 1e-10)
    upper = (s.keyed[ONLY_KEY].factors[0].groups.XYtBXY for s in (moved, direct))
    ours, theirs = upper
    np.testing.assert_allclose(ours, theirs, atol=1e-10 * np.abs(theirs).max())
    same(moved.rebase(p.info.pilots), sums, 1e-10)
    assert sums.rebase(p.info.pilots) is sums


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda q: replace(q, x_scale=-q.x_scale), "must be positive"),
        (lambda q: replace(q, x_shift=q.x_shift + 1.0), "needs the constant"),
        (lambda q: replace(q, x_shift=q.x_shift[:1]), "other columns"),
        (lambda q: replace(q, z_shift=()), "other columns"),
    ],
)
def test_pilots_that_do_not_go(change, text):
    p = problem("no constant")
    with pytest.raises(DataError, match=text):
        p.sums.rebase(change(p.info.pilots))


@recipes
def test_other_codes(name):
    p = problem(name)
    rng = np.random.default_rng(1)
    codes = [rng.permutation(2 * f.n_levels)[: f.n_levels] for f in p.info.factors]
    sizes = [2 * f.n_levels for f in p.info.factors]
    block = replace(
        p.block, codes=tuple(c[own] for c, own in zip(codes, p.block.codes, strict=True))
    )
    info = replace(
        p.info,
        factors=tuple(replace(f, n_levels=n) for f, n in zip(p.info.factors, sizes, strict=True)),
    )
    moved = recoded(p.sums, codes, sizes)
    same(moved, condense_block(block, info, kernel="numpy"))
    assert moved.info.factors == info.factors


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("levels", [[1, 4, 6], [0, 0, 3, 5, 3, 3]], ids=["some", "repeated"])
def test_drawn_groups_are_the_sums_of_their_rows(name, levels):
    p = problem(name)
    f = [factor.name for factor in p.info.factors].index("g")
    sums, found = drawn(condense_block(p.block, p.info, by_group=f), f, np.array(levels))
    taken = [np.flatnonzero(p.block.codes[f] == level) for level in levels]
    block = rows_of(p.block, np.concatenate(taken))
    draw = np.repeat(np.arange(len(levels)), [len(rows) for rows in taken])
    codes = []
    for own, levels_of in zip(block.codes, found, strict=True):
        key = list(zip(levels_of.former.tolist(), levels_of.draw.tolist(), strict=True))
        place = {pair: k for k, pair in enumerate(key)}
        codes.append(
            np.array([place[pair] for pair in zip(own.tolist(), draw.tolist(), strict=True)])
        )
    same(sums, condense_block(replace(block, codes=tuple(codes)), sums.info))
    assert [factor.n_levels for factor in sums.info.factors] == [len(x.former) for x in found]


def test_crossed_groups_are_refused():
    p = problem("crossed slopes")
    with pytest.raises(UnsupportedError, match="'h' is crossed with it"):
        drawn(condense_block(p.block, p.info, by_group=0), 0, np.array([0, 1]))


def test_packing():
    grams = np.random.default_rng(0).normal(size=(5, 4, 4))
    grams += grams.transpose(0, 2, 1)
    np.testing.assert_array_equal(unpacked(packed(grams), 4), grams)


def test_every_item_meets_every_draw_of_its_owner():
    item, draw = expand(np.array([2, 0, 2, 1]), np.array([2, 0, 2]))
    pairs = sorted(zip(item.tolist(), draw.tolist(), strict=True))
    assert pairs == [(0, 0), (0, 2), (1, 1), (2, 0), (2, 2)]
