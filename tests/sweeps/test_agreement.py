"""Every trait of a sweep is at the optimum of its single fit, whatever model and data are."""

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.data import open_source
from mixedflow.parallel import open_runner
from tests.sweeps.tables import assert_agrees, wide_table

MODELS = [
    "~ x + (1 | g)",
    "~ x + (x | g)",
    "~ x + (x || g)",
    "~ x + z + f + (1 | g)",
    "~ 0 + f + (1 | g)",
    "~ 0 + x + (1 | g)",
    "~ many + (1 | g)",
    "~ x + offset(z) + (1 | g)",
    "~ x + (1 | g) + (1 | h)",
    "~ x + (1 | g/f)",
    "~ x + cs(0 + f | g)",
    "~ x * f + (1 | g)",
]


def check(formula, table, **options):
    found = mf.sweep(formula, table, "y*", **options).table
    options.pop("runner", None)
    ddf = options.pop("ddf", "satterthwaite")
    for row in found.to_dict("records"):
        fit = mf.fit(f"{row['trait']} {formula}", table, **options)
        assert_agrees(pd.Series(row), fit, ddf)
    return found


@pytest.mark.parametrize("formula", MODELS)
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_a_trait_is_at_the_optimum_of_its_single_fit(formula, missing):
    check(formula, wide_table(missing=missing, T=3))


@pytest.mark.parametrize("options", [{"reml": False}, {"weights": "w"}, {"ddf": "residual"}])
@pytest.mark.parametrize("formula", ["~ x + (x | g)", "~ x + (1 | g) + (1 | h)"])
def test_options_mean_what_they_mean_for_single_fits(formula, options):
    check(formula, wide_table(3, missing=0.1, T=2), **options)


def test_asymptotic_tests_are_normal():
    found = check("~ x + (1 | g)", wide_table(T=2), ddf="asymptotic")
    assert np.isinf(found["df:x"]).all()


def test_a_column_that_is_a_sum_of_others_in_a_traits_own_rows_is_left_out():
    table = wide_table(5, T=3)
    table.loc[table["f"] == "c", "y1"] = np.nan
    found = check("~ x + f + (1 | g)", table)
    assert np.isnan(found.loc[1, "estimate:f[T.c]"])
    assert not np.isnan(found.loc[0, "estimate:f[T.c]"])
    assert found.loc[1, "npar"] == found.loc[0, "npar"] - 1


def test_skewed_traits_and_traits_far_from_zero_are_at_their_optima():
    table = wide_table(6, T=4)
    table["y0"] = np.exp(2.0 * table["y0"])
    table["y1"] += 1e6
    table["y2"] = np.random.default_rng(1).poisson(0.05, len(table))
    check("~ x + (1 | g)", table)
    check("~ x + (x | g)", table)


@pytest.mark.parametrize("scale", [1e6, 1e-6])
def test_a_trait_in_other_units_has_the_same_tests(scale):
    table = wide_table(7, T=3, missing=0.1)
    other = table.copy()
    other[["y0", "y1", "y2"]] *= scale
    for formula in ("~ x + (x | g)", "~ x + (1 | g) + (1 | h)"):
        a = mf.sweep(formula, table, "y*").table
        b = mf.sweep(formula, other, "y*").table
        np.testing.assert_allclose(a["statistic:x"], b["statistic:x"], rtol=1e-6)
        np.testing.assert_allclose(a["df:x"], b["df:x"], rtol=1e-4)
        np.testing.assert_allclose(scale * a["sigma"], b["sigma"], rtol=1e-7)


def test_the_order_of_the_rows_does_not_matter():
    table = wide_table(8, T=3, missing=0.2)
    mixed = table.sample(frac=1.0, random_state=1)
    for formula in ("~ x + f + (x | g)", "~ x + (1 | g) + (1 | h)"):
        a, b = (mf.sweep(formula, one, "y*").table for one in (table, mixed))
        np.testing.assert_allclose(a["deviance"], b["deviance"], atol=1e-7)
        np.testing.assert_allclose(a["estimate:x"], b["estimate:x"], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("rows", [7, 50])
def test_several_partitions_give_the_same_fits(rows):
    table = wide_table(9, T=3, missing=0.2)
    parts = open_source(table, partition_rows=rows)
    assert parts.n_partitions > 3
    for formula in ("~ x + f + (x | g)", "~ x + (1 | g) + (1 | h)"):
        a = mf.sweep(formula, table, "y*", subsets={"M": {"sex": ["M"]}}).table
        b = mf.sweep(formula, parts, "y*", subsets={"M": {"sex": ["M"]}}).table
        np.testing.assert_allclose(a["deviance"], b["deviance"], atol=1e-7)
        np.testing.assert_allclose(a["estimate:x"], b["estimate:x"], rtol=1e-5, atol=1e-8)


def test_threads_and_workers_give_the_same_bits():
    table = wide_table(10, n=200, T=150, missing=0.05)
    models = {"one": "~ x + (1 | g)", "us": "~ x + (x | g)"}
    tables = []
    for kind, workers in (("synchronous", 1), ("threads", 2), ("processes", 2)):
        with open_runner(kind, workers=workers) as runner:
            found = mf.sweep(models, table, "y*", tests={"v": ("one", "us")}, runner=runner)
        tables.append((found.table.drop(columns="seconds"), found.tests))
    for table, tests in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0][0], check_exact=True)
        pd.testing.assert_frame_equal(tests, tables[0][1], check_exact=True)


def test_a_subset_is_the_fit_of_its_rows():
    table = wide_table(11, T=2, missing=0.1)
    subsets = {"all": None, "male": {"sex": ["M"]}, "some": {"sex": ["F"], "f": ["a", "b"]}}
    for formula in ("~ x + (1 | g)", "~ x + (1 | g) + (1 | h)"):
        found = mf.sweep(formula, table, "y*", subsets=subsets).table
        assert list(found["subset"][:3]) == list(subsets)
        own = {
            "all": table,
            "male": table[table["sex"] == "M"],
            "some": table[(table["sex"] == "F") & table["f"].isin(["a", "b"])],
        }
        for row in found.to_dict("records"):
            assert_agrees(pd.Series(row), mf.fit(f"{row['trait']} {formula}", own[row["subset"]]))


def test_partitions_without_a_row_of_a_subset_do_not_matter():
    table = wide_table(13, T=2, missing=0.1).sort_values("sex")
    own = table[table["sex"] == "M"]
    for formula in ("~ x + f + (1 | g)", "~ x + (1 | g) + (1 | h)"):
        parts = open_source(table, partition_rows=30)
        found = mf.sweep(formula, parts, "y*", subsets={"M": {"sex": ["M"]}}).table
        for row in found.to_dict("records"):
            assert_agrees(pd.Series(row), mf.fit(f"{row['trait']} {formula}", own))


def test_residual_structures_are_fitted_one_by_one():
    rng = np.random.default_rng(12)
    table = pd.DataFrame({"g": np.repeat(np.arange(30), 6).astype(str), "t": np.tile(range(6), 30)})
    table["x"] = rng.normal(size=180)
    for t in range(2):
        e = rng.normal(size=(30, 6))
        for k in range(1, 6):
            e[:, k] = 0.6 * e[:, k - 1] + 0.8 * e[:, k]
        table[f"y{t}"] = e.ravel() + rng.normal(size=30).repeat(6)
    table.loc[::7, "y1"] = np.nan
    models = {"iid": "~ x + (1 | g)", "ar1": "~ x + (1 | g)"}
    found = mf.sweep(
        models, table, "y*", residual={"ar1": "ar1(t | g)"}, tests={"ar1": ("iid", "ar1")}
    )
    for row in found.table.to_dict("records"):
        residual = "ar1(t | g)" if row["model"] == "ar1" else "iid"
        fit = mf.fit(f"{row['trait']} ~ x + (1 | g)", table, residual=residual)
        assert_agrees(pd.Series(row), fit)
        if residual != "iid":
            rho = fit.residual_params.set_index("parameter").loc["rho", "estimate"]
            np.testing.assert_allclose(row["residual:rho"], rho, rtol=1e-5)
    assert (found.tests["df"] == 1).all()
