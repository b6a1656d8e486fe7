"""Where tasks run: in this process, on its threads, on local worker processes, on any scheduler.

Stands outside the equations of ``docs/algorithm.md``: the numbers are the same bits everywhere.
Dask is imported only when a runner needs it; the default runner never does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from mixedflow.errors import ConfigError, MixedflowError, did_you_mean, listing

if TYPE_CHECKING:
    from mixedflow.parallel.tls import Tls

T = TypeVar("T")

RunnerKind = Literal["synchronous", "threads", "processes", "address", "srun", "jobqueue"]
RUNNER_KINDS: tuple[str, ...] = (*get_args(RunnerKind), "local")
"""What may be asked for; "local" is another word for "processes"."""

ELSEWHERE: tuple[RunnerKind, ...] = ("address", "srun", "jobqueue")
"""Kinds whose workers may be on other machines."""

JobSystem = Literal["slurm", "pbs", "sge", "lsf", "htcondor"]

PATIENCE = 60.0
"""Seconds in which a scheduler that runs already has a worker, unless more are given."""


class WorkerError(MixedflowError):
    """Workers cannot be started or reached, or died while they computed."""


@dataclass(frozen=True, slots=True)
class JobQueue:
    """How workers are asked of a batch system, one job a worker.

    Attributes
    ----------
    system : "slurm", "pbs", "sge", "lsf" or "htcondor"
    minimum : workers that stay; the runner's workers are the most
    walltime : minutes that a worker may run
    queue, account : of the batch system
    directives : further ones of the batch system
    options : further arguments of Dask-Jobqueue's cluster
    """

    system: JobSystem = "slurm"
    minimum: int = 1
    walltime: int = 60
    queue: str | None = None
    account: str | None = None
    directives: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Runner:
    """Where tasks run and with how much.

    Attributes
    ----------
    kind : "synchronous" (this process), "threads", "processes" (local workers), "address" (of a
        scheduler), "srun" (workers in the Slurm job that this is), "jobqueue" (workers as jobs)
    workers : threads or worker processes; the most, for "jobqueue"
    threads_per_worker : threads of a worker process; BLAS and Numba are held to it
    memory_limit : bytes for all workers together, None for no limit
    address : of a running Dask scheduler, "tcp://host:port" or "tls://host:port"
    tls : certificates; "srun" and "jobqueue" make their own without them
    interface : network interface for "srun" and "jobqueue"; that of the outward address without it
    jobs : how workers are asked for, for "jobqueue"
    patience : seconds to wait for the first worker of a scheduler, for "address"; None to look at
        workers as they are: none is waited for, or asked whether it can do the work
    client : the connection, while the runner is open and needs one
    """

    kind: RunnerKind = "synchronous"
    workers: int = 1
    threads_per_worker: int = 1
    memory_limit: int | None = None
    address: str | None = None
    tls: Tls | None = None
    interface: str | None = None
    jobs: JobQueue = field(default_factory=JobQueue)
    patience: float | None = PATIENCE
    client: Any = None

    def each(self, fn: Callable[[int], T], n_items: int) -> list[T]:
        """Return ``[fn(0), fn(1), ...]``, wherever they were computed."""
        from mixedflow.parallel.mapping import map_each

        return map_each(fn, n_items, runner=self)


SYNCHRONOUS = Runner()


@contextmanager
def open_runner(  # noqa: PLR0913 - everything that workers can be told
    kind: str = "synchronous",
    *,
    workers: int = 1,
    threads_per_worker: int = 1,
    memory_limit: int | None = None,
    address: str | None = None,
    tls: Tls | None = None,
    interface: str | None = None,
    jobs: JobQueue | None = None,
    patience: float | None = PATIENCE,
) -> Iterator[Runner]:
    """Start or reach the workers, give a :class:`Runner`, and close everything cleanly.

    Parameters
    ----------
    kind : "synchronous", "threads", "processes" or "local", "address", "srun", "jobqueue"
    workers : threads or worker processes
    threads_per_worker : threads of a worker process
    memory_limit : bytes for all workers together
    address : of a running scheduler, for the kind "address"
    tls : certificates, for the kind "address"; "srun" and "jobqueue" make their own without them
    interface : network interface, for the kinds "srun" and "jobqueue"
    jobs : how workers are asked for, for the kind "jobqueue"
    patience : seconds to wait for the first worker of a scheduler, for the kind "address"; None to
        wait for none, and to ask none whether it can do the work

    Raises
    ------
    ConfigError
        when the kind is unknown, a number is below one, the address is missing or a certificate
        cannot be read
    UnsupportedError
        when a package for the kind is not installed
    WorkerError
        when workers do not start, have another version of mixedflow, or the scheduler does not answer
    """
    known: Any = _checked_kind(kind)
    runner = Runner(
        known,
        workers,
        threads_per_worker,
        memory_limit,
        address,
        tls,
        interface,
        jobs or JobQueue(),
        patience,
    )
    _check(runner)
    if runner.kind in {"synchronous", "threads"}:
        yield runner
        return
    from mixedflow.parallel.connecting import connected

    with connected(runner) as connection:
        yield connection


def _checked_kind(kind: str) -> str:
    if kind not in RUNNER_KINDS:
        raise ConfigError(
            f"'{kind}' is not a way to run{did_you_mean(kind, RUNNER_KINDS)} "
            f"(allowed: {listing(RUNNER_KINDS)})"
        )
    return "processes" if kind == "local" else kind


def _check(runner: Runner) -> None:
    """Raise unless the numbers and addresses can be meant."""
    numbers = {"workers": runner.workers, "threads per worker": runner.threads_per_worker}
    for name, number in numbers.items():
        if number < 1:
            raise ConfigError(f"{name} must be 1 or more, not {number}")
    limit, address = runner.memory_limit, runner.address
    if limit is not None and limit < 1:
        raise ConfigError(f"the memory limit must be positive, not {limit}")
    if runner.kind == "address" and not address:
        raise ConfigError("to run on a scheduler its address is needed, as 'tcp://host:port'")
    if address and address.startswith("tls://") != (runner.tls is not None):
        lacking = "certificates are needed" if runner.tls is None else "'tls://' is needed"
        raise ConfigError(
            f"the address '{address}' does not fit: {lacking}; with certificates (ca, cert, key) an "
            "address begins with 'tls://', without them with 'tcp://'"
        )
    if runner.kind == "jobqueue" and limit is None:
        raise ConfigError("jobs of workers need an amount of memory; give one, like '4 GB'")
    if runner.kind == "jobqueue" and runner.jobs.minimum > runner.workers:
        raise ConfigError(
            f"jobqueue.minimum is {runner.jobs.minimum}, more than the {runner.workers} workers "
            "that there may be at most"
        )


MOST_THREADS = 8
"""Threads that are taken unasked; each has a partition or two in memory."""


def own_runner(n_partitions: int, cores: int) -> Runner:
    """Return the runner of a process that was given none: its cores, if there is work for them."""
    workers = min(cores, n_partitions, MOST_THREADS)
    return Runner("threads", workers=workers) if workers > 1 else SYNCHRONOUS
