"""NumPy twins of the loops that write S = D - B'N^-1B down and read its inverse where M has entries.

Serves :mod:`mixedflow.linalg.complement`; outside the equations of ``docs/algorithm.md``. Which entries
of B meet in a part of N is listed once for a pattern, and what they give is then had by a few passes
over that list: as quick as the compiled loops, without a compiler's start, for as long as the list is
short. Only the upper triangle of ``S`` counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mixedflow.linalg.arrays import FloatArray, Int32Array, IntArray


@dataclass(frozen=True, slots=True)
class Meetings:
    """Pairs (e, g), e <= g, of entries of B that belong to one part of N, sorted by e.

    Attributes
    ----------
    level : (nnz,), the part of N that an entry belongs to
    counts : (nnz,), pairs with e in the first place; starts : (nnz,), the first of them
    second : (m,), g
    at : (m,), where the two columns meet in the upper triangle of S, row by row
    """

    level: IntArray
    counts: IntArray
    starts: IntArray
    second: IntArray
    at: IntArray


def n_meetings(pointers: IntArray) -> int:
    """Return how many pairs there are."""
    met = np.diff(pointers)
    return int((met * (met + 1) // 2).sum())


def meetings(pointers: IntArray, columns: Int32Array, order: int) -> Meetings:
    """Return the pairs of a pattern; the arguments as in :class:`EliminatedMatrix`."""
    number = np.arange(len(columns))
    level = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
    counts = pointers[1:][level] - number
    starts = np.cumsum(counts) - counts
    second = np.arange(int(counts.sum())) - np.repeat(starts - number, counts)
    j, h = np.repeat(columns, counts).astype(np.int64), columns[second].astype(np.int64)
    return Meetings(level, counts, starts, second, np.minimum(j, h) * order + np.maximum(j, h))


def subtract_products_twin(
    met: Meetings, coupling: FloatArray, inverse: FloatArray, S: FloatArray
) -> None:
    """S -= B'N^-1B in the upper triangle."""
    solved = np.einsum("eab,eb->ea", inverse[met.level], coupling)
    flat = S.reshape(-1)
    for a in range(coupling.shape[1]):
        product = np.repeat(solved[:, a], met.counts) * coupling[met.second, a]
        np.subtract.at(flat, met.at, product)


def read_inverse_twin(
    met: Meetings, coupling: FloatArray, inverse: FloatArray, S: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return N^-1 + E S^-1 E' by parts, (L, q, q), and -(E S^-1)' at B's entries; E = N^-1 B.

    S holds S^-1 in its upper triangle.
    """
    row = np.zeros_like(coupling)
    if len(met.at):
        entry = S.reshape(-1).take(met.at)
        for a in range(coupling.shape[1]):
            row[:, a] = _symmetric_sums(met, entry, coupling[:, a])
    inner = sums_by(met.level, coupling[:, :, None] * row[:, None, :], len(inverse))
    spread = -np.einsum("eab,eb->ea", inverse[met.level], row)
    return inverse + inverse @ inner @ inverse, spread


def _symmetric_sums(met: Meetings, entry: FloatArray, values: FloatArray) -> FloatArray:
    """Return sum_g S_eg values_g over the entries g that e meets, itself included."""
    forth: FloatArray = np.add.reduceat(entry * values[met.second], met.starts)
    back = np.bincount(met.second, entry * np.repeat(values, met.counts), len(values))
    found: FloatArray = forth + back - entry[met.starts] * values
    return found


def scatter_twin(
    pointers: IntArray, columns: Int32Array, coupling: FloatArray, Y: FloatArray, order: int
) -> FloatArray:
    """Return B'Y, (order, k), of Y (L q, k)."""
    level = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
    pieces = Y.reshape(len(pointers) - 1, coupling.shape[1], -1)[level]
    return sums_by(columns, np.einsum("ea,eak->ek", coupling, pieces), order)


def gather_twin(
    pointers: IntArray, columns: Int32Array, coupling: FloatArray, X: FloatArray
) -> FloatArray:
    """Return B X, (L q, k), of X (n, k)."""
    n_levels, q = len(pointers) - 1, coupling.shape[1]
    level = np.repeat(np.arange(n_levels), np.diff(pointers))
    return sums_by(level, coupling[:, :, None] * X[columns][:, None, :], n_levels).reshape(
        n_levels * q, -1
    )


def sums_by(key: IntArray | Int32Array, values: FloatArray, size: int) -> FloatArray:
    """Return the sums of values (m, ...) of each key, (size, ...)."""
    flat = values.reshape(len(key), math.prod(values.shape[1:]))
    out = np.empty((size, flat.shape[1]))
    for k in range(flat.shape[1]):
        out[:, k] = np.bincount(key, flat[:, k], size)
    return out.reshape(size, *values.shape[1:])
