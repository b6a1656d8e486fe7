"""The simulation study and the sizes of Kenward and Roger's test run, and write their pages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def page(script: str, out: Path, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), "--out", str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out.read_text(encoding="utf-8")


def test_coverage_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    one, two = (
        page("coverage_study.py", tmp_path / f"{n}.md", "--replicates", "2", "--processes", str(n))
        for n in (1, 2)
    )
    assert one == two
    rows = [line for line in one.splitlines() if line.startswith("| `(1")]
    assert len(rows) == 6 + 3
    assert str(tmp_path) not in one


def test_sizes_of_kenward_rogers_test(tmp_path: Path) -> None:
    text = page("kenward_roger.py", tmp_path / "kr.md", "--largest", "1000", "--seconds", "1")
    row = next(line for line in text.splitlines() if line.startswith("| 983 |"))
    assert float(row.split("|")[6]) > 90.0
