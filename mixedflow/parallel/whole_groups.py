"""Whether partitions hold whole groups, without bringing all groups together.

Stands at "Shards" in ``docs/algorithm.md``. Where the ranges of the partitions' groups do not overlap
nothing more is looked at, as with prepared data; otherwise groups are compared in portions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from mixedflow.design.levels import LevelSet
from mixedflow.design.types import Int
from mixedflow.errors import DataError
from mixedflow.parallel.rooms import Room

PORTION = 4_000_000
"""Groups that are compared at a time."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How many groups a partition has, the first and the last of them."""

    count: int
    low: Any
    high: Any


def extent_of(names: LevelSet) -> Extent:
    """Return the extent of ascending groups."""
    if not len(names):
        return Extent(0, None, None)
    low, high = names.values[0], names.values[len(names) - 1]
    if names.kind == "text":
        return Extent(len(names), low.as_py(), high.as_py())
    return Extent(len(names), low.item(), high.item())


def check_whole_groups(
    room: Room, handles: Sequence[Any], extents: Sequence[Extent], group: str, source: str
) -> None:
    """Raise if a group has rows in two partitions.

    Parameters
    ----------
    room, handles : of things whose ``shard.names()`` are the groups of a partition
    extents : of these
    group, source : for the message
    """
    present = sorted((e for e in extents if e.count), key=lambda extent: extent.low)
    if all(a.high < b.low for a, b in pairwise(present)):
        return
    portions = -(-sum(extent.count for extent in present) // PORTION)
    for portion in range(portions):
        parts = room.each(partial(_portion, portion, portions), handles)
        found = _repeated(parts)
        if found is not None:
            name, first, second = found
            raise DataError(
                f"shards hold whole groups, but '{name}' of '{group}' has rows in partitions "
                f"{first + 1} and {second + 1} of {source}; prepare the data with "
                f"group='{group}', or fit without shards"
            )


def _portion(portion: int, portions: int, made: Any, _: int) -> LevelSet:
    """Return the groups of one portion: the same whichever partition holds them."""
    names: LevelSet = made.shard.names()
    if portions == 1 or not len(names):
        return names
    return names.take(np.flatnonzero(_place(names) % portions == portion))


def _place(names: LevelSet) -> Int:
    """Return a number of every group that is the same in every process."""
    if names.kind == "text":
        numbers = (crc32(text.encode()) for text in names.values.to_pylist())
        return np.fromiter(numbers, dtype=np.int64, count=len(names))
    return np.asarray(np.floor(names.values.astype(float)), dtype=np.int64)


def _repeated(parts: Sequence[LevelSet]) -> tuple[str, int, int] | None:
    """Return a group that two partitions have, and which, or None."""
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    full = [part for part in parts if len(part)]
    if full and full[0].kind == "text":
        joined = pa.concat_arrays([part.values for part in full]).dictionary_encode()
        codes = np.asarray(joined.indices)
        labels = joined.dictionary
    else:
        codes = np.concatenate([part.values for part in full]) if full else np.empty(0)
        labels = None
    order = np.argsort(codes, kind="stable")
    same = np.flatnonzero(codes[order][1:] == codes[order][:-1])
    if not len(same):
        return None
    a, b = order[same[0]], order[same[0] + 1]
    name = str(codes[a] if labels is None else labels[int(codes[a])].as_py())
    return name, int(owner[a]), int(owner[b])
