"""Likelihood-ratio tests of a sweep say what mf.compare says of two fits."""

import numpy as np
import pytest

import mixedflow as mf
from tests.sweeps.tables import wide_table

MODELS = {
    "null": "~ z + (1 | g)",
    "full": "~ x + z + (1 | g)",
    "slope": "~ x + z + (x | g)",
    "both": "~ x + z + (1 | g) + (0 + x | g)",
    "crossed": "~ x + z + (1 | g) + (1 | h)",
}
TESTS = {
    "x": ("null", "full"),
    "slope": ("full", "slope"),
    "variance": ("full", "both"),
    "h": ("full", "crossed"),
    "much": ("null", "crossed"),
}


@pytest.mark.parametrize("reml", [True, False])
def test_tests_are_those_of_single_fits(reml):
    table = wide_table(4, T=3, missing=0.1)
    found = mf.sweep(MODELS, table, "y*", tests=TESTS, reml=reml).tests
    for row in found.to_dict("records"):
        small, large = (
            mf.fit(f"{row['trait']} {MODELS[name]}", table, reml=reml)
            for name in TESTS[row["test"]]
        )
        different = row["test"] in ("x", "much")
        want = mf.compare(small, large, refit="ml" if reml and different else None).iloc[1]
        assert row["df"] == want["df"]
        np.testing.assert_allclose(row["chisq"], want["chisq"], atol=2e-6)
        np.testing.assert_allclose(row["p"], want["p"], rtol=1e-4)
        np.testing.assert_allclose(row["p_mixture"], want["p_mixture"], rtol=1e-4)
        assert row["note"] == want["note"]
    for _, rows in found.groupby("test"):
        p = rows["p_mixture"].fillna(rows["p"]).to_numpy()
        assert (rows["q"] >= p - 1e-15).all()


def test_refits_by_ml_do_not_stand_in_the_table():
    found = mf.sweep(MODELS, wide_table(T=2), "y*", tests={"x": ("null", "full")})
    assert len(found.table) == 2 * len(MODELS)
    assert found.spec["tests"] == {"x": ["null", "full"]}


def test_fits_of_different_rows_are_not_compared():
    table = wide_table(T=2)
    table.loc[:9, "x"] = np.nan
    found = mf.sweep(MODELS, table, "y*", tests={"x": ("null", "full")}).tests
    assert found["note"].str.contains("different rows: 240 and 230").all()
    assert found["p"].isna().all()


def test_models_that_are_not_nested_are_said_so():
    models = {"a": "~ x + (1 | g)", "b": "~ z + f + (1 | g)"}
    found = mf.sweep(models, wide_table(T=2), "y*", tests={"t": ("a", "b")}).tests
    assert found["note"].str.contains("not seen to be nested").all()


def test_a_trait_without_a_fit_has_a_test_that_says_why():
    table = wide_table(T=2)
    table["y1"] = 0.0
    found = mf.sweep(MODELS, table, "y*", tests=TESTS).tests
    failed = found[found["trait"] == "y1"]
    assert failed["note"].str.contains("the smaller model: constant").all()
    assert failed[["chisq", "p", "q"]].isna().all().all()
