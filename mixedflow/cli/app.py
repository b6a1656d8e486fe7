"""The verbs of the command line, gathered.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixedflow import __version__, recording
from mixedflow.cli import infer as infer_verb
from mixedflow.cli import log as log_verb
from mixedflow.cli import operate, setup, steps
from mixedflow.cli import resume as resume_verb
from mixedflow.cli import run as run_verb
from mixedflow.cli import scan as scan_verb
from mixedflow.cli import sweep as sweep_verbs

app = typer.Typer(
    name="mixedflow",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mixedflow {__version__}")
        raise typer.Exit


def _begin_to_record(log: Path | None) -> None:
    if log is not None:
        recording.begin(log)


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of a failure.")
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(
            "--record",
            metavar="LOG",
            callback=_begin_to_record,
            help="Record the work beside the log of its job: logs/STEP/NAME.log.",
        ),
    ] = None,
) -> None:
    """Mixed models from a laptop to a cluster: a reproducible Snakemake workflow on Dask.

    Start with 'mixedflow init DATA FORMULA', then 'mixedflow run'.
    """


app.command("run", context_settings={"allow_extra_args": True})(run_verb.run)
app.command("resume", context_settings={"allow_extra_args": True})(resume_verb.resume)
app.command("init")(setup.init)
app.command("check")(setup.check)
app.command("doctor")(operate.doctor)
app.command("show")(setup.show)
app.command("prepare")(steps.prepare)
app.command("condense")(steps.condense)
app.command("fit")(steps.fit)
app.command("infer")(infer_verb.infer)
app.command("diagnose")(steps.diagnose)
app.add_typer(sweep_verbs.app, name="sweep")
app.command("scan")(scan_verb.scan)
app.command("report")(steps.report)
app.command("log")(log_verb.log)
