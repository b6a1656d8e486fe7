"""A small fit in a new process waits for nothing that it does not use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.csv as pv
import pyarrow.parquet as pq

DATA = Path(__file__).parents[1] / "references" / "data" / "sleepstudy.csv"

SCRIPT = """
import sys
import mixedflow as mf
fit = mf.fit("Reaction ~ Days + (Days | Subject)", sys.argv[1])
heavy = {"numba", "dask", "distributed", "snakemake", "formulaic", "pandas", "altair", "pydantic",
         "scipy"}
print(round(fit.loglik, 4), *sorted(heavy & set(sys.modules)))
"""


def test_a_small_fit_imports_neither_compiler_nor_frames(tmp_path: Path) -> None:
    """From Parquet: reading CSV goes through functions of Arrow that import pandas."""
    pq.write_table(pv.read_csv(DATA), tmp_path / "a.parquet")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "a.parquet")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["-871.8141"]
