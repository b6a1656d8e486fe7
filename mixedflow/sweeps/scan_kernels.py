"""Many covariates, one response: products of each with what stays the same, compiled.

Stands at "Scans" in ``docs/algorithm.md``; the NumPy twin is in :mod:`mixedflow.sweeps.scan`.
"""

from __future__ import annotations

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.linalg.jit import compiled


@compiled
def add_covariates(
    C: Float,
    W: Float,
    Z: Float,
    codes: Int,
    weights: Float,
    centre: Float,
    CtW: Float,
    CtBC: Float,
    ZtBC: Float,
) -> None:
    """Add C'W, diag(C'BC) and Z'BC of covariates C, (n, m) of any number type, less their centres.

    Parameters
    ----------
    W : (n, k) what the covariates are multiplied by; Z : (n, q); codes, weights : (n,)
    centre : (m,)
    CtW : (k, m), CtBC : (m,), ZtBC : (L, q, m)
    """
    n, m = C.shape
    k, q = W.shape[1], Z.shape[1]
    row = np.empty(m)
    for i in range(n):
        w = weights[i]
        for j in range(m):
            row[j] = C[i, j] - centre[j]
        for j in range(m):
            CtBC[j] += w * row[j] * row[j]
        for a in range(k):
            factor = W[i, a]
            for j in range(m):
                CtW[a, j] += factor * row[j]
        level = codes[i]
        for a in range(q):
            factor = w * Z[i, a]
            for j in range(m):
                ZtBC[level, a, j] += factor * row[j]
