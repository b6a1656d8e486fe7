"""Approximate minimum degree: an elimination order that keeps the Cholesky factor sparse.

Written from the published algorithm (Amestoy, Davis & Duff 1996, SIAM J. Matrix Anal. Appl. 17):
the graph of what is left is a quotient graph of variables and of elements (cliques left by
eliminated variables); degrees are bounded from above instead of counted; elements inside another
are absorbed, variables that cannot be told apart are merged, and those whose whole neighbourhood is
the pivot's clique go with it. Rows with very many entries (fixed effects) are set aside and come
last. Serves the sparse engine of ``docs/algorithm.md``.
"""

from __future__ import annotations

import numpy as np

from mixedflow.linalg.arrays import Int32Array, IntArray
from mixedflow.linalg.jit import compiled

_VARIABLE, _ELEMENT, _GONE, _DENSE = 0, 1, 2, 3


def minimum_degree(pointers: IntArray, neighbours: IntArray, dense: float = 10.0) -> IntArray:
    """Return a permutation of 0..n-1 in which to eliminate the nodes of a graph.

    Parameters
    ----------
    pointers, neighbours : (n + 1,) and (nnz,) int arrays
        Adjacency lists of a symmetric pattern, both triangles, without the diagonal.
    dense : float
        Nodes with more than ``max(16, dense sqrt(n))`` neighbours are placed last.
    """
    n = len(pointers) - 1
    limit = max(16.0, dense * np.sqrt(n))
    counts = np.diff(pointers)
    spare = len(neighbours) // 2 + 4 * n + 16
    order = _eliminate(pointers, neighbours.astype(np.int32), limit, spare)
    last = np.flatnonzero(counts > limit)
    order[n - len(last) :] = last[np.argsort(counts[last], kind="stable")]
    return order


@compiled
def _eliminate(pointers: IntArray, neighbours: Int32Array, limit: float, spare: int) -> IntArray:
    """Order the nodes; ``spare`` is the room for new lists before old ones are cleared away."""
    n = len(pointers) - 1
    capacity = len(neighbours) + spare
    pool = np.empty(capacity, np.int32)
    # A variable's list is [elements | variables]; an element's list holds variables.
    start = pointers[:-1].copy()
    n_elements = np.zeros(n, np.int32)
    length = np.zeros(n, np.int32)
    weight = np.ones(n, np.int64)  # columns a variable stands for; of an element: of its list
    state = np.zeros(n, np.int8)
    degree = np.zeros(n, np.int64)
    for i in range(n):
        if pointers[i + 1] - pointers[i] > limit:
            state[i] = _DENSE
    top = 0
    for i in range(n):
        start[i] = top
        if state[i] == _VARIABLE:
            for k in range(pointers[i], pointers[i + 1]):
                if state[neighbours[k]] == _VARIABLE:
                    pool[top] = neighbours[k]
                    top += 1
        length[i] = top - start[i]
        degree[i] = length[i]
    # doubly linked lists of variables by degree
    head = np.full(n + 1, -1, np.int32)
    after = np.full(n, -1, np.int32)
    before = np.full(n, -1, np.int32)
    n_left = 0
    for i in range(n):
        if state[i] == _VARIABLE:
            n_left += 1
            first = head[degree[i]]
            after[i] = first
            if first >= 0:
                before[first] = i
            head[degree[i]] = i
    chain = np.full(n, -1, np.int32)  # variables that are eliminated together with i
    chain_end = np.arange(n)
    in_clique = np.zeros(n, np.int64)  # = round for members of the pivot's clique
    outside = np.zeros(n, np.int64)  # outside[e] - base = weight of e's list not in the clique
    base = 1
    seen = np.zeros(n, np.int64)
    stamp = 0
    bucket = np.full(n, -1, np.int32)
    bucket_next = np.full(n, -1, np.int32)
    key = np.zeros(n, np.int64)
    order = np.empty(n, np.int64)
    n_ordered = 0
    lowest = 0
    step = 0
    while n_left > 0:
        while head[lowest] == -1:
            lowest += 1
        p = head[lowest]
        head[lowest] = after[p]
        if after[p] >= 0:
            before[after[p]] = -1
        pivot_weight = weight[p]
        step += 1
        in_clique[p] = step
        # -- room for the clique; lists that are still alive move to a larger pool if need be
        need = length[p] - n_elements[p]
        for k in range(start[p], start[p] + n_elements[p]):
            need += length[pool[k]]
        if top + need > capacity:
            alive = 0
            for i in range(n):
                if state[i] == _VARIABLE or state[i] == _ELEMENT:
                    alive += length[i]
            capacity = max(capacity, alive + need + spare)
            roomy = np.empty(capacity, np.int32)
            top = 0
            for i in range(n):
                if state[i] == _VARIABLE or state[i] == _ELEMENT:
                    first = start[i]
                    start[i] = top
                    for k in range(first, first + length[i]):
                        roomy[top] = pool[k]
                        top += 1
            pool = roomy
        # -- the clique: variables of p's elements, which it absorbs, and p's own
        first = top
        clique_weight = 0
        for k in range(start[p], start[p] + length[p]):
            item = pool[k]
            if k < start[p] + n_elements[p]:
                if state[item] != _ELEMENT:
                    continue
                for r in range(start[item], start[item] + length[item]):
                    i = pool[r]
                    if state[i] == _VARIABLE and in_clique[i] != step:
                        in_clique[i] = step
                        pool[top] = i
                        top += 1
                        clique_weight += weight[i]
                state[item] = _GONE
            elif state[item] == _VARIABLE and in_clique[item] != step:
                in_clique[item] = step
                pool[top] = item
                top += 1
                clique_weight += weight[item]
        state[p] = _ELEMENT
        start[p] = first
        # -- out of the degree lists; how much of every element touched lies outside the clique
        base += n + 1
        for k in range(first, top):
            i = pool[k]
            if after[i] >= 0:
                before[after[i]] = before[i]
            if before[i] >= 0:
                after[before[i]] = after[i]
            else:
                head[degree[i]] = after[i]
            for r in range(start[i], start[i] + n_elements[i]):
                e = pool[r]
                if state[e] == _ELEMENT:
                    if outside[e] < base:
                        outside[e] = weight[e] + base
                    outside[e] -= weight[i]
        # -- prune every member's list and bound its degree
        for k in range(first, top):
            i = pool[k]
            s = start[i]
            write = s
            bound = 0
            code = 0
            for r in range(s, s + n_elements[i]):
                e = pool[r]
                if state[e] == _ELEMENT:
                    if outside[e] > base:
                        pool[write] = e
                        write += 1
                        bound += outside[e] - base
                        code += e
                    else:
                        state[e] = _GONE
            middle = write
            for r in range(s + n_elements[i], s + length[i]):
                j = pool[r]
                if state[j] == _VARIABLE and in_clique[j] != step:
                    pool[write] = j
                    write += 1
                    bound += weight[j]
                    code += j
            if bound == 0:  # nothing outside the clique: eliminated together with p
                pivot_weight += weight[i]
                clique_weight -= weight[i]
                state[i] = _GONE
                chain[chain_end[p]] = i
                chain_end[p] = chain_end[i]
                continue
            # p becomes the first element; pruning has freed a place (p itself, or one p absorbed)
            pool[write] = pool[middle]
            pool[middle] = pool[s]
            pool[s] = p
            n_elements[i] = middle - s + 1
            length[i] = write - s + 1
            degree[i] = min(degree[i], bound)
            key[i] = code % n
            bucket_next[i] = bucket[key[i]]
            bucket[key[i]] = i
        # -- merge members that have the same lists
        for k in range(first, top):
            if state[pool[k]] != _VARIABLE:
                continue
            a = bucket[key[pool[k]]]
            bucket[key[pool[k]]] = -1
            while a != -1:
                if bucket_next[a] != -1:
                    stamp += 1
                    for r in range(start[a] + 1, start[a] + length[a]):
                        seen[pool[r]] = stamp
                    previous = a
                    b = bucket_next[a]
                    while b != -1:
                        same = length[b] == length[a] and n_elements[b] == n_elements[a]
                        if same:
                            for r in range(start[b] + 1, start[b] + length[b]):
                                if seen[pool[r]] != stamp:
                                    same = False
                                    break
                        if same:
                            weight[a] += weight[b]
                            state[b] = _GONE
                            chain[chain_end[a]] = b
                            chain_end[a] = chain_end[b]
                            bucket_next[previous] = bucket_next[b]
                        else:
                            previous = b
                        b = bucket_next[b]
                a = bucket_next[a]
        # -- new degrees; the clique becomes the list of element p
        n_left -= pivot_weight
        write = first
        for k in range(first, top):
            i = pool[k]
            if state[i] == _VARIABLE:
                d = max(0, min(degree[i] + clique_weight, n_left) - weight[i])
                degree[i] = d
                before[i] = -1
                after[i] = head[d]
                if head[d] >= 0:
                    before[head[d]] = i
                head[d] = i
                lowest = min(lowest, d)
                pool[write] = i
                write += 1
        top = write
        length[p] = write - first
        n_elements[p] = 0
        weight[p] = clique_weight
        if write == first:
            state[p] = _GONE
        j = p
        while j != -1:
            order[n_ordered] = j
            n_ordered += 1
            j = chain[j]
    return order
