"""Before a run: the data must be there, with the columns that models and configuration name.

Only headers are read, so that a misspelt name is told at once, not after hours of preparing. Stands
before "Rows become columns" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from pathlib import Path

from mixedflow.config.models import Config
from mixedflow.config.scan_plan import check_scan_columns
from mixedflow.config.sweep_plan import check_sweep_columns
from mixedflow.errors import DataError, MixedflowError, did_you_mean, listing


def check_headers(
    config: Config, directory: Path, where: str, *, later: frozenset[str] = frozenset()
) -> None:
    """Raise where data that are not prepared yet are not there, or lack a column that is named.

    Parameters
    ----------
    config, directory, where : what is checked, from which folder, and how messages call it
    later : data sets that another workflow will make, of which nothing can be said
    """
    from mixedflow.data import column_names

    for name, data in config.data.items():
        prepared = directory / config.output / name / "prepared" / "manifest.json"
        if name in later or prepared.is_file():
            continue
        try:
            columns = column_names(str(directory / data.path))
        except MixedflowError as fault:
            raise type(fault)(f"{where}: data.{name}: {fault}") from None
        named = [("group", data.group), ("order", data.order)]
        for key, column in [*named, *(("units", unit) for unit in data.units)]:
            if column is not None and column not in columns:
                raise DataError(
                    f"{where}: data.{name}.{key}: {data.path} has no column '{column}'"
                    f"{did_you_mean(column, columns)}; it has {listing(columns)}"
                )
        _check_models(config, name, columns, where)
        for key, sweep in config.sweep.items():
            if sweep.data == name:
                check_sweep_columns(sweep, data, columns, directory, f"{where}: sweep.{key}")
        for key, scan in config.scan.items():
            if scan.data == name:
                check_scan_columns(scan, data, columns, directory, f"{where}: scan.{key}")


def _check_models(config: Config, dataset: str, columns: list[str], where: str) -> None:
    from mixedflow.design import check_columns, make_spec

    for name, model in config.models.items():
        if model.data != dataset:
            continue
        spec = make_spec(model.formula, weights=model.weights, residual=model.residual)
        try:
            check_columns(spec, columns, config.data[dataset].path)
        except MixedflowError as fault:
            raise type(fault)(f"{where}: models.{name}: {fault}") from None
