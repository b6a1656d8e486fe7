"""What Dask workers were like in a pass, for the record, and Dask's own report about it.

Stands outside the equations of ``docs/algorithm.md``: nothing here changes a number, and where the
scheduler does not answer in time nothing is known.
"""

from __future__ import annotations

import importlib.util
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixedflow.data.atomic import atomic_write_text
from mixedflow.errors import OutputError, UnsupportedError
from mixedflow.parallel.runner import Runner
from mixedflow.recording import current, note_workers
from mixedflow.recording.recorder import peak_bytes

LOG = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0
"""How long scheduler and workers are waited for."""
REPORT_SECONDS = 120.0
"""How long Dask may take for its report."""

PACKAGE = "bokeh"


@contextmanager
def watched(runner: Runner, report: Path | None = None) -> Iterator[None]:
    """Record the workers of the body, and write Dask's performance report about it.

    Parameters
    ----------
    runner : that is open; without a client nothing is done
    report : file of Dask's performance report, if it is wanted
    """
    client = runner.client
    if client is None or (current() is None and report is None):
        yield
        return
    begun = _asked(client, _begin, ANSWER_SECONDS, report=report is not None)
    try:
        yield
    except Exception:
        _tell(client, begun, report)
        raise
    _tell(client, begun, report)


def require_performance_report(runner: Runner | None = None) -> None:
    """Raise unless Dask's scheduler, here or that of an open runner, can write its report.

    Raises
    ------
    UnsupportedError
        without the package ``bokeh``
    """
    if runner is None:
        missing, where = importlib.util.find_spec(PACKAGE) is None, "here"
    else:
        found = _asked(runner.client, _has_package, ANSWER_SECONDS)
        missing, where = found is False, f"where the scheduler at '{runner.address}' runs"
    if missing:
        raise UnsupportedError(
            f"Dask's performance report needs the package '{PACKAGE}' {where}: pip install "
            "'mixedflow[dashboard]', or leave performance_report out"
        )


def _tell(client: Any, begun: Any, report: Path | None) -> None:
    if client.status != "running":
        return
    if current() is not None:
        lost = again = None
        if begun is not None:
            lost, again = _asked(client, _losses, ANSWER_SECONDS, since=begun[0]) or (None, None)
        note_workers(_workers(client), lost, again)
    if report is not None:
        _write_report(client, begun or (0.0, 0), report)


def _write_report(client: Any, begun: tuple[float, int], report: Path) -> None:
    """Write Dask's report; the work is done, so that no fault of it may undo that."""
    try:
        page = client.sync(
            client.scheduler.performance_report,
            start=begun[0],
            last_count=begun[1],
            code="",
            mode="inline",
            callback_timeout=REPORT_SECONDS,
        )
        atomic_write_text(report, page)
    except OutputError as fault:
        LOG.warning("Dask's performance report was not written: %s", fault)
    except Exception as fault:
        LOG.warning("Dask's performance report was not made: %s: %s", type(fault).__name__, fault)


def _workers(client: Any) -> list[dict[str, Any]]:
    try:
        found = client.run(_state, on_error="ignore", callback_timeout=ANSWER_SECONDS)
    except Exception as fault:
        LOG.debug("workers did not answer: %s", fault)
        return []
    return [{"address": address, **state} for address, state in sorted(found.items())]


def _asked(client: Any, question: Any, seconds: float, **about: Any) -> Any:
    """Return what a function says in the scheduler, None where it does not answer."""
    try:
        return client.run_on_scheduler(question, callback_timeout=seconds, **about)
    except Exception as fault:
        LOG.debug("the scheduler did not answer: %s", fault)
        return None


def _state() -> dict[str, Any]:
    """Return what a worker says of itself."""
    return {"host": socket.gethostname(), "peak_bytes": peak_bytes()}


def _begin(dask_scheduler: Any, *, report: bool) -> tuple[float, int]:
    """Return the scheduler's time, and where its monitor is; have it keep what tasks did."""
    if report:
        dask_scheduler.get_task_stream(start=0, stop=0)
    return time.time(), int(dask_scheduler.monitor.count)


def _losses(dask_scheduler: Any, *, since: float) -> tuple[int, int]:
    """Return how many workers ended that were not to, and the tasks that ran again for it."""
    lost = again = 0
    for when, event in list(dask_scheduler.get_events("all")):
        if not isinstance(event, dict) or when < since:
            continue
        if event.get("action") == "remove-worker" and not event.get("expected", True):
            lost += 1
            again += len(event.get("processing-tasks", ())) + len(
                event.get("lost-computed-tasks", ())
            )
    return lost, again


def _has_package() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None
