"""Workers on all nodes of the Slurm job that this process is in, started by ``srun``.

Stands outside the equations of ``docs/algorithm.md``. The scheduler is in this process; it and the
workers know each other by certificates that are made for the run and that the user alone can read.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mixedflow.errors import ConfigError
from mixedflow.parallel.connecting import (
    WORKERS_STAY_PRIVATE,
    client_of,
    memory_of_a_worker,
    scheduler_here,
    worker_environment,
)
from mixedflow.parallel.runner import Runner, WorkerError
from mixedflow.parallel.tls import Tls, own_tls, private_folder

START_SECONDS = 120
"""Time for all workers to come; their nodes are there already."""

STOP_SECONDS = 20
"""Time for srun to end its workers before it is killed."""


Command = Callable[[Runner, Tls, str], list[str]]
"""What is run to start workers of a scheduler at an address."""


@contextmanager
def srun_client(runner: Runner) -> Iterator[Any]:
    """Start the workers, give a client when all are there, and end them.

    Raises
    ------
    ConfigError
        outside a Slurm job
    WorkerError
        when the workers do not come
    """
    if not os.environ.get("SLURM_JOB_ID"):
        raise ConfigError(
            "the kind 'srun' starts workers on the nodes of a Slurm job, and this is none (SLURM_JOB_ID "
            "is not set); submit one with sbatch or the profile slurm-multinode, or take 'jobqueue'"
        )
    with private_folder() as folder:
        tls = runner.tls or own_tls(folder)
        with workers_by_srun(runner, tls, folder / "workers.log", srun_command) as client:
            yield client


@contextmanager
def workers_by_srun(runner: Runner, tls: Tls, log: Path, command: Command) -> Iterator[Any]:
    """Start a scheduler here and its workers by a command, give a client when all are there."""
    with ExitStack() as stack:
        cluster = stack.enter_context(scheduler_here(runner, tls))
        client = stack.enter_context(client_of(cluster))
        step = command(runner, tls, cluster.scheduler_address)
        process = stack.enter_context(_running(step, worker_environment(runner), log))
        _await_workers(client, runner.workers, process, log)
        stack.enter_context(_watched(process, cluster))
        yield client


STEP = ("srun", "--overlap", "--job-name=mixedflow-workers", "--input=none", "--kill-on-bad-exit=0")


def srun_command(runner: Runner, tls: Tls, address: str) -> list[str]:
    """Return the command that starts the workers of a scheduler."""
    step = [*STEP, f"--ntasks={runner.workers}", f"--cpus-per-task={runner.threads_per_worker}"]
    worker = worker_command(tls, address, runner.interface)
    worker += ["--nthreads", str(runner.threads_per_worker)]
    worker += ["--memory-limit", str(memory_of_a_worker(runner))]
    return [*step, *worker]


def worker_command(tls: Tls, address: str, interface: str | None) -> list[str]:
    """Return the command of a worker, to which its threads and memory are added."""
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address]
    worker += ["--tls-ca-file", tls.ca, "--tls-cert", tls.cert, "--tls-key", tls.key]
    worker += ["--death-timeout", str(START_SECONDS), *WORKERS_STAY_PRIVATE]
    return worker if interface is None else [*worker, "--interface", interface]


@contextmanager
def _running(
    command: list[str], environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run srun and end it, and with it every worker."""
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own command line
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )
        except OSError as error:
            raise WorkerError(f"srun cannot be started: {error.strerror}") from error
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_workers(client: Any, workers: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until all workers are there, no longer than srun runs and the time allows."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            client.wait_for_workers(workers, timeout=1)
        except TimeoutError:
            if process.poll() is not None:
                raise WorkerError(f"srun ended before its workers came: {_last(log)}") from None
            if time.monotonic() > until:
                raise WorkerError(
                    f"not all of {workers} workers came within {START_SECONDS} s: {_last(log)}"
                ) from None
        else:
            return


def _last(log: Path) -> str:
    """Return the last line that srun or a worker wrote."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"


@contextmanager
def _watched(process: subprocess.Popen[bytes], cluster: Any) -> Iterator[None]:
    """Close the scheduler when all workers are gone, so that nobody waits for them."""
    left = threading.Event()

    def watch() -> None:
        process.wait()
        if not left.is_set():
            cluster.close()

    thread = threading.Thread(target=watch, name="mixedflow-srun", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
