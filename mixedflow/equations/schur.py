"""Crossed and nested factors: the largest is eliminated level by level, the rest is dense.

Stands at "Solving" in ``docs/algorithm.md``. With M_zz = [N B; B' D], N block-diagonal over the
levels of the largest factor, S = D - B'N^-1 B is factorised by LAPACK. The inverse on the pattern
of M_zz comes from S^-1 and F = N^-1 B, a stretch of levels at a time, so memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import lapack
from scipy.sparse import csr_array, hstack

from mixedflow.design.types import Float, Int
from mixedflow.equations.engines import (
    NOT_DEFINITE,
    DenseEngine,
    Engine,
    Parts,
    RandomMatrix,
    batched_cholesky,
    dense_inverse,
    dense_matrix,
    stack,
    unstack,
)
from mixedflow.equations.expand import expanded, expanded_diagonal, positions
from mixedflow.errors import FitError

STRETCH = 1 << 22
"""Entries of F S^-1 that are held at a time."""


class SchurEngine(Engine):
    """M_zz^-1 by elimination of one factor and a dense Schur complement of the others."""

    name = "schur"

    def __init__(self, matrix: RandomMatrix) -> None:
        super().__init__(matrix)
        sizes = [L * q for L, q in matrix.shapes]
        self._first = int(np.argmax(sizes))
        self._others = [f for f in range(len(sizes)) if f != self._first]
        self._rest = _without(matrix, self._first)
        self._eliminate()

    def _eliminate(self) -> None:
        N = self.matrix.diagonal[self._first]
        chol = batched_cholesky(N)
        half = np.linalg.inv(chol)
        self._N_inverse = half.transpose(0, 2, 1) @ half
        self._N_logdet = float(2.0 * np.log(np.diagonal(chol, axis1=1, axis2=2)).sum())
        self._B = self._coupling()
        self._F = csr_array(expanded_diagonal(self._N_inverse) @ self._B)
        S = dense_matrix(self._rest) - (self._B.T @ self._F).toarray()
        self._S_chol, info = lapack.dpotrf(S, lower=1, clean=1)
        if info != 0:
            raise FitError(NOT_DEFINITE)
        self._S_inverse: Float | None = None
        self._pair_values: dict[int, Float] = {}

    def _coupling(self) -> csr_array:
        """Return B: rows are the eliminated factor's effects, columns the others'."""
        L = self.matrix.shapes[self._first][0]
        parts = []
        for h in self._others:
            key, swap = ((self._first, h), False) if self._first < h else ((h, self._first), True)
            rows, cols, values = self.matrix.pairs[key]
            if swap:
                rows, cols, values = cols, rows, values.transpose(0, 2, 1)
            parts.append(expanded(rows, cols, values, (L, self.matrix.shapes[h][0])))
        return csr_array(hstack(parts, format="csr"))

    @property
    def logdet(self) -> float:
        """log|N| + log|S|."""
        return self._N_logdet + float(2.0 * np.log(np.diagonal(self._S_chol)).sum())

    def solve(self, right: Parts) -> Parts:
        """Return M_zz^-1 right by elimination, the Schur complement and back substitution."""
        first = self._N_inverse @ right[self._first]
        rest = stack(tuple(right[h] for h in self._others))
        rest = rest - self._B.T @ first.reshape(-1, first.shape[2])
        solved, _ = lapack.dpotrs(self._S_chol, rest, lower=1)
        first = first - (self._F @ solved).reshape(first.shape)
        parts = list(unstack(solved, self._rest.shapes))
        parts.insert(self._first, first)
        return tuple(parts)

    def inverse_diagonal(self) -> Parts:
        """Return N_l^-1 + F_l S^-1 F_l' for the eliminated factor, parts of S^-1 for the others."""
        first = self._N_inverse.copy()
        q = self.matrix.shapes[self._first][1]
        for levels, FS in self._stretches():
            rows = self._F[levels.start * q : levels.stop * q].toarray()
            shape = (levels.stop - levels.start, q, -1)
            first[levels] += FS.reshape(shape) @ rows.reshape(shape).transpose(0, 2, 1)
        parts = list(self._dense_rest().inverse_diagonal())
        parts.insert(self._first, first)
        return tuple(parts)

    def inverse_pairs(self, key: tuple[int, int]) -> Float:
        """Return -F S^-1 at the pairs of the eliminated factor, entries of S^-1 otherwise."""
        if self._first not in key:
            return self._dense_rest().inverse_pairs(
                (self._others.index(key[0]), self._others.index(key[1]))
            )
        h = key[0] if key[1] == self._first else key[1]
        if not self._pair_values:
            self._fill_pairs()
        values = self._pair_values[h]
        return values if key[0] == self._first else values.transpose(0, 2, 1)

    def _fill_pairs(self) -> None:
        q = self.matrix.shapes[self._first][1]
        found = {h: self._pair_index(h) for h in self._others}
        for h, (_, cols) in found.items():
            self._pair_values[h] = np.empty((len(cols), q, self.matrix.shapes[h][1]))
        for levels, FS in self._stretches():
            for h, (rows, cols) in found.items():
                mine = np.flatnonzero((rows >= levels.start) & (rows < levels.stop))
                local = rows[mine] - levels.start
                row, col = positions(local, cols[mine], (q, self.matrix.shapes[h][1]))
                self._pair_values[h][mine] = -FS[row, self._start_of(h) + col]

    def _pair_index(self, h: int) -> tuple[Int, Int]:
        if self._first < h:
            rows, cols, _ = self.matrix.pairs[self._first, h]
            return rows, cols
        rows, cols, _ = self.matrix.pairs[h, self._first]
        return cols, rows

    def _start_of(self, h: int) -> int:
        before = self._others[: self._others.index(h)]
        return sum(self.matrix.shapes[f][0] * self.matrix.shapes[f][1] for f in before)

    def _stretches(self) -> Iterator[tuple[slice, Float]]:
        """Yield F S^-1 for one stretch of levels after another."""
        L, q = self.matrix.shapes[self._first]
        S_inverse = self._dense_rest().inverse()
        step = max(1, STRETCH // max(1, q * S_inverse.shape[0]))
        for start in range(0, L, step):
            levels = slice(start, min(L, start + step))
            yield levels, self._F[levels.start * q : levels.stop * q] @ S_inverse

    def _dense_rest(self) -> _Rest:
        if self._S_inverse is None:
            self._S_inverse = dense_inverse(self._S_chol)
        return _Rest(self._rest, self._S_inverse)


class _Rest(DenseEngine):
    """Reads parts of an inverse that is already there."""

    def __init__(self, matrix: RandomMatrix, inverse: Float) -> None:
        self.matrix = matrix
        sizes = [L * q for L, q in matrix.shapes]
        self._starts = [sum(sizes[:f]) for f in range(len(sizes))]
        self._inverse = inverse


def _without(matrix: RandomMatrix, first: int) -> RandomMatrix:
    """Return the part of M_zz among the other factors."""
    keep = [f for f in range(len(matrix.diagonal)) if f != first]
    pairs = {
        (keep.index(f), keep.index(h)): value
        for (f, h), value in matrix.pairs.items()
        if first not in (f, h)
    }
    return RandomMatrix(tuple(matrix.diagonal[f] for f in keep), pairs)
