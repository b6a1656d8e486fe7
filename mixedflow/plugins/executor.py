"""Snakemake's executor: every job is a task of Dask workers.

Nothing is polled on the way of a job: the end of a task wakes the loop. Once every ``TICK`` seconds the
loop looks whether scheduler and workers are still there. Stands outside the equations of
``docs/algorithm.md``.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from mixedflow.errors import MixedflowError
from mixedflow.parallel.threads import thread_environment
from mixedflow.plugins.ledger import Ledger, Need
from mixedflow.plugins.logs import drop_log, drop_old_logs
from mixedflow.plugins.settings import ExecutorSettings
from mixedflow.plugins.task import Order, Outcome, earlier
from mixedflow.recording import job_variables

if TYPE_CHECKING:
    from mixedflow.plugins.pool import Pool

TICK = 2.0
"""Seconds between two looks at scheduler and workers."""

RESULT_SECONDS = 20
MOST_SENT = 3
"""Times that a job is sent whose worker went before it began."""

FOLDER = ".snakemake/mixedflow-dask"
MOST_URGENT = 2**31


class Wake:
    """An alarm that any thread sounds and one event loop waits for."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._sounded = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None

    def sound(self) -> None:
        """Wake the loop, or keep it from falling asleep."""
        with self._guard:
            self._sounded = True
            if self._loop is not None and self._event is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float) -> None:
        """Return when the alarm sounds, at once if it has since the last call."""
        event = asyncio.Event()
        with self._guard:
            self._loop, self._event = asyncio.get_running_loop(), event
            if self._sounded:
                event.set()
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            pass
        finally:
            with self._guard:
                self._sounded, self._event = False, None


@dataclass(slots=True)
class Track:
    """A job on its way."""

    key: str
    order: Order
    need: Need
    priority: int
    future: Any = None
    address: str = ""
    absent: bool = False
    sent: int = 0
    stranded: float | None = None


class Executor(RemoteExecutor):
    """Runs Snakemake's jobs on Dask workers."""

    def __init__(self, workflow: Any, logger: Any) -> None:
        # The base class starts its thread before it calls __post_init__: all that the thread touches
        # must be there, or it dies in silence and Snakemake waits for ever.
        self._wake = Wake()
        self._guard = threading.RLock()
        self._ledger = Ledger()
        self._tracks: dict[str, Track] = {}
        self._pool: Pool | None = None
        self._refused: set[str] = set()
        self._cancelled = False
        self._looked = 0.0
        self._number = itertools.count()
        self._run = uuid.uuid4().hex[:8]
        super().__init__(workflow, logger)

    def __post_init__(self) -> None:
        """Reach or start the workers, and see that they can run jobs."""
        from mixedflow.plugins.pool import open_pool, require_able

        self._settings = self.executor_settings or ExecutorSettings()
        self._logdir = Path(self._settings.logdir or FOLDER).absolute()
        self._desk = Path(self.tmpdir) / "desk"
        self._desk.mkdir()
        self._witness = self._desk / "probe"
        self._witness.touch()
        try:
            pool = open_pool(self._settings, Path(FOLDER).absolute())
        except MixedflowError as fault:
            raise WorkflowError(str(fault)) from fault
        try:
            self._ledger.workers = pool.capacities()
            require_able(pool, self._witness, self._latency())
        except MixedflowError as fault:
            pool.close()
            raise WorkflowError(str(fault)) from fault
        self._pool = pool
        self._looked = time.monotonic()
        found = ", ".join(str(worker) for worker in self._ledger.workers.values())
        self.logger.info(f"Dask scheduler {pool.address}, workers with: {found}")

    def _latency(self) -> float:
        return float(getattr(self.workflow.execution_settings, "latency_wait", 5))

    def get_job_args(self, job: Any) -> str:
        """Return Snakemake's arguments; the job has the cores that its threads ask for."""
        return f"{super().get_job_args(job)} --cores {max(1, job.threads)}"

    def run_jobs(self, jobs: Iterable[Any]) -> None:
        """Take jobs that became ready together; none is sent before the last is here.

        Snakemake hands them over in no order, and the first would take the room of the most urgent.
        """
        with self._guard:
            super().run_jobs(list(jobs))

    def run_job(self, job: Any) -> None:
        """Take a job, or refuse it at once if no worker can ever run it."""
        need = Need(max(1, job.threads), _number(job.resources.get("mem_mb")))
        refusal = self._refusal(job, need)
        if refusal:
            self.report_job_error(SubmittedJobInfo(job), msg=f"{refusal}. ")
            return
        key = f"{job.name}-{job.jobid}-{job.attempt}-{self._run}-{next(self._number)}"
        order = Order(
            key=key,
            command=self.format_job_exec(job),
            folder=str(Path.cwd()),
            log=str(self._logdir / job.name / f"{key}.log"),
            desk=str(self._desk),
            environment=self._environment(need),
        )
        order.issue()
        priority = max(-MOST_URGENT, min(MOST_URGENT, _number(getattr(job, "priority", 0))))
        with self._guard:
            self._tracks[key] = Track(key, order, need, int(priority))
            self._ledger.add(key, need, int(priority))
        self.report_job_submission(SubmittedJobInfo(job, external_jobid=key))
        self._wake.sound()

    def _environment(self, need: Need) -> dict[str, str]:
        """Return the variables of a job besides its worker's own."""
        certificates = {} if self._pool is None else self._pool.environment()
        threads = thread_environment(int(need.cpu))
        return {**threads, **job_variables(), **certificates, **dict(self.envvars())}

    def _refusal(self, job: Any, need: Need) -> str:
        if self._pool is None or self._pool.lost():
            return self._loss()
        with self._guard:
            return self._ledger.refusal(f"rule {job.name}", need)

    def _loss(self) -> str:
        address = "" if self._pool is None else f" at {self._pool.address}"
        return f"the Dask scheduler{address} is gone"

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Report the jobs that have ended, yield the others, and send those that find room."""
        if self._pool is None or self._cancelled:
            for info in active_jobs:
                yield info
            return
        self._look(self._pool)
        for info in active_jobs:
            key = str(info.external_jobid)
            verdict = self._verdict(self._pool, self._tracks[key])
            if verdict is None:
                yield info
                continue
            log = self._give_up(key).order.log
            if verdict:
                self.report_job_error(info, msg=f"{verdict}. ", aux_logs=[log])
            else:
                self.report_job_success(info)
                if not self._settings.keep_successful_logs:
                    drop_log(Path(log))
        self._send(self._pool)

    def _look(self, pool: Pool) -> None:
        """See now and then which workers are there."""
        if pool.lost() or time.monotonic() - self._looked < TICK:
            return
        found = pool.capacities()
        self._looked = time.monotonic()
        if pool.lost():
            return
        self._refuse(pool, set(found) - set(self._ledger.workers) - self._refused)
        with self._guard:
            self._ledger.workers = {a: w for a, w in found.items() if a not in self._refused}
            for track in self._tracks.values():
                track.absent = bool(track.address) and track.address not in found
                waits = track.future is None and not self._ledger.possible(track.need)
                track.stranded = (track.stranded or self._looked) if waits else None

    def _refuse(self, pool: Pool, new: set[str]) -> None:
        """Give no job to a worker that came later and cannot run any."""
        from mixedflow.plugins.pool import complaints

        if new:
            for worker, why in complaints(pool, self._witness, self._latency(), new).items():
                self._refused.add(worker)
                self.logger.warning(f"no job goes to the Dask worker {worker}: {why}")

    def _verdict(self, pool: Pool, track: Track) -> str | None:
        """Return why a job failed, "" if it did not, None while it is on its way."""
        status = "waiting" if track.future is None else track.future.status
        if status == "finished":
            return _said(track)
        if pool.lost():
            return self._loss()
        if track.absent or status in {"error", "cancelled", "lost"}:
            return self._dropped(track, status)
        patience = self._settings.patience
        if track.stranded is not None and time.monotonic() - track.stranded > patience:
            return f"no Dask worker with {track.need} has been there for {patience} s"
        return None

    def _dropped(self, track: Track, status: str) -> str | None:
        """Return how a job ended that Dask runs no more; None if it had not begun and waits again."""
        self._looked = 0.0
        if track.sent < MOST_SENT and track.order.revoke():
            self._take_back(track)
            return None
        outcome = earlier(track.order, track.address)
        return _why(track, status) if outcome.code is None else _words(outcome)

    def _take_back(self, track: Track) -> None:
        with self._guard:
            self._ledger.forget(track.key)
            track.order = replace(track.order, key=f"{track.key}-{track.sent}")
            track.order.issue()
            track.future, track.address, track.absent = None, "", False
            self._ledger.add(track.key, track.need, track.priority)

    def _give_up(self, key: str) -> Track:
        """Take a job off the books and make sure that it cannot run any more."""
        with self._guard:
            self._ledger.forget(key)
            track = self._tracks.pop(key)
        track.order.withdraw()
        if track.future is not None:
            track.future.release()
        return track

    def _send(self, pool: Pool) -> None:
        """Send the jobs that find room."""
        self._look(pool)
        if pool.lost() or self._cancelled:
            return
        with self._guard:
            for key, address, need in self._ledger.place():
                track = self._tracks[key]
                resources = self._ledger.workers[address].resources(need)
                track.address, track.sent = address, track.sent + 1
                track.future = pool.send(track.order, address, resources, track.priority)
                if track.future is not None:
                    track.future.add_done_callback(lambda _: self._wake.sound())

    async def sleep(self) -> None:
        """Wait until something happens, a tick at most."""
        await self._wake.wait(TICK)

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:  # noqa: ARG002
        """Stop all jobs, wherever they are, and wait until they have ended."""
        with self._guard:
            self._cancelled = True
            tracks = list(self._tracks.values())
        for track in tracks:
            track.order.withdraw()
        if self._pool is not None:
            futures = [track.future for track in tracks if track.future is not None]
            self._pool.stop([future for future in futures if future.status == "pending"])

    def shutdown(self) -> None:
        """End the loop, then leave the workers."""
        with self.lock:
            self.wait = False
        self._wake.sound()
        super().shutdown()
        if self._pool is not None:
            self._pool.close()
            if not self._settings.keep_successful_logs:
                drop_old_logs(self._logdir, self._settings.delete_logfiles_older_than)


def _said(track: Track) -> str:
    """Return why a finished task's job failed, or an empty string."""
    try:
        outcome = track.future.result(timeout=RESULT_SECONDS)
    except (OSError, TimeoutError, asyncio.CancelledError):  # its worker went: the claim knows too
        outcome = earlier(track.order, track.address)
    return _words(outcome)


def _words(outcome: Outcome) -> str:
    if outcome.code is None:
        return outcome.why
    return f"exit code {outcome.code} on {outcome.place}" if outcome.code else ""


def _why(track: Track, status: str) -> str:
    """Say why Dask runs a job no more."""
    fault = track.future.exception(timeout=RESULT_SECONDS) if status == "error" else None
    if track.absent or type(fault).__name__ == "KilledWorker":
        return f"the Dask worker {track.address} that ran it died"
    if fault is not None:
        return f"its task failed: {fault!r}"
    return "its task was cancelled by the Dask scheduler"


def _number(value: Any) -> float:
    """Return a resource as a number; what is not one asks for nothing."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
