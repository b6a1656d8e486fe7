"""The connection to a Dask scheduler, which is given or started here with workers.

Stands outside the equations of ``docs/algorithm.md``. Dask is imported when a connection is made.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mixedflow.data.atomic import atomic_write_text
from mixedflow.errors import MixedflowError
from mixedflow.parallel import able
from mixedflow.parallel.able import and_more
from mixedflow.parallel.srun import START_SECONDS as SRUN_SECONDS
from mixedflow.parallel.tls import Tls, security_of, tls_in
from mixedflow.plugins.allocation import FAULT, nodes_of
from mixedflow.plugins.ledger import Capacity
from mixedflow.plugins.settings import ExecutorSettings
from mixedflow.plugins.task import Order, run_command

CONNECT_SECONDS = 10
ANSWER_SECONDS = 20
STOP_SECONDS = 10
START_SECONDS = 60
SCHEDULER_FILE = "scheduler.json"
WAITING_PER_THREAD = 100.0
"""Tasks a thread that the scheduler lets wait on a worker.

With fewer, jobs of other Snakemakes that wait there for resources take the places of tasks that the
running job itself has sent and waits for, and nothing moves any more.
"""


class PoolError(MixedflowError):
    """Dask workers cannot be started or reached, or cannot run the jobs."""


def check_settings(settings: ExecutorSettings) -> None:
    """Refuse options that contradict each other."""
    given = [
        f"--mixedflow-dask-{name.replace('_', '-')}"
        for name in ("address", "scheduler_file", "local_workers", "srun")
        if getattr(settings, name) not in {None, False}
    ]
    if len(given) > 1:
        raise PoolError(f"{' and '.join(given)} say two places to run; give one of them")
    if settings.interface is not None and not settings.srun:
        raise PoolError("--mixedflow-dask-interface is for --mixedflow-dask-srun only")
    if settings.srun:
        nodes_of(os.environ)
    for name in ("local_workers", "worker_threads", "worker_mem_mb", "patience"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            option = f"--mixedflow-dask-{name.replace('_', '-')}"
            raise PoolError(f"{option} must be 1 or more, not {value}")


@dataclass(slots=True)
class Pool:
    """A scheduler with workers.

    Attributes
    ----------
    client : the connection
    address : of the scheduler
    host : the process that started the workers, None where the scheduler was given
    known : file that tells jobs the address
    tls : certificates that were made for the run
    """

    client: Any
    address: str
    host: subprocess.Popen[bytes] | None
    known: Path
    tls: Tls | None = None
    _lost: bool = field(default=False)

    def lost(self) -> bool:
        """Say whether the scheduler is gone; once lost it stays so."""
        self._lost = self._lost or self.client.status != "running"
        return self._lost

    def environment(self) -> dict[str, str]:
        """Return what tells Dask inside a job which certificates to show."""
        if self.tls is None:
            return {}
        shown = {"CA_FILE": self.tls.ca, "CLIENT__CERT": self.tls.cert, "CLIENT__KEY": self.tls.key}
        return {f"DASK_DISTRIBUTED__COMM__TLS__{name}": path for name, path in shown.items()}

    def capacities(self) -> dict[str, Capacity]:
        """Ask the scheduler what each worker has; nothing, and lost, when it does not answer."""
        try:
            found = self.client.sync(
                self.client.scheduler.identity, n_workers=-1, callback_timeout=ANSWER_SECONDS
            )
        except (OSError, TimeoutError, ValueError, AttributeError):
            self._lost = True
            return {}
        return {address: Capacity.of(worker) for address, worker in found["workers"].items()}

    def send(self, order: Order, address: str, resources: dict[str, float], priority: int) -> Any:
        """Give a job to a worker; return its future, or None, and be lost, if that cannot be."""
        try:
            return self.client.submit(
                run_command,
                order,
                key=order.key,
                pure=False,
                workers=[address],
                resources=resources or None,
                retries=0,
                priority=priority,
            )
        except (OSError, RuntimeError, ValueError, AttributeError):  # closed meanwhile
            self._lost = True
            return None

    def stop(self, futures: list[Any]) -> None:
        """Wait for withdrawn jobs to end, then forget them."""
        from distributed import wait

        if self.lost() or not futures:
            return
        with suppress(OSError, TimeoutError, ValueError):
            wait(futures, timeout=STOP_SECONDS)  # type: ignore[no-untyped-call]
            self.client.cancel(futures, force=True)

    def close(self) -> None:
        """Leave the scheduler, or stop it if it was started here."""
        self.known.unlink(missing_ok=True)
        with suppress(OSError, TimeoutError, RuntimeError):
            self.client.close(timeout=2)
        if self.host is not None:
            stop_host(self.host)


def open_pool(settings: ExecutorSettings, folder: Path) -> Pool:
    """Connect to the scheduler that the settings name, or start one; wait for a worker."""
    check_settings(settings)
    folder.mkdir(parents=True, exist_ok=True)
    host, address, tls = None, _given_address(settings), None
    if settings.local_workers is not None or settings.srun:
        host, address, tls = _start_host(settings, folder / "workers.log")
    try:
        client = _connect(address, tls)
        pool = Pool(client, address, host, folder / SCHEDULER_FILE, tls)
        _wait_for_worker(client, settings, address)
        _let_tasks_wait(client)
    except BaseException:
        if host is not None:
            stop_host(host)
        raise
    content: dict[str, Any] = {"address": address}
    content |= {} if host is None else {"pid": host.pid}
    content |= {} if tls is None else {"tls": asdict(tls)}
    atomic_write_text(pool.known, json.dumps(content) + "\n")
    return pool


def _given_address(settings: ExecutorSettings) -> str:
    if settings.local_workers is not None or settings.srun:
        return ""
    if settings.address is not None:
        return settings.address
    if settings.scheduler_file is not None:
        try:
            return str(json.loads(settings.scheduler_file.read_text(encoding="utf-8"))["address"])
        except OSError as fault:
            raise PoolError(
                f"the scheduler file '{settings.scheduler_file}' cannot be read: {fault.strerror}"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise PoolError(
                f"'{settings.scheduler_file}' is not a Dask scheduler file: it names no address"
            ) from None
    import dask

    address = dask.config.get("scheduler-address", None)
    if not address:
        raise PoolError(
            "no Dask scheduler is named; give --mixedflow-dask-address, --mixedflow-dask-scheduler-file"
            ", --mixedflow-dask-local-workers or --mixedflow-dask-srun, or set DASK_SCHEDULER_ADDRESS"
        )
    return str(address)


def _connect(address: str, tls: Tls | None) -> Any:
    from distributed import Client

    security = None if tls is None else security_of(tls)
    try:
        return Client(  # type: ignore[no-untyped-call]
            address, timeout=CONNECT_SECONDS, set_as_default=False, security=security
        )
    except (OSError, ValueError, TypeError) as fault:
        raise PoolError(
            f"no Dask scheduler answers at '{address}' within {CONNECT_SECONDS} s"
        ) from fault


def _wait_for_worker(client: Any, settings: ExecutorSettings, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=settings.patience)
    except TimeoutError:
        raise PoolError(
            f"the Dask scheduler at '{address}' has no worker after {settings.patience} s"
            " (--mixedflow-dask-patience)"
        ) from None


def _let_tasks_wait(client: Any) -> None:
    """Raise what the scheduler lets wait on a worker; the lambda needs no mixedflow there."""
    with suppress(OSError, TimeoutError, ValueError, AttributeError):
        client.run_on_scheduler(
            lambda least, dask_scheduler: setattr(
                dask_scheduler, "WORKER_SATURATION", max(least, dask_scheduler.WORKER_SATURATION)
            ),
            WAITING_PER_THREAD,
        )


def _start_host(
    settings: ExecutorSettings, log: Path
) -> tuple[subprocess.Popen[bytes], str, Tls | None]:
    """Start the process of workers; return it, the address of their scheduler, and certificates."""
    with log.open("wb") as said:
        host = subprocess.Popen(  # noqa: S603 - this Python, numbers and the name of an interface
            [sys.executable, "-P", "-m", *_program(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
    line = _first_line(host, START_SECONDS + (SRUN_SECONDS if settings.srun else 0))
    if not line or line.startswith(FAULT):
        stop_host(host)
        raise PoolError(
            line.removeprefix(FAULT) or f"the Dask workers did not start; '{log}' says why"
        )
    address, _, folder = line.partition(" ")
    return host, address, tls_in(Path(folder)) if folder else None


def _program(settings: ExecutorSettings) -> list[str]:
    if settings.srun:
        named = [] if settings.interface is None else [settings.interface]
        return ["mixedflow.plugins.allocation", *named]
    numbers = [settings.local_workers, settings.worker_threads, settings.worker_mem_mb]
    return ["mixedflow.plugins.local_workers", *(str(n) for n in numbers if n is not None)]


def _first_line(host: subprocess.Popen[bytes], seconds: float) -> str:
    assert host.stdout is not None  # noqa: S101 - it was asked for
    said, deadline = b"", time.monotonic() + seconds
    while not said.endswith(b"\n"):
        left = max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([host.stdout], [], [], left)
        piece = os.read(host.stdout.fileno(), 512) if ready else b""
        if not piece:
            return ""
        said += piece
    return said.decode().strip()


def stop_host(host: subprocess.Popen[bytes]) -> None:
    """Let the local workers end; end them if they do not."""
    for pipe in (host.stdin, host.stdout):
        if pipe is not None:
            pipe.close()
    try:
        host.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(host.pid, signal.SIGKILL)
        host.wait()


def require_able(pool: Pool, witness: Path, seconds: float) -> None:
    """Refuse to begin unless every worker can run jobs."""
    found = complaints(pool, witness, seconds)
    if found:
        worker, why = min(found.items())
        raise PoolError(f"the Dask worker {worker} cannot run jobs: {why}{and_more(found)}")


def complaints(
    pool: Pool, witness: Path, seconds: float, workers: Iterable[str] | None = None
) -> dict[str, str]:
    """Ask workers to look for a file that was written here; return why some cannot run jobs."""
    return able.complaints(pool.client, witness, seconds, workers)
