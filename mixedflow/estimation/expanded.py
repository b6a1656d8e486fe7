"""PX-EM's regression of y on the expected working columns w_(f,a,b) = Z F e_a b_b.

Stands at "Steps" in ``docs/algorithm.md``; Liu, Rubin and Wu 1998, Foulley and van Dyk 2000.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.mme import MmeSolution
from mixedflow.equations.moments import Moments
from mixedflow.estimation.evaluation import FreeEntry


def expanded_normal_equations(
    solution: MmeSolution, found: Moments, index: Sequence[FreeEntry]
) -> tuple[Float, Float]:
    """Return H_rs = E[w_r'R^-1w_s] and h_r = E[w_r'R^-1(y - X beta)], w_(f,a,b) = Z F e_a b_b.

    The expectations need E[b b'] at single levels and at pairs of levels that meet.
    """
    mme = solution.mme
    h = np.empty(len(index))
    by_factor = [_cross_with_rest(solution, found, f) for f in range(len(solution.b))]
    for r, (f, a, b) in enumerate(index):
        h[r] = by_factor[f][a, b]
    H = np.zeros((len(index), len(index)))
    for f, part in enumerate(mme.ZtRZ):
        second = solution.b[f][:, :, None] * solution.b[f][:, None, :] + found.covariance[f]
        _fill(H, index, (f, f), np.tensordot(part, second, axes=(0, 0)))
    for (f, g), (rows, cols, values) in mme.random.pairs.items():
        second = solution.b[f][rows][:, :, None] * solution.b[g][cols][:, None, :]
        tensor = np.tensordot(values, second + found.pair_covariance[f, g], axes=(0, 0))
        _fill(H, index, (f, g), tensor)
        _fill(H, index, (g, f), tensor.transpose(1, 0, 3, 2))
    return H, h


def _cross_with_rest(solution: MmeSolution, found: Moments, f: int) -> Float:
    """Return sum_l E[(Z'R^-1(y - X beta))_l b_l'], (q_f, q_f)."""
    mme = solution.mme
    right = mme.ZtRy[f] - mme.ZtRX[f] @ solution.beta
    product: Float = right.T @ solution.b[f]
    return product - np.tensordot(mme.ZtRX[f], found.cross_fixed[f], axes=([0, 2], [0, 2]))


def _fill(H: Float, index: Sequence[FreeEntry], key: tuple[int, int], tensor: Float) -> None:
    """Put tensor[a, a2, b, b2] at the free entries (f, a, b) and (g, a2, b2)."""
    for r, (f, a, b) in enumerate(index):
        if f != key[0]:
            continue
        for s, (g, a2, b2) in enumerate(index):
            if g == key[1]:
                H[r, s] = tensor[a, a2, b, b2]
