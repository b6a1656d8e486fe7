"""Smaller models from sums of larger ones: each fit is the fit of the rows."""

from __future__ import annotations

import numpy as np
import pytest
from sums_of_rows import FULL, ROWS, agree, frame, same_bits

import mixedflow as mf
from mixedflow.errors import ConfigError, DataError, FormulaError, UnsupportedError

UNANCHORED = ["y ~ 0 + x1 + x2 + (1 + x1 | g)", "y ~ 0 + x1:x2 + (0 + x1 + x2 | g)"]
"""No fixed column takes the response's mean, far from zero: a likelihood of seven digits, and flat."""

SMALLER = [
    "y ~ x1 + (1 | g)",
    "y ~ 1 + (1 | h)",
    "y ~ x2 + s + (1 + x2 | g)",
    "y ~ x1 + x2 + (x1 || g) + (1 | h)",
    "y ~ x1 + x2 + (1 | h) + (0 + x2 | g)",
    *UNANCHORED,
    "y ~ s + (0 + x1 || g) + (1 | h)",
    "y ~ x2 * x1 + s + (x2 | g)",
]


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("formula", SMALLER)
def test_a_smaller_model(formula, reml, weights):
    whole = mf.condense(FULL, ROWS, weights=weights)
    found = mf.fit(formula, whole, reml=reml)
    rows = mf.fit(formula, ROWS, reml=reml, weights=weights)
    if formula in UNANCHORED:
        assert found.converged
        assert rows.converged
        assert found.loglik == pytest.approx(rows.loglik, rel=1e-9)
        se = rows.coef_table["se"]
        np.testing.assert_allclose(found.fixef / se, rows.fixef / se, rtol=0, atol=1e-5)
    else:
        agree(found, rows)


def test_a_smaller_model_has_all_its_accessors(tmp_path):
    whole = mf.condense(FULL, ROWS)
    found, rows = (mf.fit("y ~ x2 + s + (1 + x2 | g)", data) for data in (whole, ROWS))
    assert "x2" in found.summary()
    assert found.n_levels == rows.n_levels == {"g": 24}
    np.testing.assert_allclose(found.ranef_se["g"], rows.ranef_se["g"], rtol=1e-6)
    new = frame(40, seed=5).drop(columns="y")
    np.testing.assert_allclose(found.predict(new), rows.predict(new), rtol=1e-9)
    found.save(tmp_path / "fit")
    again = mf.load(tmp_path / "fit")
    assert again.loglik == pytest.approx(found.loglik, rel=1e-12)
    np.testing.assert_allclose(again.predict(new), found.predict(new), rtol=1e-12)
    with pytest.raises(DataError, match=r"predict\(newdata\)"):
        _ = found.resid


def test_a_smaller_model_with_an_offset_and_missing_rows():
    rows = ROWS.copy()
    rows.loc[::13, "x2"] = np.nan
    whole = mf.condense("y ~ x1 + x2 + offset(o) + (1 | g)", rows)
    found = mf.fit("y ~ x1 + offset(o) + (1 | g)", whole)
    agree(found, mf.fit("y ~ x1 + offset(o) + (1 | g)", rows[rows["x2"].notna()]))
    assert any("70 of 900 rows were dropped" in message for message in found.messages)
    with pytest.raises(FormulaError, match="the offset of 'y ~ x1"):
        mf.fit("y ~ x1 + (1 | g)", whole)


def test_a_smaller_model_whose_columns_are_aliased():
    rows = ROWS.assign(twice=2 * ROWS["x1"])
    whole = mf.condense("y ~ x1 + twice + x2 + (1 | g)", rows)
    found = mf.fit("y ~ x1 + twice + (1 | g)", whole)
    agree(found, mf.fit("y ~ x1 + twice + (1 | g)", rows))
    assert any("twice" in message for message in found.messages)


def test_a_smaller_model_of_nested_factors():
    whole = mf.condense("y ~ x1 + (1 + x1 | g/k)", ROWS)
    for formula in ("y ~ x1 + (1 | g)", "y ~ 1 + (1 | k:g)", "y ~ x1 + (1 | k:g) + (x1 | g)"):
        agree(mf.fit(formula, whole), mf.fit(formula, ROWS))


def test_a_smaller_model_with_transforms():
    whole = mf.condense("y ~ poly(x1, 2) + scale(x2) + I(x2^2) + (scale(x2) | g)", ROWS)
    for formula in ("y ~ scale(x2) + (1 | g)", "y ~ poly(x1, 2) + (scale(x2) || g)"):
        agree(mf.fit(formula, whole), mf.fit(formula, ROWS))


def test_the_constant_is_there_for_a_model_without_it():
    whole = mf.condense("y ~ 0 + x1 + x2 + (1 | g)", ROWS)
    found, rows = mf.fit("y ~ x2 + (1 | g)", whole), mf.fit("y ~ x2 + (1 | g)", ROWS)
    agree(found, rows)


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        ("y ~ x3 + (1 | g)", "the column 'x3' was not condensed; condensed were 'y', 'x1', 'x2'"),
        ("y ~ log(x1) + (1 | g)", r"'log\(x1\)' was not condensed"),
        ("y ~ x1 + (1 | s)", "'s' is no grouping factor of these"),
        ("y ~ x1 + (x1 | h)", "'x1' of the random part of 'h' is not among those condensed"),
        ("y ~ x1:s + (1 | g)", "'x1:s.*of the fixed part is not among those condensed"),
        ("y ~ 0 + s + (1 | g)", r"'s\[f\]' of the fixed part is not among"),
        ("x1 ~ x2 + (1 | g)", "the response of 'x1 ~ x2"),
        ("y ~ x1", "no random term"),
    ],
)
def test_what_is_not_there_is_named(formula, text):
    with pytest.raises(FormulaError, match=text):
        mf.fit(formula, mf.condense(FULL, ROWS))


def test_options_that_need_the_rows():
    whole = mf.condense("y ~ x1 + (1 | g)", ROWS, weights="w")
    assert mf.fit("y ~ x1 + (1 | g)", whole, weights="w").converged
    with pytest.raises(UnsupportedError, match="weights cannot be changed"):
        mf.fit("y ~ x1 + (1 | g)", whole, weights="o")
    with pytest.raises(UnsupportedError, match="types cannot be changed"):
        mf.fit("y ~ x1 + (1 | g)", whole, types={"x1": "float"})
    with pytest.raises(UnsupportedError, match="missing cannot be changed"):
        mf.fit("y ~ x1 + (1 | g)", whole, missing="error")
    with pytest.raises(UnsupportedError, match="relationship cannot be changed"):
        mf.fit("y ~ x1 + (1 | g)", whole, relationship={"g": 1})
    declared = mf.condense("y ~ s + (1 | g)", ROWS, levels={"s": ["m", "f", "x"]})
    found = mf.fit("y ~ s + (1 | g)", declared, levels={"s": ["m", "f", "x"]})
    assert list(found.fixef.index) == ["(Intercept)", "s[T.f]", "s[T.x]"]
    with pytest.raises(UnsupportedError, match="levels cannot be changed"):
        mf.fit("y ~ s + (1 | g)", declared, levels={"s": ["f", "m", "x"]})
    with pytest.raises(ConfigError, match="part of the description"):
        mf.condense(whole.spec, ROWS, weights="w")
    same_bits(mf.condense(whole.spec, ROWS), whole)
