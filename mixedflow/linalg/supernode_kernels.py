"""Compiled loops that gather columns of L into supernodes: dense panels that BLAS can work on.

A supernode is a run of columns with (nearly) the same rows below; *nearly*, because a few stored
zeros are cheaper than many thin panels. Serves the sparse engine of ``docs/algorithm.md``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mixedflow.linalg.arrays import FloatArray, IntArray
from mixedflow.linalg.jit import compiled


class Supernodes(NamedTuple):
    """The panels of L.

    Panel s holds columns ``start[s]:start[s + 1]`` (w of them) and the m rows
    ``rows[row_start[s]:row_start[s + 1]]``, its own columns first, as an m x w column-major array
    at ``panel_start[s]`` of one long buffer.

    Attributes
    ----------
    start : (s + 1,) int array
    row_start : (s + 1,) int array
    rows : int array, ascending within a panel
    owner : (n,) int array, the panel of each column
    panel_start : (s + 1,) int array
    """

    start: IntArray
    row_start: IntArray
    rows: IntArray
    owner: IntArray
    panel_start: IntArray


@compiled
def group_columns(
    parent: IntArray, counts: IntArray, widths: IntArray, shares: FloatArray
) -> tuple[IntArray, IntArray]:
    """First column and number of rows of each supernode, after relaxed amalgamation.

    Columns of one chain of the tree with nested rows make a fundamental supernode. Going up from
    the leaves, a supernode then joins the one right after it if that holds its parent and the joint
    panel is narrow (``widths[0]``) or has few stored zeros: at most ``shares[i]`` of it up to
    ``widths[i + 1]`` columns, ``shares[-1]`` above that.
    """
    n = len(parent)
    children = np.zeros(n, np.int64)
    for j in range(n):
        if parent[j] != -1:
            children[parent[j]] += 1
    starts = np.empty(n + 1, np.int64)
    of_column = np.empty(n, np.int64)
    ns = 0
    for j in range(n):
        nested = j > 0 and parent[j - 1] == j and children[j] == 1
        if not (nested and counts[j - 1] == counts[j] + 1):
            starts[ns] = j
            ns += 1
        of_column[j] = ns - 1
    starts[ns] = n
    end = np.arange(1, ns + 1)  # group of supernode s: supernodes s .. end[s] - 1
    width = np.empty(ns, np.int64)
    height = np.empty(ns, np.int64)
    zeros = np.zeros(ns, np.float64)
    for s in range(ns):
        width[s] = starts[s + 1] - starts[s]
        height[s] = counts[starts[s]]
    is_head = np.ones(ns, np.bool_)
    for s in range(ns - 2, -1, -1):
        up = parent[starts[s + 1] - 1]
        if up == -1 or of_column[up] >= end[s + 1]:
            continue
        w = width[s] + width[s + 1]
        m = width[s] + height[s + 1]
        new_zeros = width[s] * (m - height[s])
        total = zeros[s] + zeros[s + 1] + new_zeros
        share = total / (w * (w + 1) / 2 + w * (m - w))
        allowed = shares[len(shares) - 1]
        for i in range(len(shares) - 1, 0, -1):
            if w <= widths[i]:
                allowed = shares[i - 1]
        if total == 0 or w <= widths[0] or share < allowed:
            end[s] = end[s + 1]
            width[s] = w
            height[s] = m
            zeros[s] = total
            is_head[s + 1] = False
    k = 0
    for s in range(ns):
        if is_head[s]:
            starts[k] = starts[s]
            height[k] = height[s]
            k += 1
    starts[k] = n
    return starts[: k + 1].copy(), height[:k].copy()


@compiled
def panel_rows(
    start: IntArray, heights: IntArray, pointers: IntArray, lower: IntArray
) -> Supernodes:
    """Rows of every panel: those of the matrix and those its children leave behind."""
    n = start[-1]
    ns = len(start) - 1
    owner = np.empty(n, np.int64)
    row_start = np.zeros(ns + 1, np.int64)
    panel_start = np.zeros(ns + 1, np.int64)
    for s in range(ns):
        for j in range(start[s], start[s + 1]):
            owner[j] = s
        row_start[s + 1] = row_start[s] + heights[s]
        panel_start[s + 1] = panel_start[s] + heights[s] * (start[s + 1] - start[s])
    found = np.empty(row_start[ns], np.int64)  # the rows, in no order
    after = np.zeros(n + 1, np.int64)  # of a row: where the list of its panels ends, then starts
    child = np.full(ns, -1, np.int64)
    sibling = np.full(ns, -1, np.int64)
    seen = np.full(n, -1, np.int64)
    for s in range(ns):
        a = start[s]
        b = start[s + 1]
        top = row_start[s]
        lowest = n
        for j in range(a, b):
            found[top] = j
            top += 1
        for j in range(a, b):
            for k in range(pointers[j], pointers[j + 1]):
                i = lower[k]
                if i >= b and seen[i] != s:
                    seen[i] = s
                    found[top] = i
                    top += 1
                    lowest = min(lowest, i)
        c = child[s]
        while c != -1:
            for k in range(row_start[c] + start[c + 1] - start[c], row_start[c + 1]):
                i = found[k]
                if i >= b and seen[i] != s:
                    seen[i] = s
                    found[top] = i
                    top += 1
                    lowest = min(lowest, i)
            c = sibling[c]
        if lowest < n:
            sibling[s] = child[owner[lowest]]
            child[owner[lowest]] = s
        for k in range(row_start[s], top):
            after[found[k]] += 1
    # list the panels of each row; read row by row, the lists put every panel's rows in order
    for i in range(1, n + 1):
        after[i] += after[i - 1]
    holders = np.empty(row_start[ns], np.int64)
    for s in range(ns):
        for k in range(row_start[s], row_start[s + 1]):
            after[found[k]] -= 1
            holders[after[found[k]]] = s
    rows = np.empty(row_start[ns], np.int64)
    cursor = row_start.copy()
    for i in range(n):
        for k in range(after[i], after[i + 1]):
            rows[cursor[holders[k]]] = i
            cursor[holders[k]] += 1
    return Supernodes(start, row_start, rows, owner, panel_start)


@compiled
def workloads(nodes: Supernodes) -> tuple[int, int, int, int, float]:
    """Largest update, update front, panel and width (in numbers), and flops of a factorisation.

    The largest update is what one panel sends to one other at once.
    """
    largest_update = 1
    largest_front = 0
    largest_panel = 1
    widest = 1
    flops = 0.0
    for s in range(len(nodes.start) - 1):
        w = nodes.start[s + 1] - nodes.start[s]
        r = nodes.row_start[s]
        m = nodes.row_start[s + 1] - r
        largest_front = max(largest_front, m - w)
        largest_panel = max(largest_panel, m * w)
        widest = max(widest, w)
        for j in range(w):
            flops += float(m - j) ** 2
        k = w
        while k < m:
            b = nodes.start[nodes.owner[nodes.rows[r + k]] + 1]
            first = k
            while k < m and nodes.rows[r + k] < b:
                k += 1
            largest_update = max(largest_update, (k - first) * (m - first))
    return largest_update, largest_front, largest_panel, widest, flops


@compiled
def locate(nodes: Supernodes, rows: IntArray, columns: IntArray, place: IntArray) -> IntArray:
    """Positions in the panels of entries given in the original numbering; -1 where L has none."""
    positions = np.empty(len(rows), np.int64)
    for k in range(len(rows)):
        a = place[rows[k]]
        b = place[columns[k]]
        i = max(a, b)
        j = min(a, b)
        s = nodes.owner[j]
        first = nodes.row_start[s]
        m = nodes.row_start[s + 1] - first
        low = j - nodes.start[s]
        high = m - 1
        if i < nodes.start[s + 1]:
            low = i - nodes.start[s]
            high = low
        while low < high:
            middle = (low + high) >> 1
            if nodes.rows[first + middle] < i:
                low = middle + 1
            else:
                high = middle
        if nodes.rows[first + low] == i:
            positions[k] = nodes.panel_start[s] + (j - nodes.start[s]) * m + low
        else:
            positions[k] = -1
    return positions
