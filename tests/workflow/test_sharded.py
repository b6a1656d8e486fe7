"""A model with ``sharded: true`` beside the same model in memory, from raw file to report."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from snakes import copy_analysis, edit, python_module, snakemake

pytestmark = pytest.mark.workflow


def sharded_analysis(folder):
    """Return the shipped analysis with one of its models in shards, prepared in several parts."""
    place = copy_analysis(folder / "analysis")
    config = place / "config/config.yaml"
    edit(config, "    units:\n", "    group: Subject\n    partition_rows: 60\n    units:\n")
    edit(config, "|| Subject)\n", "| Subject)\n    sharded: true\n")
    return place


def test_a_sharded_model_from_raw_file_to_report(tmp_path):
    place = sharded_analysis(tmp_path)
    run = snakemake(cwd=place)
    assert run.code == 0, run.text
    assert "Fitting the model independent" in run.jobs
    assert "Diagnosing the model slope" in run.jobs
    assert "Diagnosing the model independent" not in run.jobs
    models = place / "results/models"
    whole, shards = (
        json.loads((models / name / "fit/fit.json").read_text("utf-8"))
        for name in ("slope", "independent")
    )
    assert shards["format"] == "mixedflow-sharded-fit"
    assert shards["loglik"] == pytest.approx(whole["loglik"], rel=1e-12)
    assert shards["data_summary"] == whole["data_summary"]
    parts = sorted((models / "independent/fit/ranef").iterdir())
    assert len(parts) == len(list((place / "results/sleepstudy/prepared").glob("*.parquet"))) > 1
    keys = ["column", "level"]
    there = pd.concat([pq.read_table(path).to_pandas() for path in parts]).sort_values(keys)
    here = pq.read_table(models / "slope/fit/ranef.parquet").to_pandas().sort_values(keys)
    assert list(there["level"]) == list(here["level"])
    np.testing.assert_allclose(there["blup"], here["blup"], rtol=0, atol=1e-6)
    assert not list(models.rglob("*shards*"))
    page = (place / "results/report.html").read_text(encoding="utf-8")
    assert "was fitted in shards" in page
    assert page.count("Std. error") >= 2
    assert "Nothing to be done" in snakemake("--dry-run", cwd=place).text

    refused = python_module(
        "mixedflow", "diagnose", "results/models/independent/fit", "results/sleepstudy/prepared",
        "--out", "out", cwd=place,
    )  # fmt: skip
    assert refused.code == 2
    assert "diagnostics need the fit in memory" in refused.text.splitlines()[-1]
    assert not (place / "out").exists()
    shown = python_module("mixedflow", "show", "results/models/independent/fit", cwd=place)
    assert "groups: Subject, 18" in shown.text


@pytest.mark.slow
def test_a_model_goes_into_shards_and_back(tmp_path):
    """The fit of one kind is replaced by that of the other; diagnostics of before are not shown."""
    place = sharded_analysis(tmp_path)
    config = place / "config/config.yaml"
    edit(config, "sharded: true", "sharded: false")
    assert snakemake(cwd=place).code == 0
    edit(config, "sharded: false", "sharded: true")
    run = snakemake(cwd=place)
    assert run.code == 0, run.text
    assert run.jobs == {
        "Fitting the model independent",
        "Writing the report results/report.html",
    }
    assert "was fitted in shards" in (place / "results/report.html").read_text(encoding="utf-8")
    edit(config, "sharded: true", "sharded: false")
    assert snakemake(cwd=place).code == 0
    assert "was fitted in shards" not in (place / "results/report.html").read_text("utf-8")
