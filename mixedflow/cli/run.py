"""``mixedflow run``: the whole workflow, by Snakemake in a process of its own.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixedflow.cli import console
from mixedflow.cli import options as opt
from mixedflow.cli.steps import NotConvergedError
from mixedflow.errors import ConfigError, MixedflowError, TerminatedError

if TYPE_CHECKING:
    from mixedflow.config import Config

DEFAULT_CONFIG = Path("config/config.yaml")
INTERRUPTED = 130


class WorkflowError(MixedflowError):
    """A step of the workflow failed; its own message stands in its log."""


def run(  # noqa: PLR0913, PLR0917 - one argument an option
    context: typer.Context,
    config: opt.ConfigOption = DEFAULT_CONFIG,
    cores: Annotated[
        str | None, typer.Option("--cores", "-j", help="Cores to use at once; all by default.")
    ] = None,
    directory: Annotated[
        Path, typer.Option("--directory", "-d", help="Folder to work in.")
    ] = Path(),
    snakefile: Annotated[
        Path | None, typer.Option("--snakefile", "-s", help="Another Snakefile.")
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            "--profile", help="Where the jobs run: a folder, or the name of a shipped profile."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Show what would run, and run nothing.")
    ] = False,
) -> None:
    """Run the workflow of a configuration: prepare, condense, fit, infer, diagnose, report.

    Arguments after '--' go to Snakemake. Exits with 3 when a fit did not converge.
    """
    from mixedflow.config import load_config
    from mixedflow.config.early import check_early
    from mixedflow.config.plan import make_plan

    settings = load_config(config)
    make_plan(settings, str(config))
    check_early(settings, directory, where=str(config))
    chosen = snakefile or find_snakefile(directory)
    command = snakemake_command(chosen, config, directory, dry_run=dry_run)
    command += place_options(profile, cores)
    perform([*command, *context.args], settings, config, directory, dry_run=dry_run)


def perform(
    command: list[str], settings: Config, config: Path, directory: Path, *, dry_run: bool = False
) -> None:
    """Run Snakemake, noting how it was called for ``mixedflow resume``, and say how it ended."""
    started = time.time()
    code = _call(command) if dry_run else _noted_call(command, config, directory)
    results = directory / settings.output
    if code != 0:
        _raise_failure(results, started)
    if not dry_run:
        _say_outcome(settings, results)


def find_snakefile(directory: Path) -> Path:
    """Return the folder's own Snakefile if it is one of mixedflow, else the packaged one."""
    for name in ("Snakefile", "workflow/Snakefile"):
        local = directory / name
        if local.is_file() and "mixedflow" in local.read_text(encoding="utf-8"):
            return local
    package = Path(__file__).parents[1]
    for shipped in (package / "_workflow", package.parent / "workflow"):
        if (shipped / "Snakefile").is_file():
            return shipped / "Snakefile"
    raise ConfigError("this installation of mixedflow has no workflow; name one with --snakefile")


def snakemake_command(
    snakefile: Path, config: Path, directory: Path, *, dry_run: bool
) -> list[str]:
    """Return the command that runs the workflow."""
    if not directory.is_dir():
        raise ConfigError(f"there is no folder '{directory}' to work in")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile.resolve())]
    command += ["--configfile", str(config.resolve()), "--directory", str(directory.resolve())]
    return [*command, "--dry-run"] if dry_run else command


def place_options(profile: Path | None, cores: str | None) -> list[str]:
    """Return the options that say where the jobs run: all cores of this machine without a profile."""
    if profile is None:
        return ["--cores", cores or "all"]
    from mixedflow.operating.asked import find_profile

    given = [] if cores is None else ["--cores", cores]
    return ["--workflow-profile", str(find_profile(profile).parent.resolve()), *given]


def _noted_call(command: list[str], config: Path, directory: Path) -> int:
    """Run Snakemake with a note of how; the note goes when the run has ended well."""
    from mixedflow.operating.processes import VARIABLE
    from mixedflow.operating.record import begin, finish, note_controller

    record = begin(command, config, directory)
    code = INTERRUPTED
    try:
        with _started(command, {VARIABLE: record.run}) as process:
            record = note_controller(record, process.pid)
            code = _awaited(process)
    finally:
        finish(record, code)
    return code


def _call(command: list[str]) -> int:
    """Run Snakemake and return its exit code."""
    with _started(command, {}) as process:
        return _awaited(process)


def _started(command: list[str], variables: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env={**os.environ, **variables})  # noqa: S603 - our own command


def _awaited(process: subprocess.Popen[bytes]) -> int:
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The terminal has interrupted Snakemake as well: let it stop its jobs and say so.
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        except TerminatedError:
            process.terminate()
            process.wait()
            raise


def _raise_failure(results: Path, started: float) -> None:
    """Raise the sentence of the step that failed, found in the logs written since the start."""
    logs = sorted((results / "logs").glob("*/*.log"), key=lambda log: log.stat().st_mtime)
    for log in logs:
        if log.stat().st_mtime < started - 1:
            continue
        text = log.read_text(encoding="utf-8", errors="replace").strip()
        last = text.rsplit("\n", 1)[-1]
        if last.startswith("error: "):
            kind = NotConvergedError if "did not converge" in last else WorkflowError
            raise kind(f"{last.removeprefix('error: ')} (log: {log})")
    console.note("error: the workflow did not finish; Snakemake says why above")
    raise typer.Exit(1)


def _say_outcome(settings: Config, results: Path) -> None:
    """Name the report, and exit with 3 if a fit did not converge."""
    page = results / "report.html"
    if page.is_file():
        console.note(f"report: {page}")
    failed = [name for name in settings.models if not _converged(results, name)]
    if failed:
        raise NotConvergedError(f"these models did not converge: {', '.join(failed)}")


def _converged(results: Path, model: str) -> bool:
    """Read from a stored fit whether it converged; a fit that was not asked for counts as one."""
    stored = results / "models" / model / "fit" / "fit.json"
    if not stored.is_file():
        return True
    return bool(json.loads(stored.read_text(encoding="utf-8")).get("converged", True))
