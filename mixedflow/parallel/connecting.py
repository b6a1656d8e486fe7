"""Dask workers, here or elsewhere, and the connection to them.

Stands outside the equations of ``docs/algorithm.md``. Workers have the threads and the memory that
they were given, never the machine's; nothing listens beyond the loopback without TLS.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from mixedflow.parallel.able import await_worker, require_same_version
from mixedflow.parallel.runner import ELSEWHERE, Runner, WorkerError
from mixedflow.parallel.threads import held_environment, thread_environment
from mixedflow.parallel.tls import Tls, security_of

LOG = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
CONNECT_TIMEOUT = "20s"

JOBS_MAY_END = 10
"""Workers that may be lost at the same work where they are jobs: the last one's time ends without heirs."""

ONLY_HERE = {"dashboard": False, "dashboard_address": f"{LOOPBACK}:0"}
"""No dashboard; the scheduler's page of its health, which has no TLS, stays on the loopback."""


def settings(runner: Runner) -> dict[str, Any]:
    """Return what Dask's configuration has to say here and on the workers."""
    lost = {"distributed.scheduler.allowed-failures": JOBS_MAY_END}
    return {
        **(lost if runner.kind == "jobqueue" else {}),
        # without Dask's MALLOC_TRIM_THRESHOLD_: it has every large array mapped and zeroed anew
        "distributed.nanny.pre-spawn-environ": thread_environment(runner.threads_per_worker),
        "distributed.comm.timeouts.connect": CONNECT_TIMEOUT,
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.tick.limit": "60s",
        "distributed.admin.system-monitor.interval": "10s",
        "distributed.worker.profile.enabled": False,
        "distributed.scheduler.http.routes": ["distributed.http.health"],
        "distributed.worker.http.routes": ["distributed.http.health"],
    }


def worker_environment(runner: Runner) -> dict[str, str]:
    """Return the environment of a worker that another program starts."""
    from dask.config import serialize

    inherited: str = serialize(settings(runner))
    threads = thread_environment(runner.threads_per_worker)
    return {**threads, "DASK_INTERNAL_INHERIT_CONFIG": inherited}


def memory_of_a_worker(runner: Runner) -> int:
    """Return the bytes that one worker may use, 0 for no limit."""
    return 0 if runner.memory_limit is None else max(1, runner.memory_limit // runner.workers)


@contextmanager
def connected(runner: Runner) -> Iterator[Runner]:
    """Give the runner with its client."""
    import dask
    import distributed  # noqa: F401, its defaults must be there before they are overridden

    with dask.config.set(settings(runner)), ExitStack() as stack:
        if runner.kind == "srun":
            from mixedflow.parallel.srun import srun_client

            client = stack.enter_context(srun_client(runner))
        elif runner.kind == "jobqueue":
            from mixedflow.parallel.jobqueue import jobqueue_client

            client = stack.enter_context(jobqueue_client(runner))
        elif runner.kind == "address":
            client = stack.enter_context(_scheduler(runner))
            if runner.patience is not None:
                await_worker(client, str(runner.address), runner.patience)
        else:
            client = stack.enter_context(client_of(stack.enter_context(_local_workers(runner))))
        if runner.kind in ELSEWHERE and runner.patience is not None:
            require_same_version(client)
        _tell(client, runner)
        yield replace(runner, client=client)


def _tell(client: Any, runner: Runner) -> None:
    """Log the workers that are there."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    threads = sum(worker["nthreads"] for worker in workers)
    more = f", {runner.workers} at most" if runner.kind == "jobqueue" else ""
    LOG.info("Dask workers (%s): %d with %d threads%s", runner.kind, len(workers), threads, more)


def client_of(cluster: Any) -> Any:
    """Return a client of a cluster that was started here."""
    from distributed import Client

    return Client(cluster, set_as_default=False)  # type: ignore[no-untyped-call]


def _scheduler(runner: Runner) -> Any:
    from distributed import Client

    security = None if runner.tls is None else security_of(runner.tls)
    try:
        return Client(  # type: ignore[no-untyped-call]
            runner.address, timeout=CONNECT_TIMEOUT, set_as_default=False, security=security
        )
    except (OSError, ValueError) as error:
        or_refused = ", or it refuses the certificates" if runner.tls else ""
        raise WorkerError(
            f"no Dask scheduler answers at '{runner.address}' within {CONNECT_TIMEOUT}{or_refused}"
        ) from error


def _local_workers(runner: Runner) -> Any:
    from distributed import LocalCluster

    try:
        # a variable of this process would count more than what the workers are given
        with held_environment(runner.threads_per_worker):
            return LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=runner.workers,
                threads_per_worker=runner.threads_per_worker,
                processes=True,
                memory_limit=memory_of_a_worker(runner),
                host=LOOPBACK,
                protocol="tcp",
                dashboard_address=None,
                worker_dashboard_address=None,
                scheduler_kwargs=ONLY_HERE,
                silence_logs=40,
            )
    except (OSError, RuntimeError) as error:
        raise WorkerError(f"local workers cannot be started: {error}") from error


def scheduler_here(runner: Runner, tls: Tls) -> Any:
    """Return a scheduler in this process for workers on other nodes; whoever connects needs TLS."""
    from distributed import LocalCluster

    return LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=0,
        threads_per_worker=runner.threads_per_worker,
        processes=True,
        protocol="tls",
        security=security_of(tls),
        dashboard_address=None,
        scheduler_kwargs=ONLY_HERE,
        silence_logs=40,
        **where_to_listen(runner),
    )


def where_to_listen(runner: Runner) -> dict[str, str]:
    """Return the interface that was named, or the address that other machines see."""
    if runner.interface is not None:
        return {"interface": runner.interface}
    from distributed.utils import get_ip

    return {"host": get_ip()}  # type: ignore[no-untyped-call]


WORKERS_STAY_PRIVATE = ("--no-dashboard", "--dashboard-address", f"{LOOPBACK}:0")
"""Options of a worker: its page of health, which has no TLS, stays on the loopback."""
