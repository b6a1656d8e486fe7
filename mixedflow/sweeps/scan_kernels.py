"""Many covariates, one response: products of each with what stays the same, compiled.

Stands at "Scans" in ``docs/algorithm.md``; the NumPy twin is in :mod:`mixedflow.sweeps.scan`.
"""

from __future__ import annotations

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.linalg.jit import compiled


@compiled
def group_products(
    C: Float,
    order: Int,
    starts: Int,
    W: Float,
    Z: Float,
    weights: Float,
    H: Float,
    centre: Float,
    CtW: Float,
    CtBC: Float,
    spent: Float,
) -> None:
    """Add C'W, diag(C'BC) and sum_g c_g'B Z_g H_g Z_g'B c_g of covariates C, group by group.

    Nothing of the size of all groups is kept, so the memory is that of one group's sums.

    Parameters
    ----------
    C : (n, m) of any number type
    order : (n,) rows by group; starts : (L + 1,) where each group begins among them
    W : (n, k) what the covariates are multiplied by; Z : (n, q); weights : (n,); H : (L, q, q)
    centre : (m,)
    CtW : (k, m), CtBC : (m,), spent : (m,)
    """
    m = C.shape[1]
    k, q = W.shape[1], Z.shape[1]
    row = np.empty(m)
    sums = np.empty((q, m))
    for level in range(len(starts) - 1):
        sums[:] = 0.0
        for at in range(starts[level], starts[level + 1]):
            i = order[at]
            w = weights[i]
            for j in range(m):
                row[j] = C[i, j] - centre[j]
            for j in range(m):
                CtBC[j] += w * row[j] * row[j]
            for a in range(k):
                factor = W[i, a]
                for j in range(m):
                    CtW[a, j] += factor * row[j]
            for a in range(q):
                factor = w * Z[i, a]
                for j in range(m):
                    sums[a, j] += factor * row[j]
        for a in range(q):
            for b in range(q):
                factor = H[level, a, b]
                for j in range(m):
                    spent[j] += factor * sums[a, j] * sums[b, j]
