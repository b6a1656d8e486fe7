"""Who writes a result that two jobs make: the one that began last.

A node that a batch system counts as lost may be alive, and jobs outlive the Snakemake that submitted
them: their work is then done again while they still do it. Each step in a Slurm job therefore puts its
name beside the result when it begins, and looks for it before anything gets its name. A step that finds
another's has nothing to write any more. Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from mixedflow.errors import MixedflowError

JOB = "SLURM_JOB_ID"
LOOK_SECONDS = 1.0
ASK_SECONDS = 30.0
"""Time between two questions to Slurm whether the other job is still there."""


class SupersededError(MixedflowError):
    """Another job makes this result since."""

    def __init__(self, out: Path, job: str, other: str) -> None:
        self.out = out
        super().__init__(
            f"{other} has begun to make '{out}' after job {job} did, so that job {job} writes nothing"
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """A name beside a result.

    Attributes
    ----------
    out : the result
    job : which job makes it
    token : what no other step has
    """

    out: Path
    job: str
    token: str

    @property
    def place(self) -> Path:
        """Return the file that holds the name."""
        return self.out.with_name(f".{self.out.name}.claim")

    def read(self) -> list[str]:
        """Return job and token of who has the result now; nothing when it is free."""
        try:
            return self.place.read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return []

    def held(self) -> bool:
        """Say whether the result is still this step's to write."""
        return self.read() == [self.job, self.token]

    def take(self) -> None:
        """Put the name there, whoever had it before."""
        new = self.out.with_name(f".{self.out.name}.new-{self.token}")
        new.write_text(f"{self.job} {self.token}\n", encoding="utf-8")
        new.replace(self.place)

    def release(self) -> None:
        """Take the name away, unless it is another's."""
        with suppress(OSError):
            if self.held():
                self.place.unlink()


_held: list[Claim] = []


@contextmanager
def claimed(out: Path | None) -> Iterator[None]:
    """Claim a result while the body makes it, in a job of Slurm; elsewhere do nothing."""
    job = os.environ.get(JOB)
    if out is None or not job or not out.absolute().parent.is_dir():
        yield
        return
    claim = Claim(out.absolute(), job, uuid4().hex)
    with suppress(OSError):  # a place that cannot be written is for the step to name
        claim.take()
        _held.append(claim)
    try:
        yield
    finally:
        if claim in _held:
            _held.remove(claim)
        claim.release()


def check_claims() -> None:
    """Raise if another job has begun to make what this process is about to write.

    Raises
    ------
    SupersededError
        naming the result and both jobs
    """
    for claim in _held:
        if not claim.held():
            other = claim.read()
            raise SupersededError(
                claim.out, claim.job, f"job {other[0]}" if other else "another job"
            )


def outlast(out: Path) -> bool:
    """Wait until whoever makes a result has ended, and say whether it came to its end.

    A job that failed now would have Snakemake delete what the other one writes.
    """
    claim = Claim(out.absolute(), "", "")
    asked = time.monotonic()
    while other := claim.read():
        if time.monotonic() - asked > ASK_SECONDS:
            asked = time.monotonic()
            if not _may_run(other[0]):
                return False
        time.sleep(LOOK_SECONDS)
    return True


def _may_run(job: str) -> bool:
    """Say whether a job may still be there; it may where Slurm does not answer."""
    command = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"]
    try:
        found = subprocess.run(  # noqa: S603 - our own command line
            command, capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    if found.returncode != 0:
        return "Invalid job id" not in found.stderr
    return bool(found.stdout.strip())
