"""``mixedflow sweep``: many traits by one model or several, planned, fitted in jobs, gathered.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mixedflow.cli import console
from mixedflow.cli import options as opt
from mixedflow.errors import ConfigError

app = typer.Typer(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
FolderArgument = Annotated[
    Path, typer.Argument(metavar="SWEEP", help="Folder that 'sweep plan' wrote.")
]


LONG = "{trait: gene, value: expr, row: sample}"


@app.callback()
def _common() -> None:
    """Fit many traits: plan jobs, run each, gather one table."""


@app.command("plan")
def plan(  # noqa: PLR0913 - one argument an option
    data: Annotated[str, typer.Argument(help="Prepared folder, or any data file.")],
    *,
    model: Annotated[
        list[str], typer.Option("--model", help="NAME=~ x + (1 | g); may be repeated.")
    ],
    out: opt.OutOption,
    trait: Annotated[
        list[str] | None,
        typer.Option("--trait", help="Name, gene*, re:^gene or @file; may be repeated."),
    ] = None,
    residual: Annotated[
        list[str] | None,
        typer.Option("--residual", help="NAME=ar1(t | g), for a model; may be repeated."),
    ] = None,
    subset: Annotated[
        list[str] | None,
        typer.Option("--subset", help='NAME={sex: ["f"]}, {} for all rows; may be repeated.'),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option("--test", help="NAME=SMALLER,LARGER: models to compare; may be repeated."),
    ] = None,
    matrix: opt.MatrixOption = None,
    matrix_names: opt.MatrixNamesOption = None,
    long: Annotated[
        str | None,
        typer.Option("--long", help="{trait: gene, value: expr, row: sample}, for a row a value."),
    ] = None,
    weights: opt.WeightsOption = None,
    missing: opt.MissingOption = "drop",
    reml: Annotated[bool, typer.Option("--reml/--ml", help="Which likelihood.")] = True,
    ddf: Annotated[
        str, typer.Option("--ddf", help="satterthwaite, residual or asymptotic.")
    ] = "satterthwaite",
    q: Annotated[str, typer.Option("--q", help="BH or storey.")] = "BH",
    column_type: opt.TypeOption = None,
    levels: opt.LevelsOption = None,
    traits_per_job: Annotated[
        int | None, typer.Option("--traits-per-job", help="Traits of one part.")
    ] = None,
    dask: opt.DaskOption = "threads",
    workers: opt.WorkersOption = None,
    threads: opt.ThreadsOption = 1,
    memory: opt.MemoryOption = None,
    address: opt.AddressOption = None,
    scheduler_file: opt.SchedulerOption = None,
    patience: opt.PatienceOption = None,
    performance_report: opt.PerformanceOption = False,
    tls: opt.TlsOption = None,
    interface: opt.InterfaceOption = None,
    jobqueue: opt.JobsOption = None,
) -> None:
    """Write which traits are left to fit, in jobs; traits that the folder holds are not."""
    wanted = opt.data_config(
        data,
        types=opt.pairs(column_type, "--type"),
        levels=opt.level_lists(levels),
        missing=missing,
    )
    settings = opt.sweep_config(
        data="data",
        traits=trait or [],
        models=_models(model, residual),
        subsets=_subsets(subset),
        tests={name: pair.split(",") for name, pair in opt.pairs(test, "--test").items()},
        matrix=opt.matrix_of(matrix, matrix_names),
        long=None if long is None else opt.yaml_value(long, "--long", LONG),
        weights=weights,
        reml=reml,
        ddf=ddf,
        q=q,
        traits_per_job=traits_per_job,
    )
    place = opt.dask_config(
        kind=dask,
        workers=workers,
        threads=threads,
        memory=memory,
        address=address,
        scheduler_file=scheduler_file,
        patience=patience,
        performance_report=performance_report,
        tls=tls,
        interface=interface,
        jobqueue=jobqueue,
    )
    opt.hold_threads(threads)
    from mixedflow.steps.sweep import plan_step

    with console.progress("sweep plan"):
        made = plan_step(wanted, settings, out, place)
    console.note(
        f"{made.traits:,} traits, of which {made.traits - made.left:,} are stored and {made.left:,} are"
        f" left, in {len(made.jobs):,} jobs: {out}"
    )


@app.command("run")
def run(  # noqa: PLR0913 - one argument an option
    folder: FolderArgument,
    job: Annotated[str, typer.Argument(help="Key of the job, as the plan has it.")],
    *,
    dask: opt.DaskOption = "threads",
    workers: opt.WorkersOption = None,
    threads: opt.ThreadsOption = 1,
    memory: opt.MemoryOption = None,
    address: opt.AddressOption = None,
    scheduler_file: opt.SchedulerOption = None,
    patience: opt.PatienceOption = None,
    performance_report: opt.PerformanceOption = False,
    tls: opt.TlsOption = None,
    interface: opt.InterfaceOption = None,
    jobqueue: opt.JobsOption = None,
) -> None:
    """Fit the traits of one job that are not stored; one that fails is a row with its reason."""
    place = opt.dask_config(
        kind=dask,
        workers=workers,
        threads=threads,
        memory=memory,
        address=address,
        scheduler_file=scheduler_file,
        patience=patience,
        performance_report=performance_report,
        tls=tls,
        interface=interface,
        jobqueue=jobqueue,
    )
    opt.hold_threads(threads)
    from mixedflow.steps.sweep import run_step

    with console.progress("sweep run") as advance:
        count = run_step(folder, job, place, advance)
    console.note(f"{count:,} traits: {folder}")


@app.command("gather")
def gather(  # noqa: PLR0913 - one argument an option
    folder: FolderArgument,
    *,
    dask: opt.DaskOption = "threads",
    workers: opt.WorkersOption = None,
    threads: opt.ThreadsOption = 1,
    memory: opt.MemoryOption = None,
    address: opt.AddressOption = None,
    scheduler_file: opt.SchedulerOption = None,
    patience: opt.PatienceOption = None,
    performance_report: opt.PerformanceOption = False,
    tls: opt.TlsOption = None,
    interface: opt.InterfaceOption = None,
    jobqueue: opt.JobsOption = None,
) -> None:
    """Write the table of a sweep; traits that no job has stored are fitted first."""
    place = opt.dask_config(
        kind=dask,
        workers=workers,
        threads=threads,
        memory=memory,
        address=address,
        scheduler_file=scheduler_file,
        patience=patience,
        performance_report=performance_report,
        tls=tls,
        interface=interface,
        jobqueue=jobqueue,
    )
    opt.hold_threads(threads)
    from mixedflow.steps.sweep import gather_step

    with console.progress("sweep gather") as advance:
        result = gather_step(folder, place, advance)
    failed = len(result.failures)
    console.note(f"{len(result.table):,} rows, {failed:,} of them without a fit: {folder}")


def _models(given: Sequence[str], residual: Sequence[str] | None) -> dict[str, Any]:
    """Return the models by name, with the structures of their residuals."""
    models: dict[str, Any] = {
        name: {"formula": formula} for name, formula in opt.pairs(given, "--model").items()
    }
    for name, structure in opt.pairs(residual, "--residual").items():
        if name not in models:
            raise ConfigError(f"--residual names the model '{name}', which no --model gives")
        models[name]["residual"] = structure
    return models


def _subsets(given: Sequence[str] | None) -> dict[str, Any] | None:
    """Return ``["women={sex: [f]}"]`` as names to columns; ``{}`` stands for all rows."""
    pairs = opt.pairs(given, "--subset")
    return {
        name: opt.yaml_value(text, f"--subset '{name}={text}'", "women={sex: [f]}") or None
        for name, text in pairs.items()
    }
