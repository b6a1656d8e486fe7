"""What several steps open: a source, the workers; and what they would do.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mixedflow.config import DaskConfig, DataConfig
from mixedflow.config.dask import parse_memory
from mixedflow.data import Source, open_source
from mixedflow.errors import ConfigError
from mixedflow.parallel import (
    PATIENCE,
    JobQueue,
    Runner,
    Tls,
    open_runner,
    require_performance_report,
    require_shared_folder,
    watched,
)
from mixedflow.recording import current, note

OnDone = Callable[[int, int], None]


def source_of(data: DataConfig) -> Source:
    """Open a data set with its declared types and levels."""
    return open_source(
        data.path,
        types=dict(data.types),
        levels={column: list(levels) for column, levels in data.levels.items()},
        partition_rows=data.partition_rows,
    )


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a run would do for one sweep or scan: its name, and lines to print."""

    name: str
    rows: list[tuple[str, str]]


@contextmanager
def runner_of(dask: DaskConfig, *, ask: bool = True) -> Iterator[Runner]:
    """Open the workers that a configuration asks for.

    Unless they are to be taken as they are, those on other machines have this version of mixedflow and
    see the working directory.
    """
    address, tls = dask.address, None if dask.tls is None else Tls(**dask.tls.model_dump())
    if dask.scheduler_file is not None:
        address, own = _scheduler(Path(dask.scheduler_file))
        tls = tls or own
    if dask.performance_report and dask.kind != "address":
        require_performance_report()
    memory = None if dask.memory is None else parse_memory(dask.memory)
    with open_runner(
        dask.kind,
        workers=dask.workers or 1,
        threads_per_worker=dask.threads,
        memory_limit=memory,
        address=address,
        tls=tls,
        interface=dask.interface,
        jobs=None if dask.jobqueue is None else JobQueue(**dask.jobqueue.model_dump()),
        patience=(dask.patience or PATIENCE) if ask else None,
    ) as runner:
        if ask:
            require_shared_folder(runner, Path.cwd())
        note(threads=_threads(dask))
        if dask.performance_report and dask.kind == "address":
            require_performance_report(runner)
        with watched(runner, _performance_page() if dask.performance_report else None):
            yield runner


def _threads(dask: DaskConfig) -> int | None:
    """Return the threads of a pass, None where others have started the workers."""
    if dask.kind == "address":
        return None
    return 1 if dask.kind == "synchronous" else dask.threads * (dask.workers or 1)


def _performance_page() -> Path:
    """Return the file of Dask's report: beside the log of the job, or in this folder."""
    recorder = current()
    if recorder is None:
        return Path("mixedflow-dask.html")
    return recorder.log.with_name(f"{recorder.log.stem}.dask.html")


def _scheduler(file: Path) -> tuple[str, Tls | None]:
    """Return the address in the file that ``dask scheduler --scheduler-file`` writes.

    The file that the executor ``mixedflow-dask`` writes names the certificates too.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        own = content.get("tls")
        return str(content["address"]), None if own is None else Tls(**own)
    except OSError as fault:
        raise ConfigError(f"the scheduler file '{file}' cannot be read: {fault.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"'{file}' is not a Dask scheduler file: it names no address") from None
