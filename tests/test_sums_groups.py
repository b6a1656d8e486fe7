"""Groups left out of sums and drawn again: each fit is the fit of their rows."""

from __future__ import annotations

import pandas as pd
import pytest
from sums_of_rows import NESTED, ROWS, agree, same_sums

import mixedflow as mf
from mixedflow.errors import DataError, FormulaError, UnsupportedError


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize(
    "formula", ["y ~ x1 + x2 + (1 + x1 | g)", NESTED, "y ~ 0 + s + x1 + (x2 || g)"]
)
def test_some_groups(formula, weights):
    whole = mf.condense(formula, ROWS, weights=weights, by_group="g")
    names = ["g03", "g11", "g00", "g17", "g20", "g21"]
    agree(
        mf.fit(formula, whole.restrict(names)),
        mf.fit(formula, ROWS[ROWS["g"].isin(names)], weights=weights),
    )
    rest = whole.without(names)
    agree(mf.fit(formula, rest), mf.fit(formula, ROWS[~ROWS["g"].isin(names)], weights=weights))
    same_sums(whole.restrict(names) + rest, whole)
    same_sums(whole - rest, whole.restrict(names))


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("formula", ["y ~ x1 + x2 + (1 + x1 | g)", NESTED])
def test_groups_drawn_again(formula, weights):
    whole = mf.condense(formula, ROWS, weights=weights, by_group="g")
    draws = ["g03", "g11", "g03", "g17", "g20", "g03", "g11", "g21", "g09"]
    seen: dict[str, int] = {}
    parts = []
    for name in draws:
        seen[name] = seen.get(name, 0) + 1
        label = name if seen[name] == 1 else f"{name}#{seen[name]}"
        parts.append(ROWS[ROWS["g"] == name].assign(g=label))
    drawn = whole.resample(draws)
    agree(mf.fit(formula, drawn), mf.fit(formula, pd.concat(parts), weights=weights))
    assert drawn.levels("g").count("g03#3") == 1
    same_sums(whole.resample(whole.levels("g")), whole)


def test_copies_of_a_factor_within_groups_that_has_names_of_its_own():
    rows = ROWS.assign(c=ROWS["g"] + "." + ROWS["k"].astype(str))
    formula = "y ~ x1 + (1 | c) + (1 | g)"
    whole = mf.condense(formula, rows, by_group="g")
    part = rows[rows["g"] == "g05"]
    again = pd.concat(
        [rows[rows["g"].isin(["g01", "g05"])], part.assign(g="g05#2", c=part["c"] + "#2")]
    )
    agree(mf.fit(formula, whole.resample(["g05", "g01", "g05"])), mf.fit(formula, again))


def test_groups_within_a_wider_factor():
    """Subjects within schools: a school's sums lose those of the subjects that are left out."""
    number = ROWS["g"].str[1:].astype(int)
    rows = ROWS.assign(school=number % 5, region=number % 5 // 2)
    formula = "y ~ x1 + x2 + (1 + x1 | g) + (1 + x2 | school) + (1 | region)"
    whole = mf.condense(formula, rows, by_group="g")
    names = ["g03", "g11", "g00", "g17", "g20", "g21", "g22", "g23", "g05"]
    agree(mf.fit(formula, whole.restrict(names)), mf.fit(formula, rows[rows["g"].isin(names)]))
    copy = rows[rows["g"] == "g03"].assign(g="g03#2")
    agree(
        mf.fit(formula, whole.resample([*names, "g03"])),
        mf.fit(formula, pd.concat([rows[rows["g"].isin(names)], copy])),
    )


def test_interactions_as_groups():
    whole = mf.condense(NESTED.replace("(1 + x1 | g)", "(1 | g)"), ROWS, by_group="g:k")
    keep = whole.levels("g:k")[::2]
    key = ROWS["g"] + ":" + ROWS["k"].astype(str)
    formula = whole.spec.formula
    agree(mf.fit(formula, whole.restrict(keep)), mf.fit(formula, ROWS[key.isin(keep)]))
    with pytest.raises(UnsupportedError, match="combine columns"):
        whole.resample([keep[0], keep[0], keep[1]])


def test_what_cannot_be_taken():
    plain = mf.condense("y ~ x1 + (1 | g)", ROWS)
    with pytest.raises(UnsupportedError, match="by_group='g'"):
        plain.restrict(["g01"])
    with pytest.raises(UnsupportedError, match="by_group='g'"):
        plain.resample(["g01"], factor="g")
    crossed = mf.condense("y ~ x1 + (1 | g) + (1 | h)", ROWS, by_group="g")
    with pytest.raises(UnsupportedError, match="'h' is crossed with it"):
        crossed.restrict(["g01", "g02"])
    whole = mf.condense("y ~ x1 + (1 | g)", ROWS, by_group="g")
    with pytest.raises(DataError, match="'g1' is not a level of 'g'; did you mean"):
        whole.restrict(["g1"])
    with pytest.raises(DataError, match="no group was named"):
        whole.restrict([])
    with pytest.raises(DataError, match="a list of levels"):
        whole.restrict("g01")
    with pytest.raises(DataError, match="a list of levels"):
        whole.restrict(5)
    with pytest.raises(TypeError):
        whole + 3
    with pytest.raises(TypeError):
        whole - None
    nothing = whole - whole
    assert nothing.levels("g") == []
    with pytest.raises(DataError, match="no rows are left"):
        mf.fit("y ~ x1 + (1 | g)", nothing)
    same_sums(nothing + whole, whole)
    with pytest.raises(DataError, match="no group would be left"):
        whole.without(whole.levels("g"))
    with pytest.raises(DataError, match="not a grouping factor"):
        whole.restrict(["g01"], factor="h")
    with pytest.raises(DataError, match="has one level, 'g01'"):
        mf.fit("y ~ x1 + (1 | g)", whole.restrict(["g01"]))
    with pytest.raises(FormulaError, match="by_group='q' is no grouping factor"):
        mf.condense("y ~ x1 + (1 | g)", ROWS, by_group="q")
    fixed = mf.condense("y ~ C(g) + (1 | g)", ROWS, by_group="g")
    with pytest.raises(UnsupportedError, match="column of the model too"):
        fixed.resample(["g01", "g01", "g02"])
    assert fixed.restrict(["g01", "g02"]).n_obs == ROWS["g"].isin(["g01", "g02"]).sum()
