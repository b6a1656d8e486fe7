"""How a shard keeps its sums: in memory, or on disk as memory maps.

Stands at "Shards" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixedflow.crossproducts.levels import LevelArrays
from mixedflow.data.atomic import cannot_write
from mixedflow.design.levels import LevelKind, LevelSet
from mixedflow.design.types import Float

ARRAYS = ("ZZ", "ZX", "Zy")
NAMES = "levels.parquet"


class Shard(Protocol):
    """Sums of the levels of one partition."""

    def names(self) -> LevelSet:
        """Return the levels, ascending."""

    def arrays(self) -> LevelArrays:
        """Return their sums."""

    def replaced(self, arrays: LevelArrays) -> Shard:
        """Return the shard with other sums of the same levels, kept in the same way."""


@dataclass(frozen=True, slots=True, eq=False)
class HeldShard:
    """A shard in memory."""

    levels: LevelSet
    sums: LevelArrays

    def names(self) -> LevelSet:
        """Return the levels, ascending."""
        return self.levels

    def arrays(self) -> LevelArrays:
        """Return their sums."""
        return self.sums

    def replaced(self, arrays: LevelArrays) -> HeldShard:
        """Return the shard with other sums."""
        return HeldShard(self.levels, arrays)


@dataclass(frozen=True, slots=True, eq=False)
class MappedShard:
    """A shard on disk; sums are read as the passes come by."""

    folder: Path
    kind: LevelKind

    def names(self) -> LevelSet:
        """Return the levels, ascending."""
        column = pq.read_table(self.folder / NAMES).column("level").combine_chunks()
        if self.kind == "text":
            return LevelSet("text", column)
        return LevelSet(self.kind, column.to_numpy(zero_copy_only=False))

    def arrays(self) -> LevelArrays:
        """Return their sums, mapped."""
        ZZ, ZX, Zy = (_mapped(self.folder / f"{name}.npy") for name in ARRAYS)
        return ZZ, ZX, Zy

    def replaced(self, arrays: LevelArrays) -> MappedShard:
        """Write other sums in place of these."""
        _write_arrays(self.folder, arrays)
        return self


@dataclass(frozen=True, slots=True)
class Keeper:
    """Says how shards are kept.

    Attributes
    ----------
    folder : for shards on disk; None for memory
    """

    folder: Path | None = None

    def keep(self, index: int, levels: LevelSet, arrays: LevelArrays) -> Shard:
        """Return the shard of a partition."""
        if self.folder is None:
            return HeldShard(levels, arrays)
        place = self.folder / f"shard-{index:05d}"
        try:
            place.mkdir(parents=True, exist_ok=True)
            _write_arrays(place, arrays)
            values = levels.values if levels.kind == "text" else pa.array(levels.values)
            pq.write_table(pa.table({"level": values}), place / NAMES)
        except OSError as error:
            raise cannot_write(place, error) from error
        return MappedShard(place, levels.kind)


def _write_arrays(folder: Path, arrays: LevelArrays) -> None:
    """Write the arrays; each gets its name when it is whole, and old maps of it stay readable."""
    for name, values in zip(ARRAYS, arrays, strict=True):
        new = folder / f"{name}.new.npy"
        np.save(new, values)
        new.replace(folder / f"{name}.npy")


def _mapped(path: Path) -> Float:
    """Return an array of the file; copy-on-write, for the kernels were compiled for such arrays."""
    try:
        mapped: Float = np.asarray(np.load(path, mmap_mode="c"))
    except ValueError:  # nothing can be mapped of an empty array
        mapped = np.load(path)
    return mapped
