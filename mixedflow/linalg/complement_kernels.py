"""Compiled loops that write S = D - B'N^-1B down and read its inverse where M has entries.

Serves :mod:`mixedflow.linalg.complement`; outside the equations of ``docs/algorithm.md``. ``S`` is
C-ordered and only its upper triangle counts, which is LAPACK's lower one, column by column. Only the
``levels`` that are named are gone through, parts of N that meet few columns of D.
"""

from __future__ import annotations

import numpy as np

from mixedflow.linalg.arrays import FloatArray, Int32Array, IntArray
from mixedflow.linalg.jit import compiled


@compiled
def subtract_single(
    levels: IntArray,
    pointers: IntArray,
    columns: Int32Array,
    coupling: FloatArray,
    inverse: FloatArray,
    S: FloatArray,
) -> None:
    """S -= B'N^-1B for parts of N of one row; coupling (nnz, 1), inverse (L, 1, 1)."""
    for i in levels:
        scale = inverse[i, 0, 0]
        for e in range(pointers[i], pointers[i + 1]):
            j, value = columns[e], coupling[e, 0] * scale
            for g in range(e, pointers[i + 1]):
                h = columns[g]
                S[min(j, h), max(j, h)] -= value * coupling[g, 0]


@compiled
def subtract_products(
    levels: IntArray,
    pointers: IntArray,
    columns: Int32Array,
    coupling: FloatArray,
    inverse: FloatArray,
    S: FloatArray,
) -> None:
    """S -= B'N^-1B, one part of N after another; coupling (nnz, q), inverse (L, q, q)."""
    q = coupling.shape[1]
    solved = np.empty(q)
    for i in levels:
        for e in range(pointers[i], pointers[i + 1]):
            j = columns[e]
            for a in range(q):
                solved[a] = 0.0
                for b in range(q):
                    solved[a] += inverse[i, a, b] * coupling[e, b]
            for g in range(e, pointers[i + 1]):
                total = 0.0
                for a in range(q):
                    total += solved[a] * coupling[g, a]
                h = columns[g]
                S[min(j, h), max(j, h)] -= total


@compiled
def read_single(
    levels: IntArray,
    pointers: IntArray,
    columns: Int32Array,
    coupling: FloatArray,
    inverse: FloatArray,
    S: FloatArray,
    head: FloatArray,
    met: FloatArray,
) -> None:
    """:func:`read_inverse` for parts of N of one row, without a product of matrices a part."""
    for i in levels:
        start, stop = pointers[i], pointers[i + 1]
        for e in range(start, stop):
            met[e, 0] = 0.0
        for e in range(start, stop):
            j, value = columns[e], coupling[e, 0]
            total = met[e, 0] + S[j, j] * value
            for g in range(e + 1, stop):
                h = columns[g]
                entry = S[min(j, h), max(j, h)]
                total += entry * coupling[g, 0]
                met[g, 0] += entry * value
            met[e, 0] = total
        scale = inverse[i, 0, 0]
        inner = 0.0
        for e in range(start, stop):
            inner += coupling[e, 0] * met[e, 0]
            met[e, 0] *= -scale
        head[i, 0, 0] = scale + scale * inner * scale


@compiled
def read_inverse(
    levels: IntArray,
    pointers: IntArray,
    columns: Int32Array,
    coupling: FloatArray,
    inverse: FloatArray,
    S: FloatArray,
    head: FloatArray,
    met: FloatArray,
) -> None:
    """Parts of M^-1 from S, which holds S^-1: head <- N^-1 + E S^-1 E' by parts, met <- -(E S^-1)'.

    E = N^-1 B; head (L, q, q), met (nnz, q) at the entries of B.
    """
    q = coupling.shape[1]
    inner = np.empty((q, q))
    row = np.empty(q)
    for i in levels:
        start, stop = pointers[i], pointers[i + 1]
        inner[:] = 0.0
        for e in range(start, stop):
            j = columns[e]
            row[:] = 0.0
            for g in range(start, stop):
                h = columns[g]
                entry = S[min(j, h), max(j, h)]
                for a in range(q):
                    row[a] += entry * coupling[g, a]
            for a in range(q):
                met[e, a] = 0.0
                for b in range(q):
                    inner[a, b] += coupling[e, a] * row[b]
                    met[e, a] -= inverse[i, a, b] * row[b]
        head[i] = inverse[i] + inverse[i] @ inner @ inverse[i]
