"""What several steps open: a source, the workers, a stored design.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixedflow.config import DaskConfig, DataConfig
from mixedflow.config.models import parse_memory
from mixedflow.crossproducts.storage import load_crossproducts, save_crossproducts
from mixedflow.crossproducts.types import CrossProducts
from mixedflow.data import Source, atomic_write_text, open_source
from mixedflow.design import Schema
from mixedflow.errors import ConfigError, StoredFileError
from mixedflow.parallel import Runner, open_runner

OnDone = Callable[[int, int], None]

MANIFEST = "manifest.json"
DESIGN_FORMAT = "mixedflow-design"
DESIGN_VERSION = 1


def source_of(data: DataConfig) -> Source:
    """Open a data set with its declared types and levels."""
    return open_source(
        data.path,
        types=dict(data.types),
        levels={column: list(levels) for column, levels in data.levels.items()},
        partition_rows=data.partition_rows,
    )


@contextmanager
def runner_of(dask: DaskConfig) -> Iterator[Runner]:
    """Open the workers that a configuration asks for."""
    address = dask.address
    if dask.scheduler_file is not None:
        address = _scheduler_address(Path(dask.scheduler_file))
    memory = None if dask.memory is None else parse_memory(dask.memory)
    with open_runner(
        dask.kind,
        workers=dask.workers or 1,
        threads_per_worker=dask.threads,
        memory_limit=memory,
        address=address,
    ) as runner:
        yield runner


def _scheduler_address(file: Path) -> str:
    """Return the address in the file that ``dask scheduler --scheduler-file`` writes."""
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["address"])
    except OSError as fault:
        raise ConfigError(f"the scheduler file '{file}' cannot be read: {fault.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"'{file}' is not a Dask scheduler file: it names no address") from None


@dataclass(frozen=True, slots=True)
class StoredDesign:
    """A condensed folder: all that any fit of the design needs.

    Attributes
    ----------
    schema : what was learned from the rows
    sums : the cross-products
    data : where the rows came from: ``source``, ``path``, ``fingerprint``
    """

    schema: Schema
    sums: CrossProducts
    data: Mapping[str, Any]


def is_design(path: Path) -> bool:
    """Tell a condensed folder from data."""
    manifest = path / MANIFEST
    if not manifest.is_file():
        return False
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == DESIGN_FORMAT


def save_design(design: StoredDesign, folder: Path) -> None:
    """Write a design; the manifest comes last, so that a folder with one is complete."""
    manifest = folder / MANIFEST
    manifest.unlink(missing_ok=True)
    design.schema.save(folder / "schema")
    save_crossproducts(design.sums, folder / "crossproducts")
    content = {
        "format": DESIGN_FORMAT,
        "format_version": DESIGN_VERSION,
        "data": dict(design.data),
        "rows_in": design.sums.rows_in,
        "rows_used": design.sums.n_obs,
        "missing": dict(design.sums.missing),
    }
    atomic_write_text(manifest, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def load_design(folder: Path) -> StoredDesign:
    """Read a condensed folder."""
    place = folder / MANIFEST
    content = json.loads(place.read_text(encoding="utf-8"))
    version = content.get("format_version")
    if version != DESIGN_VERSION:
        raise StoredFileError(
            f"'{place}' has format version {version}; this mixedflow reads version"
            f" {DESIGN_VERSION}; condense the data again"
        )
    if not isinstance(content.get("data"), dict) or not {"source", "path"} <= set(content["data"]):
        raise StoredFileError(
            f"'{place}' does not say where its rows came from; condense the data again"
        )
    sums = load_crossproducts(folder / "crossproducts")
    if sums.n_obs != content.get("rows_used"):
        raise StoredFileError(
            f"'{folder}' holds sums of {sums.n_obs:,} rows where its {MANIFEST} says"
            f" {content.get('rows_used')}; condense the data again"
        )
    return StoredDesign(Schema.load(folder / "schema"), sums, content["data"])
