"""Runs one command in a process group of its own, and ends the group when its worker is gone.

A program of the standard library alone: ``python -S -E supervisor.py COMMAND``. Standard input is the
lifeline: the worker holds its other end, so that it closes when the worker lets go or dies, however it
dies. Standard output is the way back: the process group's number, and its end when all is over. What
the command says goes to standard error. Stands outside the equations of ``docs/algorithm.md``.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE = 5.0
"""Seconds between the request to end and the end."""

LOOK = 0.05
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, where the system offers it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap(leader: int, code: int | None) -> int | None:
    """Collect ended children; return the leader's exit code once it is known."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == leader:
            code = os.waitstatus_to_exitcode(status)


def children() -> list[int]:
    """Return the processes that are children now: after the leader's end, what it left behind."""
    me = os.getpid()
    try:
        return [int(pid) for pid in Path(f"/proc/{me}/task/{me}/children").read_text().split()]
    except OSError:
        return []


def alive(leader: int) -> bool:
    """Say whether anything of the group or of what left it still runs."""
    try:
        os.killpg(leader, 0)
    except (ProcessLookupError, PermissionError):
        return bool(children())
    return True


def end(leader: int, code: int | None) -> int | None:
    """End the group and every descendant: politely, then for good."""
    for name, grace in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        deadline = time.monotonic() + grace
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, name)
        while True:
            for pid in children():
                if pid != leader:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, name)
            code = reap(leader, code)
            if not alive(leader):
                return code
            if time.monotonic() > deadline:
                break
            time.sleep(LOOK)
    return code


def watch(leader: int, bell: int) -> int:
    """Wait until the command ends or the lifeline closes; return the exit code."""
    while (code := reap(leader, None)) is None:
        ready, _, _ = select.select([0, bell], [], [])
        if bell in ready:
            os.read(bell, 512)
        if 0 in ready and not os.read(0, 512):
            code = reap(leader, None)
            break
    found = end(leader, code)
    return 128 + signal.SIGTERM if found is None else found


def main() -> None:
    """Run the command; exit as it did, with 128 + n for signal n as a shell does."""
    adopt_orphans()
    bell, ring = os.pipe()
    os.set_blocking(ring, False)
    signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for name in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(name, lambda *_: None)  # the worker decides, by the lifeline
    job = subprocess.Popen(  # noqa: S603 - Snakemake's own command line
        ["/bin/sh", "-c", sys.argv[1]], start_new_session=True, stdin=subprocess.DEVNULL, stdout=2
    )
    os.write(1, f"{job.pid}\n".encode())
    code = watch(job.pid, bell)
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
