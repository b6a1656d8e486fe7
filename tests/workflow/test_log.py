"""The log of a run: attempts that failed are in it, and nothing runs again because of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest
from snakes import copy_analysis, fail_once, python_module, snakemake

from mixedflow.cli import invoke
from mixedflow.recording import Attempt, RunLog, read_log

pytestmark = pytest.mark.workflow
ROOT = Path(__file__).parents[2]
DATA = ROOT / "config/data/sleepstudy.csv"
PREPARED = "results/sleepstudy/prepared/manifest.json"
TIMED = ("seconds", "timings", "files", "checksum", "fit_digest")
"""Keys about times, and checksums of what holds times."""
FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.mark.slow
def test_both_attempts_of_a_rule_that_fails_once_are_there(tmp_path):
    place = copy_analysis(tmp_path / "analysis")
    fail_once(place, "prepare")
    refused = snakemake(PREPARED, cwd=place)
    assert refused.code != 0
    log = read_log(place / "results/log.jsonl")
    assert [one.outcome for one in last_of(log, "prepare")] == ["failed"]
    (place / "once").rmdir()
    run = snakemake("--retries", "1", PREPARED, cwd=place)
    assert run.code == 0, run.text
    log = read_log(place / "results/log.jsonl")
    assert log.unread == 0
    first, second = last_of(log, "prepare")
    assert (first.number, first.outcome, second.number, second.outcome) == (1, "failed", 2, "done")
    assert "nowhere" in first.reason
    assert first.run == second.run
    assert {one.run for one in log.last_run} == {first.run}
    assert [one.stage for one in log.attempts] == ["prepare"] * 3
    said = python_module("mixedflow", "log", "--all", cwd=place)
    assert said.code == 0, said.text
    assert "3 attempts: results/log.jsonl" in said.text


def last_of(log: RunLog, stage: str) -> tuple[Attempt, ...]:
    """Return the attempts at the only job of a stage in the last run that it was part of."""
    (tries,) = [tries for (name, _), tries in log.by_job().items() if name == stage]
    return tries


@pytest.mark.slow
def test_jobs_on_dask_workers_know_run_attempt_and_queue(tmp_path):
    place = copy_analysis(tmp_path / "analysis")
    fail_once(place, "prepare")
    workers = ["--mixedflow-dask-local-workers", "1", "--mixedflow-dask-worker-threads", "2"]
    run = python_module(
        "snakemake", "--executor", "mixedflow-dask", "--jobs", "2", *workers, "--retries", "1",
        PREPARED, cwd=place,
    )  # fmt: skip
    assert run.code == 0, run.text
    log = read_log(place / "results/log.jsonl")
    first, second = last_of(log, "prepare")
    assert (first.number, first.outcome, second.number, second.outcome) == (1, "failed", 2, "done")
    assert first.run == second.run is not None
    assert first.queue_seconds is not None
    assert second.queue_seconds is not None


@pytest.mark.slow
def test_a_finished_run_has_its_log_and_runs_nothing_again(finished):
    log = read_log(finished / "results/log.jsonl")
    stages = {one.stage for one in log.attempts}
    assert stages == {"prepare", "condense", "fit", "infer", "diagnose", "report"}
    assert {one.outcome for one in log.attempts} == {"done"}
    (prepare,) = log.by_job()["prepare", "sleepstudy"]
    assert (prepare.rows, prepare.bytes_read) == (180, DATA.stat().st_size)
    assert python_module("mixedflow", "log", cwd=finished).code == 0
    page = (finished / "results/report.html").read_text("utf-8")
    assert "How it ran" in page
    assert "diagnose slope" in page
    for piece in (finished / "results/logs").rglob("*.jsonl"):
        piece.touch()
    assert "Nothing to be done" in snakemake("--dry-run", cwd=finished).text
    for piece in (finished / "results/logs").rglob("*.jsonl"):
        piece.unlink()
    assert "Nothing to be done" in snakemake("--dry-run", cwd=finished).text


def test_the_record_changes_no_result(tmp_path, monkeypatch):
    digests = []
    for record in (False, True):
        place = tmp_path / str(record)
        place.mkdir()
        monkeypatch.chdir(place)  # stored paths, and so checksums, are the same
        steps = [
            ["prepare", str(DATA), "--out", "prepared", "--type", "Subject=category"],
            ["condense", "prepared", FORMULA, "--out", "design"],
            ["fit", "design", FORMULA, "--out", "fit", "--quiet"],
            ["diagnose", "fit", "prepared", "--out", "diagnostics"],
        ]
        for step in steps:
            noted = ["--record", f"logs/{step[0]}/s.log"] if record else []
            assert invoke([*noted, *step]) == 0
        assert len(list(place.glob("logs/*/*.jsonl"))) == (4 if record else 0)
        digests.append(contents(place))
    assert digests[0] == digests[1]


def contents(place: Path) -> dict[str, str]:
    """Return a digest of every result by its name; of a fit, and what is made of it, without times."""
    found = {}
    for path in sorted(place.rglob("*")):
        if not path.is_file() or "logs" in path.relative_to(place).parts:
            continue
        content = path.read_bytes()
        if path.name in ("fit.json", "summary.json"):
            stored = json.loads(content)
            content = json.dumps({k: v for k, v in stored.items() if k not in TIMED}).encode()
        if path.name == "trace.parquet":
            content = pd.read_parquet(path).drop(columns="seconds").to_csv().encode()
        found[str(path.relative_to(place))] = hashlib.sha256(content).hexdigest()
    return found
