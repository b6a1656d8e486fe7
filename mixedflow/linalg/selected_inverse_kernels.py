"""Compiled loops of the selected inverse: entries of (L L')^-1 where L has entries.

Takahashi's recursion, a panel at a time from the last to the first. With the panel's rows split
into its own columns (1) and the rows below (2), Y = L21 L11^-1 and Z22 gathered from panels that
are already done (L's pattern holds all of it):

    Z21 = -Z22 Y,    Z11 = (L11 L11')^-1 - Y' Z21.

Serves the sparse engine of ``docs/algorithm.md``.
"""

from __future__ import annotations

import numpy as np

from mixedflow.linalg.arrays import FloatArray, IntArray
from mixedflow.linalg.blas_pointers import PLAIN, TRANSPOSED, gemm, potri, solve_right, symm
from mixedflow.linalg.jit import compiled
from mixedflow.linalg.supernode_kernels import Supernodes

_SCALAR_PANEL = 6000  # multiplications from which on BLAS pays


@compiled
def gather_below(
    nodes: Supernodes, inverse: FloatArray, s: int, front: FloatArray, at: IntArray
) -> None:
    """Lower triangle of Z22 of panel s (column-major, as wide as its rows below)."""
    start, row_start, rows, owner, panel_start = nodes
    r = row_start[s] + start[s + 1] - start[s]
    u = row_start[s + 1] - r
    first = 0
    while first < u:
        # the rows below that are columns of panel t form columns first:last of Z22
        t = owner[rows[r + first]]
        rt = row_start[t]
        mt = row_start[t + 1] - rt
        last = first
        while last < u and rows[r + last] < start[t + 1]:
            at[last] = rows[r + last] - start[t]
            last += 1
        k = start[t + 1] - start[t]
        for i in range(last, u):
            row = rows[r + i]
            stride = 1
            while k + stride < mt and rows[rt + k + stride] < row:
                stride <<= 1
            high = min(k + stride, mt - 1)
            while k < high:
                middle = (k + high) >> 1
                if rows[rt + middle] < row:
                    k = middle + 1
                else:
                    high = middle
            at[i] = k
        for j in range(first, last):
            source = panel_start[t] + (rows[r + j] - start[t]) * mt
            for i in range(j, u):
                front[j * u + i] = inverse[source + at[i]]
        first = last


@compiled
def invert_panels(
    calls: IntArray,
    nodes: Supernodes,
    panels: FloatArray,
    inverse: FloatArray,
    front: FloatArray,
    below: FloatArray,
    corner: FloatArray,
) -> int:
    """Fill ``inverse`` (which may be ``panels`` itself) with the inverse on the pattern of L.

    Work space: ``front`` holds the square of the largest number of rows below a panel, ``below``
    the largest panel, ``corner`` the square of the largest width. Return -1, or a column with
    L_jj = 0.
    """
    start, row_start, _, _, panel_start = nodes
    ns = len(start) - 1
    tallest = 0
    for s in range(ns):
        tallest = max(tallest, row_start[s + 1] - row_start[s])
    at = np.empty(tallest, np.int64)
    for s in range(ns - 1, -1, -1):
        w = start[s + 1] - start[s]
        m = row_start[s + 1] - row_start[s]
        u = m - w
        x = panel_start[s]
        gather_below(nodes, inverse, s, front, at)
        if w * m * m < _SCALAR_PANEL:
            for j in range(w - 1, -1, -1):
                cj = x + j * m
                reciprocal = 1.0 / panels[cj + j]
                for i in range(j + 1, m):
                    below[i] = 0.0
                # below = Z L_j over the rows under j, from the lower triangle of Z
                for k in range(j + 1, m):
                    f = panels[cj + k]
                    total = 0.0
                    if k < w:
                        ck = x + k * m
                        for i in range(k + 1, m):
                            z = inverse[ck + i]
                            below[i] += z * f
                            total += z * panels[cj + i]
                        below[k] += total + inverse[ck + k] * f
                    else:
                        ck = (k - w) * u - w
                        for i in range(k + 1, m):
                            z = front[ck + i]
                            below[i] += z * f
                            total += z * panels[cj + i]
                        below[k] += total + front[ck + k] * f
                total = 0.0
                for i in range(j + 1, m):
                    total += below[i] * panels[cj + i]
                for i in range(j + 1, m):
                    inverse[cj + i] = -below[i] * reciprocal
                inverse[cj + j] = reciprocal * reciprocal * (1.0 + total)
            continue
        for j in range(w):
            for i in range(u):
                below[j * u + i] = panels[x + j * m + w + i]
            for i in range(j, w):
                corner[j * w + i] = panels[x + j * m + i]
        z11 = inverse.ctypes.data + 8 * x
        z21 = z11 + 8 * w
        y = below.ctypes.data
        if u > 0:
            solve_right(calls, PLAIN, u, w, corner.ctypes.data, w, y, u)
            symm(calls, u, w, -1.0, front.ctypes.data, u, y, u, z21, m)
        for j in range(w):
            for i in range(j, w):
                inverse[x + j * m + i] = corner[j * w + i]
        info = potri(calls, w, z11, m)
        if info != 0:
            return int(start[s] + info - 1)
        if u > 0:
            gemm(calls, (TRANSPOSED, PLAIN), (w, w, u), -1.0, y, u, z21, m, 1.0, z11, m)
    return -1
