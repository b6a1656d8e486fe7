"""What the attempts at each job come to, and when they were.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mixedflow.recording.events import Attempt, Phase
from mixedflow.recording.gathering import RunLog
from mixedflow.recording.table import job_of, peak_of

T = TypeVar("T")

MOST_JOBS = 20
"""Jobs of a stage that are named; of more there is one line for all."""


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One job as its last attempt was, or all jobs of a stage: sums, and the most of memory and queue.

    Attributes
    ----------
    job : stage and target
    attempts : all of them
    outcome, well : how they ended, and whether that was well
    queue_seconds, seconds, cpu_seconds, peak_bytes, rows, bytes_read, bytes_written : None if unknown
    hosts : where
    phases : parts of the work
    """

    job: str
    attempts: int
    outcome: str
    well: bool
    queue_seconds: float | None
    seconds: float | None
    cpu_seconds: float | None
    peak_bytes: int | None
    rows: int | None
    bytes_read: int | None
    bytes_written: int | None
    hosts: tuple[str, ...]
    phases: tuple[Phase, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """An attempt on the line of time: its job, and seconds since the run began."""

    job: str
    begin: float
    end: float
    number: int | None
    outcome: str


def summaries(log: RunLog) -> tuple[JobSummary, ...]:
    """Return what every job took in the last run in which it ran, in the order of the log."""
    stages: dict[str, list[tuple[Attempt, ...]]] = {}
    for (stage, _), tries in log.by_job().items():
        stages.setdefault(stage, []).append(tries)
    found = []
    for stage, jobs in stages.items():
        if len(jobs) > MOST_JOBS:
            found.append(_summary(f"{stage} ({len(jobs):,} jobs)", jobs))
        else:
            found += [_summary(job_of(tries[-1]), [tries]) for tries in jobs]
    return tuple(found)


def _summary(name: str, jobs: Sequence[tuple[Attempt, ...]]) -> JobSummary:
    last = [tries[-1] for tries in jobs]
    tries = [attempt for one in jobs for attempt in one]
    ends: Counter[str] = Counter(one.outcome for one in last)
    outcome = next(iter(ends)) if len(ends) == 1 else _counts(ends)
    return JobSummary(
        job=name,
        attempts=len(tries),
        outcome=outcome,
        well=set(ends) == {"done"},
        queue_seconds=max(_known(one.queue_seconds for one in last), default=None),
        seconds=_sum(one.seconds for one in last),
        cpu_seconds=_sum(one.cpu_seconds for one in last),
        peak_bytes=max(_known(peak_of(one) for one in last), default=None),
        rows=_total(one.rows for one in last),
        bytes_read=_total(one.bytes_read for one in last),
        bytes_written=_total(one.bytes_written for one in last),
        hosts=tuple(sorted({one.host for one in tries if one.host})),
        phases=_phases(last),
    )


def _counts(ends: Counter[str]) -> str:
    return ", ".join(f"{number:,} {outcome}" for outcome, number in ends.most_common())


def _known(values: Iterable[T | None]) -> list[T]:
    return [value for value in values if value is not None]


def _sum(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return sum(known) if known else None


def _total(values: Iterable[int | None]) -> int | None:
    known = _known(values)
    return sum(known) if known else None


def _phases(attempts: Iterable[Attempt]) -> tuple[Phase, ...]:
    total: dict[str, float] = {}
    for attempt in attempts:
        for part in attempt.phases:
            total[part.name] = total.get(part.name, 0.0) + part.seconds
    return tuple(Phase(name, seconds) for name, seconds in total.items())


def bars(log: RunLog) -> tuple[Bar, ...]:
    """Return the attempts of the last run whose length is known; of many jobs by their stage."""
    attempts = [one for one in log.last_run if one.seconds is not None]
    many = Counter(one.stage for one in attempts)
    begin = min((one.began for one in log.last_run), default=0.0)
    return tuple(
        Bar(
            one.stage if many[one.stage] > MOST_JOBS else job_of(one),
            one.began - begin,
            one.began - begin + (one.seconds or 0.0),
            one.number,
            one.outcome,
        )
        for one in attempts
    )
