"""The shipped analysis by every route of Slurm ends with the numbers of one machine."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from snakes import copy_analysis, python_module

pytestmark = pytest.mark.timeout(600)

KEPT = ("parameters", "loglik", "sigma", "fixef", "se", "vcov", "varcorr", "n_iter")
"""What a fit says besides times and versions."""

HERE = ("--default-resources", "slurm_partition=main", "mem_mb=400", "runtime=5")
ROUTES = {
    "slurm-noacct": ["--workflow-profile", "workflow/profiles/slurm-noacct", *HERE],
    "slurm-multinode": [
        "--workflow-profile",
        "workflow/profiles/slurm-multinode",
        *HERE,
        "--config",
        "dask={kind: srun, interface: lo}",
    ],
    "jobqueue": [
        "--cores=2",
        "--config",
        "dask={kind: jobqueue, interface: lo, memory: 1600 MB, jobqueue: {queue: main}}",
    ],
}


def numbers(place: Path) -> dict:
    """Return what a run found: estimates, effects, residuals, tests; no times."""
    found = {}
    for fit in sorted((place / "results/models").glob("*/fit/fit.json")):
        stored = json.loads(fit.read_text())
        found[fit.parts[-3]] = {key: stored[key] for key in KEPT}
    for table in sorted((place / "results/models").glob("*/*/*.parquet")):
        columns = pq.read_table(table)
        timed = [name for name in ("seconds",) if name in columns.column_names]
        found[str(table.relative_to(place))] = columns.drop_columns(timed).to_pydict()
    for table in sorted((place / "results/models").glob("*/inference/*.csv")):
        found[str(table.relative_to(place))] = table.read_text()
    return found


@pytest.fixture(scope="module")
def on_one_machine(tmp_path_factory):
    place = copy_analysis(tmp_path_factory.mktemp("one") / "analysis")
    run = python_module("snakemake", "--cores=2", cwd=place)
    assert run.code == 0, run.text
    return numbers(place)


@pytest.mark.parametrize("route", ROUTES)
def test_the_shipped_analysis(route, on_one_machine, tmp_path):
    place = copy_analysis(tmp_path / "analysis")
    run = python_module("snakemake", *ROUTES[route], "--latency-wait=5", cwd=place)
    assert run.code == 0, run.text
    found = numbers(place)
    assert found.keys() == on_one_machine.keys()
    assert [key for key in found if repr(found[key]) != repr(on_one_machine[key])] == []
    shutil.rmtree(place)


def test_no_job_is_left():
    left = subprocess.run(
        ["squeue", "--noheader", "--states=pending,running"], capture_output=True, text=True
    )
    assert left.stdout == ""
