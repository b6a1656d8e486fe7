"""Rows to sums: W'BW and W'By of one partition, with columns shifted and scaled by their pilots.

Stands at "Condensing" in ``docs/algorithm.md``. The per-row loop is compiled (``kernels.py``) for
large partitions; below :data:`COMPILE_ABOVE` rows its NumPy twin here is used, so that small data
never wait for a compiler. Both give the same sums up to rounding.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from mixedflow.crossproducts.types import (
    ONLY_KEY,
    CrossProducts,
    FactorSums,
    KeyedSums,
    PairSums,
)
from mixedflow.design.types import DesignBlock, DesignInfo, Float, Int

COMPILE_ABOVE = 50_000
"""Rows above which the compiled kernel pays for its start."""

KernelChoice = Literal["auto", "numpy", "numba"]


class _Rows(NamedTuple):
    """What every factor of a partition is multiplied with: [X y] (n, P + t), weights (n,), P."""

    XY: Float
    w: Float
    P: int


def condense_block(
    block: DesignBlock, info: DesignInfo, *, kernel: KernelChoice = "auto"
) -> CrossProducts:
    """Return [X y]'B[X y], Z'B[Z X y] of one partition; B = I, or diag(w) with weights.

    Parameters
    ----------
    block : raw columns of the partition
    info : columns and pilots of the design
    kernel : "numpy", "numba", or "auto" by the number of rows

    Returns
    -------
    CrossProducts
        of the stored columns ``(column - shift) / scale`` (DESIGN 3.1, "Shift first").
    """
    n = block.y.shape[0]
    compiled = kernel == "numba" or (kernel == "auto" and n > COMPILE_ABOVE)
    XY = _stored_xy(block, info)
    Z = tuple(
        np.ascontiguousarray((z - shift) / scale)
        for z, shift, scale in zip(block.Z, info.pilots.z_shift, info.pilots.z_scale, strict=True)
    )
    weighted = XY if block.weights is None else XY * block.weights[:, None]
    gram = XY.T @ weighted
    P = XY.shape[1] - block.y.shape[1]
    w = np.ones(n) if block.weights is None else block.weights
    rows = _Rows(XY, w, P)
    factors = tuple(
        _factor_sums(codes, z, rows, factor.n_levels, compiled)
        for codes, z, factor in zip(block.codes, Z, info.factors, strict=True)
    )
    sums = KeyedSums(
        n_obs=n,
        sum_log_weight=0.0 if block.weights is None else float(np.log(block.weights).sum()),
        XtBX=gram[:P, :P],
        XtBy=gram[:P, P:],
        ytBy=gram[P:, P:],
        factors=factors,
        pairs=_all_pairs(block, info, Z, w, compiled),
    )
    return CrossProducts(info, {ONLY_KEY: sums}, block.rows_in, dict(block.missing))


def _stored_xy(block: DesignBlock, info: DesignInfo) -> Float:
    """Return [1? X y], shifted and scaled, as one row-major array."""
    pilots = info.pilots
    n, t = block.y.shape
    lead = int(info.intercept is None)
    p = block.X.shape[1]
    out = np.empty((n, lead + p + t))
    out[:, :lead] = 1.0
    np.subtract(block.X, pilots.x_shift, out=out[:, lead : lead + p])
    out[:, lead : lead + p] /= pilots.x_scale
    np.subtract(block.y, pilots.y_shift, out=out[:, lead + p :])
    out[:, lead + p :] /= pilots.y_scale
    return out


def _factor_sums(codes: Int, Z: Float, rows: _Rows, n_levels: int, compiled: bool) -> FactorSums:
    XY, w, P = rows
    levels, local = _local_levels(codes, n_levels)
    m = len(levels)
    if compiled:
        from mixedflow.crossproducts.kernels import accumulate_factor

        ZtBZ, ZtBXY = np.zeros((m, Z.shape[1], Z.shape[1])), np.zeros((m, Z.shape[1], XY.shape[1]))
        accumulate_factor(local, Z, XY, w, ZtBZ, ZtBXY)
    else:
        ZtBZ, ZtBXY = factor_twin(local, Z, XY, w, m)
    return FactorSums(levels, ZtBZ, np.ascontiguousarray(ZtBXY[:, :, :P]), ZtBXY[:, :, P:].copy())


def _local_levels(codes: Int, n_levels: int) -> tuple[Int, Int]:
    """Return the levels that occur, increasing, and each row's index among them."""
    if n_levels <= 4 * len(codes) + 1024:
        counts = np.bincount(codes, minlength=n_levels)
        if counts.all():
            return np.arange(n_levels), codes
        levels = np.flatnonzero(counts)
        table = np.zeros(n_levels, dtype=np.int64)
        table[levels] = np.arange(len(levels))
        return levels, table[codes]
    levels, local = np.unique(codes, return_inverse=True)
    return levels.astype(np.int64), local.astype(np.int64)


def factor_twin(local: Int, Z: Float, XY: Float, w: Float, m: int) -> tuple[Float, Float]:
    """Return Z'BZ (m, Q, Q) and Z'B[X y] (m, Q, P + t) by weighted counts, a column at a time."""
    Q, width = Z.shape[1], XY.shape[1]
    ZtBZ, ZtBXY = np.empty((m, Q, Q)), np.empty((m, Q, width))
    for a in range(Q):
        za = Z[:, a] * w
        for b in range(a + 1):
            ZtBZ[:, a, b] = ZtBZ[:, b, a] = np.bincount(local, za * Z[:, b], m)
        for c in range(width):
            ZtBXY[:, a, c] = np.bincount(local, za * XY[:, c], m)
    return ZtBZ, ZtBXY


def _all_pairs(
    block: DesignBlock, info: DesignInfo, Z: tuple[Float, ...], w: Float, compiled: bool
) -> dict[tuple[int, int], PairSums]:
    count = len(Z)
    return {
        (f, h): _pair_sums(
            (block.codes[f], block.codes[h]), (Z[f], Z[h]), w, info.factors[h].n_levels, compiled
        )
        for f in range(count)
        for h in range(f + 1, count)
    }


def _pair_sums(
    codes: tuple[Int, Int], Z: tuple[Float, Float], w: Float, width: int, compiled: bool
) -> PairSums:
    keys, local = np.unique(codes[0] * width + codes[1], return_inverse=True)
    m = len(keys)
    if compiled:
        from mixedflow.crossproducts.kernels import accumulate_pair

        ZtBZ = np.zeros((m, Z[0].shape[1], Z[1].shape[1]))
        accumulate_pair(local.astype(np.int64), Z[0], Z[1], w, ZtBZ)
    else:
        ZtBZ = pair_twin(local, Z[0], Z[1], w, m)
    return PairSums(keys // width, keys % width, ZtBZ)


def pair_twin(local: Int, Zf: Float, Zh: Float, w: Float, m: int) -> Float:
    """Return Z_f'B Z_h (m, Q_f, Q_h) by weighted counts."""
    out = np.empty((m, Zf.shape[1], Zh.shape[1]))
    for a in range(Zf.shape[1]):
        za = Zf[:, a] * w
        for b in range(Zh.shape[1]):
            out[:, a, b] = np.bincount(local, za * Zh[:, b], m)
    return out
