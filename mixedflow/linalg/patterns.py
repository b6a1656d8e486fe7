"""A symmetric sparse pattern as lists of rows and columns; outside ``docs/algorithm.md``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from mixedflow.errors import UnsupportedError
from mixedflow.linalg.arrays import FloatArray, IntArray

if TYPE_CHECKING:
    import scipy.sparse as sp

_MAX_ORDER = 2**31 - 1  # BLAS and the ordering count with 32-bit integers


@dataclass(frozen=True, slots=True)
class PatternEntries:
    """Entries of a symmetric pattern, in the order of its values.

    Attributes
    ----------
    n : int
        Order of the matrix.
    rows, columns : (nnz,) int arrays
    scattered : slice or (k,) int array
        The entries whose values make the matrix: all where only one triangle is there, the lower
        triangle where both are.
    is_lower : bool
        Whether no entry lies above the diagonal.
    """

    n: int
    rows: IntArray
    columns: IntArray
    scattered: slice | IntArray
    is_lower: bool


def read_pattern(pattern: sp.csc_matrix | sp.csc_array) -> PatternEntries:
    """Check a CSC pattern, one triangle or both of a symmetric one, and list its entries."""
    if getattr(pattern, "format", "") != "csc":
        raise ValueError(f"the pattern must be a CSC matrix, found {type(pattern).__name__}")
    n = pattern.shape[0]
    if pattern.shape[1] != n or n == 0:
        raise ValueError(f"the pattern must be square and not empty, found shape {pattern.shape}")
    if n > _MAX_ORDER:
        raise UnsupportedError(
            f"the sparse engine holds systems of at most {_MAX_ORDER} equations, found {n}"
        )
    rows = pattern.indices.astype(np.int64)
    columns = np.repeat(np.arange(n, dtype=np.int64), np.diff(pattern.indptr))
    below = rows > columns
    above = rows < columns
    is_lower = not above.any()
    if is_lower or not below.any():
        return PatternEntries(n, rows, columns, slice(None), is_lower)
    lower_keys = np.sort(columns[below] * n + rows[below])
    upper_keys = np.sort(rows[above] * n + columns[above])
    if not np.array_equal(lower_keys, upper_keys):
        raise ValueError("a pattern with entries in both triangles must be symmetric")
    return PatternEntries(n, rows, columns, np.flatnonzero(~above), is_lower)


def checked_values(values: ArrayLike, count: int) -> FloatArray:
    """Return the values as an array, one for each of ``count`` entries of the pattern."""
    data = np.asarray(values, dtype=np.float64)
    if data.shape != (count,):
        raise ValueError(f"the pattern has {count} entries, found values of shape {data.shape}")
    return data


def checked_right(right: ArrayLike, n: int) -> FloatArray:
    """Return right-hand sides as an array (n,) or (n, k)."""
    matrix = np.asarray(right, dtype=np.float64)
    if matrix.ndim not in {1, 2} or matrix.shape[0] != n:
        raise ValueError(f"right-hand sides must have {n} rows, found shape {matrix.shape}")
    return matrix


def checked_places(rows: ArrayLike, columns: ArrayLike, n: int) -> tuple[IntArray, IntArray]:
    """Return two equally long lists of indices into an n x n matrix."""
    i = np.ascontiguousarray(rows, dtype=np.int64)
    j = np.ascontiguousarray(columns, dtype=np.int64)
    if i.shape != j.shape or i.ndim != 1:
        raise ValueError(f"rows and columns must be two equal lists, found {i.shape}, {j.shape}")
    if len(i) and (min(i.min(), j.min()) < 0 or max(i.max(), j.max()) >= n):
        raise ValueError(f"rows and columns must lie in 0..{n - 1}")
    return i, j
