"""``mixedflow resume``: clear away what an interrupted run left, then run what is not done.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixedflow.cli import console
from mixedflow.cli.run import (
    DEFAULT_CONFIG,
    WorkflowError,
    find_snakefile,
    perform,
    place_options,
    snakemake_command,
)
from mixedflow.errors import ConfigError, MixedflowError

if TYPE_CHECKING:
    from mixedflow.operating.record import Record
    from mixedflow.operating.resuming import Remains

RERUN = "--rerun-incomplete"
ROUNDS = 3
"""Looks for what began to run while the rest was cancelled."""


class NotConfirmedError(MixedflowError):
    """Something would be cancelled, and nobody said that it may be."""


@dataclass(frozen=True, slots=True)
class Call:
    """A run to begin: command, configuration, the place where it was called."""

    command: tuple[str, ...]
    config: Path
    cwd: Path


def resume(  # noqa: PLR0913, PLR0917 - one argument an option
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="The configuration file; that of the interrupted run."),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", help="Where its jobs ran: a folder, or a shipped profile."),
    ] = None,
    directory: Annotated[
        Path, typer.Option("--directory", "-d", help="Folder of the interrupted run.")
    ] = Path(),
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Cancel what is left without asking.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Show what would be done, and do nothing.")
    ] = False,
    ended: Annotated[
        bool, typer.Option("--ended", help="A run that was started on another machine has ended.")
    ] = False,
    patience: Annotated[
        float, typer.Option("--patience", min=1, help="Seconds to wait until what is left is gone.")
    ] = 120,
) -> None:
    """Go on with a run that was interrupted: cancel what it left, unlock, run what is not done.

    The run is called as it was. One that was started by snakemake itself is described by
    --config, --profile and arguments after '--', which go to Snakemake.
    """
    from mixedflow.config import load_config
    from mixedflow.operating.resuming import look

    if not directory.is_dir():
        raise ConfigError(f"there is no folder '{directory}'")
    folder = directory.resolve()
    remains = look(folder, ended=ended)
    call = _call_of(remains.records, config, profile, context.args, directory)
    if call is None:
        console.note(f"nothing to resume in '{folder}': every run that was noted there ended well")
        return
    settings = load_config(call.config)
    _show(remains, call)
    if dry_run:
        return
    if remains.orphans() and not yes:
        _confirm()
    _clear(remains, patience, folder / settings.output)
    with contextlib.chdir(call.cwd):
        if remains.locked:
            _unlock(call.command)
        rerun = () if RERUN in call.command else (RERUN,)
        perform([*call.command, *rerun], settings, call.config, folder)


def _call_of(
    records: tuple[Record, ...],
    config: Path | None,
    profile: Path | None,
    arguments: list[str],
    directory: Path,
) -> Call | None:
    """Return how to call the run: as the options say, else as the last interrupted one was."""
    if config is not None or profile is not None or arguments:
        chosen = config or DEFAULT_CONFIG
        command = snakemake_command(find_snakefile(directory), chosen, directory, dry_run=False)
        command += place_options(profile, None)
        return Call((*command, *arguments), chosen, Path.cwd())
    if records:
        last = records[-1]
        command_of_now = (sys.executable, *last.command[1:])
        return Call(command_of_now, Path(last.config), Path(last.cwd))
    from mixedflow.operating.resuming import LOCKS

    if any((directory / LOCKS).glob("*.lock")):
        raise ConfigError(
            f"Snakemake itself was started in '{directory}', and its options are not known; give them: "
            "mixedflow resume --config FILE --profile PROFILE -- OPTIONS OF SNAKEMAKE"
        )
    return None


def _show(remains: Remains, call: Call) -> None:
    """Say what was found and what comes."""
    for line in remains.orphans():
        console.note(f"still at work: {line}")
    if remains.locked:
        console.note("the folder is locked")
    console.note(f"to run: {shlex.join(call.command[1:])} {RERUN}")


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise NotConfirmedError(
            "what is listed would be cancelled, and nobody is here to ask; add --yes"
        )
    typer.confirm("Cancel what is still at work?", abort=True, err=True)


def _clear(remains: Remains, patience: float, results: Path) -> None:
    """Clear until nothing is at work: a dying controller may submit what it had begun to."""
    from mixedflow.operating.resuming import clear, look, tidy

    for _ in range(ROUNDS):
        if not remains.orphans():
            break
        clear(remains, patience, console.note)
        remains = look(remains.folder, ended=True)
    tidy(remains.folder, results, console.note)


def _unlock(command: tuple[str, ...]) -> None:
    done = subprocess.run(  # noqa: S603 - our own command line
        [*command, "--unlock"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        last = lines[-1] if lines else f"exit code {done.returncode}"
        raise WorkflowError(f"the folder cannot be unlocked: {last}")
