"""Sums of rows: against products of dense matrices, in parts and whole, compiled and not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dense_problems import ONE, RECIPES, arrays, problem

from mixedflow.crossproducts.condense import condense_block
from mixedflow.crossproducts.types import ONLY_KEY, add_factors, add_pairs
from mixedflow.design.types import DesignBlock
from mixedflow.errors import DataError

recipes = pytest.mark.parametrize("name", list(RECIPES))
kernels = pytest.mark.parametrize("kernel", ["numpy", "numba", "auto"])


def rows_of(block: DesignBlock, rows) -> DesignBlock:
    """Return some rows of a block."""
    rows = np.asarray(rows, dtype=np.int64)
    return DesignBlock(
        X=block.X[rows],
        y=block.y[rows],
        Z=tuple(z[rows] for z in block.Z),
        codes=tuple(c[rows] for c in block.codes),
        weights=None if block.weights is None else block.weights[rows],
        offset=None,
        rows_in=len(rows),
        kept=np.ones(len(rows), dtype=bool),
        missing={},
    )


def same(a, b, rtol=1e-12):
    left, right = arrays(a), arrays(b)
    assert list(left) == list(right)
    for name, values in left.items():
        np.testing.assert_allclose(
            right[name], values, rtol=0, atol=rtol * max(1.0, np.abs(values).max(initial=0.0))
        )


@recipes
@kernels
def test_against_dense_matrices(name, kernel):
    """Columns are shifted and scaled here by the definition, and multiplied as (n, L q) matrices."""
    p = problem(name)
    sums = condense_block(p.block, p.info, kernel=kernel)
    pilots, n = p.info.pilots, len(p.block.y)
    X = (p.block.X - pilots.x_shift) / pilots.x_scale
    if p.info.intercept is None:
        X = np.column_stack([np.ones(n), X])
    y = (p.block.y - pilots.y_shift) / pilots.y_scale
    w = np.ones(n) if p.block.weights is None else p.block.weights
    B = np.diag(w)
    part = sums.keyed[ONLY_KEY]
    np.testing.assert_allclose(part.XtBX, X.T @ B @ X, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(part.XtBy, X.T @ B @ y, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(part.ytBy, y.T @ B @ y, rtol=1e-12)
    assert part.n_obs == sums.n_obs == n
    assert part.sum_log_weight == pytest.approx(np.log(w).sum(), rel=1e-13, abs=1e-13)
    Z = [(z - s) / c for z, s, c in zip(p.block.Z, pilots.z_shift, pilots.z_scale, strict=True)]
    hot = [
        np.eye(factor.n_levels)[codes]
        for factor, codes in zip(p.info.factors, p.block.codes, strict=True)
    ]
    for f, factor in enumerate(part.factors):
        np.testing.assert_array_equal(factor.levels, np.unique(p.block.codes[f]))
        for i, level in enumerate(factor.levels):
            own = Z[f] * hot[f][:, [level]]
            np.testing.assert_allclose(factor.ZtBZ[i], own.T @ B @ own, rtol=1e-12, atol=1e-11)
            np.testing.assert_allclose(factor.ZtBX[i], own.T @ B @ X, rtol=1e-12, atol=1e-11)
            np.testing.assert_allclose(factor.ZtBy[i], own.T @ B @ y, rtol=1e-12, atol=1e-11)
    for (f, h), pair in part.pairs.items():
        met = np.argwhere(hot[f].T @ hot[h] > 0)
        np.testing.assert_array_equal(np.column_stack([pair.rows, pair.cols]), met)
        for i, (row, col) in enumerate(met):
            own = (Z[f] * hot[f][:, [row]]).T @ B @ (Z[h] * hot[h][:, [col]])
            np.testing.assert_allclose(pair.ZtBZ[i], own, rtol=1e-12, atol=1e-11)


@recipes
def test_compiled_and_plain_give_the_same(name):
    p = problem(name)
    same(
        condense_block(p.block, p.info, kernel="numpy"),
        condense_block(p.block, p.info, kernel="numba"),
    )


@recipes
@kernels
def test_parts_add_up_to_the_whole(name, kernel):
    p = problem(name)
    n = len(p.block.y)
    order = np.random.default_rng(1).permutation(n)
    whole = condense_block(rows_of(p.block, np.arange(n)), p.info, kernel=kernel)
    pieces = [
        condense_block(rows_of(p.block, rows), p.info, kernel=kernel)
        for rows in (order[:1], order[1:7], order[7:7], order[7:50], order[50:])
    ]
    forward = pieces[0] + pieces[1] + pieces[2] + pieces[3] + pieces[4]
    backward = pieces[4] + (pieces[3] + (pieces[2] + (pieces[1] + pieces[0])))
    same(whole, forward)
    same(whole, backward)
    assert forward.rows_in == n


def test_disjoint_and_overlapping_levels():
    p = problem("crossed slopes")
    g = p.block.codes[0]
    low, high, middle = (condense_block(rows_of(p.block, np.flatnonzero(mask)), p.info)
                         for mask in (g < 4, g >= 4, (g >= 2) & (g < 6)))  # fmt: skip
    both = (low + high).keyed[ONLY_KEY].factors[0]
    np.testing.assert_array_equal(both.levels, np.unique(g))
    overlap = add_factors(low.keyed[ONLY_KEY].factors[0], middle.keyed[ONLY_KEY].factors[0])
    np.testing.assert_array_equal(overlap.levels, np.unique(g[g < 6]))
    assert low.keyed[ONLY_KEY].factors[0].levels.max() < 4
    twice = low.keyed[ONLY_KEY].factors[0]
    at = np.searchsorted(overlap.levels, 2)
    np.testing.assert_allclose(overlap.ZtBZ[at], 2 * twice.ZtBZ[2], rtol=1e-13)
    pairs = add_pairs(low.keyed[ONLY_KEY].pairs[0, 1], high.keyed[ONLY_KEY].pairs[0, 1])
    keys = pairs.rows * 1000 + pairs.cols
    assert (np.diff(keys) > 0).all()


def test_nothing_is_changed_by_adding_or_condensing():
    p = problem("weighted, crossed")
    before = [p.block.X.copy(), p.block.y.copy(), p.block.weights.copy(), *map(np.copy, p.block.Z)]
    a = condense_block(rows_of(p.block, np.arange(40)), p.info)
    b = condense_block(rows_of(p.block, np.arange(40, 90)), p.info)
    condense_block(p.block, p.info, kernel="numba")
    for left, right in zip(
        before, [p.block.X, p.block.y, p.block.weights, *p.block.Z], strict=True
    ):
        np.testing.assert_array_equal(left, right)
    copies = [{name: v.copy() for name, v in arrays(part).items()} for part in (a, b)]
    a + b + a
    for part, copy in zip((a, b), copies, strict=True):
        for name, values in arrays(part).items():
            np.testing.assert_array_equal(values, copy[name], err_msg=name)


def test_addition_commutes_to_the_bit():
    p = problem("crossed, both")
    a = condense_block(rows_of(p.block, np.arange(0, 90, 2)), p.info)
    b = condense_block(rows_of(p.block, np.arange(1, 90, 2)), p.info)
    left, right = arrays(a + b), arrays(b + a)
    for name, values in left.items():
        np.testing.assert_array_equal(right[name], values)


def test_rows_that_were_dropped_are_counted_by_column():
    p = problem("one")
    a = condense_block(p.block, p.info)
    b = condense_block(replace(p.block, missing={"z": 2, "x": 1}), p.info)
    assert (a + b).missing == {"x": 4, "z": 2}
    assert (a + b).rows_in == 2 * (90 + 3)
    assert (a + b).n_obs == 180


@pytest.mark.parametrize(
    "change",
    [
        lambda i: replace(i, x_columns=("(Intercept)", "x", "q")),
        lambda i: replace(i, traits=("w",)),
        lambda i: replace(i, weighted=True),
        lambda i: replace(i, factors=(replace(i.factors[0], n_levels=99),)),
        lambda i: replace(i, factors=(replace(i.factors[0], columns=("z",)),)),
        lambda i: replace(i, pilots=replace(i.pilots, y_shift=np.array([47.0 + 1e-9]))),
        lambda i: replace(i, pilots=replace(i.pilots, x_scale=2 * i.pilots.x_scale)),
        lambda i: replace(i, pilots=replace(i.pilots, z_shift=(np.array([1.0]),))),
    ],
    ids=["columns", "response", "weights", "levels", "Z columns", "y shift", "x scale", "z shift"],
)
def test_sums_of_different_designs_are_not_added(change):
    a = problem("one").sums
    b = replace(a, info=change(a.info))
    with pytest.raises(DataError, match="different designs cannot be added"):
        a + b
    same(a + a, replace(a, info=replace(a.info)) + a)


def test_an_empty_partition_is_a_zero():
    p = problem("crossed slopes")
    nothing = condense_block(rows_of(p.block, []), p.info)
    assert nothing.n_obs == 0
    some = condense_block(p.block, p.info)
    same(some, some + nothing)
    same(some, nothing + some)


def test_shifted_columns_keep_their_digits():
    """y = 10^12 + small, as in NIST's SmLs07: exact sums of small integers after the shift."""
    p = problem("one")
    n = len(p.block.y)
    small = np.arange(n) % 7 - 3.0
    pilots = replace(p.info.pilots, y_shift=np.array([1e12]), y_scale=np.array([1.0]))
    info = replace(p.info, pilots=pilots)
    sums = condense_block(replace(p.block, y=(1e12 + small)[:, None]), info)
    part = sums.keyed[ONLY_KEY]
    assert part.ytBy[0, 0] == (small**2).sum()
    assert part.XtBy[p.info.x_columns.index(ONE), 0] == small.sum()
