"""M = [N B; B' D] with N eliminated and S = D - B'N^-1B written down, factorised and inverted in place.

Serves "Crossed and nested factors" of ``docs/algorithm.md``. One triangle of one array of the order of S
is all the memory there is: it holds S, then its Cholesky factor, then S^-1. Only where M itself has
entries is M^-1 read from it: level by level, or by products of matrices for the few levels that meet
a good share of D's columns and would take most of the time. Factorisations of one pattern hand the array
on; one that is asked again after it has given it away factorises anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from mixedflow.linalg.arrays import FloatArray, IntArray
from mixedflow.linalg.complement_twins import (
    Meetings,
    meetings,
    n_meetings,
    read_inverse_twin,
    subtract_products_twin,
)
from mixedflow.linalg.eliminated import EliminatedMatrix, Elimination
from mixedflow.linalg.errors import NotPositiveDefinite
from mixedflow.linalg.late import blas, lapack

HEAVY = 0.1
"""Share of D's columns that a part of N meets from which on it is taken as dense (measured)."""

COMPILE_ABOVE = 3_000_000
"""Pairs of entries of B that meet in a part of N above which the loops are compiled.

A pass over the pairs takes NumPy as long as the loops; what they save in memory and in listing the
pairs is worth a compiler's start from here on (measured).
"""

STRETCH = 1 << 22
"""Numbers of dense rows of B that are held at a time."""


class SharedArray:
    """The one array that factorisations of a pattern hand on; whose it is may use it, one at a time."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.owner: object = None
        self._array = np.empty((0, 0))
        self._met: Meetings | None = None

    def meetings(self, matrix: EliminatedMatrix) -> Meetings:
        """Return which entries of B meet, listed once for the pattern."""
        if self._met is None:
            self._met = meetings(matrix.pointers, matrix.columns, len(self._array))
        return self._met

    def zeros(self, order: int) -> FloatArray:
        """Return the array, full of zeros."""
        if len(self._array) == order:
            self._array.fill(0.0)
        else:
            self._array = np.zeros((order, order))
        return self._array

    @property
    def array(self) -> FloatArray:
        """What its owner has left in it."""
        return self._array


class DenseComplement:
    """M by elimination of N and LAPACK on S.

    Attributes
    ----------
    matrix : M
    logdet : log|N| + log|S|

    Raises
    ------
    NotPositiveDefinite
        with the column of S that breaks down.
    """

    def __init__(
        self,
        matrix: EliminatedMatrix,
        shared: SharedArray | None = None,
        *,
        compiled: bool | None = None,
        threads: int = 1,
    ) -> None:
        self.matrix = matrix
        loops = n_meetings(matrix.pointers) > COMPILE_ABOVE if compiled is None else compiled
        self._schur = Elimination(matrix, compiled=loops, threads=threads)
        self._shared = SharedArray() if shared is None else shared
        self._mark = object()
        self._inverted = False
        with self._factor() as S:
            self.logdet = self._schur.head_logdet + float(2.0 * np.log(np.diagonal(S)).sum())

    @contextmanager
    def _factor(self) -> Iterator[FloatArray]:
        """Hold the array with the factor of S, or with S^-1 where that has been asked for."""
        shared = self._shared
        with shared.lock:
            if shared.owner is not self._mark:
                shared.owner, self._inverted = None, False
                S = self._written(shared.zeros(self._schur.order))
                # the transpose of a C-ordered array is LAPACK's column-major: nothing is copied
                _, info = lapack.dpotrf(S.T, lower=1, clean=0, overwrite_a=1)
                if info != 0:
                    raise NotPositiveDefinite(info - 1)
                shared.owner = self._mark
            yield shared.array

    @contextmanager
    def _inverse(self) -> Iterator[FloatArray]:
        """Hold the array with S^-1."""
        with self._factor() as S:
            if not self._inverted:
                lapack.dpotri(S.T, lower=1, overwrite_c=1)
                self._inverted = True
            yield S

    def solve(self, first: FloatArray, rest: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return M^-1 [first; rest] by its two parts, (L q, k) and (n, k)."""
        reduced = self._schur.reduced(np.ascontiguousarray(first), rest)
        with self._factor() as S:
            if self._inverted:
                solved = blas.dsymm(1.0, S.T, reduced, lower=1)
            else:
                solved, _ = lapack.dpotrs(S.T, reduced, lower=1)
        x = np.ascontiguousarray(solved)
        return self._schur.back(first, x), x

    def inverse_entries(self, rows: IntArray, columns: IntArray) -> FloatArray:
        """Return entries of S^-1, which are those of M^-1 outside the eliminated part."""
        with self._inverse() as S:
            found: FloatArray = S[np.minimum(rows, columns), np.maximum(rows, columns)]
        return found

    def inverse_parts(self) -> tuple[FloatArray, FloatArray]:
        """Return the diagonal parts of M^-1 where N is, (L, q, q), and M^-1 where B is, (nnz, q)."""
        with self._inverse() as S:
            return self._read(S)

    def _read(self, S: FloatArray) -> tuple[FloatArray, FloatArray]:
        matrix, inverse = self.matrix, self._schur.head_inverse
        if not self._schur.compiled:
            return read_inverse_twin(self._shared.meetings(matrix), matrix.coupling, inverse, S)
        head, met = np.empty_like(inverse), np.empty_like(matrix.coupling)
        from mixedflow.linalg.complement_kernels import read_inverse, read_single

        read = read_single if inverse.shape[1] == 1 else read_inverse
        lists = matrix.pointers, matrix.columns, matrix.coupling
        read(light_levels(matrix, len(S)), *lists, inverse, S, head, met)
        for levels in heavy_levels(matrix, len(S)):
            self._read_heavy(S, levels, head, met)
        return head, met

    def _read_heavy(
        self, S: FloatArray, levels: IntArray, head: FloatArray, met: FloatArray
    ) -> None:
        """Do what the compiled loops do for levels that meet many columns."""
        matrix, inverse = self.matrix, self._schur.head_inverse[levels]
        E = inverse @ dense_coupling(levels, matrix, len(S))
        rows = E.reshape(-1, len(S))
        ES = blas.dsymm(1.0, S.T, rows.T, lower=1).T.reshape(E.shape)
        _keep_parts(levels, matrix, inverse + ES @ E.transpose(0, 2, 1), ES, head, met)

    def _written(self, S: FloatArray) -> FloatArray:
        """Return S, written into zeros."""
        matrix, inverse = self.matrix, self._schur.head_inverse
        start = 0
        for part in matrix.parts:
            M, r, _ = part.shape
            at = start + np.arange(M)[:, None] * r + np.arange(r)
            S[at[:, :, None], at[:, None, :]] = part
            start += M * r
        if matrix.others is not None:
            S[matrix.others.rows, matrix.others.indices] += matrix.others.data
        if not self._schur.compiled:
            subtract_products_twin(self._shared.meetings(matrix), matrix.coupling, inverse, S)
            return S
        from mixedflow.linalg.complement_kernels import subtract_products, subtract_single

        subtract = subtract_single if inverse.shape[1] == 1 else subtract_products
        lists = matrix.pointers, matrix.columns, matrix.coupling
        subtract(light_levels(matrix, len(S)), *lists, inverse, S)
        for levels in heavy_levels(matrix, len(S)):
            root = np.linalg.cholesky(inverse[levels]).transpose(0, 2, 1)
            rows = (root @ dense_coupling(levels, matrix, len(S))).reshape(-1, len(S))
            blas.dsyrk(-1.0, rows.T, beta=1.0, c=S.T, lower=1, overwrite_c=1)
        return S


def light_levels(matrix: EliminatedMatrix, order: int) -> IntArray:
    """Return the parts of N that meet few of the columns of D."""
    return np.flatnonzero(np.diff(matrix.pointers) <= HEAVY * order)


def heavy_levels(matrix: EliminatedMatrix, order: int) -> list[IntArray]:
    """Return the others, as many at a time as may be held as dense rows."""
    levels = np.flatnonzero(np.diff(matrix.pointers) > HEAVY * order)
    step = max(1, STRETCH // max(1, order * matrix.coupling.shape[1]))
    return [levels[at : at + step] for at in range(0, len(levels), step)]


def _keep_parts(
    levels: IntArray,
    matrix: EliminatedMatrix,
    parts: FloatArray,
    ES: FloatArray,
    head: FloatArray,
    met: FloatArray,
) -> None:
    head[levels] = parts
    number, entry = _entries(levels, matrix)
    met[entry] = -ES[number, :, matrix.columns[entry]]


def dense_coupling(levels: IntArray, matrix: EliminatedMatrix, order: int) -> FloatArray:
    """Return the rows of B of some levels, (m, q, n)."""
    B = np.zeros((len(levels), matrix.coupling.shape[1], order))
    number, entry = _entries(levels, matrix)
    B[number, :, matrix.columns[entry]] = matrix.coupling[entry]
    return B


def _entries(levels: IntArray, matrix: EliminatedMatrix) -> tuple[IntArray, IntArray]:
    """Return the entries of B of some levels: which of the levels, and where in the list."""
    starts, counts = matrix.pointers[levels], np.diff(matrix.pointers)[levels]
    number = np.repeat(np.arange(len(levels)), counts)
    within = np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts, counts)
    return number, starts[number] + within
