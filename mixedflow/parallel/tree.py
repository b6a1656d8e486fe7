"""The fixed order in which results are added up.

Leaf results are combined in a tree that depends on their number alone, so that any scheduler, any
number of workers and any timing gives the same bits: a balanced one, binary or, where results
are large, of a higher radix. Stands at "Sums are added in a
fixed tree" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

T = TypeVar("T")

ARROW_BYTES = 8
"""To which Arrow wants buffers aligned."""

TASKS_AT_MOST = 2048

WIDE = 32
"""Radix of the tree where sums are large: one a level is held, and every leaf is added in its turn."""


@dataclasses.dataclass(frozen=True, slots=True)
class Addition(Generic[T]):
    """How results are added, where that can be done in the place of a sum that nobody else holds.

    Attributes
    ----------
    combine : a, b -> a + b; neither is changed
    absorb : a or the total that it began, b or its total -> their total, in the place of the first
    finish : total, or what was never added to, -> sum
    radix : of the tree; so many nodes are added from the left to make one of the next level
    """

    combine: Callable[[T, T], T]
    absorb: Callable[[Any, Any], Any]
    finish: Callable[[Any], T]
    radix: int = WIDE


def as_addition(combine: Callable[[T, T], T] | Addition[T]) -> Addition[T]:
    """Return the addition of a plain function: a balanced tree from the first leaf on."""
    if isinstance(combine, Addition):
        return combine
    return Addition(combine, combine, _same, radix=2)


def _same(value: T) -> T:
    return value


def tree_plan(n: int, radix: int = 2) -> list[tuple[int, int, int]]:
    """Return the tree over ``n`` leaves as steps ``(left, right, result)``, in a valid order.

    Leaves are 0 .. n - 1; step ``k`` makes node ``n + k``. Leaves are taken from the left like the
    digits of a counter: ``radix`` subtrees of equal size are added from the left as they come, and
    what is left at the end is folded from the right. A subtree over leaves
    ``[i radix^k, (i+1) radix^k)`` is therefore always a node, which is what lets tasks take several
    leaves.
    """
    steps: list[tuple[int, int, int]] = []

    def combine(left: int, right: int) -> int:
        steps.append((left, right, n + len(steps)))
        return steps[-1][2]

    if n:
        fold(range(n), combine, radix)
    return steps


def fold(items: Iterable[T], combine: Callable[[T, T], T], radix: int = 2) -> T:
    """Return the items combined as :func:`tree_plan` says, holding log(n) / log(radix) + 1 sums.

    Raises
    ------
    ValueError
        when there are no items
    """
    folding = Fold(combine, radix)
    for item in items:
        folding.add(item)
        del item  # it may be large, and the name would keep it while the next one is made
    return folding.total()


class _Held(NamedTuple, Generic[T]):
    """The sum of so many nodes of a level."""

    level: int
    nodes: int
    value: T


class Fold(Generic[T]):
    """Leaves combined as :func:`tree_plan` says, while they come in order."""

    def __init__(self, combine: Callable[[T, T], T], radix: int) -> None:
        self._combine = combine
        self._radix = radix
        self._held: list[_Held[T]] = []

    def add(self, value: T) -> None:
        """Add a leaf to the sum of its level, and what is complete to that of the next level."""
        held, level = self._held, 0
        while True:
            nodes = 1
            if held and held[-1].level == level:
                nodes += held[-1].nodes
                value = self._combine(held.pop().value, value)
            if nodes < self._radix:
                held.append(_Held(level, nodes, value))
                return
            level += 1

    def total(self) -> T:
        """Return the sum of all leaves, and forget it."""
        if not self._held:
            raise ValueError("nothing to combine")
        total = self._held.pop().value
        while self._held:
            total = self._combine(self._held.pop().value, total)
        return total


def batches(n: int, at_most: int = TASKS_AT_MOST, radix: int = 2) -> list[tuple[int, int]]:
    """Return ranges of leaves for tasks, each a power of the radix and so a node of the tree."""
    size = 1
    while -(-n // size) > at_most:
        size *= radix
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def aligned(value: Any) -> Any:
    """Return ``value`` with every array in it C-ordered and aligned, a copy only where needed.

    Arrays that come back from a worker's disk are unaligned views, and sum to other last bits.
    Arrays are found in dataclasses, tuples, lists and dictionaries; tables of Arrow count as arrays.
    """
    if isinstance(value, np.ndarray):
        return np.require(value, requirements=["C", "A"]) if value.dtype != object else value
    if isinstance(value, pa.Table):
        return value if _lies_aligned(value) else _copied(value)
    if isinstance(value, dict):
        return _same_or(value, {key: aligned(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return _aligned_sequence(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _aligned_dataclass(value)
    return value


def _lies_aligned(table: pa.Table) -> bool:
    """Say whether every buffer of a table begins where its widest values may."""
    chunks = (chunk for column in table.columns for chunk in column.chunks)
    buffers = (buffer for chunk in chunks for buffer in chunk.buffers())
    return all(buffer is None or buffer.address % ARROW_BYTES == 0 for buffer in buffers)


def _copied(table: pa.Table) -> pa.Table:
    """Return a table in memory of its own."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def _same_or(value: dict[Any, Any], made: dict[Any, Any]) -> dict[Any, Any]:
    return value if all(made[key] is value[key] for key in made) else made


def _aligned_sequence(value: list[Any] | tuple[Any, ...]) -> Any:
    made = [aligned(item) for item in value]
    if all(a is b for a, b in zip(made, value, strict=True)):
        return value
    if isinstance(value, list):
        return made
    return type(value)(*made) if hasattr(value, "_fields") else tuple(made)


def _aligned_dataclass(value: Any) -> Any:
    changed = {name: new for name, old, new in _fields(value) if new is not old}
    return dataclasses.replace(value, **changed) if changed else value


def _fields(value: Any) -> Iterator[tuple[str, Any, Any]]:
    for field in dataclasses.fields(value):
        if field.init:
            old = getattr(value, field.name)
            yield field.name, old, aligned(old)
