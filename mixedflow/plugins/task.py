"""What a worker does for one job: claims it, runs its command, watches over it, says how it ended.

A job has one ticket, a file on the shared file system. Starting renames it, which succeeds once: when
Dask itself starts a task again because a worker died, the ticket is taken and the job fails, so that
retries stay Snakemake's. Deleting the claim stops the job, even where the scheduler is gone. Stands
outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

TICK = 1.0
"""Seconds between two looks at whether the job is still wanted; its end is noticed at once."""

LEAVING = ".leaving"
"""What a claim becomes by who withdraws a job and waits for its end (:mod:`mixedflow.operating`)."""

SUPERVISOR = Path(__file__).with_name("supervisor.py")
GONE = frozenset({"closing", "closed", "failed", "stopping", "stopped"})
UNWANTED = frozenset({"cancelled", "released", "forgotten"})


class Outcome(NamedTuple):
    """How a job ended: its exit code, or None with the reason why there is none."""

    code: int | None
    place: str
    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Order:
    """One job as a worker gets it.

    Attributes
    ----------
    key : name of the task, unique among all runs
    command : what Snakemake wants run, for ``/bin/sh``
    folder : working directory
    log : file of everything that the command says
    desk : folder of tickets and claims
    environment : variables besides the worker's own
    """

    key: str
    command: str
    folder: str
    log: str
    desk: str
    environment: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def ticket(self) -> Path:
        """The file that allows the job to start, once."""
        return Path(self.desk) / f"{self.key}.ticket"

    @property
    def claim(self) -> Path:
        """What the ticket becomes while the job runs."""
        return Path(self.desk) / f"{self.key}.claim"

    def issue(self) -> None:
        """Allow the job to start."""
        self.ticket.touch()

    def revoke(self) -> bool:
        """Forbid the job to start; say whether it had not."""
        try:
            self.ticket.unlink()
        except FileNotFoundError:
            return False
        return True

    def withdraw(self) -> None:
        """Forbid the job to start, and stop it if it has."""
        for path in (self.ticket, self.claim):
            path.unlink(missing_ok=True)


def run_command(order: Order) -> Outcome:
    """Run a job on the worker that calls this, at most once, and return how it ended."""
    from distributed import get_worker, secede

    place = socket.gethostname()
    try:
        order.ticket.rename(order.claim)
    except FileNotFoundError:
        return earlier(order, place)
    worker = get_worker()
    secede()  # type: ignore[no-untyped-call] # its thread is free for tasks that the job itself sends
    started = time.monotonic()
    code, why = _supervised(order, worker, place)
    outcome = Outcome(code, place, time.monotonic() - started, why)
    _keep(order, outcome)
    return outcome


def earlier(order: Order, place: str) -> Outcome:
    """Return how the job ended that another task has run, or why it did not end."""
    try:
        text = order.claim.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Outcome(None, place, 0.0, "it was cancelled before it started")
    if text:
        return Outcome(*json.loads(text))
    return Outcome(None, place, 0.0, "the Dask worker that ran it died")


def _keep(order: Order, outcome: Outcome) -> None:
    """Write the outcome into the claim: Dask may lose a result with its worker and ask again."""
    draft = order.claim.with_suffix(".draft")
    if order.claim.exists():
        with suppress(FileNotFoundError):
            draft.write_text(json.dumps(outcome), encoding="utf-8")
            draft.replace(order.claim)
    with suppress(OSError):  # whoever withdrew the job may wait for this to go
        order.claim.with_suffix(LEAVING).unlink(missing_ok=True)


def _supervised(order: Order, worker: Any, place: str) -> tuple[int | None, str]:
    Path(order.log).parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-S", "-E", str(SUPERVISOR), order.command]
    environment = {**os.environ, **order.environment}
    environment["DASK_SCHEDULER_ADDRESS"] = worker.scheduler.address
    with Path(order.log).open("ab", buffering=0) as log:
        log.write(f"# {order.key} on {place}, {worker.address}\n".encode())
        with subprocess.Popen(  # noqa: S603 - Snakemake's own command line
            command,
            cwd=order.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        ) as supervisor:
            group, why = _watched(supervisor, order, worker)
            code = supervisor.wait()
        if code < 0:
            with suppress(ProcessLookupError, ValueError):
                os.killpg(int(group), signal.SIGKILL)
            why = why or f"its supervisor was ended by signal {-code}"
        log.write(f"# {why or f'exit code {code}'}\n".encode())
    return (None if why else code), why


def _watched(supervisor: subprocess.Popen[bytes], order: Order, worker: Any) -> tuple[bytes, str]:
    """Wait for the supervisor's end; let go of its lifeline when the job is no longer wanted."""
    lifeline, back = _pipes(supervisor)
    said, why = b"", ""
    while True:
        ready, _, _ = select.select([back], [], [], TICK)
        if ready:
            piece = os.read(back.fileno(), 512)
            if not piece:
                return said, why
            said += piece
        elif not why:
            why = _reason_to_stop(order, worker)
            if why:
                lifeline.close()


def _pipes(supervisor: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert supervisor.stdin is not None  # noqa: S101 - both were asked for
    assert supervisor.stdout is not None  # noqa: S101
    return supervisor.stdin, supervisor.stdout


def _reason_to_stop(order: Order, worker: Any) -> str:
    """Say why a running job is to be stopped, or nothing."""
    try:
        order.claim.stat()
    except FileNotFoundError:
        return "it was cancelled"
    except OSError:
        pass  # a file system that hesitates says nothing about the job
    if worker.status.name in GONE:
        return "its Dask worker is closing"
    task = worker.state.tasks.get(order.key)
    if task is None or task.state in UNWANTED:
        return "Snakemake or the Dask scheduler is gone"
    return ""
