"""``mixedflow doctor``: would a run here work, before anything is submitted.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixedflow.cli import console
from mixedflow.cli import options as opt
from mixedflow.cli.run import DEFAULT_CONFIG
from mixedflow.errors import ConfigError

if TYPE_CHECKING:
    from mixedflow.config import DaskConfig
    from mixedflow.config.plan import WorkflowPlan
    from mixedflow.operating.finding import Finding

COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "bold red"}
SCHEDULER_KEYS = {
    "scheduler_file": "mixedflow-dask-scheduler-file",
    "address": "mixedflow-dask-address",
}
"""Where the profile of the executor names its scheduler."""


def doctor(  # noqa: PLR0913, PLR0917 - one option a parameter
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help=f"The configuration file; {DEFAULT_CONFIG} if it is there."
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            "--profile", help="Profile of the run: a folder, or the name of a shipped one."
        ),
    ] = None,
    directory: Annotated[
        Path, typer.Option("--directory", "-d", help="Folder to work in.")
    ] = Path(),
    dask: Annotated[
        str | None, typer.Option("--dask", help="Look for this kind, not the configuration's.")
    ] = None,
    address: opt.AddressOption = None,
    scheduler_file: opt.SchedulerOption = None,
    tls: opt.TlsOption = None,
    slurm: Annotated[
        bool, typer.Option("--slurm", help="Submit a tiny job and ask the node that runs it.")
    ] = False,
    partition: Annotated[
        str | None,
        typer.Option("--partition", help="Partition of Slurm; the profile's, or the default."),
    ] = None,
    patience: Annotated[
        float, typer.Option("--patience", min=1, help="Seconds that the tiny job may wait.")
    ] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say whether a run here would work: Slurm, files, threads, memory, versions, workers.

    Each finding is ok, note, warning or error. Exits with 1 if one is an error.
    """
    from mixedflow.operating.asked import make_asked, read_profile
    from mixedflow.operating.doctor import Elsewhere, examine
    from mixedflow.operating.finding import report, worst

    if not directory.is_dir():
        raise ConfigError(f"there is no folder '{directory}' to work in")
    name, content = ("", {}) if profile is None else read_profile(profile)
    given = {"kind": dask, "address": address, "scheduler_file": scheduler_file, "tls": tls}
    chosen = _dask(given)
    plan = _plan(config, content, chosen)
    with contextlib.chdir(directory):
        asked = make_asked(plan, name, content, partition)
        elsewhere = Elsewhere(_scheduler(plan, chosen, content), slurm, patience)
        made = examine(asked, Path.cwd(), elsewhere)
        found = list(made) if as_json else _shown(made)
    if as_json:
        console.write(json.dumps(report(found), indent=1, ensure_ascii=False))
    if worst(found) == "error":
        raise typer.Exit(1)


def _dask(given: Mapping[str, Any]) -> DaskConfig | None:
    """Return what the command line says of workers, None if nothing."""
    if all(value is None for value in given.values()):
        return None
    kind = given["kind"] or "address"
    return opt.dask_config(**{**given, "kind": kind})


def _plan(
    config: Path | None, profile: Mapping[str, Any], dask: DaskConfig | None
) -> WorkflowPlan | None:
    """Return the plan of the configuration as the profile and the command line change it."""
    from mixedflow.config import check_config, read_yaml
    from mixedflow.config.plan import make_plan
    from mixedflow.operating.asked import merged

    if config is None and not DEFAULT_CONFIG.is_file():
        return None
    path = config or DEFAULT_CONFIG
    settings = check_config(merged(read_yaml(path), profile), str(path))
    if dask is not None:
        settings = settings.model_copy(update={"dask": dask})
    return make_plan(settings, str(path))


def _scheduler(
    plan: WorkflowPlan | None, given: DaskConfig | None, profile: Mapping[str, Any]
) -> DaskConfig | None:
    """Return how to reach the scheduler that command line, profile or configuration name."""
    named = {key: str(profile[o]) for key, o in SCHEDULER_KEYS.items() if profile.get(o)}
    if given is None and named:
        return opt.dask_config(kind="address", **named)
    found = given if plan is None else plan.config.dask
    return found if found is not None and found.kind == "address" else None


def _shown(findings: Iterable[Finding]) -> list[Finding]:
    """Print the findings: a table on a terminal, else a line each."""
    from rich.console import Console

    terminal = Console()
    if terminal.is_terminal:
        with terminal.status("looking around"):
            found = list(findings)
        terminal.print(_table(found))
        return found
    found = []
    for one in findings:
        how = f" -- {one.advice}" if one.advice else ""
        console.write(f"{one.verdict}: {one.area}: {one.check}: {one.said}{how}")
        found.append(one)
    return found


def _table(findings: Iterable[Finding]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Would a run here work?", title_justify="left")
    for column in ("what", "verdict", "found"):
        table.add_column(column, overflow="fold")
    for one in findings:
        verdict = f"[{COLOURS[one.verdict]}]{one.verdict}[/]"
        how = f"\n[italic]{escape(one.advice)}[/]" if one.advice else ""
        table.add_row(f"{one.area}: {one.check}", verdict, escape(one.said) + how)
    return table
