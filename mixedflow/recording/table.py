"""Attempts as lines of text.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mixedflow.recording.events import Attempt

HEAD = (
    "job", "attempt", "outcome", "queue", "seconds", "CPU", "peak", "rows", "read", "host", "reason",
)  # fmt: skip
LEFT = frozenset({"job", "outcome", "host", "reason"})
UNKNOWN = "–"


def log_text(attempts: Iterable[Attempt]) -> str:
    """Return a table of attempts; what is not known is a dash."""
    rows = [HEAD, *(_cells(attempt) for attempt in attempts)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = (
        cell.ljust(width) if name in LEFT else cell.rjust(width)
        for name, cell, width in zip(HEAD, cells, widths, strict=True)
    )
    return "  ".join(aligned).rstrip()


def _cells(one: Attempt) -> tuple[str, ...]:
    return (
        job_of(one),
        UNKNOWN if one.number is None else str(one.number),
        one.outcome,
        seconds_text(one.queue_seconds),
        seconds_text(one.seconds),
        seconds_text(one.cpu_seconds),
        size_text(peak_of(one)),
        UNKNOWN if one.rows is None else f"{one.rows:,}",
        size_text(one.bytes_read),
        one.host or UNKNOWN,
        " ".join((one.reason or "").split()),
    )


def job_of(one: Attempt) -> str:
    """Return stage and target as one."""
    return one.stage if one.target in ("", one.stage) else f"{one.stage} {one.target}"


def peak_of(one: Attempt) -> int | None:
    """Return the most memory of the process or of one of its workers."""
    known = [one.peak_bytes, *(worker.peak_bytes for worker in one.workers)]
    return max((peak for peak in known if peak is not None), default=None)


def seconds_text(seconds: float | None) -> str:
    """Return seconds as they are read: 0.42 s, 73 s, 1 h 05 min."""
    if seconds is None:
        return UNKNOWN
    if seconds < 100:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size_text(size: int | None) -> str:
    """Return bytes as they are read, in units of 1000."""
    if size is None:
        return UNKNOWN
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"
