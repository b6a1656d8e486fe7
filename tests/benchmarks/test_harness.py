"""The benchmark harness runs, reads what processes say, ends them at their limits, writes tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch):
    """The harness' modules, which are scripts beside each other."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import cases
    import compare
    import running
    import tables

    yield cases, compare, running, tables
    for module in ("cases", "compare", "running", "runners", "tables"):
        sys.modules.pop(module, None)


def rows_of(text: str, heading: str) -> dict[str, list[str]]:
    section = text.partition(heading)[2].partition("\n#")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_a_tiny_comparison_writes_its_tables(tmp_path: Path) -> None:
    out = tmp_path / "benchmarks.md"
    asked = [
        "--sizes",
        "tiny",
        "--peers",
        "mixedflow,floor",
        "--only",
        "grouped",
        "--only",
        "stages",
    ]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "compare.py", *asked, "--data", tmp_path / "d", "--out", out],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = out.read_text(encoding="utf-8")
    rows = rows_of(text, "### 2e3 rows")
    assert rows["mixedflow"][1] == "1"
    assert float(rows["mixedflow"][5]) > 5000.0
    assert 0.0 < float(rows["floor"][1]) < 1.5
    assert rows["floor"][5:] == ["", "", "no model; one run"]
    stages = rows_of(text, "## By stage")
    assert float(stages["fit"][0]) > 0.0
    assert "Measured on" in text
    assert str(tmp_path) not in text


def test_a_process_is_ended_at_its_limits(harness) -> None:
    _, _, running, _ = harness
    limits = running.Limits(seconds=0.3, memory=1e9)
    found = running.run([sys.executable, "-c", "while True: pass"], limits)
    assert found.failure == "no answer in 0 s"
    found = running.run(
        [sys.executable, "-c", "x = b'1' * 10**9; import time; time.sleep(9)"],
        running.Limits(9.0, 3e8),
    )
    assert found.failure == "more than 0.3 GB"


def test_processes_may_write_bytecode(harness, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, running, _ = harness
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    program = "import json, sys; print(json.dumps({'forbidden': sys.dont_write_bytecode}))"
    found = running.run([sys.executable, "-c", program], running.Limits(9.0, 1e9))
    assert found.answer == {"forbidden": False}


def test_failures_are_rows(harness) -> None:
    _, _, running, tables = harness
    limits = running.Limits(9.0, 1e9)
    failing = [sys.executable, "-c", "raise ValueError('a | b')"]
    found = running.interleaved({"peer": failing}, 3, limits)
    assert list(found["peer"]) == [0]
    text = tables.comparison(found, {"other": "not installed"}, {})
    assert "| failed: ValueError: a / b after" in text
    assert "| not installed |" in text


def test_ratios_are_taken_within_a_round(harness) -> None:
    _, _, running, tables = harness
    Run = running.Run
    ours = {0: Run(cpu=1.0), 1: Run(cpu=2.0), 2: Run(cpu=4.0)}
    theirs = {0: Run(cpu=3.0), 1: Run(cpu=6.0), 2: Run(cpu=20.0)}
    assert tables.ratios(theirs, ours, "cpu") == [3.0, 3.0, 5.0]
    assert tables.spread([3.0, 3.0, 5.0]) == "3.00 (3.00–5.00)"


def test_peers_decline_what_they_cannot_do(harness) -> None:
    cases, _, _, _ = harness
    by_name = {peer.name: peer for peer in cases.PEERS}
    assert not any(by_name[name].declines(cases.insteval(1)) for name in ("mixedflow", "lme4"))
    assert by_name["mixedlm-rs"].declines(cases.insteval(1)) == "one grouping factor only"
    assert "480 s" in by_name["lme4"].declines(cases.grouped(10**7, 1))
    assert "144 s" in by_name["gls"].declines(cases.repeated(10**6, 1))
    assert by_name["gls"].declines(cases.repeated(200, 1)) == ""


def test_repeated_measures_are_fitted(harness, tmp_path: Path) -> None:
    cases, compare, running, _ = harness
    limits = running.Limits(60.0, 4e9)
    ours = cases.PEERS[0]
    session = compare.Session("tiny", tmp_path, limits, (ours,), 1)
    found, declined = compare.measure(session, cases.repeated(100, 1))
    assert not declined
    assert found["mixedflow"][0].answer["converged"]
