"""The steps that read rows to keep them or to add them up: prepare and condense.

Stands before "Rows become columns" and at "Sums" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mixedflow.config import DaskConfig, DataConfig
from mixedflow.config.dask import parse_memory
from mixedflow.crossproducts import condensed
from mixedflow.crossproducts.folder import OWN_FILES, write_design
from mixedflow.data import PreparedData, Source, check_folder
from mixedflow.design import ModelSpec, check_columns, make_spec
from mixedflow.design.spec import require_random_term
from mixedflow.errors import OutputError
from mixedflow.parallel import condense, fitting_workers, prepare
from mixedflow.recording import note, note_read, note_written, phase
from mixedflow.steps.opening import OnDone, runner_of, source_of

PIECES = "pieces"
DESIGN_FILES = (*OWN_FILES, PIECES)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What ``prepare`` wrote: rows kept, rows read, partitions."""

    rows: int
    rows_in: int
    partitions: int


@dataclass(frozen=True, slots=True)
class Condensed:
    """What ``condense`` added up: rows read and rows used."""

    rows_in: int
    rows_used: int


def prepare_step(
    data: DataConfig,
    out: Path,
    dask: DaskConfig,
    on_done: OnDone | None = None,
    *,
    memory: int | None = None,
) -> Prepared:
    """Write a data set as Parquet partitions; every column is kept, whatever models come.

    ``memory`` is what all workers together have for partitions, in bytes; that of ``dask`` without it.
    """
    if Path(data.path).resolve().is_relative_to(out.resolve()):
        raise OutputError(
            f"'{out}' cannot be written: '{data.path}', which is to be read, is there"
        )
    note_read(data.path)
    with phase("open"):
        source = source_of(data)
    with (
        runner_of(_fitting(dask, source, data.partition_rows, memory)) as runner,
        phase("prepare"),
    ):
        manifest = prepare(
            source,
            out,
            group=data.group,
            order=data.order,
            partition_rows=data.partition_rows,
            memory_limit=memory,
            runner=runner,
            on_done=on_done,
        )
    note(rows=manifest.rows_in, partitions=len(manifest.parts))
    note_written(out)
    return Prepared(manifest.rows_kept, manifest.rows_in, len(manifest.parts))


def _fitting(dask: DaskConfig, source: Source, rows: int | None, memory: int | None) -> DaskConfig:
    """Return the workers of this machine that the memory holds parts for: it never makes parts smaller."""
    if dask.memory is None or dask.kind not in ("processes", "local"):
        return dask
    limit = memory or parse_memory(dask.memory)
    workers = fitting_workers(source, dask.workers or 1, limit, rows)
    return dask.model_copy(update={"workers": workers})


def spec_of(
    formula: str, data: DataConfig, weights: str | None, residual: str = "iid"
) -> ModelSpec:
    """Return the description of a model on a data set."""
    spec = make_spec(
        formula, weights=weights, levels=data.levels, missing=data.missing, residual=residual
    )
    require_random_term(spec)
    return spec


def _remove_empty(*folders: Path) -> None:
    """Remove folders in which no piece came to be; pieces that did are used by the next attempt."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def condense_step(  # noqa: PLR0913 - what the command line can be told
    data: DataConfig,
    formula: str,
    out: Path,
    *,
    weights: str | None = None,
    residual: str = "iid",
    dask: DaskConfig,
    on_done: OnDone | None = None,
) -> Condensed:
    """Write the cross-products of a design; pieces of partitions that are as before are reused."""
    spec = spec_of(formula, data, weights, residual)
    check_folder(out, DESIGN_FILES)
    note_read(data.path)
    with phase("open"):
        source = source_of(data)
        check_columns(spec, source.columns(), source.name)
    note(partitions=source.n_partitions)
    try:
        with runner_of(dask) as runner, phase("condense"):
            schema, sums = condense(spec, source, runner, path=out / PIECES, on_done=on_done)
    except BaseException:
        _remove_empty(out / PIECES, out)
        raise
    origin = source.manifest.source if isinstance(source, PreparedData) else source.name
    facts = {"source": origin, "path": data.path, "fingerprint": source.fingerprint()}
    with phase("write"):
        write_design(condensed.Condensed(spec, schema, sums), out, facts)
    note(rows=sums.rows_in)
    note_written(out)
    return Condensed(sums.rows_in, sums.n_obs)
