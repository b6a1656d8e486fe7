"""A worker killed while it computes: the same digits, and one sentence where it happens for ever."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from operator import add
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from numbers_found import numbers_of

from mixedflow.config import ControlConfig, DaskConfig, DataConfig, ModelConfig
from mixedflow.parallel import open_runner
from mixedflow.parallel.mapping import map_reduce
from mixedflow.parallel.runner import WorkerError
from mixedflow.steps import condense_step, diagnose_step, fit_step, prepare_step

pytestmark = pytest.mark.slow

FORMULA = "y ~ x + (1 + x | g)"
HERE = DaskConfig(kind="synchronous")
WORKERS = DaskConfig(kind="local", workers=2)
Told = Callable[[int, int], None] | None


def prepare(place: Path, dask: DaskConfig, told: Told) -> None:
    data = DataConfig(path=str(place / "raw"), partition_rows=150)
    prepare_step(data, place / "rows", dask, told)


def condense(place: Path, dask: DaskConfig, told: Told) -> None:
    data = DataConfig(path=str(place / "rows"))
    condense_step(data, FORMULA, place / "design", dask=dask, on_done=told)


def diagnose(place: Path, dask: DaskConfig, told: Told) -> None:
    data = DataConfig(path=str(place / "rows"))
    diagnose_step(place / "fit", data, place / "diagnostics", dask=dask, on_done=told)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of steps that nobody disturbed."""
    place = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(4)
    (place / "raw").mkdir()
    for k in range(12):
        g, x = rng.integers(40, size=150), rng.normal(size=150)
        y = x + rng.normal(size=40)[g] + rng.normal(size=150)
        pd.DataFrame({"y": y, "x": x, "g": g}).to_parquet(place / f"raw/{k:02d}.parquet")
    for step in (prepare, condense):
        step(place, HERE, None)
    model = ModelConfig(data="d", formula=FORMULA)
    fit_step(DataConfig(path=str(place / "design")), model, ControlConfig(), place / "fit")
    diagnose(place, HERE, None)
    return place


def workers() -> list[psutil.Process]:
    """Return the worker processes of this one."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.mark.parametrize("step", [prepare, condense, diagnose])
def test_a_worker_killed_with_9_costs_no_digit(step, whole: Path) -> None:
    wanted, killed = numbers_of(whole), []

    def told(done: int, total: int) -> None:
        if not killed and done < total:
            victim = workers()[0]
            victim.send_signal(signal.SIGKILL)
            killed.append(victim.pid)

    step(whole, WORKERS, told)
    assert killed
    assert numbers_of(whole) == wanted
    assert not [p for p in whole.rglob("*") if ".new-" in p.name]


def swell(index: int) -> float:
    """Take more memory than a worker has."""
    held = []
    while index == 2:
        held.append(np.ones(4_000_000))
        time.sleep(0.01)
    return float(index)


def test_a_worker_that_outgrows_its_memory_is_one_sentence() -> None:
    limit = 2 * 600_000_000
    with (
        open_runner("processes", workers=2, memory_limit=limit) as runner,
        pytest.raises(WorkerError, match="a worker died several times at the same work"),
    ):
        map_reduce(swell, 6, add, runner=runner)


def test_a_scheduler_killed_with_9_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    at = ["--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard"]
    with contextlib.ExitStack() as running:

        def begin(*words: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]]
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            running.callback(process.wait)
            running.callback(process.kill)
            return process

        scheduler = begin("dask_scheduler", *at, "--port", "0")
        deadline = time.monotonic() + 120
        while not file.exists() or not file.read_text("utf-8").strip():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        begin("dask_worker", *at, "--nthreads", "1", "--no-nanny")
        address = json.loads(file.read_text("utf-8"))["address"]

        def slowly(index: int) -> float:  # here, so that it is sent by value
            time.sleep(0.2)
            return float(index)

        def told(done: int, _: int) -> None:
            if done:
                scheduler.kill()

        with (
            pytest.raises(WorkerError, match="scheduler was lost while it computed"),
            open_runner("address", address=address) as runner,
        ):
            map_reduce(slowly, 200, add, runner=runner, on_done=told)
