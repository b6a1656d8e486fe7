"""The file system that a run works on.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mixedflow.errors import MixedflowError
from mixedflow.operating.asked import Asked
from mixedflow.operating.finding import Finding
from mixedflow.operating.record import read_records
from mixedflow.operating.resuming import LOCKS, require_dead

AREA = "files"
LEAST_MB = 200.0
"""Space for logs and the report, whatever the data."""

ROOM = 2.0
"""Rows as eight-byte numbers for which there is to be space: prepared ones, and sums."""

MOST_SKEW = 2.0
"""Seconds by which two clocks may differ; Snakemake reruns by the age of files."""

FEW_FILES = 10_000
PREFIX = ".mixedflow-doctor-"


@contextmanager
def trial_folder(directory: Path) -> Iterator[Path]:
    """Give a folder in the working directory, and remove it."""
    with tempfile.TemporaryDirectory(
        prefix=PREFIX, dir=directory, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder).absolute()


def check_files(directory: Path, asked: Asked) -> Iterator[Finding]:
    """Give the findings about the working directory."""
    try:
        with trial_folder(directory) as folder:
            yield Finding(AREA, "folder", "ok", f"'{directory}' can be written{_kind(directory)}")
            yield _check_rename(folder)
            yield _check_clock(folder)
    except OSError as fault:
        said = f"'{directory}' cannot be written: {_reason(fault)}"
        yield Finding(AREA, "folder", "error", said, "work in a folder of your own (--directory)")
    yield from _check_space(directory, asked)


def check_last_run(directory: Path) -> Iterator[Finding]:
    """Say whether a run is at work in the folder, or was interrupted."""
    folder = directory.resolve()
    try:
        require_dead(folder, read_records(folder), ended=True)
    except MixedflowError as at_work:
        yield Finding(AREA, "last run", "note", str(at_work))
        return
    if any((folder / LOCKS).glob("*.lock")):
        said = f"'{directory}' is locked by a run that was interrupted"
        yield Finding(AREA, "last run", "warning", said, "mixedflow resume")


def _reason(fault: OSError) -> str:
    return (fault.strerror or str(fault)).lower()


def _kind(directory: Path) -> str:
    """Return the kind of file system, where the system tells."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    except OSError:
        return ""
    place = directory.resolve()
    over = [mount for mount in mounts if len(mount) > 2 and place.is_relative_to(mount[1])]
    return f" ({max(over, key=lambda mount: len(mount[1]))[2]})" if over else ""


def _check_rename(folder: Path) -> Finding:
    old, new = folder / "old", folder / "new"
    old.write_text("old", encoding="utf-8")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write("new")
            file.flush()
            os.fsync(file.fileno())
        new.replace(old)
    except OSError as fault:
        said = f"a file cannot be replaced by renaming another: {_reason(fault)}"
        return Finding(AREA, "rename", "error", said, "work on another file system")
    if old.read_text(encoding="utf-8") != "new" or new.exists():
        said = "a file that was replaced by renaming another still has its old content"
        return Finding(AREA, "rename", "error", said, "work on another file system")
    return Finding(AREA, "rename", "ok", "files are replaced by renaming, never half-written")


def _check_clock(folder: Path) -> Finding:
    before = time.time()
    witness = folder / "clock"
    witness.touch()
    return judge_clock("the file system", witness.stat().st_mtime, before, time.time(), AREA)


def judge_clock(whose: str, told: float, before: float, after: float, area: str) -> Finding:
    """Compare a time that was told between two looks at the clock here."""
    apart = min(told - before, 0.0) or max(told - after, 0.0)
    if abs(apart) > MOST_SKEW:
        how = "ahead of" if apart > 0 else "behind"
        said = f"the clock of {whose} is {abs(apart):.1f} s {how} this machine's"
        return Finding(
            area, "clock", "warning", said, "set the clocks (NTP): Snakemake reruns by age"
        )
    return Finding(area, "clock", "ok", f"the clock of {whose} agrees with this machine's")


def _check_space(directory: Path, asked: Asked) -> Iterator[Finding]:
    try:
        free = shutil.disk_usage(directory).free / 1e6
        told = os.statvfs(directory)
    except OSError as fault:
        yield Finding(AREA, "space", "error", f"'{directory}' cannot be read: {_reason(fault)}")
        return
    wanted = LEAST_MB + ROOM * asked.rows_mb
    said = f"{free:.0f} MB are free, and a run may need {wanted:.0f} MB"
    how = "free some, or work on another file system (output, --directory)"
    if free < LEAST_MB:
        yield Finding(AREA, "space", "error", said, how)
    elif free < wanted:
        yield Finding(AREA, "space", "warning", said, how)
    else:
        yield Finding(AREA, "space", "ok", said)
    if told.f_files and told.f_favail < FEW_FILES:
        said = f"no more than {told.f_favail} files can be made"
        yield Finding(
            AREA, "inodes", "warning", said, "delete files: Snakemake makes many small ones"
        )
