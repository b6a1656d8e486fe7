"""Workers as jobs of a batch system, as many as there is work for.

Stands outside the equations of ``docs/algorithm.md``. Dask-Jobqueue submits them; the scheduler is in
this process. Workers end before their time does, and hand over what they hold.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mixedflow.errors import ConfigError, UnsupportedError
from mixedflow.parallel.connecting import (
    ONLY_HERE,
    WORKERS_STAY_PRIVATE,
    client_of,
    memory_of_a_worker,
    where_to_listen,
    worker_environment,
)
from mixedflow.parallel.runner import JobSystem, Runner, WorkerError
from mixedflow.parallel.tls import own_tls, private_folder, security_of

CLASSES: dict[JobSystem, str] = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
}

LIFETIME = 0.9
"""Share of the wall time after which a worker hands over and ends."""

LOOK_SECONDS = 5
"""Time between looks at the queue while the first worker is waited for."""

STAGGER = 0.05
"""Share of the wall time by which the ends of workers differ."""


@contextmanager
def jobqueue_client(runner: Runner) -> Iterator[Any]:
    """Submit the first workers, give a client, and cancel all jobs at the end.

    Raises
    ------
    UnsupportedError
        without the package ``dask-jobqueue``
    WorkerError
        when the batch system takes no job
    """
    cluster_class = _cluster_class(runner.jobs.system)
    with ExitStack() as stack:
        folder = stack.enter_context(private_folder())
        tls = runner.tls or own_tls(folder)
        arguments = job_arguments(runner, folder)
        scheduler = {**ONLY_HERE, **where_to_listen(runner)}
        try:
            cluster = stack.enter_context(
                cluster_class(
                    **arguments,
                    security=security_of(tls),
                    protocol="tls://",
                    interface=runner.interface,
                    scheduler_options=scheduler,
                    silence_logs=40,
                )
            )
        except (ValueError, TypeError) as error:
            raise ConfigError(f"jobqueue: {error}") from error
        stack.callback(_give_up_refused, cluster)
        client = stack.enter_context(client_of(cluster))
        _begin(cluster, runner)
        _await_worker(client, cluster, runner, folder)
        cluster.adapt(minimum=runner.jobs.minimum, maximum=runner.workers)
        yield client


def _cluster_class(system: JobSystem) -> Callable[..., Any]:
    # Dask-Jobqueue 0.9 makes Ctrl-C an exit with code 0 when it is imported, as if all had been done
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue
    except ImportError as error:
        raise UnsupportedError(
            "workers as jobs need the package 'dask-jobqueue': pip install 'mixedflow[hpc]'"
        ) from error
    finally:
        if interrupt not in {None, signal.getsignal(signal.SIGINT)}:
            signal.signal(signal.SIGINT, interrupt)
    found: Callable[..., Any] = getattr(dask_jobqueue, CLASSES[system])
    return found


def job_arguments(runner: Runner, folder: Path) -> dict[str, Any]:
    """Return what Dask-Jobqueue is told of one job, without what scheduler and job share."""
    jobs = runner.jobs
    seconds = jobs.walltime * 60
    variables = worker_environment(runner)
    lifetime = ["--lifetime", f"{LIFETIME * seconds:.0f}s"]
    lifetime += ["--lifetime-stagger", f"{STAGGER * seconds:.0f}s"]
    common = {
        "cores": runner.threads_per_worker,
        "processes": 1,
        "memory": f"{memory_of_a_worker(runner)} B",
        "python": sys.executable,
        "job_name": "mixedflow-worker",
        "log_directory": str(folder),
        "worker_extra_args": [*WORKERS_STAY_PRIVATE, *lifetime],
        "job_script_prologue": [f"export {k}={shlex.quote(v)}" for k, v in variables.items()],
        "job_extra_directives": list(jobs.directives),
    }
    given = {"queue": jobs.queue, _account_key(jobs.system): jobs.account}
    if jobs.system != "htcondor":
        given["walltime"] = walltime(jobs.system, jobs.walltime)
    return {**common, **{k: v for k, v in given.items() if v is not None}, **jobs.options}


def _account_key(system: JobSystem) -> str:
    return "project" if system in {"sge", "lsf"} else "account"


def walltime(system: JobSystem, minutes: int) -> str:
    """Return a time as the batch system reads it."""
    hours, left = divmod(minutes, 60)
    return f"{hours:02d}:{left:02d}" if system == "lsf" else f"{hours:02d}:{left:02d}:00"


def _begin(cluster: Any, runner: Runner) -> None:
    """Submit the workers that stay, one at least; the others follow the work."""
    try:
        while len(cluster.worker_spec) < max(1, runner.jobs.minimum):
            cluster.worker_spec.update(cluster.new_worker_spec())
        cluster.sync(cluster._correct_state)  # scale() would not tell of a refused job
    except (RuntimeError, OSError) as error:
        raise WorkerError(
            f"{runner.jobs.system} takes no job for a worker: {_said(error)}"
        ) from error


def _await_worker(client: Any, cluster: Any, runner: Runner, folder: Path) -> None:
    """Wait for the first worker as long as the queue takes, unless all jobs ended without one."""
    while True:
        try:
            client.wait_for_workers(1, timeout=LOOK_SECONDS)
        except TimeoutError:
            if runner.jobs.system == "slurm" and not _in_queue(cluster):
                raise WorkerError(
                    f"the jobs of the workers ended before a worker came: {_last_words(folder)}"
                ) from None
        else:
            return


def _in_queue(cluster: Any) -> bool:
    """Say whether Slurm still has a job of a worker, or does not answer."""
    numbers = ",".join(job.job_id for job in cluster.workers.values() if job.job_id)
    command = ["squeue", "--noheader", "--format=%i", f"--jobs={numbers}"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return bool(asked.stdout.strip()) or (
        bool(asked.returncode) and "Invalid job id" not in asked.stderr
    )


def _last_words(folder: Path) -> str:
    """Return the last line in the logs of the jobs."""
    logs = sorted(folder.glob("mixedflow-worker-*"), key=lambda path: path.stat().st_mtime)
    for path in reversed(logs):
        said = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if said:
            return said[-1].strip()
    return "they wrote nothing that is seen here; is the working directory on all nodes?"


def _give_up_refused(cluster: Any) -> None:
    """Mark the jobs that were never taken, which the cluster could not close."""
    from distributed.core import Status

    for job in cluster._created:
        if job.status is Status.created:
            job.status = Status.failed


def _said(error: Exception) -> str:
    """Return what the batch system said last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
