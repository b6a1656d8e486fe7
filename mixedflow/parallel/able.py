"""Whether Dask workers can do the work: that there are any, their version, and what they see.

Stands outside the equations of ``docs/algorithm.md``. Asked before long work, so that what is wrong is
one sentence and not an error in the middle.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import mixedflow
from mixedflow.errors import OutputError
from mixedflow.parallel.runner import ELSEWHERE, Runner, WorkerError

SEEN_SECONDS = 15.0
"""Time for a new file to show up on other machines."""


def await_worker(client: Any, address: str, seconds: float) -> None:
    """Wait until a scheduler has a worker.

    A task waits meanwhile, so that a deployment that follows the work has a reason to start one.

    Raises
    ------
    WorkerError
        when none came in time
    """
    if client.scheduler_info(n_workers=-1)["workers"]:
        return
    reason = client.submit(os.getpid, pure=False, key=f"mixedflow-first-{uuid.uuid4().hex[:12]}")
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError:
        raise WorkerError(
            f"the Dask scheduler at '{address}' has no worker after {seconds:g} s; start some with "
            f"'dask worker {address}', or wait longer with dask.patience"
        ) from None
    finally:
        reason.cancel()


def require_same_version(client: Any) -> None:
    """Refuse workers that have another version of mixedflow than this process, or none.

    Raises
    ------
    WorkerError
        which names the first such worker
    """
    _refuse(complaints(client, None, 0.0))


def require_shared_folder(runner: Runner, folder: Path) -> None:
    """Refuse workers on other machines that do not see a folder of this one.

    Raises
    ------
    WorkerError
        which names the first such worker
    OutputError
        when no file can be put into the folder
    """
    if runner.kind not in ELSEWHERE:
        return
    witness = folder.absolute() / f".mixedflow-seen-{uuid.uuid4().hex[:12]}"
    try:
        witness.touch()
    except OSError as error:
        raise OutputError(f"'{witness.parent}' cannot be written: {error.strerror}") from error
    try:
        found = complaints(runner.client, witness, SEEN_SECONDS)
    finally:
        witness.unlink(missing_ok=True)
    _refuse(found)


def complaints(
    client: Any, witness: Path | None, seconds: float, workers: Iterable[str] | None = None
) -> dict[str, str]:
    """Return why workers cannot do the work, by their address.

    Parameters
    ----------
    client : of Dask
    witness : file that was written here and that they must see within some seconds
    seconds : to look for it
    workers : that are asked; all when None
    """
    look: Callable[..., Any] = version_if_seen
    chosen = None if workers is None else sorted(workers)
    path = None if witness is None else str(witness)
    answers = client.run(look, path, seconds, workers=chosen, on_error="return")
    found = {}
    for worker, answer in answers.items():
        if isinstance(answer, BaseException):
            found[worker] = f"it has no mixedflow that answers ({answer!r})"
        elif not answer:
            found[worker] = f"it does not see '{path}', and jobs need a shared file system"
        elif answer != mixedflow.__version__:
            found[worker] = f"it has mixedflow {answer}, and {mixedflow.__version__} is here"
    return found


def _refuse(found: dict[str, str]) -> None:
    if found:
        worker, why = min(found.items())
        raise WorkerError(f"the Dask worker {worker} cannot run jobs: {why}{and_more(found)}")


def and_more(found: dict[str, str]) -> str:
    """Return what is added where more workers than the first are meant."""
    return f" (and so for {len(found) - 1} more)" if len(found) > 1 else ""


async def version_if_seen(path: str | None, seconds: float) -> str:
    """Return the version of mixedflow if a file shows up within some seconds; runs on workers."""
    deadline = time.monotonic() + seconds
    while path is not None and not Path(path).exists():
        if time.monotonic() > deadline:
            return ""
        await asyncio.sleep(0.1)
    return mixedflow.__version__
