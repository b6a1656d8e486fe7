"""``mixedflow init``, ``check`` and ``show``: before a run, and after it.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixedflow.cli import console
from mixedflow.cli import options as opt
from mixedflow.cli.run import DEFAULT_CONFIG
from mixedflow.errors import OutputError


def init(
    data: Annotated[str, typer.Argument(help="File, folder or glob.")],
    formula: Annotated[str, typer.Argument(help="Formula in lme4's grammar.")],
    config: opt.ConfigOption = DEFAULT_CONFIG,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented configuration for a data file and a formula."""
    if config.exists() and not force:
        raise OutputError(f"{config} exists already; --force overwrites it")
    from mixedflow.data import atomic_write_text, check_place
    from mixedflow.steps import init_step

    check_place(config)
    atomic_write_text(config, init_step(data, formula))
    console.write(f"wrote {config}; next: mixedflow check, then mixedflow run")


def check(
    config: opt.ConfigOption = DEFAULT_CONFIG,
    directory: Annotated[
        Path, typer.Option("--directory", "-d", help="Folder that relative paths start at.")
    ] = Path(),
) -> None:
    """Check configuration and data, and show what a run would do."""
    from mixedflow.config import load_config
    from mixedflow.steps import check_step
    from mixedflow.steps.scan import check_scans_step
    from mixedflow.steps.sweep_check import check_sweeps_step

    settings = load_config(config)
    with console.progress("check") as advance:
        plans = check_step(settings, directory, where=str(config), on_done=advance)
        sweeps = check_sweeps_step(settings, directory, where=str(config))
        scans = check_scans_step(settings, directory, where=str(config))
    for plan in plans:
        _print_plan(plan.rows(), f"model {plan.name}")
    for sweep in sweeps:
        _print_plan(sweep.rows, f"sweep {sweep.name}")
    for scan in scans:
        _print_plan(scan.rows, f"scan {scan.name}")
    console.write(f"{config} is valid, and its data carry its models")


def show(
    fitted: Annotated[Path, typer.Argument(metavar="FIT", help="Folder of a fit.")],
) -> None:
    """Print a stored fit."""
    from mixedflow import load

    console.write(str(load(fitted).summary()))


def _print_plan(rows: list[tuple[str, str]], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in rows:
        table.add_row(name, value)
    Console().print(table)
