"""Compiled loops of the supernodal Cholesky factorisation and of the triangular solves.

Left-looking: a panel first collects the updates of all earlier panels that reach into it, then is
factorised. Large panels go to BLAS, small ones stay in scalar loops, where the overhead of a call
would be more than the work. Serves the sparse engine of ``docs/algorithm.md``.
"""

from __future__ import annotations

import numpy as np

from mixedflow.linalg.arrays import FloatArray, IntArray
from mixedflow.linalg.blas_pointers import (
    PLAIN,
    TRANSPOSED,
    gemm,
    potrf,
    solve_right,
    syrk,
)
from mixedflow.linalg.jit import compiled
from mixedflow.linalg.supernode_kernels import Supernodes

_SCALAR_UPDATE = 800  # multiplications of an update from which on BLAS pays
_SCALAR_PANEL = 3000  # the same of a panel's own factorisation
_SCALAR_SOLVE = 64  # entries of a panel, per right-hand side, up to which solves stay scalar


@compiled
def scatter(panels: FloatArray, positions: IntArray, values: FloatArray) -> None:
    """Add the values at their positions; entries given twice add up."""
    for k in range(len(positions)):
        panels[positions[k]] += values[k]


@compiled
def factorize_panels(
    calls: IntArray, nodes: Supernodes, panels: FloatArray, work: FloatArray
) -> int:
    """Overwrite the lower triangle of A in the panels by L.

    Return -1, or the column (in elimination order) whose pivot is not positive.
    """
    start, row_start, rows, owner, panel_start = nodes
    ns = len(start) - 1
    # updates[s]: list of earlier panels whose next row to hand on lies in panel s
    updates = np.full(ns, -1, np.int64)
    following = np.full(ns, -1, np.int64)
    progress = np.zeros(ns, np.int64)
    local = np.empty(start[ns], np.int64)
    base = panels.ctypes.data
    buffer = work.ctypes.data
    for s in range(ns):
        a = start[s]
        b = start[s + 1]
        w = b - a
        r = row_start[s]
        m = row_start[s + 1] - r
        x = panel_start[s]
        d = updates[s]
        if d != -1:
            for k in range(m):
                local[rows[r + k]] = k
        while d != -1:
            next_d = following[d]
            rd = row_start[d]
            md = row_start[d + 1] - rd
            wd = start[d + 1] - start[d]
            xd = panel_start[d]
            low = progress[d]
            high = low
            while high < md and rows[rd + high] < b:
                high += 1
            width = high - low
            height = md - low
            if height * width * wd < _SCALAR_UPDATE:
                for j in range(low, high):
                    target = x + (rows[rd + j] - a) * m
                    for k in range(wd):
                        source = xd + k * md
                        f = panels[source + j]
                        if f != 0.0:
                            for i in range(j, md):
                                panels[target + local[rows[rd + i]]] -= f * panels[source + i]
            else:
                source = base + 8 * (xd + low)
                if width == height:
                    syrk(calls, height, wd, 1.0, source, md, 0.0, buffer, height)
                else:
                    gemm(
                        calls, (PLAIN, TRANSPOSED), (height, width, wd),
                        1.0, source, md, source, md, 0.0, buffer, height,
                    )  # fmt: skip
                for j in range(width):
                    target = x + (rows[rd + low + j] - a) * m
                    for i in range(j, height):
                        panels[target + local[rows[rd + low + i]]] -= work[j * height + i]
            if high < md:
                progress[d] = high
                up = owner[rows[rd + high]]
                following[d] = updates[up]
                updates[up] = d
            d = next_d
        if w * w * m < _SCALAR_PANEL:
            for j in range(w):
                cj = x + j * m
                pivot = panels[cj + j]
                if not 0.0 < pivot < np.inf:
                    return int(a + j)
                pivot = np.sqrt(pivot)
                panels[cj + j] = pivot
                for i in range(j + 1, m):
                    panels[cj + i] /= pivot
                for k in range(j + 1, w):
                    f = panels[cj + k]
                    if f != 0.0:
                        for i in range(k, m):
                            panels[x + k * m + i] -= f * panels[cj + i]
        else:
            info = potrf(calls, w, base + 8 * x, m)
            if info != 0:
                return int(a + info - 1)
            for j in range(w):  # OpenBLAS lets NaN pass
                if not 0.0 < panels[x + j * m + j] < np.inf:
                    return int(a + j)
            if m > w:
                below = base + 8 * (x + w)
                solve_right(calls, TRANSPOSED, m - w, w, base + 8 * x, m, below, m)
        if m > w:
            progress[s] = w
            up = owner[rows[r + w]]
            following[s] = updates[up]
            updates[up] = s
    return -1


@compiled
def solve_forward(
    calls: IntArray, nodes: Supernodes, panels: FloatArray, right: FloatArray, gathered: FloatArray
) -> None:
    """Overwrite the rows of B (n x k, row-major, in elimination order) by those of L^-1 B.

    ``gathered`` is work space: (largest front, k).
    """
    start, row_start, rows, _, panel_start = nodes
    k = right.shape[1]
    for s in range(len(start) - 1):
        a = start[s]
        w = start[s + 1] - a
        r = row_start[s]
        m = row_start[s + 1] - r
        x = panel_start[s]
        if w * m < _SCALAR_SOLVE:
            for j in range(w):
                pivot = panels[x + j * m + j]
                for t in range(k):
                    right[a + j, t] /= pivot
                for i in range(j + 1, m):
                    f = panels[x + j * m + i]
                    row = rows[r + i]
                    for t in range(k):
                        right[row, t] -= f * right[a + j, t]
            continue
        own = right.ctypes.data + 8 * k * a
        factor = panels.ctypes.data + 8 * x
        # a row-major w x k piece is its transpose to BLAS: B' = B' L^-T
        solve_right(calls, TRANSPOSED, k, w, factor, m, own, k)
        if m > w:
            gemm(
                calls, (PLAIN, TRANSPOSED), (k, m - w, w),
                1.0, own, k, factor + 8 * w, m, 0.0, gathered.ctypes.data, k,
            )  # fmt: skip
            for i in range(m - w):
                row = rows[r + w + i]
                for t in range(k):
                    right[row, t] -= gathered[i, t]


@compiled
def solve_backward(
    calls: IntArray, nodes: Supernodes, panels: FloatArray, right: FloatArray, gathered: FloatArray
) -> None:
    """Overwrite the rows of B (n x k, row-major, in elimination order) by those of L^-T B.

    ``gathered`` is work space: (largest front, k).
    """
    start, row_start, rows, _, panel_start = nodes
    k = right.shape[1]
    for s in range(len(start) - 2, -1, -1):
        a = start[s]
        w = start[s + 1] - a
        r = row_start[s]
        m = row_start[s + 1] - r
        x = panel_start[s]
        if w * m < _SCALAR_SOLVE:
            for j in range(w - 1, -1, -1):
                for i in range(j + 1, m):
                    f = panels[x + j * m + i]
                    row = rows[r + i]
                    for t in range(k):
                        right[a + j, t] -= f * right[row, t]
                pivot = panels[x + j * m + j]
                for t in range(k):
                    right[a + j, t] /= pivot
            continue
        own = right.ctypes.data + 8 * k * a
        factor = panels.ctypes.data + 8 * x
        if m > w:
            for i in range(m - w):
                row = rows[r + w + i]
                for t in range(k):
                    gathered[i, t] = right[row, t]
            gemm(
                calls, (PLAIN, PLAIN), (k, w, m - w),
                -1.0, gathered.ctypes.data, k, factor + 8 * w, m, 1.0, own, k,
            )  # fmt: skip
        solve_right(calls, PLAIN, k, w, factor, m, own, k)


@compiled
def diagonal(nodes: Supernodes, panels: FloatArray) -> FloatArray:
    """Diagonal of what the panels hold, in elimination order."""
    found = np.empty(nodes.start[-1])
    for s in range(len(nodes.start) - 1):
        m = nodes.row_start[s + 1] - nodes.row_start[s]
        for j in range(nodes.start[s + 1] - nodes.start[s]):
            found[nodes.start[s] + j] = panels[nodes.panel_start[s] + j * m + j]
    return found
