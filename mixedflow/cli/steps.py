"""The verbs that the workflow's rules call, one a step.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixedflow.cli import console
from mixedflow.cli import options as opt
from mixedflow.errors import ConfigError, MixedflowError

if TYPE_CHECKING:
    from mixedflow.config import Config


class NotConvergedError(MixedflowError):
    """A fit did not converge; its result is written all the same."""

    exit_code = 3


def prepare(  # noqa: PLR0913 - one argument an option
    data: Annotated[str, typer.Argument(help="File, folder or glob.")],
    *,
    out: opt.OutOption,
    column_type: opt.TypeOption = None,
    levels: opt.LevelsOption = None,
    group: Annotated[
        str | None, typer.Option("--group", help="Column whose rows stay together.")
    ] = None,
    order: Annotated[
        str | None, typer.Option("--order", help="Column that sorts rows within the group.")
    ] = None,
    partition_rows: Annotated[
        int | None, typer.Option("--partition-rows", help="Rows of one partition.")
    ] = None,
    partition_memory: Annotated[
        str | None,
        typer.Option("--partition-memory", help="Memory that partitions must fit; else --memory."),
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
    """Read a data set once and write it as Parquet partitions with a manifest."""
    wanted = opt.data_config(
        data,
        types=opt.pairs(column_type, "--type"),
        levels=opt.level_lists(levels),
        group=group,
        order=order,
        partition_rows=partition_rows,
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
    fitting = opt.memory(partition_memory, "--partition-memory")
    opt.hold_threads(threads)
    from mixedflow.steps import prepare_step

    with console.progress("prepare") as advance:
        done = prepare_step(wanted, out, place, advance, memory=fitting)
    console.note(f"{done.rows:,} rows in {done.partitions:,} partitions: {out}")


def condense(  # noqa: PLR0913 - one argument an option
    prepared: Annotated[str, typer.Argument(help="Prepared folder, or any data file.")],
    formula: Annotated[str, typer.Argument(help="Formula in lme4's grammar.")],
    *,
    out: opt.OutOption,
    weights: opt.WeightsOption = None,
    residual: opt.ResidualOption = "iid",
    missing: opt.MissingOption = "drop",
    levels: opt.LevelsOption = None,
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
    """Condense the rows to cross-products: all that any fit of the design needs."""
    wanted = opt.data_config(prepared, levels=opt.level_lists(levels), missing=missing)
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
    from mixedflow.steps import condense_step

    with console.progress("condense") as advance:
        done = condense_step(
            wanted, formula, out, weights=weights, residual=residual, dask=place, on_done=advance
        )
    console.note(f"{done.rows_used:,} of {done.rows_in:,} rows condensed: {out}")


def fit(  # noqa: PLR0913 - one argument an option
    data: Annotated[str, typer.Argument(help="Condensed folder, or any data file.")],
    formula: Annotated[str, typer.Argument(help="Formula in lme4's grammar.")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write; nothing when left out.")
    ] = None,
    weights: opt.WeightsOption = None,
    residual: opt.ResidualOption = "iid",
    missing: opt.MissingOption = "drop",
    column_type: opt.TypeOption = None,
    levels: opt.LevelsOption = None,
    reml: Annotated[bool, typer.Option("--reml/--ml", help="Which likelihood.")] = True,
    method: Annotated[str, typer.Option("--method", help="auto, em, px-em or ai.")] = "auto",
    max_iter: Annotated[int | None, typer.Option("--max-iter", help="Most iterations.")] = None,
    tolerance: Annotated[
        float | None, typer.Option("--tolerance", help="Convergence tolerance.")
    ] = None,
    solver: Annotated[
        str, typer.Option("--solver", help="auto, grouped, dense, schur, sparse or pcg.")
    ] = "auto",
    mc_probes: Annotated[
        int | None, typer.Option("--mc-probes", help="Random vectors of the solver pcg.")
    ] = None,
    mc_target: Annotated[
        float | None,
        typer.Option("--mc-target", help="Largest Monte-Carlo error, a share of the SE (pcg)."),
    ] = None,
    mc_seed: Annotated[
        int | None, typer.Option("--mc-seed", help="Seed of the random vectors (pcg).")
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", help="Threads of the numerical libraries, or of one worker.")
    ] = 1,
    sharded: Annotated[
        bool,
        typer.Option("--sharded", help="Leave the groups' sums where rows are read; needs rows."),
    ] = False,
    dask: Annotated[
        str | None, typer.Option("--dask", help="Where shards are: as for condense (--sharded).")
    ] = None,
    workers: opt.WorkersOption = None,
    memory: opt.MemoryOption = None,
    address: opt.AddressOption = None,
    scheduler_file: opt.SchedulerOption = None,
    patience: opt.PatienceOption = None,
    performance_report: opt.PerformanceOption = False,
    tls: opt.TlsOption = None,
    interface: opt.InterfaceOption = None,
    jobqueue: opt.JobsOption = None,
    allow_nonconverged: Annotated[
        bool, typer.Option("--allow-nonconverged", help="Exit with 0 instead of 3.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not print the fit.")] = False,
) -> None:
    """Fit one model and print it; exits with 3 when it did not converge."""
    wanted = opt.data_config(
        data,
        types=opt.pairs(column_type, "--type"),
        levels=opt.level_lists(levels),
        missing=missing,
    )
    model = opt.model_config(
        data="data",
        formula=formula,
        reml=reml,
        method=method,
        weights=weights,
        residual=residual,
        sharded=sharded,
    )
    place = opt.place_of_shards(
        sharded=sharded,
        threads=threads,
        kind=dask,
        workers=workers,
        memory=memory,
        address=address,
        scheduler_file=scheduler_file,
        patience=patience,
        performance_report=performance_report,
        tls=tls,
        interface=interface,
        jobqueue=jobqueue,
    )
    control = opt.control_config(
        max_iter=max_iter,
        tolerance=tolerance,
        solver=solver,
        mc_probes=mc_probes,
        mc_target=mc_target,
        mc_seed=mc_seed,
    )
    opt.hold_threads(threads)
    from mixedflow.steps import fit_step

    with console.progress("fit") as advance:
        result = fit_step(wanted, model, control, out, advance, place)
    if not quiet:
        console.write(str(result.summary()))
    if not result.converged:
        message = f"the fit did not converge in {result.n_iter} iterations of '{result.method}'"
        if not allow_nonconverged:
            raise NotConvergedError(message)
        console.note(f"warning: {message}")


def diagnose(  # noqa: PLR0913 - one argument an option
    fitted: Annotated[Path, typer.Argument(metavar="FIT", help="Folder of a fit.")],
    data: Annotated[str, typer.Argument(help="Prepared folder, or any data file.")],
    *,
    out: opt.OutOption,
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
    """Write fitted values and residuals, and the summaries that the report draws."""
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
    from mixedflow.steps import diagnose_step

    with console.progress("diagnose") as advance:
        diagnose_step(fitted, opt.data_config(data), out, dask=place, on_done=advance)
    console.note(f"diagnostics: {out}")


def report(  # noqa: PLR0913 - one argument an option
    models: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of models, each with 'fit' and 'diagnostics'."),
    ] = None,
    *,
    sweep: Annotated[
        list[Path] | None,
        typer.Option("--sweep", help="Folder of a sweep, for a page beside this one; repeatable."),
    ] = None,
    scan: Annotated[
        list[Path] | None,
        typer.Option("--scan", help="Folder of a scan, for a page beside this one; repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path(
        "report.html"
    ),
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="Configuration: titles, units, comparisons; '-' reads it."
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option("--results", help="Folder of results whose run log is gathered and shown."),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Title of the page.")] = None,
    author: Annotated[str | None, typer.Option("--author", help="Author of the page.")] = None,
) -> None:
    """Write one self-contained HTML page about the models, and one beside it about each sweep or scan."""
    if not models and not sweep and not scan:
        raise ConfigError(
            "a report needs the folder of a model, of a sweep (--sweep) or scan (--scan)"
        )
    from mixedflow.steps import report_step

    settings = _read_settings(config)
    with console.progress("report"):
        report_step(
            models or [],
            out,
            sweeps=sweep or [],
            scans=scan or [],
            config=settings,
            title=title,
            author=author,
            results=results,
        )
    console.note(f"report: {out}")


def _read_settings(config: Path | None) -> Config | None:
    """Return the configuration in a file, or on standard input for ``-``."""
    if config is None:
        return None
    from mixedflow.config import load_config, parse_config

    if str(config) == "-":
        return parse_config(sys.stdin.read(), "standard input")
    return load_config(config)
