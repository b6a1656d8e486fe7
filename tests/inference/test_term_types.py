"""Tables of type I, II and III: lmerTest's (``references/anova.json``), and what they must not depend on.

Tolerances (issue 5): df 1e-3 relative, p 1e-4 absolute; F 1e-6 relative.
"""

from __future__ import annotations

import json
from itertools import combinations

import helpers
import numpy as np
import pytest
from formulaic import model_matrix

import mixedflow as mf
from mixedflow.results.term_tests import anova_hypotheses

ENTRIES = {e["id"]: e for e in json.loads((helpers.REFERENCES / "anova.json").read_text())}
CASES = [(name, ddf) for name, entry in ENTRIES.items() for ddf in entry["tables"]]


def factors(without=(), **more):
    data = helpers.data_frame("factors_unb").assign(**more)
    two = data["a"] + data["b"]
    return data[~(two.isin(without) | (two + data["c"]).isin(without))]


@pytest.fixture(scope="module")
def fitted():
    done = {}

    def get(name):
        if name not in done:
            entry = ENTRIES[name]
            data = factors(entry["without"])
            done[name] = mf.fit(entry["formula"], data.assign(x2=2 * data["x"]), reml=entry["reml"])
        return done[name]

    return get


@pytest.mark.parametrize(("name", "ddf"), CASES)
def test_same_as_lmertest(name, ddf, fitted):
    found = fitted(name).infer(ddf)
    for kind, rows in ENTRIES[name]["tables"][ddf].items():
        table = found.anova(kind)
        table.index = table.index.str.replace(r"C\((.), contr.\w+\)", r"\1", regex=True)
        assert len(table) == len(rows)
        for row in rows:
            ours = table.loc[row["term"]]
            if row.get("F") is None:  # no column of the term is left
                assert ours["num_df"] == 0
                assert np.isnan(ours["F"])
                continue
            assert ours["num_df"] == row["num_df"]
            assert ours["den_df"] == pytest.approx(row["den_df"], rel=1e-3)
            assert ours["F"] == pytest.approx(row["F"], rel=1e-6)
            assert ours["p"] == pytest.approx(row["p"], abs=1e-4)


def test_roman_numbers_name_the_types(fitted):
    found = fitted("factor_by_factor").infer("residual")
    for number, roman in ((1, "I"), (2, "II"), (3, "III")):
        np.testing.assert_array_equal(found.anova(number), found.anova(roman))


def test_type_one_hypotheses_are_orthogonal_in_the_rows():
    """L_j (X'X)^-1 L_k' = 0 of two terms: sums of squares of a sequence of models add up."""
    fit = mf.fit("y ~ a * b + x + (1 | g)", factors())
    X = np.asarray(model_matrix("a * b + x", factors()), dtype=float)
    inverse = np.linalg.inv(X.T @ X)
    rows = list(anova_hypotheses(fit, 1).values())
    for j, k in combinations(range(len(rows)), 2):
        np.testing.assert_allclose(rows[j] @ inverse @ rows[k].T, 0.0, atol=1e-12)


@pytest.mark.parametrize(
    "residual",
    ["cs(1 | g)", "ar1(1 | g)", "us(visit | g)", "strata(b)"],
)
def test_hypotheses_are_the_same_whatever_sums_a_structure_of_R_keeps(residual):
    data = factors()
    data = data.assign(visit=data.groupby("g").cumcount())
    data = data[data["visit"] < 4]
    plain = mf.fit("y ~ a * b + x + (1 | g)", data)
    other = mf.fit("y ~ a * b + x", data, residual=residual)
    for kind in (1, 2, 3):
        L, M = (anova_hypotheses(fit, kind) for fit in (plain, other))
        for term in L:
            np.testing.assert_allclose(L[term], M[term], atol=1e-9)


def test_units_and_centring_change_no_table():
    data = factors()
    moved = data.assign(x=1e3 + 5 * data["x"], y=4 * data["y"] - 7)
    ours, other = (mf.fit("y ~ a * b + x + (1 | g)", d).infer("residual") for d in (data, moved))
    for kind in (1, 2, 3):
        np.testing.assert_allclose(ours.anova(kind), other.anova(kind), rtol=1e-6)


def test_type_three_with_an_empty_cell_does_not_depend_on_which_level_is_first():
    data = factors(["rv"])
    levels = [{"a": ["p", "q", "r"], "b": ["u", "v"]}, {"a": ["r", "q", "p"], "b": ["v", "u"]}]
    one, other = (
        mf.fit("y ~ a * b + x + (1 | g)", data, levels=order).infer("residual").anova()
        for order in levels
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_sharded_fit_has_every_type():
    data = factors()
    whole, parts = (mf.fit("y ~ a * b + (1 | g)", data, sharded=k) for k in (False, True))
    for kind in (1, 2, 3):
        np.testing.assert_allclose(
            whole.infer("residual").anova(kind), parts.infer("residual").anova(kind), rtol=1e-6
        )
