"""Jobs of the executor ``mixedflow-dask`` that a dead controller has left on workers.

Each has a claim on the shared file system; without it the worker ends the job, wherever it is and
whether or not a scheduler is there. Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mixedflow.operating.processes import StubbornError, supervised

DESKS = ".snakemake/tmp*/desk"
LOGS = ".snakemake/mixedflow-dask"
LEAVING = ".leaving"
"""What a claim is renamed to: without a claim the worker ends the job, and then deletes this."""

LOOK_SECONDS = 0.2
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class DaskJob:
    """A job on its way.

    Attributes
    ----------
    key : its name
    desk : folder of its ticket or claim
    running : whether a worker has begun it
    host : of that worker, empty if it is not known
    """

    key: str
    desk: Path
    running: bool
    host: str = ""


def dask_jobs(folder: Path) -> list[DaskJob]:
    """Return the jobs that wait for a worker or run on one."""
    found = []
    for desk in sorted(folder.glob(DESKS)):
        found += [DaskJob(path.stem, desk, running=False) for path in sorted(desk.glob("*.ticket"))]
        for claim in sorted(desk.glob("*.claim")):
            with suppress(OSError):
                if claim.stat().st_size == 0:  # an outcome stands in it once the job has ended
                    host = _host(folder, claim.stem)
                    found.append(DaskJob(claim.stem, desk, running=True, host=host))
    return found


def _host(folder: Path, key: str) -> str:
    """Return the machine that a job runs on: the head of its log names it."""
    for log in (folder / LOGS).glob(f"*/{key}.log"):
        with log.open(encoding="utf-8", errors="replace") as lines:
            words = lines.readline().replace(",", " ").split()
        if words[:1] == ["#"] and len(words) > 3:
            return words[3]
    return ""


def withdraw(folder: Path, jobs: Sequence[DaskJob], patience: float = PATIENCE) -> None:
    """Forbid jobs to start or to go on, and wait until they have ended.

    Raises
    ------
    StubbornError
        when the worker of a job does not say that it ended
    """
    for job in jobs:
        (job.desk / f"{job.key}.ticket").unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            (job.desk / f"{job.key}.claim").rename(job.desk / f"{job.key}{LEAVING}")
    deadline = time.monotonic() + patience
    while left := [job for job in jobs if job.running and not _ended(folder, job)]:
        if time.monotonic() > deadline:
            shown = ", ".join(f"{job.key} on {job.host or 'a worker'}" for job in left)
            raise StubbornError(
                f"these jobs have not said within {patience:g} s that they ended: {shown}; see that "
                "these workers are gone, then resume again"
            )
        time.sleep(LOOK_SECONDS)


def _ended(folder: Path, job: DaskJob) -> bool:
    """Tell by what the worker did: it deletes the mark, or had written how the job ended before.

    On this machine who is there tells too: the worker may have been killed.
    """
    try:
        if (job.desk / f"{job.key}{LEAVING}").stat().st_size > 0:
            return True
    except FileNotFoundError:
        return True
    if (job.desk / f"{job.key}.claim").exists():
        return True
    return job.host == socket.gethostname() and not supervised(folder)
