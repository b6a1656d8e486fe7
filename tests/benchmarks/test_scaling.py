"""The benchmark of back ends on few rows: the same bits, or it says where not; full tables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def scaling(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import scaling

    yield scaling
    for module in ("scaling", "cases", "running", "tables"):
        sys.modules.pop(module, None)


def told(sums: str, seconds: float) -> dict[str, object]:
    names = (
        "first",
        "wall",
        "cpu",
        "memory there",
        "elsewhere",
        "memory here",
        "whole wall",
        "whole",
    )
    return {**dict.fromkeys(names, seconds), "sums": sums, "fit": "f"}


def test_the_least_of_the_rounds_beside_one_process(scaling) -> None:
    one, two = (
        scaling.Way("synchronous", "synchronous", 1),
        scaling.Way("processes", "processes", 2),
    )
    text = scaling.report({one: [told("s", 2.0), told("s", 4.0)], two: [told("s", 3.0)]})
    assert "| synchronous | 1 | 2.0 | 2.0 | 1.00 | 2.0 | 2.0 | +0.0 | 2 | 2 |" in text
    assert "| processes | 2 | 3.0 | 3.0 | 1.50 | 3.0 | 3.0 | +1.0 | 3 | 3 |" in text
    assert "the same in all 3 runs" in text


def test_other_bits_are_a_failure(scaling) -> None:
    one, two = (
        scaling.Way("synchronous", "synchronous", 1),
        scaling.Way("processes", "processes", 2),
    )
    with pytest.raises(SystemExit, match="different bits:\nsynchronous 1: s f\nprocesses 2: t f"):
        scaling.report({one: [told("s", 1.0)], two: [told("t", 1.0)]})


@pytest.mark.slow
def test_few_rows(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    asked = ["--rows", "4_000", "--rounds", "1", "--only", "synchronous", "--only", "address, TLS"]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "scaling.py", *asked],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the same in all 2 runs" in done.stdout
    assert "| address, TLS | 2 |" in done.stdout


@pytest.mark.slow
def test_where_a_slurm_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs by the names of Slurm's run the jobs on this machine."""
    pytest.importorskip("cryptography")
    pytest.importorskip("dask_jobqueue")
    programs = Path(__file__).parents[1] / "parallel" / "fake_slurm"
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    asked = ["--rows", "4_000", "--rounds", "1", "--workers", "1", "--only", "jobqueue"]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "scaling.py", *asked, "--only", "srun"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the same in all 2 runs" in done.stdout
    assert "| srun | 1 |" in done.stdout
    assert "| jobqueue | 1 |" in done.stdout
