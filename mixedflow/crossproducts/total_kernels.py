"""The compiled loop of adding sums by level; its NumPy twin stands in ``totals.py``.

Stands at "Sums are added in a fixed tree" in ``docs/algorithm.md``. Imported only for large sums.
"""

from __future__ import annotations

from mixedflow.design.types import Float, Int
from mixedflow.linalg.jit import compiled


@compiled
def add_rows(total: Float, at: Int, values: Float, known: int) -> None:
    """Add row i of ``values`` to row ``at[i]`` of ``total``, or put it there from ``known`` on.

    Shapes: total (M, k), at (m,) distinct, values (m, k); rows from ``known`` on are unset before.
    """
    m, k = values.shape
    for i in range(m):
        row = at[i]
        if row < known:
            for c in range(k):
                total[row, c] += values[i, c]
        else:
            for c in range(k):
                total[row, c] = values[i, c]
