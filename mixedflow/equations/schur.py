"""Crossed and nested factors: the largest is eliminated level by level, the rest is dense.

Stands at "Solving" in ``docs/algorithm.md``. With M_zz = [N B; B' D], N block-diagonal over the
levels of the largest factor, S = D - B'N^-1 B is factorised by LAPACK and inverted where it stands.
The inverse on the pattern of M_zz comes from S^-1 and E = N^-1 B, a level at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.equations.engines import (
    NOT_DEFINITE,
    Engine,
    Parts,
    RandomMatrix,
    RandomPattern,
)
from mixedflow.equations.expand import positions
from mixedflow.equations.iterative import IterativePattern
from mixedflow.errors import FitError
from mixedflow.linalg.complement import DenseComplement, SharedArray
from mixedflow.linalg.errors import NotPositiveDefinite


class SchurEngine(Engine):
    """M_zz^-1 by elimination of one factor and a dense Schur complement of the others."""

    name = "schur"

    def __init__(
        self,
        matrix: RandomMatrix,
        structure: IterativePattern | None = None,
        shared: SharedArray | None = None,
    ) -> None:
        super().__init__(matrix)
        self._structure = IterativePattern(matrix.pattern) if structure is None else structure
        try:
            self._complement = DenseComplement(self._structure.matrix(matrix), shared)
        except NotPositiveDefinite as error:
            raise FitError(NOT_DEFINITE) from error
        self._head: Float | None = None
        self._pair_values: dict[int, Float] = {}

    @classmethod
    def factory(cls, pattern: RandomPattern) -> Callable[[RandomMatrix], Engine]:
        """Return a maker of engines that share an array, and the lists of which levels meet."""
        return cls.of(IterativePattern(pattern))

    @classmethod
    def of(cls, structure: IterativePattern) -> Callable[[RandomMatrix], Engine]:
        """Return the same from lists that are there already."""
        shared = SharedArray()
        return lambda matrix: cls(matrix, structure, shared)

    @property
    def logdet(self) -> float:
        """log|N| + log|S|."""
        return self._complement.logdet

    def solve(self, right: Parts) -> Parts:
        """Return M_zz^-1 right by elimination, the Schur complement and back substitution."""
        return self._structure.joined(*self._complement.solve(*self._structure.split(right)))

    def inverse_diagonal(self) -> Parts:
        """Return N_l^-1 + E_l S^-1 E_l' for the eliminated factor, parts of S^-1 for the others."""
        parts = [self._entries(h, h, *_twice(L)) for h, (L, _) in self._rest()]
        parts.insert(self._structure.first, self._eliminated())
        return tuple(parts)

    def inverse_pairs(self, key: tuple[int, int]) -> Float:
        """Return -E S^-1 at the pairs of the eliminated factor, entries of S^-1 otherwise."""
        first = self._structure.first
        if first not in key:
            rows, cols, _ = self.matrix.pairs[key]
            return self._entries(*key, rows, cols)
        self._eliminated()
        values = self._pair_values[key[0] if key[1] == first else key[1]]
        return values if key[0] == first else values.transpose(0, 2, 1)

    def _rest(self) -> list[tuple[int, tuple[int, int]]]:
        return list(zip(self._structure.others, self._structure.rest, strict=True))

    def _entries(self, f: int, h: int, rows: Int, cols: Int) -> Float:
        """Return parts of S^-1, (m, q_f, q_h), at levels of two factors."""
        structure = self._structure
        row, col = positions(rows, cols, (structure.shapes[f][1], structure.shapes[h][1]))
        row = structure.starts[structure.others.index(f)] + row
        col = structure.starts[structure.others.index(h)] + col
        return self._complement.inverse_entries(row, col)

    def _eliminated(self) -> Float:
        """Return the eliminated factor's diagonal parts; its pairs are kept."""
        if self._head is None:
            self._head, met = self._complement.inverse_parts()
            self._pair_values = self._structure.pair_values(met)
        return self._head


def _twice(levels: int) -> tuple[Int, Int]:
    at = np.arange(levels)
    return at, at
