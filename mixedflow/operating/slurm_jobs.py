"""Slurm jobs that a dead controller has left: found, cancelled, waited for.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import getpass
import re
import shutil
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from mixedflow.operating.asking import ask
from mixedflow.operating.processes import StubbornError
from mixedflow.operating.slurm_text import JOBS_FORMAT, Job, parse_jobs

PREFIX = "mixedflow"
"""Head of the names of jobs in the shipped profiles, and of workers."""

LOGS = ".snakemake/log"
RUN_ID = re.compile(r"SLURM run ID: (\S+)")
LOOK_SECONDS = 1.0
AT_ONCE = 200
"""Jobs that are named on one command line."""


def run_ids(folder: Path) -> set[str]:
    """Return the names that Snakemake's jobs had in this folder, from its logs."""
    found: set[str] = set()
    for log in (folder / LOGS).glob("*.snakemake.log"):
        found |= set(RUN_ID.findall(log.read_text(encoding="utf-8", errors="replace")))
    return found


def slurm_jobs(folder: Path, names: Collection[str]) -> list[Job]:
    """Return the user's jobs that belong to runs in a folder.

    Parameters
    ----------
    folder : of the runs
    names : that jobs of this folder had

    Raises
    ------
    StubbornError
        when Slurm does not answer, and jobs of this folder may be there
    """
    if shutil.which("squeue") is None:
        return []
    answer = ask(["squeue", f"--user={getpass.getuser()}", "--noheader", "--array",
                  f"--format={JOBS_FORMAT}"])  # fmt: skip
    if not answer.good:
        if names:
            raise StubbornError(
                f"jobs of this run may still be there, and Slurm does not answer: {answer.reason}; "
                "resume when it does"
            )
        return []
    return [job for job in parse_jobs(answer.text) if belongs(job, folder, names)]


def belongs(job: Job, folder: Path, names: Collection[str]) -> bool:
    """Tell a job of this folder by its name, or by the head of its name and its folder."""
    return job.name in names or (job.name.startswith(PREFIX) and Path(job.folder) == folder)


def cancel(folder: Path, names: Collection[str], jobs: Sequence[Job], patience: float) -> None:
    """Cancel jobs and wait until none of the folder is left.

    Raises
    ------
    StubbornError
        when some are still there after ``patience`` seconds
    """
    numbers = sorted({job.array for job in jobs})
    for first in range(0, len(numbers), AT_ONCE):
        answer = ask(["scancel", *numbers[first : first + AT_ONCE]])
        if not answer.good:
            raise StubbornError(f"Slurm's jobs cannot be cancelled: {answer.reason}")
    deadline = time.monotonic() + patience
    while left := slurm_jobs(folder, names):
        if time.monotonic() > deadline:
            stuck = ", ".join(f"{job.number} ({job.state.lower()})" for job in left)
            raise StubbornError(
                f"Slurm's jobs do not end within {patience:g} s: {stuck}; resume when they have"
            )
        time.sleep(LOOK_SECONDS)
