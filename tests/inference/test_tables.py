"""Coefficient table and variance components: order, names and figures."""

from __future__ import annotations

import numpy as np
import pytest

import mixedflow as mf
from mixedflow.design.types import DesignInfo, FactorDesign, Pilots, TermDesign
from mixedflow.inference.components import variance_components
from mixedflow.inference.fixed import coefficient_table


def info(*factors):
    return DesignInfo(
        traits=("y",),
        x_columns=("(Intercept)",),
        intercept=0,
        factors=factors,
        z_intercept=tuple(0 for _ in factors),
        pilots=Pilots(np.zeros(1), np.ones(1), np.zeros(1), np.ones(1), (), ()),
    )


def test_coefficient_table():
    beta = np.array([2.0, -3.0, 0.0])
    vcov = np.array([[4.0, 1.0, 0.0], [1.0, 9.0, 0.0], [0.0, 0.0, 0.25]])
    table = coefficient_table(beta, vcov)
    np.testing.assert_array_equal(table.estimate, beta)
    np.testing.assert_array_equal(table.se, [2.0, 3.0, 0.5])
    np.testing.assert_array_equal(table.statistic, [1.0, -1.0, 0.0])
    beta[0] = 99.0
    assert table.estimate[0] == 2.0


def test_a_standard_error_of_zero_has_no_statistic():
    table = coefficient_table(np.array([1.0]), np.zeros((1, 1)))
    assert np.isnan(table.statistic[0])


def test_rows_stand_in_lme4s_order():
    """as.data.frame(VarCorr(.)): variances, then covariances column by column, Residual last."""
    design = info(
        FactorDesign("g", ("g",), ("(Intercept)", "x", "z"), 5),
        FactorDesign("h", ("h",), ("(Intercept)",), 3),
    )
    G = np.array([[4.0, 2.0, -1.0], [2.0, 9.0, 3.0], [-1.0, 3.0, 16.0]])
    rows = variance_components(
        design,
        [TermDesign("g", 0, (0, 1, 2)), TermDesign("h", 1, (0,))],
        [G, np.array([[0.25]])],
        2.25,
    )
    assert [(row.group, row.term1, row.term2) for row in rows] == [
        ("g", "(Intercept)", ""),
        ("g", "x", ""),
        ("g", "z", ""),
        ("g", "(Intercept)", "x"),
        ("g", "(Intercept)", "z"),
        ("g", "x", "z"),
        ("h", "(Intercept)", ""),
        ("Residual", "", ""),
    ]
    assert [row.vcov for row in rows] == [4.0, 9.0, 16.0, 2.0, -1.0, 3.0, 0.25, 2.25]
    wanted = [2.0, 3.0, 4.0, 2 / 6, -1 / 8, 3 / 12, 0.5, 1.5]
    np.testing.assert_allclose([row.sdcor for row in rows], wanted, rtol=1e-15)


def test_a_zero_variance_has_no_correlation():
    design = info(FactorDesign("g", ("g",), ("(Intercept)", "x"), 5))
    rows = variance_components(design, [TermDesign("g", 0, (0, 1))], [np.diag([4.0, 0.0])], 1.0)
    assert np.isnan(rows[2].sdcor)
    assert rows[2].vcov == 0.0


def test_a_diagonal_term_has_no_covariances():
    design = info(FactorDesign("g", ("g",), ("(Intercept)", "x"), 5))
    rows = variance_components(
        design, [TermDesign("g", 0, (0, 1), "diag")], [np.diag([4.0, 9.0])], 1.0
    )
    assert [(row.term1, row.term2, row.sdcor) for row in rows] == [
        ("(Intercept)", "", 2.0), ("x", "", 3.0), ("", "", 1.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("formula", "groups"),
    [
        ("y ~ x + (x || g) + (1 | h)", ["g", "g.1", "h", "Residual"]),
        ("y ~ x + (1 | h) + (1 | g)", ["g", "h", "Residual"]),
        ("y ~ x + (1 | h/k)", ["k:h", "h", "Residual"]),
    ],
)
def test_terms_are_named_and_ordered_as_lme4_does(formula, groups):
    """More levels first."""
    from designs import random_design

    fit = mf.fit(formula, random_design("crossed-slope", 2).data)
    assert list(dict.fromkeys(fit.varcorr["group"])) == groups
