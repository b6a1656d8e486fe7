"""Adjusted tests: the studentized range, the multivariate t, steps of Holm and of Benjamini and Hochberg."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mixedflow.inference.adjustments import NO_TUKEY, Family, adjusted
from mixedflow.inference.contrasts import contrast_weights, crossed
from mixedflow.inference.multivariate_t import largest_t
from mixedflow.inference.roots import increasing_root
from mixedflow.inference.studentized_range import range_above, range_quantile

T = np.array([3.1, -2.4, 0.3, 2.05])
DF = np.array([11.3, 9.0, 20.0, np.inf])
ROWS = np.array([[1.0, 0.0, 0.2], [0.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0.3, 0.3, 0.9]])
P = np.append(2.0 * stats.t.sf(np.abs(T[:3]), DF[:3]), 2.0 * stats.norm.sf(T[3]))


def pairs(k):
    return contrast_weights("pairwise", [str(i) for i in range(k)]).weights


@pytest.mark.parametrize("k", [2, 3, 10])
@pytest.mark.parametrize("df", [1.5, 5.0, 47.3, np.inf])
def test_the_studentized_range_is_scipys(k, df):
    q = np.array([0.5, 2.0, 3.7, 6.0])
    wanted = [stats.studentized_range.sf(x, k, df) for x in q]
    np.testing.assert_allclose(range_above(q, k, np.full(4, df)), wanted, atol=1e-10)


def test_its_quantiles_undo_it_at_many_degrees_of_freedom():
    df = np.array([0.8, 2.0, 7.7, 1e4, np.inf])
    q = range_quantile(0.95, 6, df)
    np.testing.assert_allclose(range_above(q, 6, df), 0.05, rtol=1e-9)


def test_its_tail_keeps_its_digits():
    """For two means Q / sqrt(2) is |t|."""
    q, df = np.array([9.0, 40.0]), np.array([np.inf, 6.0])
    wanted = [2.0 * stats.norm.sf(q[0] / np.sqrt(2.0)), 2.0 * stats.t.sf(q[1] / np.sqrt(2.0), 6.0)]
    np.testing.assert_allclose(range_above(q, 2, df), wanted, rtol=1e-8)


@pytest.mark.parametrize("k", [3, 5, 8])
def test_all_pairs_by_the_multivariate_t_are_the_studentized_range(k):
    """The correlation of all pairs is singular: k - 1 directions for k (k - 1) / 2 tests."""
    law = largest_t(pairs(k))
    c, df = np.array([1.0, 2.0, 2.7, 4.0]), np.array([4.4, 12.0, np.inf, 30.0])
    p, error = law.above(c, df)
    np.testing.assert_allclose(p, range_above(np.sqrt(2.0) * c, k, df), atol=1e-4)
    assert law.rank == k - 1
    assert (error < 2e-4).all()
    critical = law.quantile(0.95, df)
    np.testing.assert_allclose(critical, range_quantile(0.95, k, df) / np.sqrt(2.0), rtol=1e-4)


def test_independent_normal_tests_multiply():
    p, _ = largest_t(np.eye(4)).above(np.array([1.5, 2.5, 5.0]), np.full(3, np.inf))
    wanted = -np.expm1(4 * np.log1p(-2 * stats.norm.sf([1.5, 2.5, 5.0])))
    np.testing.assert_allclose(p, wanted, atol=3e-5)
    np.testing.assert_allclose(p[2], wanted[2], rtol=1e-3)


def test_tests_that_are_one_another_are_one():
    p, error = largest_t(np.array([[1.0, 2.0], [2.0, 4.0], [-1.0, -2.0]])).above(
        np.array([2.2]), np.array([7.0])
    )
    assert p[0] == pytest.approx(2 * stats.t.sf(2.2, 7), rel=1e-10)
    assert error[0] < 1e-12


def test_the_same_bits_every_time():
    first, second = (adjusted(T, DF, Family(ROWS), "mvt", 0.95) for _ in range(2))
    np.testing.assert_array_equal(first.p, second.p)
    np.testing.assert_array_equal(first.critical, second.critical)
    assert "Monte-Carlo error" in first.note


@pytest.mark.parametrize(
    ("adjust", "wanted"),
    [
        ("none", [0.01, 0.04, 0.03, 0.5]),
        ("bonferroni", [0.04, 0.16, 0.12, 1.0]),
        ("sidak", [0.03940399, 0.15065344, 0.11470719, 0.9375]),
        ("holm", [0.04, 0.09, 0.09, 0.5]),
        ("BH", [0.04, 0.16 / 3, 0.16 / 3, 0.5]),
        ("fdr", [0.04, 0.16 / 3, 0.16 / 3, 0.5]),
    ],
)
def test_p_values_of_the_textbook(adjust, wanted):
    """R's ``p.adjust(c(0.01, 0.04, 0.03, 0.5), method)``."""
    t = stats.norm.isf(np.array([0.01, 0.04, 0.03, 0.5]) / 2.0)
    found = adjusted(t, np.full(4, np.inf), Family(ROWS), adjust, 0.95).p
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_intervals_go_with_their_p_values():
    for adjust in ("none", "bonferroni", "sidak", "mvt"):
        found = adjusted(T, DF, Family(ROWS), adjust, 0.95)
        inside = np.abs(T) < found.critical
        np.testing.assert_array_equal(inside, found.p > 0.05)


def test_tukey_is_for_pairs():
    found = adjusted(T, DF, Family(ROWS), "tukey", 0.95)
    assert found.note == NO_TUKEY
    np.testing.assert_array_equal(found.p, adjusted(T, DF, Family(ROWS), "sidak", 0.95).p)


def test_a_test_that_cannot_be_made_counts_in_its_family():
    t = np.array([3.1, np.nan, 0.3, 2.05])
    found = adjusted(t, DF, Family(ROWS), "bonferroni", 0.95)
    np.testing.assert_allclose(found.p[[0, 2, 3]], np.minimum(1, 4 * P[[0, 2, 3]]), rtol=1e-12)
    assert np.isnan(found.p[1])
    assert np.isnan(found.critical[1])
    nothing = adjusted(np.full(2, np.nan), np.full(2, 3.0), Family(ROWS[:2]), "mvt", 0.95)
    assert np.isnan(nothing.p).all()


def test_one_test_needs_no_adjustment():
    one = adjusted(T[:1], DF[:1], Family(ROWS[:1]), "tukey", 0.95)
    assert one.p[0] == pytest.approx(P[0], rel=1e-12)
    assert one.note == ""


def test_polynomials_are_rs():
    found = contrast_weights("poly", list("abcde"))
    assert found.names == ("linear", "quadratic", "cubic", "quartic")
    wanted = [[-2, -1, 0, 1, 2], [2, -1, -2, -1, 2], [-1, 2, 0, -2, 1], [1, -4, 6, -4, 1]]
    np.testing.assert_array_equal(found.weights, wanted)
    assert len(contrast_weights("poly", [str(k) for k in range(9)]).names) == 6


def test_contrasts_of_contrasts_change_the_first_factor_fastest():
    both = crossed([contrast_weights("pairwise", "ab"), contrast_weights("consecutive", "xyz")])
    assert both.names == ("a - b : y - x", "a - b : z - y")
    np.testing.assert_array_equal(both.weights[0], [-1, 1, 1, -1, 0, 0])


def test_roots_of_many_functions():
    target = np.array([0.3, 5.0, 1e-6, 9.0])
    low, high = np.zeros(4), np.array([1.0, 10.0, 1.0, 8.0])
    found = increasing_root(lambda x: x**3 - target**3, low, high)
    np.testing.assert_allclose(found[:3], target[:3], rtol=1e-9)
    assert found[3] == 8.0  # no change of sign: the nearer end
