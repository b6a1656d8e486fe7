"""The per-row loops of condensing in NumPy: small data never wait for a compiler.

Stands at "Condensing" in ``docs/algorithm.md``; the compiled loops stand in ``kernels.py``.
"""

from __future__ import annotations

import numpy as np

from mixedflow.design.types import Float, Int


def factor_twin(codes: Int, Z: Float, XY: Float, w: Float, sums: Float) -> None:
    """Add Z'B[Z X y], (m, Q, Q + P + t), by weighted counts, a column at a time."""
    whole = np.concatenate([Z, XY], axis=1)
    within_twin(codes, np.arange(Z.shape[1]), whole, w, sums)


def within_twin(codes: Int, inside: Int, XY: Float, w: Float, sums: Float) -> None:
    """Add Z'B[X y], (m, Q, P + t), Z's columns standing in XY at the places ``inside``."""
    m = sums.shape[0]
    for a, place in enumerate(inside):
        za = XY[:, place] * w
        for c in range(XY.shape[1]):
            sums[:, a, c] += np.bincount(codes, za * XY[:, c], m)


def pair_twin(codes: Int, Zf: Float, Zh: Float, w: Float, ZtBZ: Float) -> None:
    """Add Z_f'B Z_h (m, Q_f, Q_h) by weighted counts."""
    m = ZtBZ.shape[0]
    for a in range(Zf.shape[1]):
        za = Zf[:, a] * w
        for b in range(Zh.shape[1]):
            ZtBZ[:, a, b] += np.bincount(codes, za * Zh[:, b], m)


def group_twin(codes: Int, XY: Float, w: Float, sums: Float) -> None:
    """Add the upper triangle of [x_i y_i] w_i [x_i y_i]' to the sums of row i's level."""
    m, width = sums.shape[0], XY.shape[1]
    at = 0
    for a in range(width):
        weighted = XY[:, a] * w
        for b in range(a, width):
            sums[:, at] += np.bincount(codes, weighted * XY[:, b], m)
            at += 1


def split_twin(sums: Float, places: Int, first: int, ZtBZ: Float, ZtBX: Float, ZtBy: Float) -> None:
    """Write Z'B[Z X y] of every level, (m, Q, ...), into three arrays, Z'BZ symmetric."""
    P = ZtBX.shape[2]
    Z = sums[:, :, places]
    ZtBZ[:] = 0.5 * (Z + Z.transpose(0, 2, 1))
    ZtBX[:], ZtBy[:] = sums[:, :, first : first + P], sums[:, :, first + P :]
