"""``mixedflow scan``: one response, many covariates, each added by itself to a null model.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from typing import Annotated

import typer

from mixedflow.cli import console
from mixedflow.cli import options as opt


def scan(  # noqa: PLR0913 - one argument an option
    data: Annotated[str, typer.Argument(help="Prepared folder, or any data file.")],
    formula: Annotated[str, typer.Argument(help="The null model: 'y ~ x + (1 | g)'.")],
    *,
    out: opt.OutOption,
    covariate: Annotated[
        list[str] | None,
        typer.Option("--covariate", help="Name, snp*, re:^snp or @file; may be repeated."),
    ] = None,
    matrix: opt.MatrixOption = None,
    matrix_names: opt.MatrixNamesOption = None,
    variances: Annotated[
        str, typer.Option("--variances", help="Those of the null model: null; or reestimate.")
    ] = "null",
    reestimate_below: Annotated[
        float | None,
        typer.Option("--reestimate-below", help="Estimate variances again up to this p."),
    ] = None,
    sigma: Annotated[
        str, typer.Option("--sigma", help="Residual variance: each covariate's, or null.")
    ] = "each",
    missing: Annotated[
        str, typer.Option("--missing", help="Values that a covariate lacks: error or mean.")
    ] = "error",
    missing_value: Annotated[
        float | None, typer.Option("--missing-value", help="A number that means missing.")
    ] = None,
    weights: opt.WeightsOption = None,
    reml: Annotated[bool, typer.Option("--reml/--ml", help="Which likelihood.")] = True,
    column_type: opt.TypeOption = None,
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
    """Test covariates one at a time beside a null model: a table with a row for each."""
    wanted = opt.data_config(
        data, types=opt.pairs(column_type, "--type"), levels=opt.level_lists(levels)
    )
    settings = opt.scan_config(
        data="data",
        formula=formula,
        covariates=covariate,
        matrix=opt.matrix_of(matrix, matrix_names),
        variances=variances,
        reestimate_below=reestimate_below,
        sigma=sigma,
        missing=missing,
        missing_value=missing_value,
        weights=weights,
        reml=reml,
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
    from mixedflow.steps.scan import scan_step

    with console.progress("scan") as advance:
        found = scan_step(wanted, settings, out, place, advance)
    failed = len(found.failures)
    console.note(f"{len(found.table):,} covariates, {failed:,} without an estimate: {out}")
