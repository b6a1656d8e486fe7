"""Sums of residuals: equal however the rows are cut, and equal to direct computation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from mixedflow.diagnostics.sketch import (
    MAX_BINS,
    MAX_POINTS,
    ResidualSums,
    Rows,
    bin_fitted,
    empty_sums,
    sketch,
    sketch_edges,
    sketch_keys,
    summarise_rows,
)


def some_rows(n: int, seed: int = 1, scale: float = 1.0) -> Rows:
    rng = np.random.default_rng(seed)
    fitted = rng.normal(3.0, scale, n)
    r = rng.standard_t(5, n)
    codes = rng.integers(0, 9, (n, 2))
    return Rows(np.arange(1, n + 1), fitted, 2.0 * r, r, codes)


def same(a: ResidualSums, b: ResidualSums) -> None:
    assert (a.n, a.low, a.high, a.powers) == (b.n, b.low, b.high, b.powers)
    assert (a.bins.level, a.bins.first) == (b.bins.level, b.bins.first)
    for name in ("counts", "total", "squares"):
        np.testing.assert_array_equal(getattr(a.bins, name), getattr(b.bins, name))
    np.testing.assert_array_equal(a.quantiles.keys, b.quantiles.keys)
    np.testing.assert_array_equal(a.quantiles.counts, b.quantiles.counts)
    np.testing.assert_array_equal(a.extremes.row, b.extremes.row)
    np.testing.assert_array_equal(a.extremes.codes, b.extremes.codes)
    assert (a.points is None) == (b.points is None)
    if a.points is not None:
        np.testing.assert_array_equal(a.points.by_row().fitted, b.points.by_row().fitted)


@pytest.mark.parametrize("n", [1, 7, 500, MAX_POINTS, MAX_POINTS + 1, 20_000])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e7])
def test_cutting_and_order_change_nothing(n: int, scale: float) -> None:
    rows = some_rows(n, scale=scale)
    whole = summarise_rows(rows)
    rng = np.random.default_rng(n)
    for pieces in (2, 5):
        cuts = np.sort(rng.integers(0, n + 1, pieces - 1))
        parts = [summarise_rows(rows.take(i)) for i in np.split(np.arange(n), cuts)]
        for order in (parts, parts[::-1]):
            total = empty_sums()
            for part in order:
                total = total + part
            same(total, whole)


@settings(max_examples=60, deadline=None)
@example(first=[-5e-324], second=[0.0, 1000.0])
@example(first=[0.0], second=[5e-324])
@given(
    st.lists(st.floats(-1e12, 1e12, width=64), min_size=1, max_size=30),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30),
)
def test_any_two_parts_add_up_to_the_whole(first: list[float], second: list[float]) -> None:
    fitted = np.array(first + second)
    r = np.linspace(-3, 3, len(fitted))
    k = len(first)
    merged = bin_fitted(fitted[:k], r[:k]) + bin_fitted(fitted[k:], r[k:])
    whole = bin_fitted(fitted, r)
    assert (merged.level, merged.first) == (whole.level, whole.first)
    np.testing.assert_array_equal(merged.counts, whole.counts)
    np.testing.assert_array_equal(merged.total, whole.total)
    assert len(whole.total) <= MAX_BINS


def test_bins_hold_the_rows_they_name() -> None:
    rows = some_rows(3000)
    bins = bin_fitted(rows.fitted, rows.standardised)
    edges = (bins.first + np.arange(len(bins.total) + 1)) * 2.0**bins.level
    expected, _ = np.histogram(rows.fitted, edges)
    np.testing.assert_array_equal(bins.counts.sum(axis=1), expected)
    assert len(bins.total) > MAX_BINS / 2 - 2
    means = bins.total[expected > 0] / 2.0**16 / expected[expected > 0]
    place = np.digitize(rows.fitted, edges) - 1
    direct = [rows.standardised[place == i].mean() for i in np.flatnonzero(expected)]
    np.testing.assert_allclose(means, direct, atol=1e-5)


def test_constant_fitted_values_fill_one_bin() -> None:
    bins = bin_fitted(np.full(10, 7.25), np.zeros(10))
    assert len(bins.total) == 1
    bins = bin_fitted(np.zeros(10), np.zeros(10)) + bin_fitted(np.full(3, 1e6), np.zeros(3))
    assert bins.counts.sum() == 13


def test_moments_match_scipy() -> None:
    rows = some_rows(8000)
    mean, sd, skewness, kurtosis = summarise_rows(rows).moments()
    r = rows.standardised
    assert mean == pytest.approx(r.mean(), abs=1e-5)
    assert sd == pytest.approx(r.std(), abs=1e-5)
    assert skewness == pytest.approx(stats.skew(r), abs=1e-4)
    assert kurtosis == pytest.approx(stats.kurtosis(r), abs=1e-4)


def test_quantiles_are_right_to_a_hundredth() -> None:
    r = np.random.default_rng(4).normal(size=100_000)
    p = np.linspace(0.001, 0.999, 77)
    found = sketch(r).quantiles(p)
    np.testing.assert_allclose(found, np.quantile(r, p), rtol=0.01, atol=2e-3)


def test_sketch_keys_are_ordered_and_their_edges_enclose() -> None:
    values = np.sort(np.concatenate([np.geomspace(1e-6, 1e9, 500), -np.geomspace(1e-6, 1e9, 500)]))
    keys = sketch_keys(values)
    assert (np.diff(keys) >= 0).all()
    low, high = sketch_edges(keys)
    assert (low <= values).all()
    assert (values <= high).all()
    wide = (high - low)[np.abs(values) > 1e-3] / np.abs(values[np.abs(values) > 1e-3])
    assert wide.max() <= 2.0**-7 * (1 + 1e-12)


def test_extremes_are_the_rows_furthest_out() -> None:
    rows = some_rows(9000)
    found = summarise_rows(rows).extremes
    order = np.argsort(-np.abs(rows.standardised), kind="stable")[:20]
    np.testing.assert_array_equal(found.row, rows.row[order])


def test_summary_stays_small() -> None:
    sums = summarise_rows(some_rows(200_000))
    assert sums.points is None
    assert len(sums.quantiles.keys) < 8_000
    assert sums.bins.counts.size <= MAX_BINS * 48
