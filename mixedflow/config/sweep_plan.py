"""What the workflow runs for the sweeps of a configuration: checks, and options of their verbs.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mixedflow.config.sweeps import FILE, MatrixConfig, SweepConfig
from mixedflow.errors import ConfigError, DataError, MixedflowError, did_you_mean, listing

if TYPE_CHECKING:
    from mixedflow.config.models import DataConfig
    from mixedflow.config.scans import ScanConfig
    from mixedflow.design.spec import ModelSpec

STAND_IN = "trait"
"""What stands for the response where a formula is checked before any data are seen."""


def check_sweep(sweep: SweepConfig, data: DataConfig, where: str) -> None:
    """Raise where a formula or a structure of residuals of a sweep cannot be read."""
    for name in sweep.models:
        try:
            model_spec(sweep, name, data)
        except MixedflowError as fault:
            key = "residual" if str(fault).startswith("residual=") else "formula"
            inside = f".{key}" if sweep.models[name].residual != "iid" else ""
            raise type(fault)(f"{where}.models.{name}{inside}: {fault}") from None


def model_spec(sweep: SweepConfig, name: str, data: DataConfig) -> ModelSpec:
    """Return the description of one model of a sweep, a stand-in for its response."""
    from mixedflow.design.spec import make_spec, require_random_term

    model = sweep.models[name]
    spec = make_spec(
        f"{STAND_IN} {model.formula.lstrip()}",
        weights=sweep.weights,
        levels=data.levels,
        residual=model.residual,
    )
    require_random_term(spec)
    return spec


def check_sweep_columns(
    sweep: SweepConfig, data: DataConfig, columns: Sequence[str], directory: Path, where: str
) -> None:
    """Raise where a sweep names a column that its data have not, or traits that no column is."""
    from mixedflow.sweeps.traits import chosen_traits, read_names

    named = [(".subsets", column) for rows in sweep.subsets.values() for column in rows or ()]
    if sweep.long is not None:
        in_long = (sweep.long.trait, sweep.long.value, *sweep.long.row)
        named += [(".long", column) for column in in_long]
    for name in sweep.models:
        spec = model_spec(sweep, name, data)
        named += [(f".models.{name}", c) for c in spec.variables if c != STAND_IN]
    for key, column in named:
        if column not in columns:
            raise DataError(
                f"{where}{key}: {data.path} has no column '{column}'{did_you_mean(column, columns)};"
                f" it has {listing(columns)}"
            )
    if sweep.long is None:
        there, taken = columns, {column for _, column in named}
        try:
            if sweep.matrix is not None:
                there, taken = read_names(directory / sweep.matrix.names), set()
            chosen_traits(listed_traits(sweep, directory), there, taken)
        except MixedflowError as fault:
            raise type(fault)(f"{where}.traits: {fault}") from None


def check_order(asked: SweepConfig | ScanConfig, group: str | None, kind: str, where: str) -> None:
    """Raise where a matrix has the rows of data that are put into another order, by a group."""
    if asked.matrix is not None and group is not None:
        raise ConfigError(
            f"{where}.matrix has the rows of '{asked.data}' in their order, which the"
            f" residuals of its models change; give the {kind} a data set of its own"
        )


def files_beside(matrix: MatrixConfig | None, names: Sequence[str]) -> list[str]:
    """Return the files of a sweep or a scan beside its data: a matrix and its names, lists of names."""
    own = [] if matrix is None else [matrix.path, matrix.names]
    return own + [one.removeprefix(FILE) for one in names if one.startswith(FILE)]


def listed_traits(sweep: SweepConfig, directory: Path = Path()) -> list[str] | None:
    """Return names and patterns of a sweep's traits, files of names read; None for all traits."""
    return named_in_files(sweep.traits, directory) or None


def named_in_files(names: Sequence[str], directory: Path) -> list[str]:
    """Return names and patterns; a file of names, ``@file``, stands for its lines."""
    from mixedflow.sweeps.traits import read_names

    found: list[str] = []
    for one in names:
        if one.startswith(FILE):
            found += read_names(directory / one.removeprefix(FILE))
        else:
            found.append(one)
    return found


def sweep_options(sweep: SweepConfig) -> list[str]:
    """Return the options of ``mixedflow sweep plan`` that say what is swept."""
    options = [f"--trait={one}" for one in sweep.traits]
    for name, model in sweep.models.items():
        options.append(f"--model={name}={model.formula}")
        if model.residual != "iid":
            options.append(f"--residual={name}={model.residual}")
    for name, rows in sweep.subsets.items():
        options.append(f"--subset={name}={_flow(rows or {})}")
    options += [f"--test={name}={','.join(pair)}" for name, pair in sweep.tests.items()]
    if sweep.matrix is not None:
        options += [f"--matrix={sweep.matrix.path}", f"--matrix-names={sweep.matrix.names}"]
    if sweep.long is not None:
        options.append(f"--long={_flow(sweep.long.model_dump(mode='json'))}")
    if sweep.weights is not None:
        options.append(f"--weights={sweep.weights}")
    options += ["--reml" if sweep.reml else "--ml", f"--ddf={sweep.ddf}", f"--q={sweep.q}"]
    if sweep.traits_per_job is not None:
        options.append(f"--traits-per-job={sweep.traits_per_job}")
    return options


def _flow(value: Mapping[str, object]) -> str:
    """Return a mapping as YAML in one line."""
    return json.dumps(value, ensure_ascii=False)
