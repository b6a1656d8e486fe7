"""The shipped analysis from raw file to report, and what a change of it reruns."""

from __future__ import annotations

import json
import os

import pytest
import yaml
from snakes import ROOT, copy_analysis, edit, python_module, snakemake

pytestmark = pytest.mark.workflow

EVERYTHING = {
    "Preparing the data set sleepstudy",
    "Fitting the model slope",
    "Fitting the model independent",
    "Testing the model slope",
    "Diagnosing the model slope",
    "Diagnosing the model independent",
    "Writing the report results/report.html",
}
OF_SLOPE = {
    "Fitting the model slope",
    "Testing the model slope",
    "Diagnosing the model slope",
    "Writing the report results/report.html",
}


def condensing(jobs: set[str]) -> set[str]:
    return {job for job in jobs if job.startswith("Condensing")}


def loglik(place, model: str) -> float:
    stored = json.loads((place / f"results/models/{model}/fit/fit.json").read_text())
    return stored["loglik"]


def test_it_ends_in_a_report(finished_once):
    place, run = finished_once
    assert run.jobs - condensing(run.jobs) == EVERYTHING
    assert len(condensing(run.jobs)) == 1, "models that share a design share the pass"
    page = (place / "results/report.html").read_text(encoding="utf-8")
    assert "Correlated intercept and slope" in page
    assert "Reaction times under sleep restriction" in page
    assert "Satterthwaite" in page
    assert "Likelihood-ratio tests" in page
    assert loglik(place, "slope") == pytest.approx(-871.8141, abs=1e-4)
    assert loglik(place, "independent") == pytest.approx(-871.8346, abs=1e-3)


def test_every_step_leaves_a_log_and_a_benchmark(finished_once):
    results = finished_once[0] / "results"
    for step in ("prepare", "condense", "fit", "infer", "diagnose", "report"):
        assert list((results / "logs" / step).glob("*.log"))
        assert list((results / "benchmarks" / step).glob("*.tsv"))


def test_afterwards_there_is_nothing_to_do(finished):
    run = snakemake("--dry-run", cwd=finished)
    assert run.code == 0
    assert "Nothing to be done" in run.text
    other = snakemake("--dry-run", "--snakefile", "workflow/Snakefile", cwd=finished)
    assert "Nothing to be done" in other.text


CHANGES = [
    ("the title of a model", "title: Correlated", "title: Free", {max(OF_SLOPE)}),
    ("a unit", "Days: d", "Days: days", {max(OF_SLOPE)}),
    (
        "the likelihood of a model",
        "    formula: Reaction ~ Days + (Days | Subject)",
        "    formula: Reaction ~ Days + (Days | Subject)\n    reml: false",
        OF_SLOPE,
    ),
    (
        "what is asked of a fit",
        "{Days: 7}",
        "{Days: 1}",
        {"Testing the model slope", max(OF_SLOPE)},
    ),
    ("where the work runs", "compare:", "dask: {workers: 1, memory: 1 GB}\ncompare:", set()),
    ("how terms divide the columns", "(Days | Subject)", "(1 + Days | Subject)", OF_SLOPE),
]


@pytest.mark.parametrize(("what", "old", "new", "jobs"), CHANGES, ids=[row[0] for row in CHANGES])
def test_a_change_reruns_what_depends_on_it(finished, what, old, new, jobs):
    edit(finished / "config/config.yaml", old, new)
    run = snakemake("--dry-run", cwd=finished)
    assert run.code == 0, run.text
    assert run.jobs == jobs


def test_another_design_condenses_that_design_only(finished):
    edit(finished / "config/config.yaml", "Days + (Days | Subject)", "Days + (1 | Subject)")
    jobs = snakemake("--dry-run", cwd=finished).jobs
    assert len(condensing(jobs)) == 1
    assert jobs - condensing(jobs) == OF_SLOPE


def test_the_step_that_may_need_rows_is_given_them(finished):
    edit(finished / "config/config.yaml", "    infer:\n", "    infer:\n      robust: CR2\n")
    run = snakemake("--dry-run", "--printshellcmds", cwd=finished)
    assert run.jobs == {"Testing the model slope", max(OF_SLOPE)}
    assert "--robust=CR2" in run.text
    assert "--data=results/sleepstudy/prepared" in run.text


def test_a_change_of_the_data_reruns_everything(finished):
    table = finished / "config/data/sleepstudy.csv"
    edit(table, "249.56,", "249.57,")
    jobs = snakemake("--dry-run", cwd=finished).jobs
    assert jobs - condensing(jobs) == EVERYTHING
    assert len(condensing(jobs)) == 1


def test_a_new_version_reruns_everything(finished):
    common = finished / "workflow/rules/common.smk"
    edit(common, "from mixedflow import __version__ as VERSION", 'VERSION = "next"')
    jobs = snakemake("--dry-run", cwd=finished).jobs
    assert jobs - condensing(jobs) == EVERYTHING


def test_the_profile_is_found_from_both_files(finished_once, tmp_path):
    place, run = finished_once
    found = "profiles/default for setting default command line"
    assert found in run.text
    for snakefile in ("Snakefile", "workflow/Snakefile"):
        name = os.path.relpath(place / snakefile, tmp_path)
        elsewhere = snakemake("--dry-run", "-s", name, "-d", str(place), cwd=tmp_path)
        assert found in elsewhere.text


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_lint_is_clean(snakefile):
    run = snakemake("--lint", "--snakefile", snakefile, cwd=ROOT)
    assert run.code == 0, run.text


def test_snakefmt_is_clean():
    run = python_module("snakefmt", "--check", "Snakefile", "workflow", cwd=ROOT)
    assert run.code == 0, run.text


def test_what_the_catalog_of_workflows_asks_for_is_there():
    for name in (
        "workflow/Snakefile",
        "config/README.md",
        "config/config.yaml",
        "README.md",
        "LICENSE",
    ):
        assert (ROOT / name).is_file()
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text("utf-8"))["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    assert usage["software-stack-deployment"]["conda"] == bool(
        list(ROOT.glob("workflow/envs/*.yaml"))
    )
    assert usage["report"]


def test_snakemake_makes_its_own_report(finished):
    run = snakemake("--report", "report.zip", cwd=finished)
    assert run.code == 0, run.text
    assert (finished / "report.zip").stat().st_size > 100_000


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("formula: Reaction ~ Days + (Days |", "formla: Reaction ~ Days + (Days |", "'formula'"),
        ("(Days || Subject)", "(Days || Subject", "models.independent.formula"),
        ("[slope, independent]", "[slope, dependent]", "did you mean 'independent'?"),
        ("    infer:\n", "    infer:\n      ddf: satterthwait\n", "did you mean 'satterthwaite'?"),
        ("    infer:\n", "    reml: false\n    infer:\n      ddf: kenward-roger\n", "infer.ddf"),
        ("{Days: 7}", "{Dayz: 7}", "did you mean 'Days'?"),
        ("Days: d", "Dais: d", "units: "),
    ],
)
def test_a_wrong_configuration_stops_before_any_job(tmp_path, old, new, message):
    place = copy_analysis(tmp_path / "analysis")
    edit(place / "config/config.yaml", old, new)
    run = snakemake(cwd=place)
    assert run.code != 0
    sentences = [line for line in run.text.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1
    assert message in sentences[0]
    assert "config.yaml" in sentences[0]
    assert "Traceback" not in run.text
    assert not (place / "results").exists()
