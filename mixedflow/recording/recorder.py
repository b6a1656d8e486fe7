"""Writes the piece of the log that belongs to one attempt, and nothing when nobody asked for it.

A piece is written by one process alone, each time as a whole under another name and renamed: readers on
any machine see it as it was after some event, never half a line. It is there before the work begins, so
that an attempt that is killed leaves a trace. Where it cannot be written the work goes on. Stands
outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mixedflow
from mixedflow.recording.events import SCHEMA, Outcome, line_of
from mixedflow.recording.runs import inherited

PIECE = ".jsonl"
START = "start"
"""Libraries are loaded and the question is checked."""

LONGEST = 120
"""Characters of the target in the name of a piece."""

_ENDS: dict[int, Outcome] = {0: "done", 3: "not converged", 130: "interrupted"}
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


class Recorder:
    """The events of one attempt.

    Parameters
    ----------
    log : file of what the job says; its folder is the stage, its name the target, and the piece is
        written beside it
    clock : seconds since 1970
    timer : seconds that never go back
    """

    def __init__(
        self,
        log: Path,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock, self._timer = clock, timer
        self._began = timer()
        now, host = clock(), socket.gethostname()
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S%f")
        self.id = f"{stamp}-{_UNSAFE.sub('-', host)}-{os.getpid()}-{secrets.token_hex(2)}"
        self.log = log
        self.path = log.with_name(f"{log.stem[:LONGEST]}.{self.id}{PIECE}")
        self._lines: list[str] = []
        self._facts: dict[str, Any] = {}
        self._reason: str | None = None
        self._working = False
        self.fault: OSError | None = None
        self._add(
            "started",
            now,
            stage=log.absolute().parent.name,
            target=log.stem,
            **inherited(now),
            host=host,
            pid=os.getpid(),
            mixedflow=mixedflow.__version__,
            python=platform.python_version(),
        )

    def note(self, **facts: Any) -> None:
        """Keep facts for the end; None says nothing."""
        self._facts |= {name: value for name, value in facts.items() if value is not None}

    def note_reason(self, sentence: str) -> None:
        """Keep why the attempt failed."""
        self._reason = sentence

    def phase(self, name: str, seconds: float) -> None:
        """Write that a part of the work is over; what came before the first is the start."""
        if not self._working:
            self._working = True
            self.phase(START, max(0.0, self._timer() - self._began - seconds))
        self._add("phase", self._clock(), name=name, seconds=round(seconds, 4))

    def workers(self, found: Sequence[dict[str, Any]], lost: int | None, again: int | None) -> None:
        """Write what the workers of a pass were."""
        more = {"lost": lost, "tasks_again": again}
        given = {name: value for name, value in more.items() if value is not None}
        self._add("workers", self._clock(), workers=list(found), **given)

    def end(self, code: int) -> None:
        """Write how the attempt ended, by its exit code."""
        reason = {} if self._reason is None else {"reason": self._reason}
        usage = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        self._add(
            "ended",
            self._clock(),
            outcome=_ENDS.get(code, "failed"),
            **reason,
            seconds=round(self._timer() - self._began, 3),
            cpu_seconds=round(sum(one.ru_utime + one.ru_stime for one in usage), 3),
            peak_bytes=peak_bytes(),
            **self._facts,
        )

    def _add(self, event: str, now: float, **content: Any) -> None:
        stamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds")
        head = {"schema": SCHEMA, "event": event, "id": self.id, "time": stamp}
        self._lines.append(line_of({**head, **content}) + "\n")
        draft = self.path.with_name(f".{self.path.name}.new")
        try:
            draft.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text("".join(self._lines), encoding="utf-8")
            draft.replace(self.path)
        except OSError as fault:
            self.fault = fault
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


class _Place:
    """Holds the recorder of this process."""

    recorder: Recorder | None = None


def begin(log: Path) -> Recorder:
    """Let this process record what it does, beside a job's log."""
    _Place.recorder = Recorder(log)
    return _Place.recorder


def current() -> Recorder | None:
    """Return the recorder of this process, None where nothing is recorded."""
    return _Place.recorder


def end(code: int) -> OSError | None:
    """Write the end, stop recording, and return what kept the log from being written."""
    recorder, _Place.recorder = _Place.recorder, None
    if recorder is None:
        return None
    recorder.end(code)
    return recorder.fault


def note(**facts: Any) -> None:
    """Keep facts about the work: rows, partitions, bytes_read and others; None says nothing."""
    if _Place.recorder is not None:
        _Place.recorder.note(**facts)


def note_reason(sentence: str) -> None:
    """Keep why the work failed."""
    if _Place.recorder is not None:
        _Place.recorder.note_reason(sentence)


def note_workers(found: Sequence[dict[str, Any]], lost: int | None, again: int | None) -> None:
    """Write what the workers of a pass were: address, host and peak_bytes of each."""
    if _Place.recorder is not None:
        _Place.recorder.workers(found, lost, again)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Write the seconds of the body, also where it fails."""
    recorder = _Place.recorder
    if recorder is None:
        yield
        return
    began = time.perf_counter()
    try:
        yield
    finally:
        recorder.phase(name, time.perf_counter() - began)
