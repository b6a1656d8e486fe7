"""Nested, crossed and (later) pedigree systems: M_zz by the sparse engine of ``linalg``.

Stands at "Solving" in ``docs/algorithm.md``. The order of elimination and the symbolic phase are had
once for a pattern; an iteration then scatters values, factorises and takes the selected inverse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.equations.engines import (
    Engine,
    Parts,
    RandomMatrix,
    RandomPattern,
    stack,
    unstack,
)
from mixedflow.equations.expand import positions
from mixedflow.linalg.late import sparse
from mixedflow.linalg.sparse_system import Inverse, SparseSystem


class SparsePattern:
    """The lower triangle of M_zz as compressed columns, and where each part's entries stand in it.

    Attributes
    ----------
    system : the symbolic phase, shared by all factorisations
    """

    def __init__(self, pattern: RandomPattern) -> None:
        self._keys: list[int | tuple[int, int]] = []
        self._masks: list[np.ndarray | None] = []
        self._shapes: list[tuple[int, ...]] = []
        rows, cols = self._entries(pattern)
        size = sum(L * q for L, q in pattern.shapes)
        self._order = np.lexsort((rows, cols))
        counts = np.bincount(cols, minlength=size)
        pointers = np.concatenate([[0], np.cumsum(counts)])
        data = np.ones(len(rows))
        structure = sparse.csc_array((data, rows[self._order], pointers), shape=(size, size))
        self.system = SparseSystem(structure, method="sparse")

    def _entries(self, pattern: RandomPattern) -> tuple[Int, Int]:
        starts = np.cumsum([0, *(L * q for L, q in pattern.shapes)])
        rows, cols = [], []
        for f, (L, q) in enumerate(pattern.shapes):
            levels = np.arange(L)
            row, col = positions(levels, levels, (q, q))
            lower = np.tril(np.ones((q, q), dtype=bool))
            self._note(f, lower, row.shape)
            rows.append(starts[f] + row[:, lower].ravel())
            cols.append(starts[f] + col[:, lower].ravel())
        for (f, h), (first, second) in pattern.pairs.items():
            shape = (pattern.shapes[f][1], pattern.shapes[h][1])
            row, col = positions(first, second, shape)
            self._note((f, h), None, row.shape)
            rows.append(starts[h] + col.ravel())
            cols.append(starts[f] + row.ravel())
        return np.concatenate(rows), np.concatenate(cols)

    def _note(
        self, key: int | tuple[int, int], mask: np.ndarray | None, shape: tuple[int, ...]
    ) -> None:
        self._keys.append(key)
        self._masks.append(mask)
        self._shapes.append(shape)

    def values(self, matrix: RandomMatrix) -> Float:
        """Return M_zz's values in the order of the compressed columns."""
        parts = []
        for key, mask in zip(self._keys, self._masks, strict=True):
            if isinstance(key, tuple):
                parts.append(matrix.pairs[key][2].ravel())
            else:
                parts.append(matrix.diagonal[key][:, mask].ravel())
        ordered: Float = np.concatenate(parts)[self._order]
        return ordered

    def parts(self, values: Float) -> Mapping[int | tuple[int, int], Float]:
        """Return values on the pattern as (L, q, q) a factor and (m, q_f, q_h) a pair."""
        plain = np.empty_like(values)
        plain[self._order] = values
        out: dict[int | tuple[int, int], Float] = {}
        start = 0
        for key, mask, shape in zip(self._keys, self._masks, self._shapes, strict=True):
            count = int(np.prod(shape)) if mask is None else shape[0] * int(mask.sum())
            piece = plain[start : start + count]
            out[key] = piece.reshape(shape) if mask is None else _mirrored(piece, mask, shape)
            start += count
        return out


def _mirrored(piece: Float, mask: np.ndarray, shape: tuple[int, ...]) -> Float:
    full = np.zeros(shape)
    full[:, mask] = piece.reshape(shape[0], -1)
    full.transpose(0, 2, 1)[:, mask] = piece.reshape(shape[0], -1)
    return full


class SparseEngine(Engine):
    """M_zz by supernodal Cholesky; its inverse on the pattern by Takahashi's equations."""

    name = "sparse"

    def __init__(self, matrix: RandomMatrix, pattern: SparsePattern | None = None) -> None:
        super().__init__(matrix)
        self._pattern = SparsePattern(matrix.pattern) if pattern is None else pattern
        self._factor = self._pattern.system.factorize(self._pattern.values(matrix))
        self._inverse: Mapping[int | tuple[int, int], Float] | None = None

    @classmethod
    def factory(cls, pattern: RandomPattern) -> Callable[[RandomMatrix], Engine]:
        """Return a maker of engines that share one symbolic phase."""
        shared = SparsePattern(pattern)
        return lambda matrix: cls(matrix, shared)

    @property
    def flops(self) -> float:
        """Predicted operations of one factorisation."""
        return float(self._pattern.system.cost.flops)

    @property
    def logdet(self) -> float:
        """log|L|^2."""
        return float(self._factor.logdet())

    def solve(self, right: Parts) -> Parts:
        """Return M_zz^-1 right."""
        return unstack(np.asarray(self._factor.solve(stack(right))), self.matrix.shapes)

    def inverse_diagonal(self) -> Parts:
        """Return the diagonal parts of the selected inverse."""
        found = self._selected()
        return tuple(found[f] for f in range(len(self.matrix.shapes)))

    def inverse_pairs(self, key: tuple[int, int]) -> Float:
        """Return the entries of the selected inverse at the pairs."""
        return self._selected()[key]

    def _selected(self) -> Mapping[int | tuple[int, int], Float]:
        if self._inverse is None:
            inverse: Inverse = self._factor.inverse()
            self._inverse = self._pattern.parts(np.asarray(inverse.on_pattern()))
        return self._inverse
