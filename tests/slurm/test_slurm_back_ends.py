"""Workers through srun and as jobs give the bits of one process, and no failure is a hang."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from jobs import ITEMS, ended, rough, slow, state, submitted, total

from mixedflow.parallel import JobQueue, WorkerError, map_reduce, open_runner

HERE = Path(__file__).parent
TWO_NODES = ("--nodes=2", "--ntasks=2", "--mem=2000")


@pytest.fixture(scope="module")
def numbers():
    return total("synchronous")


def in_a_job(function: str, cwd: Path) -> str:
    command = f"{sys.executable} {HERE / 'jobs.py'} srun {function} made.npy"
    return submitted(command, *TWO_NODES, cwd=cwd)


def workers_of(job: str) -> str:
    """Return the step in which srun runs workers."""
    for _ in range(300):
        shown = subprocess.run(
            ["squeue", "--steps", "--noheader", "--format=%i %j", f"--jobs={job}"],
            capture_output=True,
            text=True,
        ).stdout
        for line in shown.splitlines():
            if "mixedflow-workers" in line:
                return line.split()[0]
        time.sleep(0.1)
    raise AssertionError(f"job {job} has no workers")


def test_workers_in_one_allocation(numbers, tmp_path):
    job = in_a_job("rough", tmp_path)
    assert ended(job, 120) == "COMPLETED", (tmp_path / "job.out").read_text()
    assert np.array_equal(np.load(tmp_path / "made.npy"), numbers)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_allocation_that_loses_all_workers_says_so(tmp_path):
    job = in_a_job("slow", tmp_path)
    step = workers_of(job)
    time.sleep(8)
    assert state(job) == "RUNNING", (tmp_path / "job.out").read_text()
    subprocess.run(["scancel", "--signal=KILL", step], check=True)
    assert ended(job, 60) == "FAILED"
    assert "WorkerError" in (tmp_path / "job.out").read_text().splitlines()[-1]


def test_workers_as_jobs(numbers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_runner(
        "jobqueue",
        workers=2,
        memory_limit=1_600_000_000,
        interface="lo",
        jobs=JobQueue(queue="main", walltime=5),
    ) as runner:
        made = map_reduce(rough, ITEMS, np.add, runner=runner)
        shown = subprocess.run(
            ["squeue", "--noheader", "--format=%j %l %m"], capture_output=True, text=True
        )
        own = psutil.Process().net_connections("inet")
    assert np.array_equal(made, numbers)
    assert "mixedflow-worker 5:00 763M" in shown.stdout
    assert {s.laddr.ip for s in own if s.status == "LISTEN"} == {"127.0.0.1"}
    assert list(tmp_path.iterdir()) == []


def test_jobs_follow_the_work(numbers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = JobQueue(queue="main", walltime=5)
    seen = set()

    def look(done: int, _: int) -> None:
        listed = subprocess.run(
            ["squeue", "-h", "-t", "R", "-o", "%i"], capture_output=True, text=True
        )
        seen.add(len(listed.stdout.split()))

    with open_runner(
        "jobqueue", workers=2, memory_limit=1_600_000_000, interface="lo", jobs=jobs
    ) as runner:
        made = map_reduce(slow, ITEMS, np.add, runner=runner, on_done=look)
    assert np.array_equal(made, numbers)
    assert seen == {1, 2}


def test_a_job_that_is_refused_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(WorkerError, match=r"slurm takes no job for a worker: .*[Pp]artition"),
        open_runner("jobqueue", memory_limit=10**9, interface="lo", jobs=JobQueue(queue="nowhere")),
    ):
        pass
