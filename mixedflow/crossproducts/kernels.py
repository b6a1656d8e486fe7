"""Compiled per-row loops of condensing; their NumPy twins stand in ``twins.py``.

Stands at "Condensing" in ``docs/algorithm.md``. Imported only when a partition is large enough,
because the import itself costs more than a small fit. Sums are in no order of the rows, so those
of a later row are asked for beforehand.
"""

from __future__ import annotations

from mixedflow.design.types import Float, Int
from mixedflow.linalg.jit import compiled
from mixedflow.linalg.memory import doubles_at, fetch_sums

FILL_ROWS = 64
"""Rows of a tile that are written before the next column: they stay in the nearest cache."""


@compiled
def fill_tile(
    addresses: Int, start: int, shift: Float, factor: Float, places: Int, tile: Float
) -> None:
    """Write (x_i - shift) factor of rows ``start``, ``start`` + 1, ... into columns of a tile.

    Shapes: addresses of columns of doubles, their shift, factor and place in the tile (K,);
    tile (n, P + t).
    """
    n = tile.shape[0]
    for first in range(0, n, FILL_ROWS):
        rows = min(FILL_ROWS, n - first)
        for k in range(len(addresses)):
            values = doubles_at(addresses[k] + 8 * (start + first), rows)
            column, moved, by = places[k], shift[k], factor[k]
            for i in range(rows):
                tile[first + i, column] = (values[i] - moved) * by


@compiled
def accumulate_factor(codes: Int, Z: Float, XY: Float, w: Float, sums: Float) -> None:
    """Add z_i w_i [z_i x_i y_i]' to the sums of row i's level, in place.

    Shapes: codes (n,), Z (n, Q), XY (n, P + t), w (n,), sums (m, Q, Q + P + t).
    """
    n, Q = Z.shape
    width = XY.shape[1]
    by_level = sums.reshape(len(sums), Q * (Q + width))
    for i in range(n):
        fetch_sums(by_level, codes, i)
        own = sums[codes[i]]
        for a in range(Q):
            za = Z[i, a] * w[i]
            for b in range(Q):
                own[a, b] += za * Z[i, b]
            for c in range(width):
                own[a, Q + c] += za * XY[i, c]


@compiled
def accumulate_within(codes: Int, inside: Int, XY: Float, w: Float, sums: Float) -> None:
    """Add z_i w_i [x_i y_i]' where the columns of Z stand among those of X, in place.

    Shapes: codes (n,), inside (Q,) places of Z's columns in XY, XY (n, P + t), w (n,),
    sums (m, Q, P + t).
    """
    n, width = XY.shape
    Q = len(inside)
    by_level = sums.reshape(len(sums), Q * width)
    for i in range(n):
        fetch_sums(by_level, codes, i)
        own, row = by_level[codes[i]], XY[i]
        for a in range(Q):
            za = row[inside[a]] * w[i]
            first = a * width
            for c in range(width):
                own[first + c] += za * row[c]


@compiled
def accumulate_pair(codes: Int, Zf: Float, Zh: Float, w: Float, ZtBZ: Float) -> None:
    """Add z_fi w_i z_hi' to the sum of row i's pair of levels, in place.

    Shapes: codes (n,), Zf (n, Q_f), Zh (n, Q_h), w (n,), ZtBZ (m, Q_f, Q_h).
    """
    n, Qf = Zf.shape
    Qh = Zh.shape[1]
    by_pair = ZtBZ.reshape(len(ZtBZ), Qf * Qh)
    for i in range(n):
        fetch_sums(by_pair, codes, i)
        g = codes[i]
        for a in range(Qf):
            za = Zf[i, a] * w[i]
            for b in range(Qh):
                ZtBZ[g, a, b] += za * Zh[i, b]


@compiled
def accumulate_group(codes: Int, XY: Float, w: Float, sums: Float) -> None:
    """Add the upper triangle of [x_i y_i] w_i [x_i y_i]' to the sums of row i's level, in place.

    Shapes: codes (n,), XY (n, P + t), w (n,), sums (m, (P + t)(P + t + 1) / 2).
    """
    n, width = XY.shape
    for i in range(n):
        fetch_sums(sums, codes, i)
        own = sums[codes[i]]
        at = 0
        for a in range(width):
            weighted = XY[i, a] * w[i]
            for b in range(a, width):
                own[at] += weighted * XY[i, b]
                at += 1


@compiled
def split_sums(sums: Float, places: Int, first: int, ZtBZ: Float, ZtBX: Float, ZtBy: Float) -> None:
    """Write Z'B[Z X y] of every level into three arrays, Z'BZ symmetric to the last bit.

    Shapes: sums (m, Q, ...) with Z's columns at ``places`` (Q,), those of X and y from ``first``;
    ZtBZ (m, Q, Q), ZtBX (m, Q, P), ZtBy (m, Q, t).
    """
    m, Q, P = ZtBX.shape
    t = ZtBy.shape[2]
    for i in range(m):
        for a in range(Q):
            for b in range(Q):
                ZtBZ[i, a, b] = 0.5 * (sums[i, a, places[b]] + sums[i, b, places[a]])
            for c in range(P):
                ZtBX[i, a, c] = sums[i, a, first + c]
            for c in range(t):
                ZtBy[i, a, c] = sums[i, a, first + P + c]
