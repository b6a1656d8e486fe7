"""The text summary, and the numbers of tables."""

from __future__ import annotations

import dataclasses
import math

import fake_fit
import helpers
import pytest

from mixedflow.results.summary import format_column, format_number, render_summary


@pytest.fixture(scope="module")
def fit():
    return fake_fit.sleepstudy_fit(helpers.data_frame("sleepstudy"))


def test_summary_in_the_lay_out_of_lme4(fit):
    text = render_summary(fit)
    assert text.splitlines()[0] == "Linear mixed model fit by REML"
    assert "1743.6283" in text
    assert " Subject   (Intercept)   612.090   24.7405" in text
    assert "           Days           35.072    5.9221  0.066" in text
    assert " Residual                654.941   25.5918" in text
    assert "Number of obs: 180; groups: Subject, 18" in text
    assert "Fixed effects, t tests with Satterthwaite's degrees of freedom:" in text
    assert " Days           10.467     1.54579  178.00    6.771  " in text
    assert text.endswith("Convergence: converged (auto, 4 iterations)")
    assert all(line == line.rstrip() for line in text.splitlines())


def test_summary_tells_what_went_wrong(fit):
    bad = dataclasses.replace(
        fit,
        converged=False,
        singular=True,
        reml=False,
        messages=("a column was dropped",),
        data_summary={"source": "x.csv", "rows_in": 200, "rows_dropped": 20},
    )
    text = render_summary(bad)
    assert "fit by maximum likelihood" in text
    assert "NOT CONVERGED" in text
    assert "Singular fit" in text
    assert "Note: a column was dropped" in text
    assert "x.csv (200 rows, 20 dropped for missing values)" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (251.405104, "251.41"),
        (-0.00123456, "-0.0012346"),
        (1.5e-9, "1.5000e-09"),
        (2.5e12, "2.5000e+12"),
        (None, ""),
        (math.nan, ""),
        (-math.inf, "-inf"),
    ],
)
def test_format_number(value, text):
    assert format_number(value) == text


def test_columns_share_their_decimals():
    assert format_column([251.405104, 10.467286]) == ["251.405", "10.467"]
    assert format_column([1234567.0, 0.5]) == ["1234567.00", "0.50"]
    assert format_column([1e12, 1.0]) == ["1.00000e+12", "1.00000"]
    assert format_column([1.0, math.nan]) == ["1.00000", ""]
    assert format_column([0.0, 0.0]) == ["0", "0"]
