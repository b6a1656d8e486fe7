"""What an interrupted run has left, found as a whole and put in order.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixedflow.errors import MixedflowError
from mixedflow.operating import dask_jobs, processes, slurm_jobs
from mixedflow.operating.dask_jobs import DaskJob
from mixedflow.operating.leftovers import leftovers, remove
from mixedflow.operating.record import Record, read_records
from mixedflow.operating.slurm_text import Job

LOCKS = ".snakemake/locks"
Say = Callable[[str], None]


class AtWorkError(MixedflowError):
    """A run is at work in the folder, or may be."""


@dataclass(frozen=True, slots=True)
class Remains:
    """What there is to put in order.

    Attributes
    ----------
    folder : working directory of the runs
    records : of runs that have not ended well, the newest last
    names : that jobs of Slurm had
    jobs : Slurm's
    tasks : of Dask workers
    here : processes of this machine, each in a line
    locked : whether Snakemake's lock is there
    """

    folder: Path
    records: tuple[Record, ...]
    names: frozenset[str]
    jobs: tuple[Job, ...]
    tasks: tuple[DaskJob, ...]
    here: tuple[str, ...]
    locked: bool

    @property
    def runs(self) -> set[str]:
        """Names of the dead runs."""
        return {record.run for record in self.records}

    @property
    def numbers(self) -> set[str]:
        """Numbers of Slurm's jobs, as their processes know them."""
        return {job.array for job in self.jobs}

    def orphans(self) -> list[str]:
        """Return what is still at work, a line each."""
        jobs = [f"Slurm job {job.number}, {job.state.lower()}: {job.name}" for job in self.jobs]
        tasks = [
            f"job {task.key} {'on ' + (task.host or 'a worker') if task.running else 'that waits'}"
            for task in self.tasks
        ]
        return [*jobs, *tasks, *self.here]


def require_dead(folder: Path, records: Sequence[Record], *, ended: bool) -> None:
    """Raise where a controller is at work in the folder.

    Parameters
    ----------
    folder : working directory
    records : of its runs
    ended : whether somebody says that controllers on other machines have ended

    Raises
    ------
    AtWorkError
        naming process and machine
    """
    at_work = [pid for record in records for pid in record.alive()]
    at_work += [process.pid for process in processes.controllers(folder)]
    if at_work:
        raise AtWorkError(
            f"a run is at work in '{folder}': process {at_work[-1]} on this machine; wait for it, or end "
            f"it (kill -INT {at_work[-1]})"
        )
    away = [r for r in records if not r.here and r.code is None]
    if away and not ended:
        pid = away[-1].controllers[-1][0]
        raise AtWorkError(
            f"a run in '{folder}' was started on {away[-1].host} (process {pid}), which cannot be seen "
            "from here; resume there, or say with --ended that it has ended"
        )


def look(folder: Path, *, ended: bool = False) -> Remains:
    """Return what interrupted runs have left in a folder; nothing is changed.

    Raises
    ------
    AtWorkError
        when a run is at work
    StubbornError
        when Slurm does not answer and jobs may be there
    """
    records = read_records(folder)
    require_dead(folder, records, ended=ended)
    names = slurm_jobs.run_ids(folder)
    jobs = slurm_jobs.slurm_jobs(folder, names)
    runs = {record.run for record in records}
    left = processes.orphans(folder, runs, {job.array for job in jobs})
    return Remains(
        folder=folder,
        records=tuple(records),
        names=frozenset(names),
        jobs=tuple(jobs),
        tasks=tuple(dask_jobs.dask_jobs(folder)),
        here=tuple(processes.shown(process) for process in left),
        locked=any((folder / LOCKS).glob("*.lock")),
    )


def clear(remains: Remains, patience: float, say: Say) -> None:
    """Cancel what is still at work and wait until it is gone.

    Raises
    ------
    StubbornError
        when something does not end
    """
    folder = remains.folder
    if remains.jobs:
        say(f"cancelling {len(remains.jobs)} jobs of Slurm")
        slurm_jobs.cancel(folder, remains.names, remains.jobs, patience)
    if remains.tasks:
        say(f"withdrawing {len(remains.tasks)} jobs from Dask workers")
        dask_jobs.withdraw(folder, remains.tasks, patience)
    if remains.here:
        say(f"ending {len(remains.here)} processes of this machine")
    processes.end(folder, remains.runs, ())


def tidy(folder: Path, results: Path, say: Say) -> None:
    """Delete what nobody writes any more."""
    found = leftovers(folder, results)
    for place in found:
        remove(place)
    if found:
        say(f"deleted {len(found)} half-written or temporary files and folders")
