"""The log of a run: attempts that failed are in it, and nothing runs again because of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest
from snakes import copy_analysis, python_module, snakemake

from mixedflow.cli import invoke
from mixedflow.recording import read_log

pytestmark = pytest.mark.workflow
ROOT = Path(__file__).parents[2]
DATA = ROOT / "config/data/sleepstudy.csv"
FORMULA = "Reaction ~ Days + (Days | Subject)"

FAIL_ONCE = """\
mixedflow() {
    if [ "$3" = fit ] && mkdir once 2> /dev/null; then
        command mixedflow "$1" "$2" fit "$4" "Reaction ~ Dys + (1 | Subject)" --out once/fit
    else
        command mixedflow "$@"
    fi
}
"""


@pytest.mark.slow
def test_both_attempts_of_a_rule_that_fails_once_are_there(tmp_path):
    place = copy_analysis(tmp_path / "analysis")
    (place / "once.sh").write_text(FAIL_ONCE, encoding="utf-8")
    with (place / "Snakefile").open("a", encoding="utf-8") as rules:
        rules.write(f'\n\nshell.prefix("source {place}/once.sh; ")\n')
    target = "results/models/independent/fit/fit.json"
    refused = snakemake(target, cwd=place)
    assert refused.code != 0
    log = read_log(place / "results/log.jsonl")
    assert [one.outcome for one in log.by_job()["fit", "independent"]] == ["failed"]
    (place / "once").rmdir()
    run = snakemake("--retries", "1", target, cwd=place)
    assert run.code == 0, run.text
    log = read_log(place / "results/log.jsonl")
    assert log.unread == 0
    first, second = log.by_job()["fit", "independent"]
    assert (first.number, first.outcome, second.number, second.outcome) == (1, "failed", 2, "done")
    assert "Dys" in first.reason
    assert first.run == second.run
    assert {one.run for one in log.last_run} == {first.run}
    assert [one.stage for one in log.attempts] == ["prepare", "condense", "fit", "fit", "fit"]
    said = python_module("mixedflow", "log", "--all", cwd=place)
    assert said.code == 0, said.text
    assert "5 attempts: results/log.jsonl" in said.text


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


def test_the_record_changes_no_result(tmp_path, capsys):
    digests = []
    for record in (False, True):
        place = tmp_path / str(record)
        prepared, design, fit = place / "prepared", place / "design", place / "fit"
        steps = [
            ["prepare", DATA, "--out", prepared, "--type", "Subject=category"],
            ["condense", prepared, FORMULA, "--out", design],
            ["fit", design, FORMULA, "--out", fit, "--quiet"],
            ["diagnose", fit, prepared, "--out", place / "diagnostics"],
        ]
        for step in steps:
            noted = ["--record", f"{place}/logs/{step[0]}/s.log"] if record else []
            assert invoke([*noted, *map(str, step)]) == 0
        assert len(list(place.glob("logs/*/*.jsonl"))) == (4 if record else 0)
        digests.append(contents(place))
    assert digests[0] == digests[1]


def contents(place: Path) -> dict[str, str]:
    """Return a digest of every result by its name; of a fit without its times."""
    found = {}
    for path in sorted(place.rglob("*")):
        if not path.is_file() or "logs" in path.relative_to(place).parts:
            continue
        content = path.read_bytes().replace(str(place).encode(), b"PLACE")
        if path.name == "fit.json":
            stored = json.loads(content)
            for times in ("seconds", "timings"):
                stored.pop(times)
            content = json.dumps(stored).encode()
        if path.name == "trace.parquet":
            content = pd.read_parquet(path).drop(columns="seconds").to_csv().encode()
        found[str(path.relative_to(place))] = hashlib.sha256(content).hexdigest()
    return found
