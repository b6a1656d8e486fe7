"""The step of a scan: the null model, then every covariate beside it; and what a run would do.

Stands at "Scans" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mixedflow.config import Config, DaskConfig, DataConfig, ScanConfig
from mixedflow.config.scan_plan import listed_covariates, null_spec
from mixedflow.data import Source
from mixedflow.design import check_columns
from mixedflow.errors import ConfigError, MixedflowError, did_you_mean
from mixedflow.parallel import limited_threads
from mixedflow.recording import note_read, note_written, phase
from mixedflow.report import ScanSection
from mixedflow.scanning import ScanResult, load_scan, scan
from mixedflow.steps.opening import OnDone, Outlook, runner_of, source_of
from mixedflow.sweeps.covariates import Covariates, open_covariates


def scan_step(
    data: DataConfig,
    asked: ScanConfig,
    out: Path,
    dask: DaskConfig,
    on_done: OnDone | None = None,
) -> ScanResult:
    """Test the covariates of a scan and write its folder."""
    note_read(data.path)
    with runner_of(dask) as runner, phase("scan"):
        found = scan(
            asked.formula,
            data.path,
            _wanted(asked),
            variances=asked.variances,
            reestimate_below=asked.reestimate_below,
            sigma=asked.sigma,
            missing=asked.missing,
            missing_value=asked.missing_value,
            reml=asked.reml,
            weights=asked.weights,
            levels={column: list(levels) for column, levels in data.levels.items()},
            types=dict(data.types),
            runner=runner,
            path=out,
            on_done=on_done,
        )
    note_written(out)
    return found


def check_scans_step(config: Config, directory: Path, *, where: str) -> list[Outlook]:
    """Check every scan against its data, and return what a run would do."""
    found = []
    for name, asked in config.scan.items():
        data = config.data[asked.data]
        here = data.model_copy(update={"path": str(directory / data.path)})
        try:
            with limited_threads(1):
                source = source_of(here)
                spec = null_spec(asked, here)
                check_columns(spec, source.columns(), source.name)
                covariates = open_covariates(_wanted(asked, directory), source, spec.variables)
        except MixedflowError as fault:
            raise type(fault)(f"{where}: scan.{name}: {fault}") from None
        found.append(Outlook(name, _lines(asked, source, covariates)))
    return found


def scan_section(folder: Path, config: Config | None, generated: str) -> ScanSection:
    """Return what the pages show of the scan in a folder; the folder's name is the scan's."""
    name, result = folder.resolve().name, load_scan(folder)
    title = ""
    if config is not None:
        if name not in config.scan:
            raise ConfigError(
                f"the scan '{name}' of '{folder}' is not in the configuration"
                f"{did_you_mean(name, config.scan)}"
            )
        title = config.scan[name].title or ""
    return ScanSection(name, result, title=title, page=f"scan-{name}.html", generated=generated)


def _wanted(asked: ScanConfig, directory: Path = Path()) -> Any:
    """Return what is tested as :func:`mixedflow.scan` takes it."""
    if asked.matrix is None:
        return listed_covariates(asked, directory)
    return directory / asked.matrix.path, directory / asked.matrix.names


def _lines(asked: ScanConfig, source: Source, covariates: Covariates) -> list[tuple[str, str]]:
    names = covariates.names
    shown = ", ".join(names[:4]) + " ..." * (len(names) > 4)
    again = asked.variances == "reestimate"
    below = "" if asked.reestimate_below is None else f", where p <= {asked.reestimate_below:g}"
    return [
        ("null model", asked.formula),
        ("covariates", f"{len(names):,}: {shown}"),
        ("data", f"{source.name}, {source.n_rows:,} rows"),
        ("variances", f"estimated again with each{below}" if again else "of the null model"),
    ]
