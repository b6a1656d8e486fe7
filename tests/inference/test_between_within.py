"""Between-within degrees of freedom: nlme's, what rows say of columns, and what has no groups."""

from __future__ import annotations

import json

import helpers
import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.errors import UnsupportedError
from mixedflow.inference.between_within import Grouping, between_within_df

ENTRIES = json.loads((helpers.REFERENCES / "nlme_df.json").read_text())


def factors():
    data = helpers.data_frame("factors_unb")
    visit = data.groupby("g").cumcount()
    district = data["g"].str[1:].astype(int)
    order = sorted(data["g"].unique())
    return data.assign(visit=visit, district=(data["g"].map(order.index) + 1) % 7, number=district)


@pytest.mark.parametrize("entry", ENTRIES, ids=[e["formula"] for e in ENTRIES])
def test_same_as_nlme(entry):
    data = factors() if entry["data"] == "factors_unb" else helpers.data_frame(entry["data"])
    fit = mf.fit(entry["formula"], data, levels={"district": list(range(7))} if "district" in
                 entry["formula"] else None)  # fmt: skip
    found = helpers.plain_index(fit.infer("between-within").coef_table)["df"]
    assert found.to_dict() == {helpers.plain_name(k): v for k, v in entry["df"].items()}


def test_every_basis_of_sums_tells_columns_within_from_between():
    """x varies within groups, c does not; 28 groups, in all of which every visit below 3 is there."""
    data = factors()
    data = data[data["visit"] < 4]
    n, groups = len(data), data["g"].nunique()
    wanted = [n - groups - 1, groups - 3, groups - 3, n - groups - 1]
    for residual in ("us(visit | g)", "cs(1 | g)", "ar1(visit | g)", "strata(b)"):
        random = " + (1 | g)" if residual == "strata(b)" else ""
        fit = mf.fit(f"y ~ c + x{random}", data, residual=residual)
        found = fit.infer("between-within").coef_table["df"]
        assert found.tolist() == wanted, residual


@pytest.mark.parametrize(
    ("formula", "weights"),
    [
        ("y ~ c + x + (1 | g)", "w"),
        ("y ~ c + x + (0 + b | g)", None),
        ("y ~ c + x + (x | g)", None),
    ],
)
def test_weights_slopes_and_indicators_in_Z_change_nothing(formula, weights):
    data = factors().assign(w=lambda d: 1.0 + (d["visit"] % 3))
    plain = mf.fit("y ~ c + x + (1 | g)", data).infer("between-within").coef_table["df"]
    other = mf.fit(formula, data, weights=weights).infer("between-within").coef_table["df"]
    assert other.tolist() == plain.tolist() == [181.0, 25.0, 25.0, 181.0]


def test_a_column_far_from_zero_is_still_told():
    data = factors().assign(
        far=lambda d: 2000.0 + 0.01 * d["visit"], level=lambda d: 1e6 + d["number"]
    )
    fit = mf.fit("y ~ far + level + (1 | g)", data)
    assert fit.infer("between-within").coef_table["df"].tolist() == [181.0, 181.0, 26.0]


def test_a_contrast_has_the_least_of_those_that_it_involves():
    found = mf.fit("y ~ c * x + (1 | g)", factors()).infer("between-within")
    assert found.contrast({"x": 1.0, "c[T.l]:x": 1.0})["df"].item() == 179.0
    assert found.contrast({"x": 1.0, "c[T.l]": 1.0})["df"].item() == 25.0
    table = found.anova()
    assert table.loc["c", "den_df"] == 25.0
    assert table.loc["c:x", "den_df"] == 179.0


def test_without_an_intercept_no_group_is_lost():
    found = mf.fit("y ~ 0 + c + x + (1 | g)", factors()).infer("between-within")
    assert found.coef_table["df"].tolist() == [25.0, 25.0, 25.0, 181.0]


def test_levels_without_degrees_of_freedom_have_no_p():
    groups = [Grouping("g", 3, np.array([False, False, False, True]))]
    df = between_within_df(groups, 9, np.array([True, False, False, False]))
    np.testing.assert_array_equal(df, [5.0, np.nan, np.nan, 5.0])


def test_a_sharded_fit_has_the_same():
    data = factors()
    whole, parts = (mf.fit("y ~ c + x + (1 | g)", data, sharded=k) for k in (False, True))
    pd.testing.assert_series_equal(
        whole.infer("between-within").coef_table["df"],
        parts.infer("between-within").coef_table["df"],
    )


@pytest.mark.parametrize(
    ("formula", "options", "message"),
    [
        (
            "y ~ x + (1 | g) + (1 | c)",
            {"crossed": True},
            r"nested groups, and 'c' and 'g'.*crossed",
        ),
        ("y ~ x + (0 + x | g)", {}, r"rows by 'g'.*slopes and no intercept.*'satterthwaite'"),
        ("y ~ x", {"residual": "strata(b)"}, r"neither random effects nor correlated residuals"),
        ("y ~ x", {"residual": "cs(1 | g)", "weights": "w"}, r"residuals with weights"),
    ],
)
def test_what_has_no_such_groups_is_named(formula, options, message):
    data = factors().assign(w=lambda d: 1.0 + (d["visit"] % 3))
    if options.pop("crossed", False):
        data["c"] = data["visit"] % 4
    fit = mf.fit(formula, data, **options)
    with pytest.raises(UnsupportedError, match=message):
        fit.infer("between-within")
