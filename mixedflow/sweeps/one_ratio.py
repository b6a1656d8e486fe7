"""One random effect a level, many responses: the search in the one ratio, compiled from end to end.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedflow.design.types import Float, Int
from mixedflow.sweeps.one_ratio_kernels import Rules, search
from mixedflow.sweeps.types import Designs, Look, Responses


@dataclass(frozen=True, slots=True)
class RatioFits:
    """Where the search ended for T responses.

    Attributes
    ----------
    theta : (T, 1); value : (T,), -2l less constants; look : the likelihood's parts there
    logs, squares : (T, 1, 1), curvatures of the log-determinants and of y'P0y
    inverse_slope : (T, p, p), slope of (X'V0^-1X)^-1
    converged, iterations : (T,)
    """

    theta: Float
    value: Float
    look: Look
    logs: Float
    squares: Float
    inverse_slope: Float
    converged: NDArray[np.bool_]
    iterations: Int


def search_ratio(
    designs: Designs, responses: Responses, m: Float, unit: Float, rules: Rules, *, reml: bool
) -> RatioFits:
    """Return where the search ends; unit is (D,), m (T,)."""
    T, p = responses.Xty.shape
    theta, value, parts = np.zeros(T), np.full(T, np.inf), np.zeros((T, 6))
    beta, inverse, sandwich = np.zeros((T, p)), np.zeros((T, p, p)), np.zeros((T, p, p))
    converged, iterations = np.zeros(T, dtype=np.int64), np.zeros(T, dtype=np.int64)
    search(
        responses.which, designs.ZtZ[:, :, 0, 0], designs.ZtX[:, :, 0], designs.XtX,
        responses.Zty[:, :, 0], responses.Xty, responses.yty, m, unit, reml, rules,
        theta, value, parts, beta, inverse, sandwich, converged, iterations,
    )  # fmt: skip
    return RatioFits(
        theta=theta[:, None],
        value=value,
        look=Look(parts[:, 0], parts[:, 1], parts[:, 2:3], parts[:, 3:4], beta, inverse),
        logs=parts[:, 4, None, None],
        squares=parts[:, 5, None, None],
        inverse_slope=-sandwich,
        converged=converged > 0,
        iterations=iterations,
    )
