"""Partitions everywhere, added up in a fixed tree; the only room that imports dask.

Names are loaded on first use, so that a command can set thread limits before numpy is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixedflow.parallel.able import require_shared_folder
    from mixedflow.parallel.condensing import condense, learn_schema, summarize
    from mixedflow.parallel.mapping import map_each, map_reduce
    from mixedflow.parallel.preparing import fitting_workers, prepare
    from mixedflow.parallel.runner import (
        PATIENCE,
        SYNCHRONOUS,
        JobQueue,
        Runner,
        WorkerError,
        open_runner,
        own_runner,
    )
    from mixedflow.parallel.threads import (
        limited_threads,
        set_thread_environment,
        thread_environment,
    )
    from mixedflow.parallel.tls import Tls
    from mixedflow.parallel.tree import aligned, tree_plan
    from mixedflow.parallel.watching import require_performance_report, watched

_HOME = {
    "condense": "condensing",
    "learn_schema": "condensing",
    "summarize": "condensing",
    "fitting_workers": "preparing",
    "prepare": "preparing",
    "map_each": "mapping",
    "map_reduce": "mapping",
    "require_shared_folder": "able",
    "PATIENCE": "runner",
    "JobQueue": "runner",
    "Runner": "runner",
    "SYNCHRONOUS": "runner",
    "WorkerError": "runner",
    "open_runner": "runner",
    "own_runner": "runner",
    "limited_threads": "threads",
    "set_thread_environment": "threads",
    "thread_environment": "threads",
    "Tls": "tls",
    "aligned": "tree",
    "tree_plan": "tree",
    "require_performance_report": "watching",
    "watched": "watching",
}

__all__ = [
    "JobQueue",
    "PATIENCE",
    "Runner",
    "SYNCHRONOUS",
    "Tls",
    "WorkerError",
    "aligned",
    "condense",
    "fitting_workers",
    "learn_schema",
    "limited_threads",
    "map_each",
    "map_reduce",
    "open_runner",
    "own_runner",
    "prepare",
    "require_performance_report",
    "require_shared_folder",
    "set_thread_environment",
    "summarize",
    "thread_environment",
    "tree_plan",
    "watched",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"mixedflow.parallel.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mixedflow.parallel' has no attribute {name!r}")
