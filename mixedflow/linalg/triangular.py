"""Solutions with a small triangular or positive definite matrix, by NumPy alone.

Serves "Henderson's equations" of ``docs/algorithm.md``: what is left there has the order of the fixed
effects. Importing SciPy's linear algebra takes longer than all else that a small fit does, so it is
imported where an order is large enough to need it.
"""

from __future__ import annotations

import numpy as np

from mixedflow.linalg.arrays import FloatArray
from mixedflow.linalg.late import linalg

PLAIN_ORDER = 64
"""Order up to which substitution row by row is as quick as LAPACK's."""


def solve_lower(L: FloatArray, right: FloatArray, *, transposed: bool = False) -> FloatArray:
    """Return L^-1 B, or L^-T B.

    Parameters
    ----------
    L : (n, n), of which the lower triangle is read
    right : (n,) or (n, k)
    transposed : L' instead of L
    """
    n = len(L)
    if n > PLAIN_ORDER:
        found: FloatArray = linalg.solve_triangular(
            L, right, lower=True, trans="T" if transposed else "N", check_finite=False
        )
        return found
    x = np.array(right, dtype=np.float64)
    if transposed:
        for i in range(n - 1, -1, -1):
            x[i] = (x[i] - L[i + 1 :, i] @ x[i + 1 :]) / L[i, i]
    else:
        for i in range(n):
            x[i] = (x[i] - L[i, :i] @ x[:i]) / L[i, i]
    return x


def solve_by_cholesky(L: FloatArray, right: FloatArray) -> FloatArray:
    """Return (L L')^-1 B from the lower-triangular L."""
    return solve_lower(L, solve_lower(L, right), transposed=True)


def symmetric_root(matrix: FloatArray) -> FloatArray:
    """Return L with L L' = a positive semidefinite matrix, (n, n), scaled to a unit diagonal inside."""
    size = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    safe = np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(matrix / np.outer(safe, safe))
    out: FloatArray = size[:, None] * vectors * np.sqrt(np.maximum(values, 0.0))
    return out
