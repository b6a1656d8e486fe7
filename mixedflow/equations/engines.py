"""Factorisations of M_zz = F'Z'R^-1 Z F + I, the random part of Henderson's equations.

Stands at "Solving" in ``docs/algorithm.md``. Effects are scaled, u = F b with G = F F', so M_zz is
well conditioned and stays so when a variance is zero. An engine gives the log-determinant,
solutions and the entries of the inverse on the pattern of M_zz: its diagonal parts (a q x q matrix
per level) and the pairs of levels that meet. Each engine passes one contract test against dense
algebra.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.equations.expand import positions
from mixedflow.errors import FitError
from mixedflow.linalg.compressed import CompressedRows, compressed_rows
from mixedflow.linalg.late import lapack

NOT_DEFINITE = (
    "the mixed model equations are not positive definite; the columns' scales differ too much for "
    "double precision"
)
"""What is said where a factorisation breaks down."""

Parts = tuple[Float, ...]
"""One (L_f, q_f, r) array a factor: a matrix with r columns over all random effects."""


@dataclass(frozen=True, slots=True)
class RandomMatrix:
    """M_zz by its parts, in scaled effects.

    Attributes
    ----------
    diagonal : (L_f, q_f, q_f) a factor, identity included
    pairs : (f, h), f < h -> (rows, cols, (m, q_f, q_h))
    """

    diagonal: Parts
    pairs: Mapping[tuple[int, int], tuple[Int, Int, Float]]

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(L_f, q_f) of every factor."""
        return tuple((d.shape[0], d.shape[1]) for d in self.diagonal)

    @property
    def pattern(self) -> RandomPattern:
        """Where the entries are, without their values."""
        return RandomPattern(self.shapes, {k: (r, c) for k, (r, c, _) in self.pairs.items()})


@dataclass(frozen=True, slots=True)
class RandomPattern:
    """Where M_zz has entries; the same for all variances.

    Attributes
    ----------
    shapes : (L_f, q_f) of every factor
    pairs : (f, h), f < h -> (rows, cols) of the levels that meet
    """

    shapes: tuple[tuple[int, int], ...]
    pairs: Mapping[tuple[int, int], tuple[Int, Int]]

    @property
    def n_pairs(self) -> int:
        """Pairs of levels that meet, over all pairs of factors."""
        return sum(len(rows) for rows, _ in self.pairs.values())


class Engine(ABC):
    """A factorised M_zz."""

    name: ClassVar[str]
    exact: ClassVar[bool] = True
    """Whether log-determinant and inverse are computed, not estimated."""

    def __init__(self, matrix: RandomMatrix) -> None:
        self.matrix = matrix

    @classmethod
    def factory(cls, pattern: RandomPattern) -> MakeEngine:  # noqa: ARG003 - some engines use it
        """Return what factorises a matrix of a pattern; work on the pattern alone is done once."""
        return cls

    @property
    @abstractmethod
    def logdet(self) -> float:
        """log|M_zz|."""

    @abstractmethod
    def solve(self, right: Parts) -> Parts:
        """Return M_zz^-1 times a matrix over the random effects."""

    @abstractmethod
    def inverse_diagonal(self) -> Parts:
        """Return the (L_f, q_f, q_f) diagonal parts of M_zz^-1."""

    @abstractmethod
    def inverse_pairs(self, key: tuple[int, int]) -> Float:
        """Return the (m, q_f, q_h) entries of M_zz^-1 at the pairs of two factors."""


MakeEngine = Callable[[RandomMatrix], Engine]
"""Factorises a RandomMatrix: an engine's class, or a factory that knows the pattern."""


def batched_cholesky(A: Float) -> Float:
    """Return L_l with A_l = L_l L_l' for a stack of matrices, shape (L, q, q).

    Raises
    ------
    FitError
        if one of them is not positive definite, which infinite or missing sums cause.
    """
    try:
        return np.asarray(np.linalg.cholesky(A), dtype=np.float64)
    except np.linalg.LinAlgError as error:
        raise FitError(NOT_DEFINITE) from error


class GroupedEngine(Engine):
    """One grouping factor: M_zz is a stack of small matrices, O(L q^3)."""

    name = "grouped"

    def __init__(self, matrix: RandomMatrix) -> None:
        super().__init__(matrix)
        self._chol = batched_cholesky(matrix.diagonal[0])
        inverse = np.linalg.inv(self._chol)
        self._inverse = inverse.transpose(0, 2, 1) @ inverse

    @property
    def logdet(self) -> float:
        """2 sum log diag L_l."""
        return float(2.0 * np.log(np.diagonal(self._chol, axis1=1, axis2=2)).sum())

    def solve(self, right: Parts) -> Parts:
        """Return M_l^-1 right_l for every level."""
        return (self._inverse @ right[0],)

    def inverse_diagonal(self) -> Parts:
        """Return M_l^-1."""
        return (self._inverse,)

    def inverse_pairs(self, key: tuple[int, int]) -> Float:
        """Refuse: one factor has no pairs."""
        raise KeyError(key)


class NoneEngine(Engine):
    """No random effects: M_zz has no entries."""

    name = "none"

    @property
    def logdet(self) -> float:
        """log|M_zz| of an empty matrix."""
        return 0.0

    def solve(self, right: Parts) -> Parts:  # noqa: ARG002 - the protocol's signature
        """Return nothing."""
        return ()

    def inverse_diagonal(self) -> Parts:
        """Return nothing."""
        return ()

    def inverse_pairs(self, key: tuple[int, int]) -> Float:
        """Refuse: there are no pairs."""
        raise KeyError(key)


class DenseEngine(Engine):
    """M_zz as one dense matrix: small systems, and the yardstick for the others."""

    name = "dense"

    def __init__(self, matrix: RandomMatrix) -> None:
        super().__init__(matrix)
        self._starts = _starts(matrix.shapes)
        self._chol = _dense_cholesky(dense_matrix(matrix))
        self._inverse: Float | None = None

    @property
    def logdet(self) -> float:
        """2 sum log diag L."""
        return float(2.0 * np.log(np.diagonal(self._chol)).sum())

    def solve(self, right: Parts) -> Parts:
        """Return M_zz^-1 right by two triangular solves."""
        solution, _ = lapack.dpotrs(self._chol, stack(right), lower=1)
        return unstack(solution, self.matrix.shapes)

    def inverse_diagonal(self) -> Parts:
        """Return the diagonal parts of the whole inverse."""
        inverse = self.inverse()
        return tuple(
            _diagonal_parts(inverse, start, shape)
            for start, shape in zip(self._starts, self.matrix.shapes, strict=True)
        )

    def inverse_pairs(self, key: tuple[int, int]) -> Float:
        """Return entries of the whole inverse."""
        f, h = key
        rows, cols, values = self.matrix.pairs[key]
        row, col = positions(rows, cols, (values.shape[1], values.shape[2]))
        found: Float = self.inverse()[self._starts[f] + row, self._starts[h] + col]
        return found

    def inverse(self) -> Float:
        """Return M_zz^-1, computed once."""
        if self._inverse is None:
            self._inverse = dense_inverse(self._chol)
        return self._inverse


def dense_inverse(chol: Float) -> Float:
    """Return (L L')^-1 from L, both triangles filled."""
    inverse, _ = lapack.dpotri(chol, lower=1)
    lower: Float = np.tril(inverse)
    full: Float = lower + np.tril(lower, -1).T
    return full


def _dense_cholesky(M: Float) -> Float:
    chol, info = lapack.dpotrf(M, lower=1, clean=1)
    if info != 0:
        raise FitError(NOT_DEFINITE)
    result: Float = chol
    return result


def dense_matrix(matrix: RandomMatrix) -> Float:
    """Return M_zz as one (r, r) array, both triangles filled."""
    starts = _starts(matrix.shapes)
    size = sum(L * q for L, q in matrix.shapes)
    M = np.zeros((size, size))
    for start, part in zip(starts, matrix.diagonal, strict=True):
        levels = np.arange(part.shape[0])
        row, col = positions(levels, levels, (part.shape[1], part.shape[1]))
        M[start + row, start + col] = part
    for (f, h), (rows, cols, values) in matrix.pairs.items():
        row, col = positions(rows, cols, (values.shape[1], values.shape[2]))
        M[starts[f] + row, starts[h] + col] = values
        M[starts[h] + col, starts[f] + row] = values
    return M


def split_matrix(matrix: RandomMatrix, first: int) -> tuple[CompressedRows, Float]:
    """Return B and D, both triangles filled, of M_zz = [N B; B' D] with N a factor's diagonal part."""
    others = [f for f in range(len(matrix.shapes)) if f != first]
    number = {f: i for i, f in enumerate(others)}
    inner = {
        (number[f], number[h]): found
        for (f, h), found in matrix.pairs.items()
        if first not in (f, h)
    }
    D = dense_matrix(RandomMatrix(tuple(matrix.diagonal[f] for f in others), inner))
    starts = _starts(tuple(matrix.shapes[f] for f in others))
    rows, cols, data = [], [], []
    for key, (at, met, values) in matrix.pairs.items():
        if first not in key:
            continue
        row, col = positions(at, met, (values.shape[1], values.shape[2]))
        other = key[1] if key[0] == first else key[0]
        if other < first:
            row, col = col, row
        rows.append(row.ravel())
        cols.append((starts[number[other]] + col).ravel())
        data.append(values.ravel())
    L, q = matrix.shapes[first]
    entries = (np.concatenate(rows), np.concatenate(cols), np.concatenate(data))
    return compressed_rows(*entries, (L * q, len(D))), D


def _starts(shapes: tuple[tuple[int, int], ...]) -> list[int]:
    sizes = [L * q for L, q in shapes]
    return [sum(sizes[:f]) for f in range(len(sizes))]


def _diagonal_parts(inverse: Float, start: int, shape: tuple[int, int]) -> Float:
    levels = np.arange(shape[0])
    row, col = positions(levels, levels, (shape[1], shape[1]))
    found: Float = inverse[start + row, start + col]
    return found


def stack(parts: Parts) -> Float:
    """Return the parts as one (r, k) array."""
    return np.concatenate([part.reshape(-1, part.shape[2]) for part in parts])


def unstack(values: Float, shapes: tuple[tuple[int, int], ...]) -> Parts:
    """Return one (L_f, q_f, k) array a factor; the inverse of :func:`stack`."""
    sizes = [L * q for L, q in shapes]
    split = np.split(values, np.cumsum(sizes)[:-1])
    return tuple(part.reshape(L, q, -1) for part, (L, q) in zip(split, shapes, strict=True))
