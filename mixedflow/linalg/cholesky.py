"""P A P' = L L': the numeric phase of the sparse Cholesky factorisation, and what L is used for.

Serves "the mixed model equations" of ``docs/algorithm.md``: solutions, log-determinants and the
square roots of quadratic forms come from here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mixedflow.linalg import cholesky_kernels as kernels
from mixedflow.linalg.arrays import FloatArray, IntArray
from mixedflow.linalg.blas_pointers import routines
from mixedflow.linalg.errors import NotPositiveDefinite
from mixedflow.linalg.symbolic import SymbolicFactor


@dataclass(frozen=True, slots=True)
class SparseFactor:
    """L of P A P' = L L', in panels.

    Attributes
    ----------
    symbolic : SymbolicFactor
    panels : (symbolic.stored,) float array
    """

    symbolic: SymbolicFactor
    panels: FloatArray

    def solve(self, right: ArrayLike) -> FloatArray:
        """A^-1 B for one right-hand side (n,) or several (n, k)."""
        work, shape = self._permuted(right)
        self._forward(work)
        self._backward(work)
        return self._restored(work, shape)

    def half_solve(self, right: ArrayLike) -> FloatArray:
        """L^-1 P B: the sum of squares of its columns is the diagonal of B' A^-1 B."""
        work, shape = self._permuted(right)
        self._forward(work)
        return work.reshape(shape)

    def half_solve_transposed(self, right: ArrayLike) -> FloatArray:
        """P' L^-T B: for B of independent standard normals, columns with covariance A^-1."""
        matrix = np.asarray(right, dtype=np.float64)
        work = np.array(matrix.reshape(self.symbolic.n, -1), order="C")
        self._backward(work)
        return self._restored(work, matrix.shape)

    def logdet(self) -> float:
        """log|A| = 2 sum_j log L_jj."""
        return 2.0 * float(np.log(kernels.diagonal(self.symbolic.nodes, self.panels)).sum())

    def pivots(self) -> FloatArray:
        """L_jj^2 in the numbering of A: what is left of A_jj after all columns eliminated before j.

        A ratio L_jj^2 / A_jj near the machine precision means that the digits of column j are lost.
        """
        found = np.empty(self.symbolic.n)
        found[self.symbolic.order] = kernels.diagonal(self.symbolic.nodes, self.panels) ** 2
        return found

    def _permuted(self, right: ArrayLike) -> tuple[FloatArray, tuple[int, ...]]:
        matrix = np.asarray(right, dtype=np.float64)
        if matrix.ndim not in {1, 2} or matrix.shape[0] != self.symbolic.n:
            raise ValueError(
                f"right-hand sides must have {self.symbolic.n} rows, found shape {matrix.shape}"
            )
        ordered = matrix.reshape(self.symbolic.n, -1)[self.symbolic.order]
        return np.ascontiguousarray(ordered), matrix.shape

    def _restored(self, work: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        solution = np.empty_like(work)
        solution[self.symbolic.order] = work
        return solution.reshape(shape)

    def _forward(self, work: FloatArray) -> None:
        gathered = np.empty((self.symbolic.front_size, work.shape[1]))
        kernels.solve_forward(routines(), self.symbolic.nodes, self.panels, work, gathered)

    def _backward(self, work: FloatArray) -> None:
        gathered = np.empty((self.symbolic.front_size, work.shape[1]))
        kernels.solve_backward(routines(), self.symbolic.nodes, self.panels, work, gathered)


def factorize(symbolic: SymbolicFactor, values: ArrayLike) -> SparseFactor:
    """Factorise the matrix that has these values on the analysed pattern.

    Parameters
    ----------
    symbolic : SymbolicFactor
    values : (nnz,) array
        One per entry of the pattern given to :func:`~mixedflow.linalg.symbolic.analyze`, in its
        order. Of a full pattern, only the lower triangle is read.

    Raises
    ------
    NotPositiveDefinite
        With the column, in the numbering of the matrix, at which the factorisation broke down.
    """
    data = np.asarray(values, dtype=np.float64)
    positions: IntArray = symbolic.positions
    if data.shape != positions.shape:
        raise ValueError(f"the pattern has {len(positions)} entries, found values of {data.shape}")
    panels = np.zeros(symbolic.stored)
    kernels.scatter(panels, positions[symbolic.scattered], data[symbolic.scattered])
    work = np.empty(symbolic.update_size)
    column = kernels.factorize_panels(routines(), symbolic.nodes, panels, work)
    if column >= 0:
        raise NotPositiveDefinite(int(symbolic.order[column]))
    return SparseFactor(symbolic, panels)
