"""Residuals with a structure from raw file to report, with random effects and without."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
from snakes import copy_analysis, python_module, snakemake

pytestmark = pytest.mark.workflow

MODELS = """\
models:
  autoregressive:
    data: sleepstudy
    formula: Reaction ~ Days + (1 | Subject)
    residual: ar1(1 | Subject)
  unstructured:
    data: sleepstudy
    formula: Reaction ~ Days
    residual: csh(Days | Subject)
"""


def analysis(place):
    """Return a copy of the shipped analysis with two models of correlated residuals."""
    copy_analysis(place)
    path = place / "config/config.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.index("models:")] + MODELS, encoding="utf-8")
    return place


def test_check_shows_what_stands_in_r(tmp_path):
    run = python_module("mixedflow", "check", cwd=analysis(tmp_path / "analysis"))
    assert run.code == 0, run.text
    assert "ar1(1 | Subject)" in run.text
    assert "10 positions of Days" in run.text


@pytest.mark.slow
def test_correlated_residuals_go_through_every_step(tmp_path):
    place = analysis(tmp_path / "analysis")
    run = snakemake(cwd=place)
    assert run.code == 0, run.text
    page = (place / "results/report.html").read_text(encoding="utf-8")
    assert "Residuals: first-order autoregressive" in page
    assert "Covariance of residuals" in page
    fits = {
        name: json.loads((place / f"results/models/{name}/fit/fit.json").read_text())
        for name in ("autoregressive", "unstructured")
    }
    assert len(fits["autoregressive"]["parameters"]["psi"]) == 1
    assert len(fits["unstructured"]["parameters"]["psi"]) == 10
    assert fits["unstructured"]["n_levels"] == {}
    folder = place / "results/models/unstructured/diagnostics/residuals.parquet"
    rows = pq.read_table(folder).to_pandas()
    ratio = rows["residual"] / rows["residual_standardised"]
    assert ratio.round(6).nunique() == 10
