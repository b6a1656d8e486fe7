"""Compiled loops that see which entries a Cholesky factor will have, before any number is known.

Graphs, elimination tree, postorder and column counts of a symmetric pattern (Davis 2006, *Direct
Methods for Sparse Linear Systems*, chapter 4). Serves the sparse engine of ``docs/algorithm.md``;
:mod:`mixedflow.linalg.symbolic` puts the parts together.
"""

from __future__ import annotations

import numpy as np

from mixedflow.linalg.arrays import IntArray
from mixedflow.linalg.jit import compiled


@compiled
def adjacency(pointers: IntArray, rows: IntArray) -> tuple[IntArray, IntArray]:
    """Both triangles without the diagonal, from the lower triangle by columns."""
    n = len(pointers) - 1
    fill = np.zeros(n + 1, np.int64)
    for j in range(n):
        for k in range(pointers[j], pointers[j + 1]):
            if rows[k] != j:
                fill[j + 1] += 1
                fill[rows[k] + 1] += 1
    for j in range(n):
        fill[j + 1] += fill[j]
    starts = fill.copy()
    neighbours = np.empty(fill[n], np.int64)
    for j in range(n):
        for k in range(pointers[j], pointers[j + 1]):
            i = rows[k]
            if i != j:
                neighbours[fill[j]] = i
                fill[j] += 1
                neighbours[fill[i]] = j
                fill[i] += 1
    return starts, neighbours


@compiled
def permuted_upper(
    pointers: IntArray, rows: IntArray, place: IntArray
) -> tuple[IntArray, IntArray]:
    """Strict upper triangle of the reordered pattern by columns; node i goes to place[i]."""
    n = len(pointers) - 1
    fill = np.zeros(n + 1, np.int64)
    for j in range(n):
        for k in range(pointers[j], pointers[j + 1]):
            if rows[k] != j:
                fill[max(place[j], place[rows[k]]) + 1] += 1
    for j in range(n):
        fill[j + 1] += fill[j]
    starts = fill.copy()
    upper = np.empty(fill[n], np.int64)
    for j in range(n):
        for k in range(pointers[j], pointers[j + 1]):
            if rows[k] != j:
                a = place[j]
                b = place[rows[k]]
                column = max(a, b)
                upper[fill[column]] = min(a, b)
                fill[column] += 1
    return starts, upper


@compiled
def transposed(pointers: IntArray, rows: IntArray) -> tuple[IntArray, IntArray]:
    """Pattern of the transpose, by columns."""
    n = len(pointers) - 1
    fill = np.zeros(n + 1, np.int64)
    for k in range(len(rows)):
        fill[rows[k] + 1] += 1
    for j in range(n):
        fill[j + 1] += fill[j]
    starts = fill.copy()
    columns = np.empty(len(rows), np.int64)
    for j in range(n):
        for k in range(pointers[j], pointers[j + 1]):
            columns[fill[rows[k]]] = j
            fill[rows[k]] += 1
    return starts, columns


@compiled
def elimination_tree(pointers: IntArray, upper: IntArray) -> IntArray:
    """Parent of each column (-1 for a root), from the strict upper triangle by columns."""
    n = len(pointers) - 1
    parent = np.full(n, -1, np.int64)
    ancestor = np.full(n, -1, np.int64)
    for j in range(n):
        for k in range(pointers[j], pointers[j + 1]):
            i = upper[k]
            while -1 < i < j:
                above = ancestor[i]
                ancestor[i] = j
                if above == -1:
                    parent[i] = j
                i = above
    return parent


@compiled
def postorder(parent: IntArray) -> IntArray:
    """Order of the columns in which every subtree is contiguous and children precede parents."""
    n = len(parent)
    child = np.full(n, -1, np.int64)
    sibling = np.full(n, -1, np.int64)
    for j in range(n - 1, -1, -1):
        if parent[j] != -1:
            sibling[j] = child[parent[j]]
            child[parent[j]] = j
    order = np.empty(n, np.int64)
    stack = np.empty(n, np.int64)
    count = 0
    for root in range(n):
        if parent[root] != -1:
            continue
        depth = 0
        stack[0] = root
        while depth >= 0:
            j = stack[depth]
            c = child[j]
            if c == -1:
                order[count] = j
                count += 1
                depth -= 1
            else:
                child[j] = sibling[c]
                depth += 1
                stack[depth] = c
    return order


@compiled
def column_counts(parent: IntArray, pointers: IntArray, lower: IntArray) -> IntArray:
    """Entries of each column of L with the diagonal; the columns must be in postorder.

    Gilbert, Ng & Peyton (1994): a column's count is one for each leaf of its row subtrees less the
    overlaps, which sit at the least common ancestors of consecutive leaves.
    """
    n = len(parent)
    count = np.zeros(n, np.int64)
    first = np.full(n, -1, np.int64)  # first descendant
    for j in range(n):
        i = j
        if first[j] == -1:
            count[j] = 1
        while i != -1 and first[i] == -1:
            first[i] = j
            i = parent[i]
    latest_first = np.full(n, -1, np.int64)
    previous_leaf = np.full(n, -1, np.int64)
    ancestor = np.arange(n)
    for j in range(n):
        if parent[j] != -1:
            count[parent[j]] -= 1
        for k in range(pointers[j], pointers[j + 1]):
            i = lower[k]
            if first[j] <= latest_first[i]:
                continue
            latest_first[i] = first[j]
            leaf = previous_leaf[i]
            previous_leaf[i] = j
            count[j] += 1
            if leaf == -1:
                continue
            common = leaf
            while common != ancestor[common]:
                common = ancestor[common]
            while leaf != common:
                above = ancestor[leaf]
                ancestor[leaf] = common
                leaf = above
            count[common] -= 1
        if parent[j] != -1:
            ancestor[j] = parent[j]
    for j in range(n):
        if parent[j] != -1:
            count[parent[j]] += count[j]
    return count
