"""Mean, squares and range of a stretch of a long column, compiled; its twin stands in ``moments.py``.

Stands at "The schema pass" in ``docs/algorithm.md``. Imported only for partitions so long that the
compiler is at work anyway.
"""

from __future__ import annotations

from mixedflow.design.types import Float
from mixedflow.linalg.jit import compiled


@compiled
def stretch_sums(values: Float, base: float) -> tuple[float, float, float, float]:
    """Return the mean of x - base, the sum of squares about it, and the range of x, (n,)."""
    n = len(values)
    total0 = total1 = total2 = total3 = 0.0
    low = high = values[0]
    whole = n - n % 4
    for k in range(0, whole, 4):
        total0 += values[k] - base
        total1 += values[k + 1] - base
        total2 += values[k + 2] - base
        total3 += values[k + 3] - base
    for k in range(whole, n):
        total0 += values[k] - base
    rest = ((total0 + total1) + (total2 + total3)) / n
    drift0 = drift1 = square0 = square1 = 0.0
    for k in range(0, n - 1, 2):
        first, second = (values[k] - base) - rest, (values[k + 1] - base) - rest
        drift0 += first
        drift1 += second
        square0 += first * first
        square1 += second * second
        low, high = min(low, values[k], values[k + 1]), max(high, values[k], values[k + 1])
    if n % 2:
        last = (values[n - 1] - base) - rest
        drift0 += last
        square0 += last * last
        low, high = min(low, values[n - 1]), max(high, values[n - 1])
    drift = drift0 + drift1
    return rest, max(square0 + square1 - drift * drift / n, 0.0), low, high
