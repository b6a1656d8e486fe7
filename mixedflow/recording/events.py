"""The lines of the log and what is read from them.

Each line is one JSON object with ``schema``, ``event``, ``id`` (of the attempt) and ``time``; the keys
of each event are listed in docs/run_log.md. A reader takes what it knows and counts what it does not.
Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

SCHEMA = 1

Outcome = Literal["done", "failed", "not converged", "interrupted", "no end"]
OUTCOMES: tuple[Outcome, ...] = ("done", "failed", "not converged", "interrupted")
NO_END: Outcome = "no end"
"""Nothing was said any more: killed, out of time or of memory, or not over yet."""

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of an attempt and its seconds."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Worker:
    """A Dask worker as it was at the end of a pass.

    Attributes
    ----------
    address : of the worker
    host : name of its machine
    peak_bytes : most memory of its process since that began
    """

    address: str
    host: str | None
    peak_bytes: int | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one job; what is not known is None.

    Attributes
    ----------
    id : unique among all attempts
    stage, target : rule of the workflow, and for what of it
    began : seconds since 1970, by the clock of the machine
    run : name of the run; the one before is smaller
    number : 1 for the first attempt in its run
    outcome, reason : how it ended, and its sentence where that was not well
    host, threads, version, slurm_job : where and with what
    seconds, cpu_seconds : from beginning to end, and of all processors
    queue_seconds : from submission to beginning, where there is a queue
    peak_bytes : most memory of the process
    rows, partitions, traits, iterations : of the work
    bytes_read, bytes_written : size of the files that it read and wrote
    phases, workers : parts of it, and where they ran
    lost_workers, tasks_again : workers that died, and tasks that ran again for it
    """

    id: str
    stage: str
    target: str
    began: float
    run: str | None = None
    number: int | None = None
    outcome: Outcome = NO_END
    reason: str | None = None
    host: str | None = None
    threads: int | None = None
    version: str | None = None
    slurm_job: str | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    queue_seconds: float | None = None
    peak_bytes: int | None = None
    rows: int | None = None
    partitions: int | None = None
    traits: int | None = None
    iterations: int | None = None
    bytes_read: int | None = None
    bytes_written: int | None = None
    phases: tuple[Phase, ...] = ()
    workers: tuple[Worker, ...] = ()
    lost_workers: int | None = None
    tasks_again: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line that could be read, and its event."""

    text: str
    event: Event


def line_of(event: Event) -> str:
    """Return an event as a line of the log."""
    return json.dumps(event, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    """Return a number of NumPy as Python's, anything else as text."""
    return value.item() if hasattr(value, "item") else str(value)


def lines_in(content: bytes) -> tuple[list[Line], int]:
    """Return the lines of a piece of the log, and how many could not be read."""
    lines: list[Line] = []
    unread = 0
    for line in content.split(b"\n"):
        if not line.strip():
            continue
        try:
            text = line.decode("utf-8").strip()
            found = json.loads(text)
        except (ValueError, RecursionError):  # torn, or not of ours
            unread += 1
            continue
        if isinstance(found, dict) and found.get("schema") == SCHEMA and _text(found, "id"):
            lines.append(Line(text, found))
        else:
            unread += 1
    return lines, unread


def attempt_of(events: Iterable[Event]) -> Attempt | None:
    """Return what the events of one attempt tell; None where its beginning is not among them."""
    by_kind: dict[str, list[Event]] = {}
    for event in events:
        by_kind.setdefault(str(event.get("event")), []).append(event)
    for start in by_kind.get("started", ()):
        began, stage = seconds_of(start), _text(start, "stage")
        if began is None or stage is None:
            continue
        end = by_kind.get("ended", [{}])[-1]
        pool = by_kind.get("workers", ())
        return Attempt(
            id=str(start["id"]),
            stage=stage,
            target=_text(start, "target") or "",
            began=began,
            run=_text(start, "run"),
            number=_count(start, "attempt"),
            outcome=_outcome(end),
            reason=_text(end, "reason"),
            host=_text(start, "host"),
            threads=_count(end, "threads"),
            version=_text(start, "mixedflow"),
            slurm_job=_text(start, "slurm_job"),
            seconds=_amount(end, "seconds"),
            cpu_seconds=_amount(end, "cpu_seconds"),
            queue_seconds=_amount(start, "queue_seconds"),
            **{name: _count(end, name) for name in COUNTS},
            phases=_phases(by_kind.get("phase", ())),
            workers=tuple(one for event in pool for one in _workers(event)),
            lost_workers=_total(pool, "lost"),
            tasks_again=_total(pool, "tasks_again"),
        )
    return None


COUNTS = (
    "peak_bytes", "rows", "partitions", "traits", "iterations", "bytes_read", "bytes_written",
)  # fmt: skip
"""Whole numbers at the end of an attempt."""


MOST = 2**53
"""No amount is larger; an infinite one is none."""


def seconds_of(event: Event) -> float | None:
    """Return the time of an event in seconds since 1970."""
    text = _text(event, "time")
    try:
        return None if text is None else datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _text(event: Event, key: str) -> str | None:
    value = event.get(key)
    return value if isinstance(value, str) and value else None


def _amount(event: Event, key: str) -> float | None:
    value = event.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= MOST else None


def _count(event: Event, key: str) -> int | None:
    value = event.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= MOST else None


def _total(events: Iterable[Event], key: str) -> int | None:
    known = [value for event in events if (value := _count(event, key)) is not None]
    return sum(known) if known else None


def _outcome(end: Event) -> Outcome:
    return next((known for known in OUTCOMES if end.get("outcome") == known), NO_END)


def _phases(events: Iterable[Event]) -> tuple[Phase, ...]:
    """Return the phases, those of one name as one."""
    total: dict[str, float] = {}
    for event in events:
        name, seconds = _text(event, "name"), _amount(event, "seconds")
        if name is not None and seconds is not None:
            total[name] = total.get(name, 0.0) + seconds
    return tuple(Phase(name, seconds) for name, seconds in total.items())


def _workers(event: Event) -> Iterable[Worker]:
    listed = event.get("workers")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and (address := _text(one, "address")):
            yield Worker(address, _text(one, "host"), _count(one, "peak_bytes"))
