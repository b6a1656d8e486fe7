"""Workers on this machine's loopback, and their scheduler, as a process of their own.

``python -m mixedflow.plugins.local_workers WORKERS THREADS [MEM_MB]`` says the scheduler's address on
standard output and ends when its standard input does. It stands in a session of its own, so that a
terminal's Ctrl-C reaches Snakemake alone, which then stops the jobs in order. Stands outside the
equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import sys
from typing import Any

from mixedflow.plugins.ledger import CPU, MEM_MB

LOOPBACK = "127.0.0.1"


def settings() -> dict[str, Any]:
    """Return Dask's settings for workers that mostly wait for processes."""
    from mixedflow.parallel.threads import thread_environment

    return {
        "distributed.nanny.pre-spawn-environ": thread_environment(1),
        "distributed.scheduler.allowed-failures": 0,
        "distributed.scheduler.http.routes": ["distributed.http.health"],
        "distributed.worker.http.routes": ["distributed.http.health"],
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.limit": "60s",
        "distributed.admin.system-monitor.interval": "10s",
    }


def serve(workers: int, threads: int, mem_mb: int | None) -> None:
    """Start the workers, say where, and stop them when nobody listens any more."""
    import dask
    from distributed import LocalCluster

    resources = {CPU: threads} | ({} if mem_mb is None else {MEM_MB: mem_mb})
    with (
        dask.config.set(settings()),
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=workers,
            threads_per_worker=threads,
            processes=True,
            memory_limit=0,  # jobs are processes of their own
            resources=resources,
            host=LOOPBACK,
            protocol="tcp",
            dashboard_address=None,
            worker_dashboard_address=None,
            scheduler_kwargs={"dashboard": False, "dashboard_address": f"{LOOPBACK}:0"},
            silence_logs=40,
        ) as started,
    ):
        sys.stdout.write(f"{started.scheduler_address}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    serve(numbers[0], numbers[1], numbers[2] if len(numbers) > 2 else None)
