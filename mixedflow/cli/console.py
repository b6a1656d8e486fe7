"""What a person sees while a step works: a progress bar on a terminal, plain lines in a log.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int, int], None]
_SECONDS_BETWEEN_LINES = 5.0


def write(text: str) -> None:
    """Print to standard output."""
    print(text)  # noqa: T201


def note(text: str) -> None:
    """Print a line about the work itself, to standard error."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


class _Notes(logging.Handler):
    """Prints what the package logs."""

    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


def show_log() -> None:
    """Let the package's log be seen, from what it does on."""
    log = logging.getLogger("mixedflow")
    if not any(isinstance(handler, _Notes) for handler in log.handlers):
        log.addHandler(_Notes())
        log.setLevel(logging.INFO)


@contextmanager
def progress(label: str) -> Iterator[Advance]:
    """Give a function of (done, total) that shows how far a long step is."""
    if sys.stderr.isatty():
        with _bar(label) as advance:
            yield advance
        return
    start = time.perf_counter()
    note(f"{label} ...")
    yield _line_printer(label)
    note(f"{label}: done in {time.perf_counter() - start:.1f} s")


@contextmanager
def _bar(label: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


def _line_printer(label: str) -> Advance:
    """Return an advance function that prints a line every few seconds."""
    last = time.perf_counter()

    def advance(done: int, total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            note(f"{label}: {done} of {total}")

    return advance
