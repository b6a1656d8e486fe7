"""How the run went as a section of the page: jobs, their parts, workers, and a line of time.

Stands outside the equations of ``docs/algorithm.md``: nothing is computed here, all is set out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from mixedflow.recording import (
    UNKNOWN,
    Attempt,
    Bar,
    JobSummary,
    RunLog,
    bars,
    job_of,
    seconds_text,
    size_text,
    summaries,
)
from mixedflow.report.drawing import (
    BLUE,
    GREY,
    ORANGE,
    ChartFigure,
    amount,
    chart_spec,
    inline,
    tip,
)
from mixedflow.report.tables import Cell, Table, count

JOBS_NOTE = (
    "Each job as its last attempt was, in the last run that it was part of. CPU is of all processors; "
    "peak memory is of the process or of its largest worker; read and written are sizes of files; the "
    "queue is the time from submission to start. What is not known is a dash, or has no column."
)
PARTS_NOTE = "start: libraries are loaded and the question is checked."
LANE, LEAST_HEIGHT = 24, 90
NAMES = alt.Axis(labelLimit=260)
MOST_WORKERS = 200


@dataclass(frozen=True, slots=True)
class RunningView:
    """The section: tables in their order, and the line of time where there is one."""

    tables: tuple[Table, ...]
    figures: tuple[ChartFigure, ...]
    unread: int


def running_view(log: RunLog | None) -> RunningView | None:
    """Return the section, None where nothing was recorded."""
    if log is None or not log.attempts:
        return None
    jobs = summaries(log)
    last = [attempt for tries in log.by_job().values() for attempt in tries]
    made = (_jobs(jobs), _ends(last), _parts(jobs), _workers(last))
    drawn = bars(log)
    return RunningView(
        tuple(table for table in made if table is not None),
        (_timeline(drawn),) if drawn else (),
        log.unread,
    )


def _known(value: float | None, text: Callable[[int], str] | Callable[[float], str]) -> Cell:
    """Return an amount to be read, with what is exact beside it."""
    if value is None:
        return Cell(UNKNOWN, style="number")
    return Cell(text(value), repr(value), "number")  # type: ignore[arg-type]


def _jobs(jobs: Sequence[JobSummary]) -> Table:
    head = (
        "Job", "Ended", "Attempts", "Seconds", "CPU", "Peak memory", "Rows", "Read", "Written", "Queue",
        "Host",
    )  # fmt: skip
    rows = tuple(
        (
            Cell(one.job),
            Cell(one.outcome, style="badge ok" if one.well else "badge warning"),
            count(one.attempts),
            _known(one.seconds, seconds_text),
            _known(one.cpu_seconds, seconds_text),
            _known(one.peak_bytes, size_text),
            Cell(UNKNOWN, style="number") if one.rows is None else count(one.rows),
            _known(one.bytes_read, size_text),
            _known(one.bytes_written, size_text),
            _known(one.queue_seconds, seconds_text),
            Cell(", ".join(one.hosts) or UNKNOWN),
        )
        for one in jobs
    )
    shown = [i for i in range(len(head)) if any(row[i].text != UNKNOWN for row in rows)]
    kept = tuple(tuple(row[i] for i in shown) for row in rows)
    return Table("Jobs", tuple(head[i] for i in shown), kept, JOBS_NOTE)


def _ends(attempts: Sequence[Attempt]) -> Table | None:
    """Return the attempts that did not end well; None where all did."""
    rows = tuple(
        (
            Cell(job_of(one)),
            Cell(UNKNOWN if one.number is None else str(one.number), style="number"),
            Cell(one.outcome, style="badge warning"),
            _known(one.seconds, seconds_text),
            Cell(one.reason or UNKNOWN),
            Cell(one.host or UNKNOWN),
        )
        for one in attempts
        if one.outcome != "done"
    )
    head = ("Job", "Attempt", "Ended", "Seconds", "Reason", "Host")
    note = "no end: the attempt was killed, ran out of time or memory, or was not over when this was written."
    return Table("Attempts that did not end well", head, rows, note) if rows else None


def _parts(jobs: Sequence[JobSummary]) -> Table | None:
    rows = tuple(
        (Cell(one.job), Cell(", ".join(f"{p.name} {seconds_text(p.seconds)}" for p in one.phases)))
        for one in jobs
        if one.phases
    )
    return Table("Seconds inside the jobs", ("Job", "Parts"), rows, PARTS_NOTE) if rows else None


def _workers(attempts: Sequence[Attempt]) -> Table | None:
    """Return the Dask workers of the jobs; None where no job had any."""
    every = tuple(
        (
            Cell(job_of(one)),
            Cell(worker.address, style="code"),
            Cell(worker.host or UNKNOWN),
            _known(worker.peak_bytes, size_text),
        )
        for one in attempts
        for worker in one.workers
    )
    if not every:
        return None
    lost = sum(one.lost_workers or 0 for one in attempts)
    again = sum(one.tasks_again or 0 for one in attempts)
    note = f"{lost:,} workers were lost and {again:,} tasks ran again for it." if lost else ""
    if len(every) > MOST_WORKERS:
        note = f"The first {MOST_WORKERS} of {len(every):,}. {note}".strip()
    head = ("Job", "Worker", "Host", "Peak memory")
    return Table("Dask workers", head, every[:MOST_WORKERS], note)


def _timeline(found: Sequence[Bar]) -> ChartFigure:
    """Return the attempts of the last run side by side."""
    order = list(dict.fromkeys(one.job for one in found))
    ended = ["well" if one.outcome == "done" else one.outcome for one in found]
    columns: dict[str, list[Any]] = {
        "job": [one.job for one in found],
        "begin": [one.begin for one in found],
        "end": [one.end for one in found],
        "seconds": [one.end - one.begin for one in found],
        "attempt": [one.number for one in found],
        "ended": ended,
    }
    ends = list(dict.fromkeys(ended))
    colours = [BLUE if one == "well" else GREY if one == "interrupted" else ORANGE for one in ends]
    chart = (
        alt.Chart(inline(columns))
        .mark_bar(opacity=0.8, height=LANE * 0.6)
        .encode(
            x=alt.X(**amount("begin", "Seconds since the run began", zero=True)),
            x2="end",
            y=alt.Y("job", type="nominal", title=None, sort=order, axis=NAMES),
            color=alt.Color(
                "ended", type="nominal", title="Ended", scale=alt.Scale(domain=ends, range=colours)
            ),
            tooltip=[
                tip("job", "Job"),
                tip("attempt", "Attempt", "d"),
                tip("begin", "Began at (s)", ".1f"),
                tip("seconds", "Seconds", ".1f"),
                tip("ended", "Ended"),
            ],
        )
        .properties(width="container", height=max(LEAST_HEIGHT, LANE * len(order)))
    )
    total = max(one.end for one in found)
    text = (
        f"When each of {len(found):,} attempts of the last run ran, {seconds_text(total)} in all."
    )
    return ChartFigure("chart-running", "Line of time", text, chart_spec(chart, text))
