"""What the workflow runs for the scans of a configuration: checks, and options of their verb.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mixedflow.config.scans import ScanConfig
from mixedflow.config.sweep_plan import named_in_files
from mixedflow.errors import DataError, MixedflowError, did_you_mean, listing

if TYPE_CHECKING:
    from mixedflow.config.models import DataConfig
    from mixedflow.design.spec import ModelSpec


def null_spec(scan: ScanConfig, data: DataConfig) -> ModelSpec:
    """Return the description of the null model of a scan."""
    from mixedflow.design.spec import make_spec, require_random_term

    spec = make_spec(scan.formula, weights=scan.weights, levels=data.levels)
    require_random_term(spec)
    return spec


def check_scan(scan: ScanConfig, data: DataConfig, where: str) -> None:
    """Raise where the null model of a scan cannot be read."""
    try:
        null_spec(scan, data)
    except MixedflowError as fault:
        raise type(fault)(f"{where}.formula: {fault}") from None


def check_scan_columns(
    scan: ScanConfig, data: DataConfig, columns: Sequence[str], directory: Path, where: str
) -> None:
    """Raise where a scan names a column that its data have not, or covariates that none is."""
    from mixedflow.sweeps.covariates import chosen_columns

    spec = null_spec(scan, data)
    for column in spec.variables:
        if column not in columns:
            raise DataError(
                f"{where}.formula: {data.path} has no column '{column}'"
                f"{did_you_mean(column, columns)}; it has {listing(columns)}"
            )
    if scan.matrix is None:
        try:
            chosen_columns(listed_covariates(scan, directory), columns, spec.variables)
        except MixedflowError as fault:
            raise type(fault)(f"{where}.covariates: {fault}") from None


def listed_covariates(scan: ScanConfig, directory: Path = Path()) -> list[str]:
    """Return names and patterns of a scan's covariates, files of names read."""
    return named_in_files(scan.covariates, directory)


def scan_options(scan: ScanConfig) -> list[str]:
    """Return formula and options of ``mixedflow scan`` that say what is scanned."""
    options = [scan.formula, *(f"--covariate={one}" for one in scan.covariates)]
    if scan.matrix is not None:
        options += [f"--matrix={scan.matrix.path}", f"--matrix-names={scan.matrix.names}"]
    given = {
        "weights": scan.weights,
        "reestimate-below": scan.reestimate_below,
        "missing-value": scan.missing_value,
    }
    options += [f"--{key}={value}" for key, value in given.items() if value is not None]
    options += [f"--{key}={getattr(scan, key)}" for key in ("variances", "sigma", "missing")]
    return [*options, "--reml" if scan.reml else "--ml"]
