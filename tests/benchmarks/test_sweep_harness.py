"""The benchmark of sweeps runs and writes its tables, also where peers are not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_a_tiny_sweep_writes_its_tables(tmp_path: Path) -> None:
    out = tmp_path / "sweeps.md"
    call = [
        "--traits",
        "24",
        "--rounds",
        "1",
        "--sample",
        "3",
        "--only",
        "speed",
        "--only",
        "agreement",
    ]
    subprocess.run(
        [sys.executable, str(BENCHMARKS / "sweep.py"), *call, "--data", str(tmp_path), "--out", str(out)],
        check=True,
    )  # fmt: skip
    text = out.read_text(encoding="utf-8")
    assert "| 24 | " in text
    assert "24 traits, 24 converged" in text
    assert "(0 by more than 1e-06)" in text
