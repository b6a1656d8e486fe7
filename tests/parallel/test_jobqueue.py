"""Workers as jobs: as many as there is work for, no longer than their time; never a hang."""

from __future__ import annotations

import time
from operator import add
from pathlib import Path

import numpy as np
import pytest

from mixedflow.parallel import JobQueue, WorkerError, map_reduce, open_runner

pytest.importorskip("cryptography")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("a_slurm")]
ITEMS = 37


def slow(index: int) -> np.ndarray:
    time.sleep(0.5)
    rng = np.random.default_rng(index)
    return rng.normal(size=50) * 10.0 ** rng.integers(-9, 9, 50)


def queued(workers: int):
    return open_runner(
        "jobqueue",
        workers=workers,
        memory_limit=workers << 30,
        interface="lo",
        jobs=JobQueue(walltime=1),
    )


@pytest.fixture(scope="module")
def numbers() -> np.ndarray:
    return map_reduce(slow, ITEMS, add)


def test_workers_follow_the_work(numbers):
    seen = set()
    with queued(3) as runner:

        def look(*_: int) -> None:
            seen.add(len(runner.client.scheduler_info(n_workers=-1)["workers"]))

        made = map_reduce(slow, ITEMS, add, runner=runner, on_done=look)
    assert np.array_equal(made, numbers)
    assert min(seen) == 1
    assert max(seen) == 3


def test_jobs_that_all_end_before_a_worker_came_are_one_sentence(monkeypatch):
    monkeypatch.setenv("FAKE_SLURM", "lost")
    monkeypatch.setattr("mixedflow.parallel.jobqueue.LOOK_SECONDS", 0.5)
    with (
        pytest.raises(WorkerError, match="ended before a worker came: no such node"),
        queued(1),
    ):
        pass
    assert list(Path.cwd().iterdir()) == []
