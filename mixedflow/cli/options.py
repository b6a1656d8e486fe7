"""Options that several verbs share, and what they become.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixedflow.errors import ConfigError

if TYPE_CHECKING:
    from mixedflow.config import (
        ControlConfig,
        DaskConfig,
        DataConfig,
        InferConfig,
        ModelConfig,
        ScanConfig,
        SweepConfig,
    )

COMMAND_LINE = "the command line"

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")]
TypeOption = Annotated[
    list[str] | None,
    typer.Option("--type", help="COLUMN=category|float|int|string; may be repeated."),
]
LevelsOption = Annotated[
    list[str] | None,
    typer.Option("--levels", help="COLUMN=[a, b, ...], first the reference; may be repeated."),
]
MissingOption = Annotated[str, typer.Option("--missing", help="Incomplete rows: drop or error.")]
WeightsOption = Annotated[
    str | None, typer.Option("--weights", help="Column of known weights (sigma² / weight).")
]
ResidualOption = Annotated[
    str, typer.Option("--residual", help="Structure of the residuals, as 'us(visit | subject)'.")
]
DaskOption = Annotated[
    str, typer.Option("--dask", help="synchronous, threads, local, address, srun or jobqueue.")
]
WorkersOption = Annotated[int | None, typer.Option("--workers", help="Number of workers.")]
ThreadsOption = Annotated[int, typer.Option("--threads", help="Threads of one worker.")]
MemoryOption = Annotated[
    str | None, typer.Option("--memory", help="Memory of all workers together, like '4 GB'.")
]
AddressOption = Annotated[str | None, typer.Option("--address", help="A Dask scheduler.")]
SchedulerOption = Annotated[
    str | None, typer.Option("--scheduler-file", help="A Dask scheduler's file.")
]
PatienceOption = Annotated[
    float | None, typer.Option("--patience", help="Seconds to wait for a scheduler's first worker.")
]
TlsOption = Annotated[
    str | None, typer.Option("--tls", help="Certificates: '{ca: FILE, cert: FILE, key: FILE}'.")
]
InterfaceOption = Annotated[
    str | None, typer.Option("--interface", help="Network interface, for srun and jobqueue.")
]
PerformanceOption = Annotated[
    bool, typer.Option("--performance-report", help="Write Dask's own report about the pass.")
]
JobsOption = Annotated[
    str | None, typer.Option("--jobqueue", help="Jobs of workers: '{queue: main, walltime: 60}'.")
]

MatrixOption = Annotated[
    str | None, typer.Option("--matrix", help="An .npy file beside the data, a column each.")
]
MatrixNamesOption = Annotated[
    str | None, typer.Option("--matrix-names", help="File with its columns' names.")
]


def data_config(path: str, **given: Any) -> DataConfig:
    """Return the data set that the command line describes, checked like one of the file."""
    found: DataConfig = _section("DataConfig", {"path": path, **given})
    return found


def dask_config(**given: Any) -> DaskConfig:
    """Return where the command line wants the work to run."""
    examples = {"tls": "{ca: ca.pem, cert: me.pem, key: me.key}", "jobqueue": "{queue: main}"}
    for key, example in examples.items():
        if given.get(key) is not None:
            given[key] = yaml_value(given[key], f"--{key}", example)
    found: DaskConfig = _section("DaskConfig", given)
    return found


def place_of_shards(*, sharded: bool, threads: int, **given: Any) -> DaskConfig | None:
    """Return where a sharded fit runs; other fits run here and take no such option."""
    if sharded:
        return dask_config(threads=threads, **given)
    for key, value in given.items():
        if value is not None and value is not False:
            name = "dask" if key == "kind" else key.replace("_", "-")
            raise ConfigError(
                f"--{name} says where a sharded fit keeps its shards; add --sharded, or leave --{name} out"
            )
    return None


def memory(text: str | None, option: str) -> int | None:
    """Return an amount of memory in bytes, if one is given."""
    from mixedflow.config.dask import parse_memory

    try:
        return None if text is None else parse_memory(text)
    except ValueError as fault:
        raise ConfigError(f"{option}: {fault}") from None


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """Return ``["a=x", "b=y"]`` as a mapping."""
    found: dict[str, str] = {}
    for text in given or ():
        name, separator, value = text.partition("=")
        if not (name and separator):
            raise ConfigError(f"{option} '{text}' is not of the form NAME=VALUE")
        if name in found:
            raise ConfigError(f"{option} is given twice for '{name}'")
        found[name] = value
    return found


def level_lists(given: Sequence[str] | None) -> dict[str, list[Any]]:
    """Return ``["Sex=[Male, Female]"]`` as a mapping to lists; ``Sex=Male,Female`` is read too."""
    import yaml

    found: dict[str, list[Any]] = {}
    for column, text in pairs(given, "--levels").items():
        listed = text if text.lstrip().startswith("[") else f"[{text}]"
        try:
            found[column] = list(yaml.safe_load(listed))
        except (yaml.YAMLError, TypeError):
            raise ConfigError(
                f"--levels '{column}={text}' is not a list; write it like {column}=[low, high]"
            ) from None
    return found


def yaml_value(text: str, what: str, example: str) -> Any:
    """Return what a text of YAML says: a mapping or a list, as in a configuration."""
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, Mapping | list):
        raise ConfigError(f"{what} cannot be read; write it like '{example}'")
    return found


def infer_config(**given: Any) -> InferConfig:
    """Return what the command line asks of a fit."""
    found: InferConfig = _section("InferConfig", given)
    return found


def model_config(**given: Any) -> ModelConfig:
    """Return the model that the command line describes."""
    found: ModelConfig = _section("ModelConfig", given)
    return found


def sweep_config(**given: Any) -> SweepConfig:
    """Return the sweep that the command line describes."""
    found: SweepConfig = _section("SweepConfig", given)
    return found


def scan_config(**given: Any) -> ScanConfig:
    """Return the scan that the command line describes."""
    found: ScanConfig = _section("ScanConfig", given)
    return found


def matrix_of(path: str | None, names: str | None) -> dict[str, str] | None:
    """Return a matrix beside the data, which goes with a file of names."""
    if path is None and names is None:
        return None
    if path is None or names is None:
        raise ConfigError("--matrix and --matrix-names go together: the numbers and their names")
    return {"path": path, "names": names}


def control_config(**given: Any) -> ControlConfig:
    """Return when the command line wants a fit to stop."""
    found: ControlConfig = _section("ControlConfig", given)
    return found


def _section(name: str, given: Mapping[str, Any]) -> Any:
    """Return what was given as a section of the configuration; pydantic is imported only here."""
    from mixedflow import config
    from mixedflow.config.reading import checked

    content = {key: value for key, value in given.items() if value is not None}
    return checked(getattr(config, name), content, COMMAND_LINE)


def hold_threads(threads: int) -> None:
    """Hold the numerical libraries to what the step was given, unless they are loaded already."""
    from mixedflow.parallel import set_thread_environment

    if "numpy" not in sys.modules:
        set_thread_environment(threads)
