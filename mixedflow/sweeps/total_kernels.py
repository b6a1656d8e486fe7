"""Rows of many responses to sums, compiled.

Stands at "Sweeps" in ``docs/algorithm.md``; the NumPy twin is in :mod:`mixedflow.sweeps.totals`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedflow.design.types import Float, Int
from mixedflow.linalg.jit import compiled


@compiled
def survey(
    V: Float, base: Float, shifted: bool, mean: Float, square: Float, low: Float, high: Float
) -> None:
    """Fill mean, mean square about the shift, smallest and largest value of every response, (T, n).

    The first two are of V + base, the shift is the mean or zero; NaN is left out, and a response
    without any value has a mean of NaN.
    """
    T, n = V.shape
    for t in range(T):
        count, total, least, most = 0, 0.0, np.inf, -np.inf
        for i in range(n):
            value = V[t, i]
            if np.isnan(value):
                continue
            count += 1
            total += value + base[i]
            least = min(least, value)
            most = max(most, value)
        mean[t] = total / count
        centre = mean[t] if shifted else 0.0
        squares = 0.0
        for i in range(n):
            value = V[t, i]
            if not np.isnan(value):
                apart = value + base[i] - centre
                squares += apart * apart
        square[t] = squares / count
        low[t], high[t] = least, most


@compiled
def add_responses(
    V: Float,
    X: Float,
    Z: Float,
    codes: Int,
    weights: Float,
    base: Float,
    shift: Float,
    scale: Float,
    Xty: Float,
    Zty: Float,
    yty: Float,
) -> None:
    """Add X'By, Z'By, y'By of every response, (T, n), less its shift and by its scale; NaN is left out."""
    T, n = V.shape
    p, q = X.shape[1], Z.shape[1]
    for t in range(T):
        own_shift, own_scale = shift[t], 1.0 / scale[t]
        square = 0.0
        for i in range(n):
            value = V[t, i]
            if np.isnan(value):
                continue
            y = (value + base[i] - own_shift) * own_scale
            wy = weights[i] * y
            square += wy * y
            for k in range(p):
                Xty[t, k] += X[i, k] * wy
            level = codes[i]
            for k in range(q):
                Zty[t, level, k] += Z[i, k] * wy
        yty[t] += square


@compiled
def add_designs(
    here: NDArray[np.bool_],
    X: Float,
    Z: Float,
    codes: Int,
    weights: Float,
    n_obs: Int,
    logs: Float,
    ZtZ: Float,
    ZtX: Float,
    XtX: Float,
) -> None:
    """Add X'BX, Z'BX, Z'BZ, n and the sum of log w over the rows of every pattern, (D, n)."""
    D, n = here.shape
    p, q = X.shape[1], Z.shape[1]
    for d in range(D):
        for i in range(n):
            if not here[d, i]:
                continue
            n_obs[d] += 1
            w = weights[i]
            logs[d] += np.log(w)
            for k in range(p):
                wx = w * X[i, k]
                for j in range(k + 1):
                    XtX[d, k, j] += wx * X[i, j]
            level = codes[i]
            for k in range(q):
                wz = w * Z[i, k]
                for j in range(p):
                    ZtX[d, level, k, j] += wz * X[i, j]
                for j in range(q):
                    ZtZ[d, level, k, j] += wz * Z[i, j]
        for k in range(p):
            for j in range(k):
                XtX[d, j, k] = XtX[d, k, j]
