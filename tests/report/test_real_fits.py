"""From real data to the page with the real engine: fit, second pass, report."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import helpers
import numpy as np
import pyarrow.parquet as pq
import pytest

import mixedflow as mf
from mixedflow.data import open_source
from mixedflow.design import Encoder
from mixedflow.diagnostics import compare_models, diagnose, load_diagnostics
from mixedflow.parallel import Runner, map_reduce
from mixedflow.report import ModelSection, ReportInput, render_report

MODELS = [
    ("sleepstudy_reml", 2),
    ("sleepstudy_dbar_reml", 2),
    ("sleepstudy_weights_reml", 2),
    ("sleepstudy_missing_reml", 2),
    ("dyestuff2_reml", 1),
    ("penicillin_ml", 2),
    ("pastes_nested_reml", 2),
    ("machines_un0_reml", 3),
]


def second_pass(fit, data, folder=None, *, rows=64, runner=None):
    source = open_source(data, levels=fit.spec.levels, partition_rows=rows)
    run = partial(map_reduce, runner=runner or Runner())
    return diagnose(fit, source, Encoder(fit.spec, fit.schema), folder, run)


@pytest.mark.parametrize(("name", "n_columns"), MODELS)
def test_from_fit_to_page(fit_reference, name: str, n_columns: int, tmp_path: Path) -> None:
    entry = helpers.entries()[name]
    data = helpers.reference_frame(entry)
    fit = fit_reference(name)
    result = second_pass(fit, data, tmp_path)
    assert result == load_diagnostics(tmp_path)
    assert len(result.random) == n_columns

    table = pq.read_table(tmp_path / "residuals.parquet").to_pandas().sort_values("row")
    assert len(table) == fit.nobs
    np.testing.assert_allclose(table["fitted"], fit.fitted, rtol=1e-10)
    np.testing.assert_allclose(table["residual"], fit.resid, rtol=1e-8, atol=1e-8)
    np.testing.assert_array_equal(table["row"] - 1, fit.resid.index)

    html = render_report(ReportInput(models=(ModelSection(name, fit, result),)))
    assert ("This fit is singular" in html) == fit.singular
    assert str(fit.sigma) in html
    assert fit.spec.formula in html.replace("&lt;", "<")
    assert re.search(r"Rows dropped</th>\s*<td>" + str(fit.data_summary["rows_dropped"]), html)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_workers_and_partitions_change_no_bit(fit_reference, kind: str, tmp_path: Path) -> None:
    fit = fit_reference("machines_un0_reml")
    data = helpers.data_path("Machines")
    runner = Runner(kind=kind, workers=2)
    one = second_pass(fit, data, tmp_path / "one", rows=1000)
    many = second_pass(fit, data, tmp_path / "many", rows=7, runner=runner)
    assert one == many
    tables = [pq.read_table(tmp_path / place / "residuals.parquet") for place in ("one", "many")]
    assert tables[0].equals(tables[1])


def test_standardised_residuals_use_the_weights(fit_reference, tmp_path: Path) -> None:
    fit = fit_reference("sleepstudy_weights_reml")
    data = helpers.reference_frame(helpers.entries()["sleepstudy_weights_reml"])
    second_pass(fit, data, tmp_path)
    table = pq.read_table(tmp_path / "residuals.parquet").to_pandas()
    expected = table["residual"] * np.sqrt(data[fit.spec.weights].to_numpy()) / fit.sigma
    np.testing.assert_allclose(table["residual_standardised"], expected, rtol=1e-12)


def test_models_that_used_other_rows_are_not_compared(fit_reference) -> None:
    full, holed = fit_reference("sleepstudy_reml"), fit_reference("sleepstudy_missing_reml")
    notes = compare_models([("full", full), ("holed", holed)]).notes
    assert any("different rows" in note for note in notes)


def test_hostile_levels_through_the_engine() -> None:
    data = helpers.data_frame("sleepstudy").copy()
    data["Subject"] = "<script>alert(" + data["Subject"].astype(str) + ")</script>"
    fit = mf.fit("Reaction ~ Days + (Days | Subject)", data)
    result = second_pass(fit, data)
    html = render_report(ReportInput(models=(ModelSection("m", fit, result),)))
    assert "<script>alert" not in html
    assert html.count("<script") == 3
    assert "\\u003cscript\\u003ealert(308)" in html
