"""The steps of a model: fit, diagnose, report.

Stands at "Fitting" and "A second pass" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from mixedflow import api
from mixedflow.config import (
    Config,
    ControlConfig,
    DaskConfig,
    DataConfig,
    ModelConfig,
    ReportConfig,
    config_text,
)
from mixedflow.config.inference import ComparisonConfig
from mixedflow.config.plan import MONTE_CARLO
from mixedflow.crossproducts.folder import MANIFEST, is_design, read_design
from mixedflow.crossproducts.types import with_structure
from mixedflow.data import check_folder, check_place
from mixedflow.data.manifest import read_manifest
from mixedflow.data.prepared import KIND as PREPARED
from mixedflow.design import Encoder, check_columns
from mixedflow.diagnostics import (
    Comparison,
    Diagnostics,
    compare_by_ratio,
    diagnose,
    load_diagnostics,
)
from mixedflow.errors import ConfigError, MixedflowError, StoredFileError
from mixedflow.estimation.control import FitControl
from mixedflow.estimation.driver import TraceRow
from mixedflow.parallel import Runner, condense, map_reduce
from mixedflow.recording import RunLog, current, keep_log, note, note_read, note_written, phase
from mixedflow.report import (
    ModelSection,
    ReportInput,
    write_report,
    write_scan_page,
    write_sweep_page,
)
from mixedflow.results.build import FitRequest, RowSource, fit_condensed
from mixedflow.results.checkpoint import FileKeeper
from mixedflow.results.fit_result import FitResult
from mixedflow.results.inferred import Inferred, file_digest, load_inferred
from mixedflow.results.sharded import ShardedFit
from mixedflow.results.store import OWN_FILES
from mixedflow.steps.opening import OnDone, runner_of, source_of
from mixedflow.steps.rows import spec_of
from mixedflow.steps.scan import scan_section
from mixedflow.steps.shards import fit_in_shards, refuse_sharded
from mixedflow.steps.sweep_pages import sweep_section
from mixedflow.sums import fit_sums


def fit_step(
    data: DataConfig,
    model: ModelConfig,
    control: ControlConfig,
    out: Path | None,
    on_done: OnDone | None = None,
    dask: DaskConfig | None = None,
) -> FitResult:
    """Fit a model from a condensed folder, or straight from data, and store it."""
    if out is not None:
        check_folder(out, OWN_FILES)
    keeper = None if out is None else FileKeeper(out)
    request = replace(_request(model, control, on_done), keeper=keeper)
    note_read(data.path)
    try:
        fit = _fitted(data, model, request, dask or DaskConfig(), out)
    except MixedflowError:
        _forget(keeper)  # another attempt would end alike
        raise
    _forget(keeper)
    note(rows=fit.data_summary.get("rows_in", fit.nobs), iterations=fit.n_iter)
    if out is not None:
        note_written(out)
    return fit


def _forget(keeper: FileKeeper | None) -> None:
    if keeper is not None:
        keeper.done()


def _fitted(
    data: DataConfig, model: ModelConfig, request: FitRequest, dask: DaskConfig, out: Path | None
) -> FitResult:
    """Return the fit, and write it."""
    if model.sharded:
        return fit_in_shards(data, model, request, dask, out)
    fit = _fit_from_sums(data, model, request) if is_design(Path(data.path)) else None
    if fit is None:
        fit = _fit_from_rows(data, model, request)
    if out is not None:
        with phase("write"):
            fit.save(out)
    return fit


def _fit_from_sums(data: DataConfig, model: ModelConfig, request: FitRequest) -> FitResult:
    """Fit from a condensed folder.

    Two models share a design by their formulas, before any data are seen. When a random term then
    turns out to hold a category, ``(c | g)`` and ``(c || g)`` code it differently: the model then
    gets a pass of its own over the rows that were condensed.
    """
    with phase("read"):
        stored, origin = read_design(Path(data.path))
    spec = spec_of(model.formula, data, model.weights, model.residual)
    if spec.design_key(stored.schema.kinds) != stored.schema.design_key:
        if not origin["path"]:
            return fit_sums(model.formula, stored, request, str(spec.parsed_residual))
        rows = data.model_copy(update={"path": str(origin["path"])})
        return _fit_from_rows(rows, model, request)
    sums = with_structure(stored.sums, spec.parsed_residual)
    with phase("fit"):
        return fit_condensed(spec, stored.schema, sums, request, RowSource(str(origin["source"])))


def _fit_from_rows(data: DataConfig, model: ModelConfig, request: FitRequest) -> FitResult:
    spec = spec_of(model.formula, data, model.weights, model.residual)
    source = source_of(data)
    check_columns(spec, source.columns(), source.name)
    with phase("condense"):
        schema, sums = condense(spec, source, Runner())
    with phase("fit"):
        return fit_condensed(spec, schema, sums, request, RowSource(source.name, source))


def _request(model: ModelConfig, control: ControlConfig, on_done: OnDone | None) -> FitRequest:
    given = {
        "max_iter": control.max_iter,
        "tolerance": control.tolerance,
        "solver": control.solver,
        **{key: getattr(control, key) for key in MONTE_CARLO},
    }
    settings = FitControl(**{name: value for name, value in given.items() if value is not None})
    limit = settings.iterations(model.method)

    def progress(row: TraceRow) -> None:
        if on_done is not None:
            on_done(row.iteration, limit)

    return FitRequest(model.reml, model.method, settings, progress)


def diagnose_step(
    fitted: Path,
    data: DataConfig,
    out: Path,
    *,
    dask: DaskConfig,
    on_done: OnDone | None = None,
) -> None:
    """Run the second pass over the rows of a stored fit."""
    check_place(out / "residuals.parquet")
    note_read(fitted, data.path)
    with phase("load"):
        fit = api.load(fitted)
    refuse_sharded(fit, fitted)
    source = source_of(data)
    note(rows=source.n_rows, partitions=source.n_partitions)
    with runner_of(dask) as runner, phase("diagnose"):
        run = partial(map_reduce, runner=runner, on_done=on_done)
        digest = file_digest(fitted / "fit.json")
        diagnose(fit, source, Encoder(fit.spec, fit.schema), out, run, digest)
    note_written(out)


def report_step(  # noqa: PLR0913 - what a page shows, and its head
    folders: Sequence[Path],
    out: Path,
    *,
    sweeps: Sequence[Path] = (),
    scans: Sequence[Path] = (),
    config: Config | None = None,
    title: str | None = None,
    author: str | None = None,
    results: Path | None = None,
) -> None:
    """Write the page about models, folders with ``fit`` and ``diagnostics``, and of sweeps and scans."""
    check_place(out)
    sections = tuple(_section(folder, config) for folder in folders)
    generated = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    swept = tuple(sweep_section(folder, config, generated) for folder in sweeps)
    for one in swept:
        write_sweep_page(out.parent / one.page, one)
    scanned = tuple(scan_section(folder, config, generated) for folder in scans)
    for each in scanned:
        write_scan_page(out.parent / each.page, each)
    head = config.report if config is not None else None
    content = ReportInput(
        models=sections,
        comparisons=_comparisons(sections, config),
        config_text="" if config is None else config_text(config),
        title=title or (head.title if head else "Mixed models"),
        author=author or (head.author if head and head.author else ""),
        generated=generated,
        sweeps=swept,
        scans=scanned,
        log=None if results is None else _log(results, head),
    )
    write_report(out, content)


def _log(results: Path, head: ReportConfig | None) -> RunLog | None:
    """Gather the log of the run, and return what the page shows of it: not the attempt that this is."""
    log = keep_log(results)
    if head is not None and not head.run_log:
        return None
    mine = current()
    return log if mine is None else log.without(mine.id)


def _section(folder: Path, config: Config | None) -> ModelSection:
    """Return what the page shows of the model in a folder; the folder's name is the model's."""
    name = folder.resolve().name
    if not (folder / "fit").is_dir():
        raise StoredFileError(
            f"'{folder}' holds no fit; `mixedflow fit --out {folder}/fit` writes it"
        )
    diagnostics, fit = folder / "diagnostics", api.load(folder / "fit")
    shown = diagnostics.is_dir() and not isinstance(fit, ShardedFit)
    return ModelSection(
        name=name,
        fit=fit,
        diagnostics=_diagnostics(folder) if shown else None,
        inference=_inference(folder, name, config),
        **_from_config(folder, name, config),
    )


def _diagnostics(folder: Path) -> Diagnostics:
    """Return the diagnostics of the fit in a folder."""
    place, found = folder / "diagnostics", load_diagnostics(folder / "diagnostics")
    if found.fit_digest and found.fit_digest != file_digest(folder / "fit" / "fit.json"):
        raise StoredFileError(
            f"'{place}' is of another fit than '{folder / 'fit'}'; `mixedflow diagnose {folder}/fit "
            f"DATA --out {place}` judges that one"
        )
    return found


def _inference(folder: Path, name: str, config: Config | None) -> Inferred | None:
    """Return what was asked of the fit in a folder; None where nothing is, or no longer is."""
    place, model = folder / "inference", None if config is None else config.models.get(name)
    if not place.is_dir() or (model is not None and model.infer is None):
        return None
    found = load_inferred(place)
    if found.fit_digest != file_digest(folder / "fit" / "fit.json"):
        raise StoredFileError(
            f"'{place}' is of another fit than '{folder / 'fit'}'; `mixedflow infer {folder}/fit --out "
            f"{place}` asks that one"
        )
    return found


def _from_config(folder: Path, name: str, config: Config | None) -> dict[str, Any]:
    """Return title, units and the prepared data's manifest of a model that the file names."""
    if config is None:
        return {}
    if name not in config.models:
        raise ConfigError(f"the model '{name}' of '{folder}' is not in the configuration")
    model = config.models[name]
    prepared = folder.parent.parent / model.data / "prepared" / MANIFEST
    manifest = read_manifest(prepared.parent, PREPARED) if prepared.is_file() else {}
    return {
        "title": model.title or "",
        "units": dict(config.data[model.data].units),
        "manifest": manifest,
    }


def _comparisons(sections: Sequence[ModelSection], config: Config | None) -> tuple[Comparison, ...]:
    """Compare as the configuration says; without one, all models with each other."""
    fits = {section.name: section.fit for section in sections}
    asked = (ComparisonConfig(models=tuple(fits)),) if config is None else config.comparisons()
    found = []
    for one in asked:
        shown = [(name, fits[name]) for name in one.models if name in fits]
        if len(shown) > 1:
            found.append(compare_by_ratio(shown, one.refit))
    return tuple(found)
