"""Compiled twins of the batched operations: loops over many small matrices, one after another.

For matrices this small a call of LAPACK costs more than the arithmetic. All arrays are row-major.
Serves "one grouping factor" of ``docs/algorithm.md``; :mod:`mixedflow.linalg.batched` chooses.
"""

from __future__ import annotations

import numpy as np

from mixedflow.linalg.arrays import FloatArray
from mixedflow.linalg.jit import compiled


@compiled
def cholesky(matrices: FloatArray, lower: FloatArray, first: int, last: int) -> int:
    """Factorise matrices first..last-1; return -1, or matrix * q + column that is not positive."""
    q = matrices.shape[1]
    for g in range(first, last):
        for j in range(q):
            pivot = matrices[g, j, j]
            for k in range(j):
                pivot -= lower[g, j, k] * lower[g, j, k]
            if not 0.0 < pivot < np.inf:
                return int(g * q + j)
            pivot = np.sqrt(pivot)
            lower[g, j, j] = pivot
            for i in range(j + 1, q):
                value = matrices[g, i, j]
                for k in range(j):
                    value -= lower[g, i, k] * lower[g, j, k]
                lower[g, i, j] = value / pivot
                lower[g, j, i] = 0.0
    return -1


@compiled
def solve_lower(lower: FloatArray, right: FloatArray, first: int, last: int) -> None:
    """Overwrite B by L^-1 B, matrix by matrix."""
    q = lower.shape[1]
    r = right.shape[2]
    for g in range(first, last):
        for i in range(q):
            for k in range(i):
                f = lower[g, i, k]
                for t in range(r):
                    right[g, i, t] -= f * right[g, k, t]
            pivot = lower[g, i, i]
            for t in range(r):
                right[g, i, t] /= pivot


@compiled
def solve_upper(lower: FloatArray, right: FloatArray, first: int, last: int) -> None:
    """Overwrite B by L^-T B, matrix by matrix."""
    q = lower.shape[1]
    r = right.shape[2]
    for g in range(first, last):
        for i in range(q - 1, -1, -1):
            for k in range(i + 1, q):
                f = lower[g, k, i]
                for t in range(r):
                    right[g, i, t] -= f * right[g, k, t]
            pivot = lower[g, i, i]
            for t in range(r):
                right[g, i, t] /= pivot


@compiled
def inverse(lower: FloatArray, result: FloatArray, first: int, last: int) -> None:
    """(L L')^-1, matrix by matrix, both triangles."""
    q = lower.shape[1]
    root = np.empty((q, q))  # L^-1
    for g in range(first, last):
        for j in range(q):
            root[j, j] = 1.0 / lower[g, j, j]
            for i in range(j + 1, q):
                value = 0.0
                for k in range(j, i):
                    value -= lower[g, i, k] * root[k, j]
                root[i, j] = value / lower[g, i, i]
        for i in range(q):
            for j in range(i + 1):
                value = 0.0
                for k in range(i, q):
                    value += root[k, i] * root[k, j]
                result[g, i, j] = value
                result[g, j, i] = value


@compiled
def logdet(lower: FloatArray, result: FloatArray, first: int, last: int) -> None:
    """2 sum_j log L_jj, matrix by matrix."""
    for g in range(first, last):
        value = 0.0
        for j in range(lower.shape[1]):
            value += np.log(lower[g, j, j])
        result[g] = 2.0 * value
