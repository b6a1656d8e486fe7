"""How large a front the elimination of a bipartite graph must have, told without ordering it.

Serves the choice of a route in "Solving" of ``docs/algorithm.md``. A fill-reducing order needs minutes
on a graph with ten million edges, only to say that its factor is nearly dense. Breadth-first search
says the same in a second: levels of a search that part the graph in two are separators, and where all
of them are wide the graph falls into no small pieces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixedflow.linalg.arrays import BoolArray, Int32Array, IntArray
from mixedflow.linalg.late import csgraph, sparse

if TYPE_CHECKING:
    from scipy.sparse import csr_array

BALANCE = 0.1
"""Share of the vertices that must lie on either side of a separator."""


def front_estimate(pointers: IntArray, columns: Int32Array, n_columns: int) -> int:
    """Return the width of the narrowest level that parts the graph's core in two.

    Parameters
    ----------
    pointers, columns : the edges, those of row i ``columns[pointers[i]:pointers[i + 1]]``
    n_columns : vertices on the side of the columns

    Notes
    -----
    Vertices with one or two neighbours are taken off first, again and again: eliminating them leaves
    no more edges than there were. Of what is left the largest component counts.
    """
    ones = np.ones(len(columns), dtype=np.int8)
    graph = sparse.csr_array((ones, columns, pointers), shape=(len(pointers) - 1, n_columns))
    back = sparse.csr_array(graph.T)
    alive = _core(graph, back)
    if not (alive[0].any() and alive[1].any()):
        return 0
    core = graph[alive[0]][:, alive[1]]
    largest = _largest_component(core)
    core = sparse.csr_array(core[largest[0]][:, largest[1]])
    return _narrowest(core, sparse.csr_array(core.T))


def _core(graph: csr_array, back: csr_array) -> tuple[BoolArray, BoolArray]:
    """Return which vertices are left when those with fewer than three neighbours are taken off."""
    alive = (np.ones(graph.shape[0], dtype=bool), np.ones(graph.shape[1], dtype=bool))
    while True:
        first = alive[0] & (graph @ alive[1].astype(np.int64) > 2)
        second = alive[1] & (back @ first.astype(np.int64) > 2)
        if (first == alive[0]).all() and (second == alive[1]).all():
            return first, second
        alive = first, second


def _largest_component(core: csr_array) -> tuple[BoolArray, BoolArray]:
    n, m = core.shape
    at = core.tocoo()
    both = sparse.csr_array((at.data, (at.row, at.col + n)), shape=(n + m, n + m))
    _, label = csgraph.connected_components(both, directed=False)
    inside = label == np.bincount(label).argmax()
    return inside[:n], inside[n:]


def _narrowest(core: csr_array, back: csr_array) -> int:
    """Return the smallest level of a breadth-first search that has enough on either side."""
    sides = (core, back)
    total = sum(core.shape)
    seen = [np.zeros(n, dtype=bool) for n in core.shape]
    side = 1
    level = np.zeros(core.shape[1], dtype=bool)
    level[int(np.argmax(np.diff(back.indptr)))] = True
    behind, best = 0, int(min(core.shape))
    while level.any():
        seen[side] |= level
        width = int(level.sum())
        ahead = total - behind - width
        if min(behind, ahead) >= BALANCE * total:
            best = min(best, width)
        behind += width
        reached = sides[1 - side] @ level.astype(np.int64) > 0
        side = 1 - side
        level = reached & ~seen[side]
    return int(best)
