"""What a job of the workflow needs: memory and time, from the size of the files and the threads.

Before anything is read, the bytes of the files stand for rows times columns. A pass holds a few copies
of one partition a worker; sums have no more entries than there are rows. The figures are upper ones:
too much waits a little longer in a queue, too little ends a job. Stands outside the equations of
``docs/algorithm.md``: nothing here changes a number.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

LEAST_MB = 400
"""Memory that any job asks for: an idle step and the Snakemake that starts it."""

STEP_MB = 700
"""Memory of a step's libraries and compiled loops."""

WORKER_MB = 300
"""Memory of a worker process beside its rows."""

PARTITION_MB = 128
"""Rows of one partition, as eight-byte numbers."""

COPIES = 8
"""Copies of a partition that a worker holds."""

MOST_SUMS_MB = 3300
"""Memory for sums where nothing is said; many groups need more, by ``dask.memory`` or a profile."""

EXPANSION = {".gz": 12.0, ".parquet": 8.0, ".feather": 3.0, ".arrow": 2.0}
"""Bytes of eight-byte numbers for a byte of a file; text has about two."""
TEXT = 2.0

MINUTES = 10
MB_PER_MINUTE = 200.0
"""Rows that one thread reads and condenses a minute at the least, as eight-byte numbers."""


def rows_mb(files: Iterable[str]) -> float:
    """Return the memory of all rows as eight-byte numbers, in MB; absent files count nothing."""
    total = 0.0
    for name in files:
        path = Path(name)
        if path.is_file():
            total += path.stat().st_size * EXPANSION.get(path.suffix.lower(), TEXT)
    return total / 1e6


def pass_mb(rows: float, workers: int, *, processes: bool) -> int:
    """Return the memory of a pass over rows of so many MB, in MB."""
    of_workers = workers * (COPIES * min(rows, PARTITION_MB) + (WORKER_MB if processes else 0))
    return max(LEAST_MB, round(STEP_MB + of_workers + min(rows, MOST_SUMS_MB)))


def sums_mb(rows: float) -> int:
    """Return the memory of a step that works on sums, in MB."""
    return max(LEAST_MB, round(STEP_MB + min(COPIES * rows, MOST_SUMS_MB)))


def minutes(rows: float, workers: int) -> int:
    """Return the time that a step may take, in minutes."""
    return MINUTES + round(rows / MB_PER_MINUTE / max(workers, 1))
