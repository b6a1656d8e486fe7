"""``missing='error'``: a trait that lacks a value says so, a predictor that does ends the sweep."""

import json

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.cli import invoke
from mixedflow.config import check_config
from mixedflow.config.plan import make_plan
from mixedflow.errors import ConfigError, DataError
from tests.sweeps.tables import wide_table

MODELS = {
    "compiled": ("~ x + (1 | g)", "iid"),
    "one by one": ("~ x + (1 | g) + (1 | f)", "iid"),
    "from rows": ("~ x + (1 | g)", "cs(1 | g)"),
}


@pytest.fixture
def table() -> pd.DataFrame:
    found = wide_table(2, T=3)
    found.loc[[4, 9], "y1"] = np.nan
    return found


@pytest.mark.parametrize("route", MODELS)
def test_a_trait_that_lacks_values_is_a_row_with_the_number(table, route):
    formula, residual = MODELS[route]
    strict = mf.sweep(formula, table, "y*", residual=residual, missing="error").table
    loose = mf.sweep(formula, table, "y*", residual=residual).table
    whole = strict["trait"] != "y1"
    own = [c for c in strict if c != "seconds" and not c.startswith("q:")]
    pd.testing.assert_frame_equal(strict.loc[whole, own], loose.loc[whole, own])
    (failed,) = strict[~whole].itertuples()
    n = len(table)
    assert failed.error == f"2 of {n} values are missing, and missing='error'"
    assert not failed.converged
    assert np.isnan(failed.logLik)
    assert loose.loc[~whole, "error"].item() == ""


def test_a_subset_without_the_missing_values_is_fitted(table):
    table["part"] = np.where(np.arange(len(table)) < 20, "a", "b")
    subsets = {"all": None, "late": {"part": ["b"]}}
    found = mf.sweep("~ x + (1 | g)", table, ["y1"], subsets=subsets, missing="error").table
    assert found.set_index("subset")["error"].to_dict() == {
        "all": f"2 of {len(table)} values are missing, and missing='error'",
        "late": "",
    }


def test_a_predictor_that_lacks_values_ends_the_sweep(table):
    table.loc[7, "x"] = np.nan
    with pytest.raises(DataError, match="'x' has 1 missing value, the first in row 8"):
        mf.sweep("~ x + (1 | g)", table, ["y0"], missing="error")


def test_the_policy_of_the_data_reaches_the_jobs(table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table.to_csv("d.csv", index=False)
    config = {
        "data": {"d": {"path": "d.csv", "missing": "error"}},
        "sweep": {"s": {"data": "d", "traits": "y*", "models": {"m": "~ x + (1 | g)"}}},
    }
    assert "--missing=error" in make_plan(check_config(config, "c")).sweep_options("s")
    plan = ["sweep", "plan", "d.csv", "--trait=y*", "--model=m=~ x + (1 | g)", "--out=out"]
    assert invoke([*plan, "--missing=error"]) == 0
    (job,) = json.loads((tmp_path / "out/plan.json").read_text(encoding="utf-8"))["jobs"]
    assert invoke(["sweep", "run", "out", job["key"]]) == 0
    assert invoke(["sweep", "gather", "out"]) == 0
    assert list(mf.load_sweep("out").failures["trait"]) == ["y1"]
    assert invoke([*plan, "--missing=drop"]) == 0
    assert "3 traits, of which 0 are stored" in capsys.readouterr().err


def test_a_scan_of_such_data_is_refused():
    config = {
        "data": {"d": {"path": "d.csv", "missing": "error"}},
        "scan": {"s": {"data": "d", "covariates": "c*", "formula": "y ~ x + (1 | g)"}},
    }
    with pytest.raises(ConfigError, match="`missing: error` scans do not know"):
        check_config(config, "c")
