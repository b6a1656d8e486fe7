"""The fixed order in which results are added up.

Leaf results are combined in a balanced binary tree that depends on their number alone, so that any
scheduler, any number of workers and any timing gives the same bits. Stands at "Sums are added in a
fixed tree" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

TASKS_AT_MOST = 2048


def tree_plan(n: int) -> list[tuple[int, int, int]]:
    """Return the tree over ``n`` leaves as steps ``(left, right, result)``, in a valid order.

    Leaves are 0 .. n - 1; step ``k`` makes node ``n + k``. Leaves are taken from the left like the
    digits of a binary counter: two subtrees of equal size are combined as soon as both are there,
    and what is left at the end is folded from the right. A subtree over leaves
    ``[i 2^k, (i+1) 2^k)`` is therefore always a node, which is what lets tasks take several leaves.
    """
    steps: list[tuple[int, int, int]] = []

    def combine(left: int, right: int) -> int:
        steps.append((left, right, n + len(steps)))
        return steps[-1][2]

    if n:
        fold(range(n), combine)
    return steps


def fold(items: Iterable[T], combine: Callable[[T, T], T]) -> T:
    """Return the items combined as :func:`tree_plan` says, holding log2(n) + 1 results at a time.

    Raises
    ------
    ValueError
        when there are no items
    """
    held: list[tuple[int, T]] = []
    for item in items:
        size, value = 1, item
        while held and held[-1][0] == size:
            size, value = size + held[-1][0], combine(held.pop()[1], value)
        held.append((size, value))
    if not held:
        raise ValueError("nothing to combine")
    value = held.pop()[1]
    while held:
        value = combine(held.pop()[1], value)
    return value


def batches(n: int, at_most: int = TASKS_AT_MOST) -> list[tuple[int, int]]:
    """Return ranges of leaves for tasks, each a power of two and so a node of the tree."""
    size = 1
    while -(-n // size) > at_most:
        size *= 2
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def aligned(value: Any) -> Any:
    """Return ``value`` with every array in it C-ordered and aligned, a copy only where needed.

    Arrays that come back from a worker's disk are unaligned views, and sum to other last bits.
    Arrays are found in dataclasses, tuples, lists and dictionaries.
    """
    if isinstance(value, np.ndarray):
        return np.require(value, requirements=["C", "A"]) if value.dtype != object else value
    if isinstance(value, dict):
        return _same_or(value, {key: aligned(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return _aligned_sequence(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _aligned_dataclass(value)
    return value


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
