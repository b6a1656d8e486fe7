"""A = L L' with all entries stored: the plain LAPACK twin of the sparse engine.

Small systems are solved here at once, where the sparse engine would first wait for its kernels to
be loaded or compiled; and the tests hold the engine against it. Same methods, same meaning as
:mod:`mixedflow.linalg.cholesky`. Serves "the mixed model equations" of ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mixedflow.linalg.arrays import FloatArray
from mixedflow.linalg.errors import NotPositiveDefinite
from mixedflow.linalg.late import lapack, linalg
from mixedflow.linalg.patterns import (
    PatternEntries,
    checked_places,
    checked_right,
    checked_values,
)


@dataclass(frozen=True, slots=True)
class FullInverse:
    """A^-1 in full; the methods are those of ``SelectedInverse``.

    Attributes
    ----------
    entries : PatternEntries
    matrix : (n, n) float array, both triangles
    """

    entries: PatternEntries
    matrix: FloatArray

    def on_pattern(self) -> FloatArray:
        """Return the values at the entries of the pattern, in its order."""
        values: FloatArray = self.matrix[self.entries.rows, self.entries.columns]
        return values

    def diagonal(self) -> FloatArray:
        """Return the diagonal of A^-1."""
        return np.diagonal(self.matrix).copy()

    def at(self, rows: ArrayLike, columns: ArrayLike) -> FloatArray:
        """Return the values at any entries."""
        i, j = checked_places(rows, columns, self.entries.n)
        values: FloatArray = self.matrix[i, j]
        return values


@dataclass(slots=True, eq=False)
class FullFactor:
    """L of A = L L'; the methods are those of ``SparseFactor``, with P = I.

    Attributes
    ----------
    entries : PatternEntries
    lower : (n, n) float array, column-major
        L, with zeros above the diagonal; empty once an inverse was made in its place.
    """

    entries: PatternEntries
    lower: FloatArray

    def solve(self, right: ArrayLike) -> FloatArray:
        """A^-1 B for one right-hand side (n,) or several (n, k)."""
        return self._triangular(self._triangular(right, "N"), "T")

    def half_solve(self, right: ArrayLike) -> FloatArray:
        """L^-1 B: the sum of squares of its columns is the diagonal of B' A^-1 B."""
        return self._triangular(right, "N")

    def half_solve_transposed(self, right: ArrayLike) -> FloatArray:
        """L^-T B: for B of independent standard normals, columns with covariance A^-1."""
        return self._triangular(right, "T")

    def logdet(self) -> float:
        """log|A| = 2 sum_j log L_jj."""
        return 2.0 * float(np.log(np.diagonal(self._alive())).sum())

    def inverse(self, *, overwrite: bool = False) -> FullInverse:
        """A^-1; with ``overwrite`` in the place of L, which is gone then."""
        inverse, info = lapack.dpotri(self._alive(), lower=1, overwrite_c=int(overwrite))
        if info != 0:
            raise NotPositiveDefinite(int(info) - 1)
        if overwrite:
            self.lower = np.empty((0, 0))
        return FullInverse(self.entries, np.tril(inverse) + np.tril(inverse, -1).T)

    def pivots(self) -> FloatArray:
        """L_jj^2: what is left of A_jj after all columns before j."""
        return np.diagonal(self._alive()) ** 2

    def _alive(self) -> FloatArray:
        if len(self.lower) != self.entries.n:
            raise ValueError("the factor was overwritten by its inverse: factorise again")
        return self.lower

    def _triangular(self, right: ArrayLike, flip: Literal["N", "T"]) -> FloatArray:
        matrix = checked_right(right, self.entries.n)
        solution: FloatArray = linalg.solve_triangular(
            self._alive(), matrix, lower=True, trans=flip, check_finite=False
        )
        return solution


def factorize_full(entries: PatternEntries, values: ArrayLike) -> FullFactor:
    """Factorise the matrix that has these values on the pattern; duplicate entries add up."""
    data = checked_values(values, len(entries.rows))
    i, j = entries.rows[entries.scattered], entries.columns[entries.scattered]
    flat = np.minimum(i, j) * entries.n + np.maximum(i, j)
    # column-major lower triangle, so that LAPACK works in place
    matrix = np.bincount(flat, data[entries.scattered], minlength=entries.n**2)
    lower, info = lapack.dpotrf(
        matrix.reshape(entries.n, entries.n).T, lower=1, clean=1, overwrite_a=1
    )
    if info > 0:
        raise NotPositiveDefinite(int(info) - 1)
    finite = np.isfinite(np.diagonal(lower))
    if not finite.all():  # OpenBLAS lets NaN pass
        raise NotPositiveDefinite(int(np.argmin(finite)))
    return FullFactor(entries, lower)
