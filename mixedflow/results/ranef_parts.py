"""Random effects in parts: Parquet files that are written and read a shard at a time.

Stands at "Shards" in ``docs/algorithm.md``. Columns are factor, level, column, blup, sd. The levels of a
part come in stretches, and in a stretch one column of the factor after the other; the length of a
stretch and the kind of the levels are in the file's metadata, so that levels come back in the order of
their values. Reading verifies that a part is the file that was written.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixedflow.data.fingerprint import sha256_of_file
from mixedflow.design.levels import LevelKind, LevelSet
from mixedflow.errors import StoredFileError

PART_FILES = ("part-*.parquet",)

Part = tuple[LevelSet, Any, Any]
"""Levels, random effects (L, q) and conditional SDs (L, q) of a shard."""

_NUMBERS: dict[str, Any] = {"int": np.int64, "float": np.float64}


def part_schema(kind: LevelKind, stretch: int) -> pa.Schema:
    """Return the columns of a part, with what its reader must know."""
    names = [(name, pa.string()) for name in ("factor", "level", "column")]
    numbers = [(name, pa.float64()) for name in ("blup", "sd")]
    return pa.schema([*names, *numbers], metadata={"levels": kind, "stretch": str(stretch)})


def part_writer(folder: Path, number: int, schema: pa.Schema) -> pq.ParquetWriter:
    """Return what writes the part of a shard."""
    path = folder / f"part-{number:05d}.parquet"
    return pq.ParquetWriter(path, schema, write_page_checksum=True)


def part_paths(folder: Path) -> list[Path]:
    """Return the parts in a folder, in the order of their shards."""
    return sorted(folder.glob(PART_FILES[0]), key=lambda path: (len(path.name), path.name))


def copy_parts(folder: Path, to: Path, digests: Mapping[str, str]) -> int:
    """Copy the parts in a folder to another one; return their rows."""
    rows = 0
    for path in part_paths(folder):
        check_part(path, digests)
        shutil.copyfile(path, to / path.name)
        rows += pq.read_metadata(path).num_rows
    return rows


def check_part(path: Path, digests: Mapping[str, str]) -> None:
    """Raise unless a part is the file whose SHA-256 was stored with the fit."""
    if sha256_of_file(path) != digests.get(path.name):
        raise StoredFileError(
            f"'{path}' is damaged, or is not the file that the fit was written with; fit the model "
            "again"
        )


def read_part(path: Path, q: int) -> Part:
    """Return levels, random effects and conditional SDs of a part of q columns.

    Raises
    ------
    StoredFileError
        if the file is damaged, or holds a number that is not finite.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        told = table.schema.metadata
        kind, stretch = told[b"levels"].decode(), int(told[b"stretch"])
        u, sd = (_by_level(table[name].to_numpy(), q, stretch) for name in ("blup", "sd"))
        count = np.arange(table.num_rows)
        first = _by_level(count, q, stretch)[:, 0]
        names = _levels(kind, table["level"].combine_chunks().take(pa.array(first)))
    except (KeyError, TypeError, ValueError, OSError, pa.ArrowException) as error:
        raise StoredFileError(f"'{path}' is damaged: {error}; fit the model again") from error
    if not (np.isfinite(u).all() and np.isfinite(sd).all()):
        raise StoredFileError(
            f"'{path}' is damaged: it holds random effects that are not finite; fit the model again"
        )
    return names, u, sd


def _by_level(values: Any, q: int, stretch: int) -> Any:
    """Return values of one column after the other, a stretch of levels at a time, as (L, q)."""
    size = stretch * q
    whole = [values[at : at + size] for at in range(0, len(values), size)]
    return np.concatenate([part.reshape(q, -1).T for part in whole] or [np.empty((0, q))])


def _levels(kind: str, labels: pa.Array) -> LevelSet:
    """Return the levels that were written as labels."""
    if kind == "text":
        return LevelSet("text", labels.cast(pa.large_string()))
    if kind == "bool":
        return LevelSet("bool", np.array([label == "True" for label in labels.to_pylist()]))
    numbers = np.array(
        [_NUMBERS[kind](label) for label in labels.to_pylist()], dtype=_NUMBERS[kind]
    )
    return LevelSet("int" if kind == "int" else "float", numbers)
