"""Two local workers that all tests of this room share; programs that stand for Slurm's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixedflow.parallel import Runner, open_runner


@pytest.fixture(scope="session")
def workers() -> Iterator[Runner]:
    with open_runner("processes", workers=2, threads_per_worker=1, memory_limit=2 << 30) as runner:
        yield runner


@pytest.fixture
def a_slurm(monkeypatch, tmp_path):
    """Programs by the names of Slurm's that run jobs on this machine."""
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv(
        "PATH", f"{Path(__file__).parent / 'fake_slurm'}{os.pathsep}{os.environ['PATH']}"
    )
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    monkeypatch.chdir(tmp_path)
