"""M = [N B; B' D] with N block-diagonal: N is eliminated, and S = D - B'N^-1B is left to multiply with.

Serves the iterative route of "Solving" in ``docs/algorithm.md``. Nothing is written down but what M
itself holds, so S costs no more memory than M: B'N^-1B X is had from one part of N after another. To
conjugate gradients S is a better matrix than M, of the smaller order, and its diagonal parts are
known exactly (block-Jacobi).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixedflow.linalg.arrays import FloatArray, Int32Array, IntArray
from mixedflow.linalg.batched import batched_cholesky, batched_inverse, batched_logdet
from mixedflow.linalg.complement_twins import gather_twin, scatter_twin
from mixedflow.linalg.compressed import CompressedRows
from mixedflow.linalg.late import sparse
from mixedflow.linalg.pcg import COMPILE_ABOVE

Parts = tuple[FloatArray, ...]
"""Diagonal parts (M, r, r), one array for every stretch of equal sizes."""


@dataclass(frozen=True, slots=True)
class EliminatedMatrix:
    """M by its parts.

    Attributes
    ----------
    head : (L, q, q), N
    parts : the diagonal parts of D
    pointers : (L + 1,), columns : (nnz,), coupling : (nnz, q)
        B by parts of N: part l meets the columns ``columns[pointers[l]:pointers[l + 1]]`` of D;
        those of one diagonal part of D stand side by side and in order
    others : what D has beside its diagonal parts, both triangles, by rows, or None
    """

    head: FloatArray
    parts: Parts
    pointers: IntArray
    columns: Int32Array
    coupling: FloatArray
    others: CompressedRows | None


class Elimination:
    """N of M factorised, and the right sides that go past it.

    Attributes
    ----------
    matrix : M
    head_inverse : N^-1; head_logdet : log|N|
    compiled : whether the compiled loops are taken
    """

    def __init__(self, matrix: EliminatedMatrix, *, compiled: bool, threads: int = 1) -> None:
        self.matrix = matrix
        self._starts = _starts(matrix.parts)
        self.compiled = compiled
        root = batched_cholesky(matrix.head, threads=threads)
        self.head_logdet = float(batched_logdet(root).sum())
        self.head_inverse = batched_inverse(root, threads=threads)

    @property
    def order(self) -> int:
        """Order of S."""
        return self._starts[-1]

    @property
    def lists(self) -> tuple[IntArray, Int32Array, FloatArray]:
        """B as the loops take it."""
        return self.matrix.pointers, self.matrix.columns, self.matrix.coupling

    def reduced(self, first: FloatArray, rest: FloatArray) -> FloatArray:
        """Return rest - B'N^-1 first: the right side that S is left with; first (L q, k)."""
        solved = self._solve_head(first)
        if not self.compiled:
            return np.subtract(rest, scatter_twin(*self.lists, solved, self.order))
        from mixedflow.linalg.pcg_kernels import scatter

        return np.subtract(rest, scatter(*self.lists, solved, self.order))

    def back(self, first: FloatArray, x: FloatArray) -> FloatArray:
        """Return N^-1 (first - B x), the eliminated part of a solution; (L q, k)."""
        if not self.compiled:
            return self._solve_head(np.subtract(first, gather_twin(*self.lists, x)))
        from mixedflow.linalg.pcg_kernels import gather

        met = gather(*self.lists, x, self.matrix.head.shape[1])
        return self._solve_head(np.subtract(first, met))

    def _solve_head(self, right: FloatArray) -> FloatArray:
        L, q, _ = self.head_inverse.shape
        if q == 1:
            scaled: FloatArray = self.head_inverse[:, 0] * right
            return scaled
        solved: FloatArray = (self.head_inverse @ right.reshape(L, q, -1)).reshape(right.shape)
        return solved


class SchurComplement(Elimination):
    """S = D - B'N^-1B, never written down; see :class:`mixedflow.linalg.pcg.PositiveOperator`.

    Attributes
    ----------
    removed : diagonal parts of B'N^-1B
    jacobi_inverse : inverses of S's diagonal parts; jacobi_root : their Cholesky factors
    jacobi_logdet : log-determinant of S's diagonal parts
    compiled : by the size unless given
    """

    def __init__(
        self, matrix: EliminatedMatrix, *, compiled: bool | None = None, threads: int = 1
    ) -> None:
        size = len(matrix.head) * matrix.head.shape[1] + _starts(matrix.parts)[-1]
        loops = size > COMPILE_ABOVE if compiled is None else compiled
        super().__init__(matrix, compiled=loops, threads=threads)
        self._twin = None if loops else _Twin(matrix, self.head_inverse, self.order)
        self.removed = self._removed()
        left = (D - K for D, K in zip(matrix.parts, self.removed, strict=True))
        self.jacobi_root = tuple(batched_cholesky(part) for part in left)
        self.jacobi_inverse = tuple(batched_inverse(root) for root in self.jacobi_root)
        self.jacobi_logdet = float(sum(batched_logdet(root).sum() for root in self.jacobi_root))

    def multiply(self, X: FloatArray) -> FloatArray:
        """Return S X, (n, k)."""
        return self._less_eliminated(self.matrix.parts, X)

    def off_diagonal(self, X: FloatArray) -> FloatArray:
        """Return (S - its diagonal parts) X, without cancellation where B is tiny."""
        return self._less_eliminated(self.removed, X)

    def precondition(self, R: FloatArray) -> FloatArray:
        """Return blockdiag(S)^-1 R."""
        return self.by_parts(self.jacobi_inverse, R)

    def by_parts(self, parts: Parts, X: FloatArray) -> FloatArray:
        """Return blockdiag(parts) X."""
        out = np.empty_like(X)
        for part, start in zip(parts, self._starts, strict=False):
            if self.compiled:
                from mixedflow.linalg.pcg_kernels import multiply_parts

                multiply_parts(part, X, out, start)
            else:
                M, r, _ = part.shape
                piece = X[start : start + M * r].reshape(M, r, -1)
                out[start : start + M * r] = (part @ piece).reshape(M * r, -1)
        return out

    def _less_eliminated(self, parts: Parts, X: FloatArray) -> FloatArray:
        """Return (blockdiag(parts) + others - B'N^-1B) X."""
        matrix = self.matrix
        Y = self.by_parts(parts, X)
        if self._twin is not None:
            if matrix.others is not None:
                Y += np.asarray(matrix.others @ X)
            Y -= np.asarray(self._twin.coupling.T @ (self._twin.solved @ X))
            return Y
        from mixedflow.linalg.pcg_kernels import add_rows, subtract_eliminated, subtract_single

        if matrix.others is not None:
            add_rows(matrix.others.indptr, matrix.others.indices, matrix.others.data, X, Y)
        subtract = subtract_single if matrix.head.shape[1] == 1 else subtract_eliminated
        subtract(*self.lists, self.head_inverse, X, Y)
        return Y

    def head_products(self, V: FloatArray, W: FloatArray) -> FloatArray:
        """Return sum_l (N^-1 B v)_l (N^-1 B w)_l' of every column, (k, q, q)."""
        if self._twin is not None:
            L, q, _ = self.head_inverse.shape
            left = np.asarray(self._twin.solved @ V).reshape(L, q, -1)
            right = np.asarray(self._twin.solved @ W).reshape(L, q, -1)
            product: FloatArray = np.einsum("lak,lbk->kab", left, right)
            return product
        from mixedflow.linalg.pcg_kernels import head_products

        return np.asarray(head_products(*self.lists, self.head_inverse, V, W))

    def head_parts(self, middle: Parts) -> FloatArray:
        """Return sum_l (N^-1 B blockdiag(middle) B'N^-1)_ll, (q, q)."""
        q = self.matrix.head.shape[1]
        out = np.zeros((q, q))
        if self._twin is not None:
            full = _dense_parts(middle)
            H = self._twin.solved.toarray().reshape(-1, q, self.order)
            out += np.einsum("lai,ij,lbj->ab", H, full, H, optimize=True)
            return out
        from mixedflow.linalg.pcg_kernels import head_parts

        for part, start in zip(middle, self._starts, strict=False):
            head_parts(*self.lists, self.head_inverse, start, part, out)
        return out

    def _removed(self) -> Parts:
        out = tuple(np.zeros_like(part) for part in self.matrix.parts)
        if self._twin is not None:
            K = (self._twin.coupling.T @ self._twin.solved).toarray()
            for part, start in zip(out, self._starts, strict=False):
                M, r, _ = part.shape
                for i in range(M):
                    at = slice(start + i * r, start + (i + 1) * r)
                    part[i] = K[at, at]
            return out
        from mixedflow.linalg.pcg_kernels import eliminated_parts

        for part, start in zip(out, self._starts, strict=False):
            eliminated_parts(*self.lists, self.head_inverse, start, part)
        return out


class _Twin:
    """B and N^-1B as sparse matrices, for small systems that are not worth a compiler's start."""

    def __init__(self, matrix: EliminatedMatrix, inverse: FloatArray, order: int) -> None:
        L, q, _ = inverse.shape
        level = np.repeat(np.arange(L), np.diff(matrix.pointers))
        rows = (level[:, None] * q + np.arange(q)).ravel()
        columns = np.repeat(matrix.columns, q)
        shape = (L * q, order)
        self.coupling = sparse.csr_array((matrix.coupling.ravel(), (rows, columns)), shape=shape)
        at = (np.arange(L)[:, None] * q + np.arange(q))[:, :, None]
        row = np.broadcast_to(at, inverse.shape).ravel()
        column = np.broadcast_to(at.transpose(0, 2, 1), inverse.shape).ravel()
        self.solved = sparse.csr_array(
            sparse.csr_array((inverse.ravel(), (row, column)), shape=(L * q, L * q)) @ self.coupling
        )


def _starts(parts: Sequence[FloatArray]) -> list[int]:
    """Return where every stretch of parts starts, and the order last."""
    return [0, *np.cumsum([part.shape[0] * part.shape[1] for part in parts]).tolist()]


def _dense_parts(parts: Parts) -> FloatArray:
    starts = _starts(parts)
    full = np.zeros((starts[-1], starts[-1]))
    for part, start in zip(parts, starts, strict=False):
        M, r, _ = part.shape
        for i in range(M):
            at = slice(start + i * r, start + (i + 1) * r)
            full[at, at] = part[i]
    return full
