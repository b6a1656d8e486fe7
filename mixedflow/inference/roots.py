"""Roots of many monotone functions at once.

Stands at "Marginal means" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mixedflow.design.types import Float

STEPS = 100
WIDTH = 1e-11
"""Relative width of the last bracket, or of the last step."""


def increasing_root(function: Callable[[Float], Float], low: Float, high: Float) -> Float:
    """Return x with function(x) = 0 in every place, of functions below 0 at low and not at high.

    The Illinois method: a false position whose stale end loses half of its weight (Dowell and
    Jarratt 1971).

    Parameters
    ----------
    function : (m,) to (m,)
    low, high : (m,) brackets; where the sign does not change, an end is the answer
    """
    a, b = low.astype(float), high.astype(float)
    fa, fb = function(a), function(b)
    root = np.where(np.abs(fa) < np.abs(fb), a, b)
    side = np.zeros(len(a), dtype=int)
    open_ = (fa < 0) & (fb > 0)
    for _ in range(STEPS):
        if not open_.any():
            break
        with np.errstate(invalid="ignore", divide="ignore"):
            x = np.where(open_, (a * fb - b * fa) / (fb - fa), root)
        fx = function(x)
        step = np.abs(x - root)
        root = np.where(open_, x, root)
        left, right = open_ & (fx < 0), open_ & (fx >= 0)
        fb = np.where(left & (side < 0), 0.5 * fb, fb)
        fa = np.where(right & (side > 0), 0.5 * fa, fa)
        a, fa = np.where(left, x, a), np.where(left, fx, fa)
        b, fb = np.where(right, x, b), np.where(right, fx, fb)
        side = np.where(left, -1, np.where(right, 1, side))
        open_ &= (step > WIDTH * np.abs(x)) & (fx != 0.0) & (b - a > WIDTH * np.abs(x))
    return root
