"""The workflow from other folders, killed, resumed, as a module, and through ``mixedflow run``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from snakes import ROOT, copy_analysis, edit, python_module, snakemake

pytestmark = pytest.mark.workflow

MODULE = """\
configfile: "analysis.yaml"


module mixedflow:
    snakefile:
        "{root}/workflow/Snakefile"
    config:
        config["mixed"]
{prefix}

use rule * from mixedflow as mixedflow_*


use rule fit from mixedflow as mixedflow_fit with:
    threads: 2


rule all:
    default_target: True
    input:
        rules.mixedflow_all.input,
        "done.txt",


rule done:
    output:
        "done.txt",
    shell:
        "touch {{output}}"
"""

ANALYSIS = """\
mixed:
  data:
    sleep: {path: mine/sleep.csv, types: {Subject: category}}
  models:
    m: {data: sleep, formula: "Reaction ~ Days + (1 | Subject)"}
  output: mixed
"""


def other_workflow(folder: Path, prefix: str = "") -> Path:
    """Write a workflow of somebody else that uses the rules as a module."""
    (folder / "mine").mkdir(parents=True)
    data = (ROOT / "config/data/sleepstudy.csv").read_text(encoding="utf-8")
    (folder / "mine/sleep.csv").write_text(data, encoding="utf-8")
    (folder / "analysis.yaml").write_text(ANALYSIS, encoding="utf-8")
    line = f'    prefix:\n        "{prefix}"\n' if prefix else ""
    (folder / "Snakefile").write_text(MODULE.format(root=ROOT, prefix=line), encoding="utf-8")
    return folder


def test_as_a_module_the_rules_take_the_other_configuration(tmp_path):
    run = snakemake("--dry-run", cwd=other_workflow(tmp_path / "other"))
    assert run.code == 0, run.text
    assert {"Preparing the data set sleep", "Fitting the model m"} <= run.jobs
    assert "mixed/report.html" in run.text


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "sub"])
def test_as_a_module_it_runs_from_another_folder(tmp_path, prefix):
    place = other_workflow(tmp_path / "other", prefix)
    run = snakemake(cwd=place)
    assert run.code == 0, run.text
    assert (place / prefix / "mixed/report.html").is_file()
    assert (place / "done.txt").is_file()
    assert "Nothing to be done" in snakemake("--dry-run", cwd=place).text


def test_another_configuration_is_not_added_to_the_shipped_one(tmp_path):
    place = copy_analysis(tmp_path / "analysis")
    text = (place / "config/config.yaml").read_text(encoding="utf-8")
    other = text.replace("slope", "only").replace("independent", "other")
    (place / "other.yaml").write_text(other, encoding="utf-8")
    run = snakemake("--dry-run", "--configfile", "other.yaml", cwd=place)
    fitted = {job for job in run.jobs if job.startswith("Fitting")}
    assert fitted == {"Fitting the model only", "Fitting the model other"}


@pytest.mark.slow
@pytest.mark.parametrize("step", ["prepare", "condense", "fit"])
def test_a_killed_run_resumes_and_ends_alike(tmp_path, finished_once, step):
    place = copy_analysis(tmp_path / "analysis")
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1"],
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: list((place / "results/logs").glob(f"{step}/*.log")), process)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (place / "results/report.html").exists()
    assert snakemake("--unlock", cwd=place).code == 0
    run = snakemake(cwd=place)
    assert run.code == 0, run.text
    for model in ("slope", "independent"):
        assert numbers(place, model) == numbers(finished_once[0], model)
    assert "Nothing to be done" in snakemake("--dry-run", cwd=place).text


def wait_for(ready, process: subprocess.Popen[bytes]) -> None:
    """Wait until a condition holds while the process runs."""
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def numbers(place: Path, model: str) -> dict[str, object]:
    """Return what a stored fit says, without times."""
    stored = json.loads((place / f"results/models/{model}/fit/fit.json").read_text("utf-8"))
    return {name: stored[name] for name in ("loglik", "sigma", "fixef", "parameters", "nobs")}


def mixedflow(*arguments: str, cwd: Path):
    return python_module("mixedflow", *arguments, cwd=cwd)


def test_run_has_nothing_to_do_after_a_run(finished):
    run = mixedflow("run", "--cores", "1", cwd=finished)
    assert run.code == 0, run.text
    assert "Nothing to be done" in run.text
    assert "report: results/report.html" in run.text


def test_run_passes_arguments_on_and_works_elsewhere(finished):
    config = str(finished / "config/config.yaml")
    run = mixedflow(
        "run",
        "-c",
        config,
        "-d",
        str(finished),
        "--",
        "--dry-run",
        "--forceall",
        cwd=ROOT / "tests",
    )
    assert run.code == 0, run.text
    assert "Fitting the model slope" in run.jobs


def test_run_finds_a_shipped_profile_by_its_name(tmp_path):
    place = copy_analysis(tmp_path / "analysis")
    run = mixedflow("run", "--profile", "bignode", "--dry-run", cwd=place)
    assert run.code == 0, run.text
    assert "profile " + str(ROOT / "workflow/profiles/bignode") in run.text
    assert "Fitting the model slope" in run.jobs


def test_run_refuses_a_wrong_configuration_before_snakemake_starts(tmp_path):
    (tmp_path / "c.yaml").write_text("data: {}\n", encoding="utf-8")
    run = mixedflow("run", "-c", "c.yaml", cwd=tmp_path)
    assert run.code == 2
    assert run.text.startswith("error: c.yaml: ")
    assert len(run.text.splitlines()) == 1


@pytest.mark.slow
def test_run_repeats_the_sentence_of_the_step_that_failed(tmp_path):
    place = copy_analysis(tmp_path / "analysis")
    edit(place / "config/data/sleepstudy.csv", "258.7047,1,", "fast,1,")
    run = mixedflow("run", "--cores", "1", cwd=place)
    assert run.code == 2
    last = run.text.splitlines()[-1]
    assert last.startswith("error: ")
    assert "Reaction" in last
    assert "row 2" in last
    assert "Traceback" not in run.text
    assert not list((place / "results").rglob("fit.json"))


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["report", "error"])
def test_run_ends_with_3_when_a_fit_did_not_converge(tmp_path, policy):
    place = copy_analysis(tmp_path / "analysis")
    config = place / "config/config.yaml"
    with config.open("a", encoding="utf-8") as file:
        file.write(f"\ncontrol: {{max_iter: 1, nonconverged: {policy}}}\n")
    run = mixedflow("run", "--cores", "1", cwd=place)
    assert run.code == 3
    assert "did not converge" in run.text.splitlines()[-1]
    assert (place / "results/report.html").exists() == (policy == "report")


@pytest.mark.slow
def test_the_wheel_brings_its_workflow(tmp_path):
    """Unpack the wheel and run from it, in a folder that has only data."""
    wheel_module = pytest.importorskip("hatchling.builders.wheel")
    import zipfile

    builder = wheel_module.WheelBuilder(str(ROOT))
    (wheel,) = builder.build(directory=str(tmp_path / "dist"), versions=["standard"])
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    assert (tmp_path / "site/mixedflow/_workflow/rules/fit.smk").is_file()
    work = tmp_path / "work"
    work.mkdir()
    data = (ROOT / "config/data/sleepstudy.csv").read_text(encoding="utf-8")
    (work / "sleep.csv").write_text(data, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}

    def command(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mixedflow", *arguments],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr + done.stdout

    command("init", "sleep.csv", "Reaction ~ Days + (Days | Subject)")
    assert "18 levels" in command("check")
    text = command("run", "--profile", "default")
    assert "mixedflow/_workflow/Snakefile" in text
    assert "mixedflow/_workflow/profiles/default for setting" in text
    assert (work / "results/report.html").is_file()
