"""The entries of A^-1 that lie on the pattern of L, without the rest of it.

Serves the traces and prediction error variances of ``docs/algorithm.md``: tr(C W'BW) and the
diagonal blocks of C need C = M^-1 on the pattern of M only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mixedflow.linalg import cholesky_kernels
from mixedflow.linalg import selected_inverse_kernels as kernels
from mixedflow.linalg.arrays import FloatArray
from mixedflow.linalg.blas_pointers import routines
from mixedflow.linalg.errors import NotPositiveDefinite
from mixedflow.linalg.patterns import checked_places
from mixedflow.linalg.supernode_kernels import locate
from mixedflow.linalg.symbolic import SymbolicFactor


@dataclass(frozen=True, slots=True)
class SelectedInverse:
    """A^-1 on the pattern of L.

    Attributes
    ----------
    symbolic : SymbolicFactor
    panels : (symbolic.stored,) float array
        In the layout of the factor; of a panel's own square only the lower triangle is meant.
    """

    symbolic: SymbolicFactor
    panels: FloatArray

    def on_pattern(self) -> FloatArray:
        """Return the values at the entries of the pattern that was analysed, in its order."""
        values: FloatArray = self.panels[self.symbolic.positions]
        return values

    def diagonal(self) -> FloatArray:
        """Return the diagonal of A^-1."""
        found = np.empty(self.symbolic.n)
        found[self.symbolic.order] = cholesky_kernels.diagonal(self.symbolic.nodes, self.panels)
        return found

    def at(self, rows: ArrayLike, columns: ArrayLike) -> FloatArray:
        """Return the values at the entries asked for, which must lie on the pattern of L."""
        i, j = checked_places(rows, columns, self.symbolic.n)
        positions = locate(self.symbolic.nodes, i, j, self.symbolic.place)
        if (positions < 0).any():
            k = int(np.flatnonzero(positions < 0)[0])
            raise ValueError(
                f"entry ({i[k]}, {j[k]}) is not on the pattern of the factor; use solve for it"
            )
        values: FloatArray = self.panels[positions]
        return values


def selected_inverse(
    symbolic: SymbolicFactor, panels: FloatArray, *, overwrite: bool = False
) -> SelectedInverse:
    """A^-1 on the pattern of L, by Takahashi's recursion over the panels of L.

    Parameters
    ----------
    symbolic : SymbolicFactor
    panels : (symbolic.stored,) float array
        L, as a :class:`~mixedflow.linalg.cholesky.SparseFactor` holds it.
    overwrite : bool
        Put the inverse in the place of L, which halves the memory.
    """
    inverse = panels if overwrite else np.zeros(symbolic.stored)
    column = kernels.invert_panels(
        routines(),
        symbolic.nodes,
        panels,
        inverse,
        np.empty(symbolic.front_size**2),
        np.empty(symbolic.panel_size),
        np.empty(symbolic.width**2),
    )
    if column >= 0:
        raise NotPositiveDefinite(int(symbolic.order[column]))
    return SelectedInverse(symbolic, inverse)
