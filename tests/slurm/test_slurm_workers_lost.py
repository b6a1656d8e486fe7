"""Workers in jobs that are cancelled or lose their node: the same bits, or nothing at all."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from jobs import ITEMS, ended, slow, submitted, total
from slurm_faults import Daemon, cancel, control, job, jobs, node_states, until

from mixedflow.parallel import JobQueue, map_reduce, open_runner

pytestmark = pytest.mark.timeout(600)
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def numbers():
    return total("synchronous")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def workers() -> list[dict[str, str]]:
    """Return the jobs of workers that run."""
    lines = jobs("running")
    return [one for one in lines if one["comment"] == "(null)"]


def added_up(function, fault, minimum: int = 1) -> np.ndarray:
    """Return the sum, with a fault when a part of it is done."""
    left = [fault]

    def look(done: int, _: int) -> None:
        if done >= ITEMS // 4 and left:
            left.pop()()

    jobs_of = JobQueue(queue="main", walltime=5, minimum=minimum)
    with open_runner(
        "jobqueue", workers=2, memory_limit=1_600_000_000, interface="lo", jobs=jobs_of
    ) as runner:
        made = map_reduce(function, ITEMS, np.add, runner=runner, on_done=look)
    assert left == []
    return made


@pytest.mark.slow
def test_a_worker_is_cancelled(numbers):
    assert np.array_equal(added_up(slow, lambda: cancel(workers()[0]["id"]), 2), numbers)


@pytest.mark.slow
def test_all_workers_are_cancelled(numbers):
    def fault() -> None:
        for one in workers():
            cancel(one["id"])

    assert np.array_equal(added_up(slow, fault, 2), numbers)


@pytest.mark.slow
def test_the_node_of_a_worker_is_lost(numbers):
    daemons = []

    def fault() -> None:
        node = workers()[0]["node"]
        daemons.append(Daemon(f"slurmd.{node}"))
        daemons[0].stop()
        control("update", f"nodename={node}", "state=down", "reason=test")

    try:
        made = added_up(slow, fault, 2)
    finally:
        for daemon in daemons:
            daemon.start()
    until(lambda: set(node_states().values()) == {"idle"}, "the nodes are back")
    assert np.array_equal(made, numbers)


def in_a_job(function: str, cwd: Path) -> str:
    command = f"{sys.executable} {HERE / 'jobs.py'} srun {function} made.npy"
    return submitted(command, "--nodes=2", "--ntasks=2", "--mem=2000", cwd=cwd)


def processes(number: str) -> list[psutil.Process]:
    """Return the processes of a job."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("SLURM_JOB_ID") == number:
                found.append(process)
    return found


@pytest.mark.slow
def test_the_allocation_of_workers_is_cancelled(tmp_path):
    number = in_a_job("slow", tmp_path)
    until((tmp_path / "begun").exists, "the workers work")
    own = processes(number)
    cancel(number)
    assert ended(number, 100) == "CANCELLED"
    until(lambda: not any(process.is_running() for process in own), "no process is left")
    assert not (tmp_path / "made.npy").exists()
    assert job(number)["state"] == "CANCELLED"
