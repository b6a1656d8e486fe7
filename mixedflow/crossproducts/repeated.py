"""Levels with equal Z'BZ, brought down to a few with the same second moments.

Stands at "Equal groups" in ``docs/algorithm.md``. What a pass adds up of a level is a function of its
Z'BZ alone plus one that is quadratic in C = Z'B[X y]. So the levels that share a Z'BZ can be replaced
by as many as C has entries, with the same sum of vec(C) vec(C)', and the rest by a multiple.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mixedflow.crossproducts.levels import (
    LevelArrays,
    LevelPass,
    LevelStore,
    LocalLevels,
    Totals,
    plus,
)
from mixedflow.design.types import Float, Int

SAMPLE = 1000
"""Levels that are looked at before all of them are."""

SHARE = 0.25
"""Share of the work of all levels that is worth going over to fewer."""

PER_KIND = 200
"""Levels that a pass could do in the time that one more kind of level costs it."""

_ODD = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)


@dataclass(frozen=True, eq=False)
class RepeatedLevels:
    """Levels of which many share their Z'BZ; the passes give what they give for all of them.

    Attributes
    ----------
    fewer : levels with the same second moments, a kind after the other
    kinds : (K, Q, Q), the Z'BZ that occur
    missing : (K,), levels of a kind less those of ``fewer``
    n_levels : L
    """

    fewer: LocalLevels
    kinds: Float
    missing: Int
    n_levels: int

    @cached_property
    def _empty(self) -> LevelArrays:
        ZX, Zy = self.fewer.arrays[1:]
        k = len(self.kinds)
        return self.kinds, np.zeros((k, *ZX.shape[1:])), np.zeros((k, *Zy.shape[1:]))

    def total(self, task: LevelPass) -> Totals:
        """Return the sum of a pass: over the fewer levels, and what is missing without C."""
        total = self.fewer.total(task)
        for k in np.flatnonzero(self.missing):
            part = task(self._empty, (int(k), int(k) + 1))
            total = plus(total, tuple(float(self.missing[k]) * item for item in part))
        return total


def gathered(levels: LocalLevels) -> LevelStore:
    """Return the levels, those with equal Z'BZ brought down to a few where that pays."""
    ZZ, ZX, Zy = levels.arrays
    count = levels.n_levels
    flat = np.ascontiguousarray(ZZ).reshape(count, -1)
    sample = flat[np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64)]
    if len(np.unique(sample, axis=0)) > SHARE * len(sample):
        return levels
    first, kind, number = _kinds(flat)
    width = Zy.shape[1] * (ZX.shape[2] + 1)
    few = np.minimum(number, width)
    if few.sum() + PER_KIND * len(first) > SHARE * count or not _same(flat, first, kind):
        return levels
    right = np.concatenate([ZX, Zy[:, :, None]], axis=2)
    parts = [_condensed(part) for part in _split(right.reshape(count, -1), kind, number)]
    sizes = np.array([len(part) for part in parts])
    C = np.concatenate(parts).reshape(-1, *right.shape[1:])
    arrays = (
        np.repeat(ZZ[first], sizes, axis=0),
        np.ascontiguousarray(C[:, :, :-1]),
        np.ascontiguousarray(C[:, :, -1]),
    )
    fewer = LocalLevels(arrays, levels.threads)
    return RepeatedLevels(fewer, np.ascontiguousarray(ZZ[first]), number - sizes, count)


def _kinds(flat: Float) -> tuple[Int, Int, Int]:
    """Return of the rows that occur: where first, which each row is, and how often."""
    words = flat.view(np.uint64)
    key = np.zeros(len(words), dtype=np.uint64)
    for column in words.T:
        key = (key ^ column) * _ODD
        key ^= key >> _SHIFT
    _, first, kind, number = np.unique(
        key, return_index=True, return_inverse=True, return_counts=True
    )
    return first, kind, number


def _same(flat: Float, first: Int, kind: Int) -> bool:
    """Say whether rows of a kind are equal: two could have one hash."""
    return all(np.array_equal(column, column[first][kind]) for column in flat.view(np.uint64).T)


def _split(rows: Float, kind: Int, number: Int) -> list[Float]:
    """Return the rows of every kind, in their order."""
    if len(number) == 1:
        return [rows]
    ordered = rows[np.argsort(kind, kind="stable")]
    return np.split(ordered, np.cumsum(number)[:-1])


def _condensed(rows: Float) -> Float:
    """Return at most as many rows as columns, R'R = rows'rows."""
    if len(rows) <= rows.shape[1]:
        return rows
    gram = rows.T @ rows
    scale = np.sqrt(np.diag(gram))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(gram / np.outer(scale, scale))
    kept = values > 0
    out: Float = np.sqrt(values[kept])[:, None] * vectors[:, kept].T * scale
    return out
