"""Where traits may lie: columns, a matrix beside the data, long format."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mixedflow as mf
from mixedflow.data import open_source
from tests.sweeps.tables import wide_table

MODEL = "~ x + f + (1 | g)"
NAMES = ["y0", "y1", "y2"]


@pytest.fixture
def table():
    return wide_table(2, T=3, missing=0.1)


@pytest.fixture
def wanted(table):
    return mf.sweep(MODEL, table, "y*").table.drop(columns="seconds")


def same(found, wanted, **how):
    pd.testing.assert_frame_equal(found.table.drop(columns="seconds"), wanted, **how)


@pytest.mark.parametrize("names", ["list", "text", "parquet"])
@pytest.mark.parametrize("kind", ["file", "array", "float32"])
def test_a_matrix_beside_the_data(tmp_path, table, wanted, names, kind):
    Y = table[NAMES].to_numpy()
    if kind == "float32":
        Y = Y.astype(np.float32)
        table[NAMES] = Y
        wanted = mf.sweep(MODEL, table, "y*").table.drop(columns="seconds")
    np.save(tmp_path / "Y.npy", Y)
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    pq.write_table(pa.table({"name": NAMES}), tmp_path / "names.parquet")
    given = {"list": NAMES, "text": tmp_path / "names.txt", "parquet": tmp_path / "names.parquet"}
    matrix = (Y if kind == "array" else tmp_path / "Y.npy", given[names])
    same(mf.sweep(MODEL, table.drop(columns=NAMES), matrix=matrix), wanted)


def test_some_columns_of_a_matrix_in_any_order(table, wanted):
    found = mf.sweep(MODEL, table, ["y2", "y0"], matrix=(table[NAMES].to_numpy(), NAMES))
    again = wanted.iloc[[2, 0]].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        found.table.drop(columns=["seconds", *(c for c in again if c.startswith("q:"))]),
        again.drop(columns=[c for c in again if c.startswith("q:")]),
    )


@pytest.mark.parametrize("partition_rows", [None, 100])
def test_long_format(table, wanted, partition_rows):
    table["sample"] = [f"s{k:03d}" for k in range(len(table))]
    long = table.melt(["sample", "x", "f", "g"], NAMES, "gene", "expr").dropna(subset="expr")
    source = open_source(long, partition_rows=partition_rows)
    how = {"trait": "gene", "value": "expr", "row": ["sample"]}
    found = mf.sweep(MODEL, source, long=how)
    same(found, wanted, rtol=1e-7, atol=1e-8)


def test_long_format_in_any_order_with_two_keys(table, wanted):
    table["person"] = np.arange(len(table)) // 4
    table["visit"] = np.arange(len(table)) % 4
    keys = ["person", "visit"]
    long = table.melt([*keys, "x", "f", "g"], NAMES, "gene", "expr")
    long = long.sample(frac=1.0, random_state=2)
    how = {"trait": "gene", "value": "expr", "row": keys}
    found = mf.sweep(MODEL, long, NAMES, long=how)
    same(found, wanted, rtol=1e-6, atol=1e-7)


def test_patterns_leave_out_what_models_read(table):
    found = mf.sweep("~ x + (1 | g)", table, "re:^[xyz]").table
    assert list(found["trait"]) == ["z", *NAMES]
    found = mf.sweep("~ x + (1 | g)", table, ["y1", "y*"]).table
    assert list(found["trait"]) == ["y1", "y0", "y2"]


def test_a_column_called_trait_is_a_column_like_others(table):
    table["trait"] = np.random.default_rng(1).normal(size=len(table))
    found = mf.sweep("~ trait + (1 | g)", table, "y*").table
    fit = mf.fit("y0 ~ trait + (1 | g)", table)
    np.testing.assert_allclose(found.loc[0, "estimate:trait"], fit.fixef["trait"], rtol=1e-7)


def test_traits_without_a_fit_say_why():
    table = wide_table(3, T=6)
    rows = len(table)
    table["y0"] = 3.0
    table["y1"] = np.nan
    table.loc[4, "y2"] = np.inf
    table.loc[2:, "y3"] = np.nan
    table["y4"] = 2.0 + 3.0 * table["x"]
    for formula in ("~ x + (1 | g)", "~ x + (1 | g) + (1 | h)"):
        found = mf.sweep(formula, table, "y*")
        reasons = dict(zip(found.failures["trait"], found.failures["error"], strict=True))
        assert reasons["y0"] == "constant"
        assert reasons["y1"] == "no value"
        assert reasons["y2"] == "an infinite value"
        assert reasons["y3"] == "too few rows: 2 for 2 fixed effects"
        assert set(reasons) <= {"y0", "y1", "y2", "y3", "y4"}
        failed = found.table[found.table["trait"].isin(["y0", "y1", "y2", "y3"])]
        assert not failed["converged"].any()
        assert failed[["sigma", "estimate:x", "p:x", "q:x"]].isna().all().all()
        assert found.table["n"].tolist()[:3] == [rows, 0, rows - 1]
    fine = found.table.iloc[5]
    assert fine["error"] == ""
    assert np.isfinite(fine["p:x"])


def test_no_iteration_more_is_a_trait_that_did_not_converge():
    control = mf.FitControl(max_iter=1, em_steps=0)
    found = mf.sweep("~ x + (1 | g) + (1 | h)", wide_table(T=2), "y*", control=control)
    assert found.failures["error"].tolist() == ["not converged"] * 2
