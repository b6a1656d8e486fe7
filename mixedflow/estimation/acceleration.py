"""Squared extrapolation of EM: three points of the sequence give a fourth far ahead.

Stands at "Steps" in ``docs/algorithm.md``; Varadhan and Roland 2008, scheme S3. EM's own next step
steadies the extrapolated point, and a point that lowers the likelihood is not taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixedflow.design.types import Float


def squarem(points: Sequence[Float]) -> Float | None:
    """Return theta_0 - 2 a r + a^2 v, r = theta_1 - theta_0, v = (theta_2 - theta_1) - r.

    Parameters
    ----------
    points : theta_0, theta_1, theta_2, three successive points of EM, (r,) each

    Returns
    -------
    (r,) or None
        a = -|r| / |v|, at most -1, where it is theta_2; None where the sequence stands still.
    """
    first, second, third = points
    r = second - first
    v = (third - second) - r
    bend = float(np.linalg.norm(v))
    if bend == 0.0 or not np.isfinite(bend):
        return None
    a = min(-float(np.linalg.norm(r)) / bend, -1.0)
    ahead: Float = first - 2.0 * a * r + a * a * v
    return ahead
