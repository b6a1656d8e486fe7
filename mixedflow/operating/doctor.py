"""All checks, in the order in which a run would meet what they look at.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mixedflow.operating.asked import Asked
from mixedflow.operating.finding import Finding

if TYPE_CHECKING:
    from mixedflow.config import DaskConfig


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What is to be asked beyond this machine.

    Attributes
    ----------
    dask : how to reach a running Dask scheduler, None for none
    job : whether a tiny job is submitted to Slurm
    patience : seconds that it may wait and run
    """

    dask: DaskConfig | None = None
    job: bool = False
    patience: float = 60.0


def examine(asked: Asked, directory: Path, elsewhere: Elsewhere) -> Iterator[Finding]:
    """Give the findings one after the other, as they are made."""
    from mixedflow.operating import machine
    from mixedflow.operating.places import check_files, check_last_run
    from mixedflow.operating.slurm import check_slurm

    yield from machine.check_versions(asked)
    yield from machine.check_threads(asked)
    yield from machine.check_memory(asked)
    yield from check_files(directory, asked)
    yield from check_last_run(directory)
    yield from machine.check_network(asked)
    yield from check_slurm(asked)
    if elsewhere.job:
        from mixedflow.operating.workers import check_node

        yield from check_node(asked, directory, elsewhere.patience)
    if elsewhere.dask is not None:
        from mixedflow.operating.workers import check_workers

        yield from check_workers(elsewhere.dask, directory)
