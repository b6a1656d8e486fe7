"""Where tasks run: in this process, on its threads, on local worker processes, on any scheduler.

Stands outside the equations of ``docs/algorithm.md``: the numbers are the same bits everywhere.
Dask is imported only when a runner needs it; the default runner never does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from mixedflow.errors import ConfigError, MixedflowError, did_you_mean, listing
from mixedflow.parallel.threads import thread_environment

RunnerKind = Literal["synchronous", "threads", "processes", "address"]
RUNNER_KINDS: tuple[str, ...] = get_args(RunnerKind)

LOOPBACK = "127.0.0.1"
CONNECT_TIMEOUT = "20s"


class WorkerError(MixedflowError):
    """Workers cannot be started or reached, or died while they computed."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Where tasks run and with how much.

    Attributes
    ----------
    kind : "synchronous" (this process), "threads", "processes" (local workers), "address"
    workers : threads or worker processes
    threads_per_worker : threads of a worker process; BLAS and Numba are held to it
    memory_limit : bytes for all workers together, None for no limit
    address : of a running Dask scheduler, "tcp://host:port" or "tls://host:port"
    client : the connection, while the runner is open and needs one
    """

    kind: RunnerKind = "synchronous"
    workers: int = 1
    threads_per_worker: int = 1
    memory_limit: int | None = None
    address: str | None = None
    client: Any = None


SYNCHRONOUS = Runner()


@contextmanager
def open_runner(
    kind: str = "synchronous",
    *,
    workers: int = 1,
    threads_per_worker: int = 1,
    memory_limit: int | None = None,
    address: str | None = None,
) -> Iterator[Runner]:
    """Start or reach the workers, give a :class:`Runner`, and close everything cleanly.

    Parameters
    ----------
    kind : "synchronous", "threads", "processes" or "address"
    workers : threads or worker processes
    threads_per_worker : threads of a worker process
    memory_limit : bytes for all workers together
    address : of a running scheduler, for the kind "address"

    Raises
    ------
    ConfigError
        when the kind is unknown, a number is below one, or the address is missing
    WorkerError
        when workers do not start or the scheduler does not answer
    """
    runner = _checked(kind, workers, threads_per_worker, memory_limit, address)
    if runner.kind in {"synchronous", "threads"}:
        yield runner
        return
    with ExitStack() as stack:
        yield stack.enter_context(_connected(runner))


def _checked(
    kind: str, workers: int, threads: int, memory_limit: int | None, address: str | None
) -> Runner:
    if kind not in RUNNER_KINDS:
        raise ConfigError(
            f"'{kind}' is not a way to run{did_you_mean(kind, RUNNER_KINDS)} "
            f"(allowed: {listing(RUNNER_KINDS)})"
        )
    for name, number in (("workers", workers), ("threads per worker", threads)):
        if number < 1:
            raise ConfigError(f"{name} must be 1 or more, not {number}")
    if memory_limit is not None and memory_limit < 1:
        raise ConfigError(f"the memory limit must be positive, not {memory_limit}")
    if kind == "address" and not address:
        raise ConfigError("to run on a scheduler its address is needed, as 'tcp://host:port'")
    checked: Any = kind
    return Runner(checked, workers, threads, memory_limit, address)


@contextmanager
def _connected(runner: Runner) -> Iterator[Runner]:
    """Give the runner with its client; nothing listens beyond the loopback."""
    import dask
    import distributed  # noqa: F401, its defaults must be there before they are overridden

    environment = thread_environment(runner.threads_per_worker)
    settings = {
        # without Dask's MALLOC_TRIM_THRESHOLD_: it has every large array mapped and zeroed anew
        "distributed.nanny.pre-spawn-environ": environment,
        "distributed.comm.timeouts.connect": CONNECT_TIMEOUT,
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.tick.limit": "60s",
        "distributed.admin.system-monitor.interval": "10s",
        "distributed.worker.profile.enabled": False,
        "distributed.scheduler.http.routes": ["distributed.http.health"],
        "distributed.worker.http.routes": ["distributed.http.health"],
    }
    with dask.config.set(settings), ExitStack() as stack:
        client = stack.enter_context(_client(runner, stack))
        yield replace(runner, client=client)


def _client(runner: Runner, stack: ExitStack) -> Any:
    from distributed import Client

    if runner.kind == "address":
        try:
            return Client(  # type: ignore[no-untyped-call]
                runner.address, timeout=CONNECT_TIMEOUT, set_as_default=False
            )
        except (OSError, ValueError) as error:
            raise WorkerError(
                f"no Dask scheduler answers at '{runner.address}' within {CONNECT_TIMEOUT}"
            ) from error
    cluster = stack.enter_context(_local_workers(runner))
    return Client(cluster, set_as_default=False)  # type: ignore[no-untyped-call]


def _local_workers(runner: Runner) -> Any:
    from distributed import LocalCluster

    limit = 0 if runner.memory_limit is None else runner.memory_limit // runner.workers
    try:
        return LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=runner.workers,
            threads_per_worker=runner.threads_per_worker,
            processes=True,
            memory_limit=limit,
            host=LOOPBACK,
            protocol="tcp",
            dashboard_address=None,
            worker_dashboard_address=None,
            scheduler_kwargs={"dashboard": False, "dashboard_address": f"{LOOPBACK}:0"},
            silence_logs=40,
        )
    except (OSError, RuntimeError) as error:
        raise WorkerError(f"local workers cannot be started: {error}") from error


MOST_THREADS = 8
"""Threads that are taken unasked; each has a partition or two in memory."""


def own_runner(n_partitions: int, cores: int) -> Runner:
    """Return the runner of a process that was given none: its cores, if there is work for them."""
    workers = min(cores, n_partitions, MOST_THREADS)
    return Runner("threads", workers=workers) if workers > 1 else SYNCHRONOUS
