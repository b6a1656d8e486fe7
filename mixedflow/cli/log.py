"""``mixedflow log``: how a run went, gathered from its jobs.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixedflow.cli import console


def log(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="Folder of the results.")
    ] = Path("results"),
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Show all runs, and not the last alone.")
    ] = False,
) -> None:
    """Gather what the jobs of all runs recorded into RESULTS/log.jsonl, and print a table of it."""
    from mixedflow import recording

    found = recording.keep_log(results)
    shown = found.attempts if every else found.last_run
    if shown:
        console.write(recording.log_text(shown))
    if found.unread:
        console.note(f"warning: {found.unread:,} lines of the log could not be read")
    console.note(f"{len(found.attempts):,} attempts: {results / recording.LOG}")
