"""Before a run: names that only the rows can tell, from the head of the data.

A contrast weighs coefficients, whose names depend on kinds and levels of columns. Without this they
would be looked at when the model has been fitted. Stands at "The schema pass" in
``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mixedflow.config.headers import check_headers
from mixedflow.config.inference import InferConfig, check_coefficients
from mixedflow.config.models import Config, DataConfig, ModelConfig
from mixedflow.config.plan import WorkflowPlan
from mixedflow.data import Source, open_head
from mixedflow.design import Encoder, PartitionPlace, finish_schema, make_spec, summarize_partition
from mixedflow.errors import MixedflowError


def check_early(
    config: Config, directory: Path, *, where: str, later: frozenset[str] = frozenset()
) -> None:
    """Raise where the heads of the data tell already that a later step must fail.

    Parameters
    ----------
    config, directory, where : what is checked, from which folder, and how messages call it
    later : data sets that another workflow will make, of which nothing can be said
    """
    check_headers(config, directory, where, later=later)
    for name, model in config.models.items():
        data = config.data[model.data]
        path = directory / data.path
        if model.infer is None or not model.infer.contrasts or model.data in later:
            continue
        try:
            source, whole = open_head(str(path), types=data.types, levels=data.levels)
            names = _coefficients(model, data, source)
        except MixedflowError:
            continue  # the step that reads all rows says what is wrong with them
        asked = model.infer if whole else _sure(model.infer)
        check_coefficients(asked, names, f"{where}: models.{name}: infer.")


def data_to_come(plan: WorkflowPlan) -> frozenset[str]:
    """Return the data sets that lack a file, as where another workflow is to make it."""
    files = {name: plan.data_files(name) for name in plan.config.data}
    for name, sweep in plan.config.sweep.items():
        files[sweep.data] = files[sweep.data] + plan.sweep_files(name)
    for name, scan in plan.config.scan.items():
        files[scan.data] = files[scan.data] + plan.scan_files(name)
    return frozenset(
        name for name, needed in files.items() if not all(Path(file).exists() for file in needed)
    )


def _coefficients(model: ModelConfig, data: DataConfig, source: Source) -> tuple[str, ...]:
    """Return the names of the fixed columns, as the first partition tells them."""
    spec = make_spec(
        model.formula,
        weights=model.weights,
        levels=data.levels,
        missing=data.missing,
        residual=model.residual,
    )
    head = PartitionPlace(source.name, 0, source.row_offset(0))
    summary = summarize_partition(spec, source.read(0, spec.variables), head)
    ordered: Any = {**source.declared_levels(spec.variables), **spec.levels}
    schema = finish_schema(replace(spec, levels=ordered), summary)
    schema = replace(schema, design_key=spec.design_key(schema.kinds))
    return tuple(Encoder(spec, schema).info.x_columns)


def _sure(asked: InferConfig) -> InferConfig:
    """Return what is asked without names of levels, of which later rows may have more."""
    contrasts = {
        name: tuple({weight: row[weight] for weight in row if "[" not in weight} for row in rows)
        for name, rows in asked.contrasts.items()
    }
    return asked.model_copy(update={"contrasts": contrasts})
