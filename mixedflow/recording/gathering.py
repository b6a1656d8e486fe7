"""The pieces of all attempts become one log, in the order in which they began.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from mixedflow.errors import StoredFileError
from mixedflow.recording.events import Attempt, Line, attempt_of, lines_in
from mixedflow.recording.recorder import PIECE

LOGS = "logs"
LOG = "log.jsonl"


@dataclass(frozen=True, slots=True)
class RunLog:
    """What the log of some results holds.

    Attributes
    ----------
    attempts : by their beginning
    lines : all lines, those of an attempt together and in its order
    unread : lines that could not be read
    """

    attempts: tuple[Attempt, ...] = ()
    lines: tuple[Line, ...] = ()
    unread: int = 0

    @property
    def last_run(self) -> tuple[Attempt, ...]:
        """Attempts of the last run; all where runs have no names."""
        names = [attempt.run for attempt in self.attempts if attempt.run is not None]
        last = max(names, default=None)
        return tuple(attempt for attempt in self.attempts if attempt.run == last)

    def without(self, attempt: str) -> RunLog:
        """Return the log without an attempt, by its id."""
        kept = tuple(one for one in self.attempts if one.id != attempt)
        return replace(self, attempts=kept)

    def by_job(self) -> dict[tuple[str, str], tuple[Attempt, ...]]:
        """Return for each stage and target the attempts of the last run in which it ran."""
        found: dict[tuple[str, str], list[Attempt]] = {}
        for attempt in self.attempts:
            job = found.setdefault((attempt.stage, attempt.target), [])
            if job and (job[0].run or "") < (attempt.run or ""):
                job.clear()
            if not job or job[0].run == attempt.run:
                job.append(attempt)
        ordered = {job: sorted(tries, key=_turn) for job, tries in found.items()}
        return {job: tuple(tries) for job, tries in ordered.items()}


def _turn(attempt: Attempt) -> tuple[int, float]:
    return attempt.number or 0, attempt.began


def gather(results: Path) -> RunLog:
    """Return the log of a folder of results from its pieces; what cannot be read is counted.

    Raises
    ------
    StoredFileError
        when the folder is not there
    """
    if not results.is_dir():
        raise StoredFileError(f"there is no folder '{results}' of results")
    lines: list[Line] = []
    unread = 0
    for piece in sorted((results / LOGS).glob(f"*/*{PIECE}")):
        try:
            content = piece.read_bytes()
        except OSError:
            unread += 1
            continue
        found, torn = lines_in(content)
        lines += found
        unread += torn
    return log_of(lines, unread)


def read_log(path: Path) -> RunLog:
    """Return what a gathered log holds.

    Raises
    ------
    StoredFileError
        when the file cannot be read
    """
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise StoredFileError(f"'{path}' cannot be read: {fault.strerror}") from None
    return log_of(*lines_in(content))


def log_of(lines: Iterable[Line], unread: int = 0) -> RunLog:
    """Return the log of lines in any order of attempts."""
    pieces: dict[str, list[Line]] = {}
    for line in lines:
        pieces.setdefault(str(line.event["id"]), []).append(line)
    known = []
    for piece in pieces.values():
        attempt = attempt_of(line.event for line in piece)
        if attempt is None:
            unread += len(piece)
        else:
            known.append((attempt, piece))
    known.sort(key=lambda one: (one[0].began, one[0].id))
    ordered = tuple(line for _, piece in known for line in piece)
    return RunLog(_numbered(attempt for attempt, _ in known), ordered, unread)


def _numbered(attempts: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """Count attempts in their run where the number was not known; a job without a run has none."""
    before: Counter[tuple[str, str, str]] = Counter()
    found = []
    for attempt in attempts:
        number = attempt.number
        if attempt.run is not None:
            job = (attempt.run, attempt.stage, attempt.target)
            number = before[job] + 1 if number is None else number
            before[job] = max(before[job], number)
        found.append(replace(attempt, number=number))
    return tuple(found)


def keep_log(results: Path) -> RunLog:
    """Write the one log of a folder of results, and return it.

    Raises
    ------
    StoredFileError, OutputError
        when the folder is not there, or cannot be written
    """
    from mixedflow.data.atomic import atomic_write_text

    log = gather(results)
    atomic_write_text(results / LOG, "".join(f"{line.text}\n" for line in log.lines))
    return log
