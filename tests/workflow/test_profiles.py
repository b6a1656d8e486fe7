"""Profiles say where jobs run; the rules themselves do not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "plugins"))

from flows import Machines
from snakes import ROOT, copy_analysis, figures, python_module

pytestmark = pytest.mark.workflow

PROFILES = sorted(path.name for path in (ROOT / "workflow/profiles").iterdir())
NEEDS = {
    "slurm": "snakemake_executor_plugin_slurm",
    "slurm-noacct": "snakemake_executor_plugin_slurm",
    "slurm-multinode": "snakemake_executor_plugin_slurm",
    "cluster-generic": "snakemake_executor_plugin_cluster_generic",
}


def test_every_profile_is_one_file_and_retries_stand_nowhere_else():
    submitting = {
        "slurm",
        "slurm-noacct",
        "slurm-multinode",
        "slurm-allocation",
        "dask",
        "cluster-generic",
    }
    assert {"default", "bignode"} | submitting == set(PROFILES)
    for name in PROFILES:
        (file,) = (ROOT / "workflow/profiles" / name).iterdir()
        content = yaml.safe_load(file.read_text())
        assert file.name == "profile.yaml"
        assert ("retries" in content) == (name in submitting)
        assert content.get("default-resources", {}).get("mem_mb", 400) >= 400
    for rule in (ROOT / "workflow/rules").glob("*.smk"):
        assert "retries:" not in rule.read_text()


@pytest.mark.parametrize("name", ["bignode", *NEEDS])
def test_a_dry_run(name, tmp_path):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    place = copy_analysis(tmp_path / "analysis")
    run = python_module(
        "snakemake", "--workflow-profile", f"workflow/profiles/{name}", "--dry-run", cwd=place
    )
    assert run.code == 0, run.text
    place_of_passes = "srun --workers=2" if name == "slurm-multinode" else "threads"
    assert "mixedflow --record results/logs/condense/" in run.text
    assert f"--dask={place_of_passes} " in run.text


@pytest.mark.parametrize(
    ("slurm", "answer"),
    [
        ("PENDING", "running"),
        ("RUNNING", "running"),
        ("COMPLETED", "success"),
        ("CANCELLED", "failed"),
        ("TIMEOUT", "failed"),
        ("slurm_load_jobs error: Invalid job id specified", "failed"),
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", "running"),
        ("slurm_load_jobs error: Socket timed out on send/recv operation", "running"),
    ],
)
def test_a_job_of_any_scheduler_that_is_killed_is_not_waited_for(slurm, answer, tmp_path):
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\necho '{slurm}' >&2\n")
    squeue.chmod(0o755)
    profile = ROOT / "workflow/profiles/cluster-generic/profile.yaml"
    command = yaml.safe_load(profile.read_text())["cluster-generic-status-cmd"]
    said = subprocess.run(
        f"{command} '17'",
        shell=True,
        env={"PATH": f"{tmp_path}:{os.defpath}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == answer


ANALYSIS = """\
data:
  sleep: {path: sleep.csv, types: {Subject: category}}
models:
  m: {data: sleep, formula: "Reaction ~ Days + (1 | Subject)"}
"""

SUBMIT = """\
#!/bin/sh
# as `sbatch` and its like: take a script, start it some time, say its number
name=$(basename "$1")
end={place}/$name
(setsid sh "$1" > $end.said 2>&1; echo $? > $end.code; mv $end.code $end) > /dev/null 2>&1 &
echo $name
"""
STATUS = """\
#!/bin/sh
case $(cat {place}/$1 2>/dev/null) in "") echo running;; 0) echo success;; *) echo failed;; esac
"""


def batch_system(place: Path) -> list[str]:
    """Write a batch system of two commands; return the options that name them."""
    place.mkdir()
    options = ["--seconds-between-status-checks", "1", "--cluster-generic-cancel-cmd", "true"]
    for name, text in (("submit", SUBMIT), ("status", STATUS)):
        command = place / name
        command.write_text(text.format(place=place), encoding="utf-8")
        command.chmod(0o755)
        options += [f"--cluster-generic-{name}-cmd", str(command)]
    return options


def run_small(place: Path, *options: str, more: str = "") -> Path:
    """Run a small analysis in a folder that has nothing but data and configuration."""
    (place / "config").mkdir(parents=True)
    shutil.copy(ROOT / "config/data/sleepstudy.csv", place / "sleep.csv")
    (place / "config/config.yaml").write_text(ANALYSIS + more, encoding="utf-8")
    run = python_module("mixedflow", "run", *options, cwd=place)
    assert run.code == 0, run.text
    assert "report: results/report.html" in run.text
    return place


@pytest.fixture(scope="module")
def on_this_machine(tmp_path_factory):
    return figures(run_small(tmp_path_factory.mktemp("here") / "analysis"))


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["default", "bignode"])
def test_one_machine(tmp_path, on_this_machine, profile):
    place = run_small(tmp_path / "analysis", "--profile", profile)
    assert figures(place) == on_this_machine


@pytest.mark.slow
def test_a_scheduler_with_a_command_that_submits(tmp_path, on_this_machine):
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    options = ("--profile", "cluster-generic", "--", *batch_system(tmp_path / "batch"))
    assert figures(run_small(tmp_path / "analysis", *options)) == on_this_machine


@pytest.mark.slow
def test_a_running_dask_cluster_serves_the_passes_too(tmp_path, on_this_machine):
    place = tmp_path / "analysis"
    place.mkdir()
    machines = Machines(place, threads=2)
    try:
        more = "dask: {kind: address, scheduler_file: scheduler.json}\n"
        run_small(place, "--profile", "dask", more=more)
    finally:
        machines.stop()
    assert figures(place) == on_this_machine
