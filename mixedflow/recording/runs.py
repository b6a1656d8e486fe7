"""What an attempt inherits from the run that it belongs to: its name, attempt number, submission.

The variables are set where the Snakefile is read and where a job is submitted. What cannot be known is
left out. Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

RUN = "MIXEDFLOW_RUN"
ATTEMPT = "MIXEDFLOW_ATTEMPT"
SUBMITTED = "MIXEDFLOW_SUBMITTED"
SLURM_JOB = "SLURM_JOB_ID"

SECONDS_TO_ASK = 5.0
"""How long Slurm is waited for."""

_TIMES = re.compile(r"\b(SubmitTime|StartTime)=(\S+)")


def name_run(*, main: bool, arguments: Sequence[str] = ()) -> None:
    """Give the run a name that its jobs inherit, on whatever machine they are.

    Parameters
    ----------
    main : whether this process runs the workflow, and not one job of it
    arguments : of the Snakemake that runs one job; while the rules are read it knows the attempt only
        from there
    """
    os.environ.pop(ATTEMPT, None)
    if main:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        os.environ[RUN] = f"{stamp}-{secrets.token_hex(3)}"
        os.environ.pop(SUBMITTED, None)
    else:
        given = [b for a, b in pairwise(arguments) if a == "--attempt"]
        os.environ[ATTEMPT] = given[-1] if given else ""


def job_variables(now: float | None = None) -> dict[str, str]:
    """Return the variables of a job that is submitted now, for workers that do not inherit them."""
    name = os.environ.get(RUN)
    if name is None:
        return {}
    return {RUN: name, SUBMITTED: repr(time.time() if now is None else now)}


def inherited(now: float) -> dict[str, Any]:
    """Return what is known of the run: its name, the attempt, the seconds in a queue."""
    known: dict[str, Any] = {"run": os.environ.get(RUN), "slurm_job": os.environ.get(SLURM_JOB)}
    number = os.environ.get(ATTEMPT, "")
    if number.isdecimal():
        known["attempt"] = int(number)
    known["queue_seconds"] = _seconds_in_queue(now)
    return {name: value for name, value in known.items() if value is not None}


def _seconds_in_queue(now: float) -> float | None:
    """Return the seconds from submission to start; a job that runs in the run itself has no queue."""
    if SUBMITTED in os.environ:
        try:
            waited = now - float(os.environ[SUBMITTED])
        except ValueError:
            return None
        return round(waited, 3) if waited >= 0 else None  # clocks of two machines
    job = os.environ.get(SLURM_JOB, "")
    return asked_of_slurm(job) if job.isdecimal() and ATTEMPT in os.environ else None


def asked_of_slurm(job: str) -> float | None:
    """Return the seconds that a job of Slurm waited, by the controller's clock."""
    command = shutil.which("scontrol")
    if command is None:
        return None
    try:
        said = subprocess.run(  # noqa: S603 - a number that Slurm itself gave
            [command, "show", "job", "--oneliner", job],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_TO_ASK,
            check=True,
        ).stdout
        times = {name: datetime.fromisoformat(text) for name, text in _TIMES.findall(said)}
        waited = (times["StartTime"] - times["SubmitTime"]).total_seconds()
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None
    return waited if waited >= 0 else None
