"""The symbolic phase: what the Cholesky factor of a sparse matrix will look like and cost.

Done once for a pattern; every factorisation with other values reuses it. The prediction (flops,
entries, bytes) is what the choice of a solver rests on. Serves the sparse engine of
``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixedflow.linalg import elimination_kernels as elimination
from mixedflow.linalg.arrays import IntArray
from mixedflow.linalg.late import sparse
from mixedflow.linalg.ordering import minimum_degree
from mixedflow.linalg.patterns import PatternEntries, read_pattern
from mixedflow.linalg.supernode_kernels import (
    Supernodes,
    group_columns,
    locate,
    panel_rows,
    workloads,
)

if TYPE_CHECKING:
    import scipy.sparse as sp


@dataclass(frozen=True, slots=True)
class Relaxation:
    """How many stored zeros a supernode may have.

    Attributes
    ----------
    widths : tuple of int
        Up to ``widths[0]`` columns any number.
    shares : tuple of float, as many
        Up to ``widths[i + 1]`` columns this share of the panel, ``shares[-1]`` above the last.
    """

    widths: tuple[int, ...] = (4, 16, 48)
    shares: tuple[float, ...] = (0.8, 0.1, 0.05)


@dataclass(frozen=True, slots=True)
class SymbolicFactor:
    """Pattern of L in P A P' = L L', and where the entries of A go in it.

    Attributes
    ----------
    n : int
        Order of the matrix.
    order : (n,) int array
        ``order[k]`` is the column of A that is eliminated k-th; P A P' = A[order][:, order].
    place : (n,) int array
        Inverse of ``order``.
    nodes : Supernodes
        Panels of L.
    positions : (nnz,) int array
        Position in the panels of each entry of the pattern that was analysed (both triangles of a
        full pattern point to the same place).
    scattered : slice or (k,) int array
        The entries of the pattern that are put there: all, or the lower triangle of a full pattern.
    nnz : int
        Entries of L proper; ``stored`` counts those of the panels.
    flops : float
        Multiplications and additions of one factorisation. The selected inverse takes about twice.
    update_size, front_size, panel_size, width : int
        Largest update between two panels, number of rows below a panel, panel and panel width.
    """

    n: int
    order: IntArray
    place: IntArray
    nodes: Supernodes
    positions: IntArray
    scattered: slice | IntArray
    nnz: int
    flops: float
    update_size: int
    front_size: int
    panel_size: int
    width: int

    @property
    def stored(self) -> int:
        """Numbers held by the panels."""
        return int(self.nodes.panel_start[-1])

    @property
    def factor_bytes(self) -> int:
        """Memory of a factor with its index arrays."""
        indices = len(self.nodes.rows) + 4 * len(self.nodes.start) + 3 * self.n
        return 8 * (self.stored + indices + len(self.positions))

    @property
    def peak_bytes(self) -> int:
        """Memory at the peak of a factorisation and a selected inverse made in place."""
        inverse_work = self.front_size**2 + self.panel_size + self.width**2
        return self.factor_bytes + 8 * max(self.update_size, inverse_work)


def analyze(
    pattern: sp.csc_matrix | sp.csc_array,
    *,
    order: IntArray | None = None,
    relaxation: Relaxation | None = None,
) -> SymbolicFactor:
    """Order the columns and find the panels of L.

    Parameters
    ----------
    pattern : CSC matrix, (n, n)
        Only its structure is read. One triangle, or both of a symmetric pattern. Entries may be
        given more than once (they add up when values come) and the diagonal need not be there.
    order : (n,) int array, optional
        Elimination order to use instead of approximate minimum degree; it is still postordered.
    relaxation : Relaxation, optional
        Stored zeros to allow in panels.

    Returns
    -------
    SymbolicFactor
    """
    entries = read_pattern(pattern)
    pointers, lower = _lower_triangle(pattern, entries)
    if order is None:
        order = minimum_degree(*elimination.adjacency(pointers, lower))
    order, parent, counts, lower_starts, lower_rows = _postordered(pointers, lower, order)
    place = _inverse(order)
    relax = relaxation or Relaxation()
    start, heights = group_columns(
        parent, counts, np.array(relax.widths, dtype=np.int64), np.array(relax.shares)
    )
    nodes = panel_rows(start, heights, lower_starts, lower_rows)
    update, front, panel, width, flops = workloads(nodes)
    return SymbolicFactor(
        n=entries.n,
        order=order,
        place=place,
        nodes=nodes,
        positions=locate(nodes, entries.rows, entries.columns, place),
        scattered=entries.scattered,
        nnz=int(counts.sum()),
        flops=float(flops),
        update_size=int(update),
        front_size=int(front),
        panel_size=int(panel),
        width=int(width),
    )


def _lower_triangle(
    pattern: sp.csc_matrix | sp.csc_array, entries: PatternEntries
) -> tuple[IntArray, IntArray]:
    """Lower triangle by columns, every entry once."""
    if entries.is_lower and pattern.has_canonical_format:
        return pattern.indptr.astype(np.int64), entries.rows
    i, j = entries.rows[entries.scattered], entries.columns[entries.scattered]
    ones = np.ones(len(i), dtype=np.int8)
    lower = sparse.csc_matrix((ones, (np.maximum(i, j), np.minimum(i, j))), shape=pattern.shape)
    return lower.indptr.astype(np.int64), lower.indices.astype(np.int64)


def _postordered(
    pointers: IntArray, lower: IntArray, order: IntArray
) -> tuple[IntArray, IntArray, IntArray, IntArray, IntArray]:
    """Postorder the elimination tree; the order, parents, counts and pattern in that order."""
    if not np.array_equal(np.sort(order), np.arange(len(order))) or len(order) != len(pointers) - 1:
        raise ValueError("the elimination order must be a permutation of the columns")
    first = np.asarray(order, dtype=np.int64)
    upper = elimination.permuted_upper(pointers, lower, _inverse(first))
    tree = elimination.elimination_tree(*upper)
    post = elimination.postorder(tree)
    rank = _inverse(post)
    parent = np.where(tree[post] >= 0, rank[tree[post]], -1)
    ordered = first[post]
    upper = elimination.permuted_upper(pointers, lower, _inverse(ordered))
    starts, rows = elimination.transposed(*upper)
    return ordered, parent, elimination.column_counts(parent, starts, rows), starts, rows


def _inverse(permutation: IntArray) -> IntArray:
    inverse = np.empty_like(permutation)
    inverse[permutation] = np.arange(len(permutation))
    return inverse
