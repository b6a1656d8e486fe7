"""A sparse matrix by rows and its products; outside the equations of ``docs/algorithm.md``.

NumPy multiplies by few entries almost as quickly as ``scipy.sparse``, whose import takes longer than
fits of that size; many entries are left to SciPy. The number of entries alone decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from mixedflow.linalg.arrays import FloatArray, Int32Array, IntArray
from mixedflow.linalg.complement_twins import sums_by
from mixedflow.linalg.late import sparse

SCIPY_ABOVE = 1 << 18
"""Entries from which on SciPy multiplies."""

STRETCH = 1 << 17
"""Products that are held at a time."""


@dataclass(frozen=True, slots=True)
class CompressedRows:
    """A by rows: those of row i are the entries ``indptr[i]:indptr[i + 1]``.

    Attributes
    ----------
    data : (nnz,) values
    indices : (nnz,) columns
    indptr : (rows + 1,)
    shape : (rows, columns)
    """

    data: FloatArray
    indices: Int32Array
    indptr: Int32Array
    shape: tuple[int, int]

    @property
    def rows(self) -> IntArray:
        """Row of every entry."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))

    def __matmul__(self, X: FloatArray) -> FloatArray:
        """Return A X, of X (columns,) or (columns, k)."""
        if len(self.data) > SCIPY_ABOVE:
            return np.asarray(self._scipy() @ X)
        return _sums(self.rows, self.data, X[self.indices], self.shape[0])

    def transposed_times(self, X: FloatArray) -> FloatArray:
        """Return A'X, of X (rows,) or (rows, k)."""
        if len(self.data) > SCIPY_ABOVE:
            return np.asarray(self._scipy().T @ X)
        return _sums(self.indices, self.data, X[self.rows], self.shape[1])

    def _scipy(self) -> Any:
        return sparse.csr_array((self.data, self.indices, self.indptr), shape=self.shape)

    def toarray(self) -> FloatArray:
        """Return A with its zeros."""
        out = np.zeros(self.shape)
        out[self.rows, self.indices] = self.data
        return out


def _sums(key: IntArray | Int32Array, data: FloatArray, X: FloatArray, size: int) -> FloatArray:
    weights = data.reshape(-1, *(1,) * (X.ndim - 1))
    return sums_by(key, weights * X, size)


def compressed_rows(
    rows: IntArray, columns: IntArray, values: FloatArray, shape: tuple[int, int]
) -> CompressedRows:
    """Return the matrix of entries at different places, sorted by row and column."""
    key = rows * shape[1] + columns
    if not (key[1:] > key[:-1]).all():
        order = np.argsort(key, kind="stable")
        rows, columns, values = rows[order], columns[order], values[order]
    counts = np.bincount(rows, minlength=shape[0])
    width: Any = np.int32 if len(rows) < np.iinfo(np.int32).max else np.int64
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(width)
    return CompressedRows(values, columns.astype(width), indptr, shape)


def symmetric_product(A: CompressedRows, B: CompressedRows) -> FloatArray:
    """Return A'B, (columns, columns), of two matrices of one pattern whose product is symmetric."""
    n = A.shape[1]
    if len(A.data) > SCIPY_ABOVE:
        return np.asarray((A._scipy().T @ B._scipy()).toarray())
    out = np.zeros(n * n)
    stops = A.indptr[1:][A.rows].astype(np.int64)
    ahead = np.cumsum(stops - np.arange(len(stops)))
    breaks = np.searchsorted(ahead, np.arange(0, ahead[-1] if len(ahead) else 0, STRETCH))
    for first, last in pairwise([*breaks.tolist(), len(stops)]):
        entry = np.arange(first, last)
        counts = stops[first:last] - entry
        starts = np.cumsum(counts) - counts
        second = np.arange(int(counts.sum())) - np.repeat(starts - entry, counts)
        at = np.repeat(A.indices[first:last] * np.int64(n), counts) + A.indices[second]
        np.add.at(out, at, np.repeat(A.data[first:last], counts) * B.data[second])
    upper = out.reshape(n, n)
    return upper + np.triu(upper, 1).T
