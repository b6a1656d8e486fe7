"""Processes of this machine: who controls a run in a folder, and what a dead one has left.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from mixedflow.errors import MixedflowError

VARIABLE = "MIXEDFLOW_CONTROLLER"
"""Variable by which every process of a run is known, whoever its parent is."""

GRACE = 10.0
"""Seconds between the request to end and the end."""

ROUNDS = 5
"""Looks for processes that others start while they end."""

JOB = re.compile(r"mixedflow|set -euo pipefail")
"""What the command of a job of Snakemake holds: our own verbs, or the head of every shell command."""

GONE = (psutil.NoSuchProcess, psutil.AccessDenied, OSError)


class StubbornError(MixedflowError):
    """Something that was asked to end does not."""

    exit_code = 1


def started_at(pid: int) -> float:
    """Return when a process started, 0 if it is not there."""
    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except GONE:
        return 0.0


def controllers(folder: Path) -> list[psutil.Process]:
    """Return the Snakemakes that work in a folder, without those that they start for their jobs."""
    at_work = (p for p in _processes() if _folder(p) == folder)
    return [p for p in at_work if _is_snakemake(_words(p)) and "--mode" not in _words(p)]


def orphans(
    folder: Path, runs: Collection[str], cancelled: Collection[str]
) -> list[psutil.Process]:
    """Return what dead controllers have left on this machine.

    Parameters
    ----------
    folder : of the runs
    runs : names of runs whose controller is dead; a variable tells their processes
    cancelled : numbers of Slurm jobs whose processes are Slurm's to end
    """
    found: dict[int, psutil.Process] = {}
    for process in _processes():
        environment = _environment(process)
        if environment.get("SLURM_JOB_ID", "") in cancelled:
            continue
        if environment.get(VARIABLE) in runs:
            found[process.pid] = process
        elif _folder(process) == folder and _left_alone(process):
            found |= {p.pid: p for p in [process, *_descendants(process)]}
    return [found[pid] for pid in sorted(found)]


def end(folder: Path, runs: Collection[str], cancelled: Collection[str]) -> None:
    """End what dead controllers have left, and wait until it is gone.

    Raises
    ------
    StubbornError
        when something cannot be ended
    """
    for _ in range(ROUNDS):
        left = orphans(folder, runs, cancelled)
        if not left:
            return
        _signal(left, "terminate")
        _, alive = psutil.wait_procs(left, timeout=GRACE)
        _signal(alive, "kill")
        psutil.wait_procs(alive, timeout=GRACE)
    left = orphans(folder, runs, cancelled)
    if left:
        shown = ", ".join(str(process.pid) for process in left)
        raise StubbornError(f"these processes do not end: {shown}; end them, then resume again")


def shown(process: psutil.Process) -> str:
    """Return what a process is, in a line."""
    words = " ".join(_words(process))
    text = re.sub(r"\s+", " ", words.partition("set -euo pipefail;")[2] or words).strip()
    return f"process {process.pid}: {text if len(text) < 100 else text[:97] + '...'}"


def _signal(processes: Collection[psutil.Process], how: str) -> None:
    for process in processes:
        with suppress(*GONE):
            getattr(process, how)()


def _processes() -> Iterator[psutil.Process]:
    """Give the user's processes, without this one and those that it comes from."""
    me = psutil.Process()
    kept = {me.pid, *(parent.pid for parent in me.parents())}
    user = os.getuid()
    for process in psutil.process_iter():
        with suppress(*GONE):
            mine = process.pid not in kept and process.uids().real == user
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _folder(process: psutil.Process) -> Path | None:
    try:
        return Path(process.cwd())
    except GONE:
        return None


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except GONE:
        return []


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return dict(process.environ())
    except GONE:
        return {}


def _is_snakemake(words: list[str]) -> bool:
    """Tell ``python -m snakemake``, and the command, whose script is Python's first argument."""
    names = [Path(word).name for word in words[:5]]
    if not names or names[0] == "snakemake":
        return bool(names)
    return names[0].startswith("python") and "snakemake" in names


def _left_alone(process: psutil.Process) -> bool:
    """Tell a job whose parent is gone: whoever adopted it is of another session."""
    words = _words(process)
    if not (JOB.search(" ".join(words)) or "--mode" in words):
        return False
    try:
        session = os.getsid(process.pid)
        return session not in {process.pid, os.getsid(process.ppid())}
    except OSError:
        return bool(process.is_running())


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except GONE:
        return []


def supervised(folder: Path) -> bool:
    """Say whether a worker of this machine runs a job of Snakemake in a folder."""
    at_work = (p for p in _processes() if _folder(p) == folder)
    return any("supervisor.py" in " ".join(_words(process)[:5]) for process in at_work)


def writes(pid: int) -> bool:
    """Say whether a number is that of a process that may be writing results: a Python that runs."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "python" in process.name().lower()
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False
