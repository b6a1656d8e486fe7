"""Mean, squares and range of a long column, compiled; the twin stands in ``moments.py``.

Stands at "The schema pass" in ``docs/algorithm.md``. Imported only for partitions so long that the
compiler is at work anyway. Sums and ranges are written out: numba's own would import SciPy's linear
algebra when the machine code is read, at three times the cost of the reading.
"""

from __future__ import annotations

import numpy as np

from mixedflow.design.types import Float
from mixedflow.linalg.jit import compiled

LANES = 32
"""Sums that grow side by side: the processor adds several numbers of neighbouring lanes at once."""


@compiled
def column_sums(values: Float, stretch: int) -> tuple[float, float, float, float, float]:
    """Return base, mean - base, sum of squares about the mean, and the range of x, (n,).

    Every ``stretch`` of rows is passed twice, for its mean and then about it; stretches are brought
    together by Chan, Golub and LeVeque (1983), eq. 1.5.
    """
    base = values[0]
    rest, squares, low, high = _stretch_sums(values[:stretch], base, LANES)
    for start in range(stretch, len(values), stretch):
        part = values[start : start + stretch]
        own, own_squares, least, most = _stretch_sums(part, part[0], LANES)
        share = len(part) / (start + len(part))
        gap = (part[0] - base) + (own - rest)
        rest += gap * share
        squares += own_squares + gap * gap * (start * share)
        low, high = min(low, least), max(high, most)
    return base, rest, squares, low, high


@compiled
def _stretch_sums(values: Float, base: float, lanes: int) -> tuple[float, float, float, float]:
    """Return the mean of x - base, the sum of squares about it, and the range of x, (n,)."""
    n = len(values)
    whole = n - n % lanes
    total, squares = np.empty(lanes), np.empty(lanes)
    low, high = np.empty(lanes), np.empty(lanes)
    for k in range(lanes):
        total[k] = squares[k] = 0.0
        low[k] = high[k] = values[0]
    for start in range(0, whole, lanes):
        part = values[start : start + lanes]
        for k in range(lanes):
            total[k] += part[k] - base
    for k in range(whole, n):
        total[k - whole] += values[k] - base
    rest = _sum(total) / n
    for k in range(lanes):
        total[k] = 0.0
    for start in range(0, whole, lanes):
        part = values[start : start + lanes]
        for k in range(lanes):
            x = part[k]
            low[k] = x if x < low[k] else low[k]
            high[k] = x if x > high[k] else high[k]
            gap = (x - base) - rest
            total[k] += gap
            squares[k] += gap * gap
    for k in range(whole, n):
        x, lane = values[k], k - whole
        low[lane], high[lane] = min(low[lane], x), max(high[lane], x)
        gap = (x - base) - rest
        total[lane] += gap
        squares[lane] += gap * gap
    drift = _sum(total)
    least, most = low[0], high[0]
    for k in range(1, lanes):
        least, most = min(least, low[k]), max(most, high[k])
    return rest, max(_sum(squares) - drift * drift / n, 0.0), least, most


@compiled
def _sum(values: Float) -> float:
    total = 0.0
    for k in range(len(values)):
        total += values[k]
    return total
