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
from mixedflow.linalg.patterns import checked_right, checked_values
from mixedflow.linalg.selected_inverse import SelectedInverse, selected_inverse
from mixedflow.linalg.symbolic import SymbolicFactor


@dataclass(slots=True, eq=False)
class SparseFactor:
    """L of P A P' = L L', in panels.

    Attributes
    ----------
    symbolic : SymbolicFactor
    panels : (symbolic.stored,) float array
        Empty once an inverse was made in their place.
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
        matrix = checked_right(right, self.symbolic.n)
        work = np.array(matrix.reshape(self.symbolic.n, -1), order="C")
        self._backward(work)
        return self._restored(work, matrix.shape)

    def logdet(self) -> float:
        """log|A| = 2 sum_j log L_jj."""
        return 2.0 * float(np.log(kernels.diagonal(self.symbolic.nodes, self._alive())).sum())

    def inverse(self, *, overwrite: bool = False) -> SelectedInverse:
        """A^-1 on the pattern of L; with ``overwrite`` in its place, and L is gone."""
        inverse = selected_inverse(self.symbolic, self._alive(), overwrite=overwrite)
        if overwrite:
            self.panels = np.empty(0)
        return inverse

    def pivots(self) -> FloatArray:
        """L_jj^2 in the numbering of A: what is left of A_jj after all columns eliminated before j.

        A ratio L_jj^2 / A_jj near the machine precision means that the digits of column j are lost.
        """
        found = np.empty(self.symbolic.n)
        found[self.symbolic.order] = kernels.diagonal(self.symbolic.nodes, self._alive()) ** 2
        return found

    def _alive(self) -> FloatArray:
        """Return the panels, if they still hold L: compiled code does not look."""
        if len(self.panels) != self.symbolic.stored:
            raise ValueError("the factor was overwritten by its inverse: factorise again")
        return self.panels

    def _permuted(self, right: ArrayLike) -> tuple[FloatArray, tuple[int, ...]]:
        matrix = checked_right(right, self.symbolic.n)
        ordered = matrix.reshape(self.symbolic.n, -1)[self.symbolic.order]
        return np.ascontiguousarray(ordered), matrix.shape

    def _restored(self, work: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        solution = np.empty_like(work)
        solution[self.symbolic.order] = work
        return solution.reshape(shape)

    def _forward(self, work: FloatArray) -> None:
        gathered = np.empty((self.symbolic.front_size, work.shape[1]))
        kernels.solve_forward(routines(), self.symbolic.nodes, self._alive(), work, gathered)

    def _backward(self, work: FloatArray) -> None:
        gathered = np.empty((self.symbolic.front_size, work.shape[1]))
        kernels.solve_backward(routines(), self.symbolic.nodes, self._alive(), work, gathered)


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
    positions: IntArray = symbolic.positions
    data = checked_values(values, len(positions))
    panels = np.zeros(symbolic.stored)
    kernels.scatter(panels, positions[symbolic.scattered], data[symbolic.scattered])
    work = np.empty(symbolic.update_size)
    column = kernels.factorize_panels(routines(), symbolic.nodes, panels, work)
    if column >= 0:
        raise NotPositiveDefinite(int(symbolic.order[column]))
    return SparseFactor(symbolic, panels)
