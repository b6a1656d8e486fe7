"""Sums in other columns: every new column is a linear combination of the stored ones.

Stands at "Sums" in ``docs/algorithm.md``. With [X' y'] = [X y] W and Z_f' = Z_f V_f the sums are
W'[X y]'B[X y]W, V_f'Z_f'B[X y]W and V_f'Z_f'BZ_hV_h: other pilots and fewer columns need no rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mixedflow.crossproducts.types import (
    CrossProducts,
    FactorSums,
    GroupSums,
    KeyedSums,
    PairSums,
    same_pilots,
)
from mixedflow.design.types import DesignInfo, Float, Int, Pilots
from mixedflow.errors import DataError

STRETCH = 1 << 14
"""Levels whose matrices are written out at a time."""


def packed(grams: Float) -> Float:
    """Return the upper triangles of symmetric matrices by row, (m, w (w + 1) / 2)."""
    rows, cols = np.triu_indices(grams.shape[-1])
    upper: Float = grams[..., rows, cols]
    return upper


def unpacked(upper: Float, width: int) -> Float:
    """Undo :func:`packed`."""
    rows, cols = np.triu_indices(width)
    out = np.empty((*upper.shape[:-1], width, width))
    out[..., rows, cols] = upper
    out[..., cols, rows] = upper
    return out


def whole_gram(part: KeyedSums) -> Float:
    """Return [X y]'B[X y]."""
    return np.block([[part.XtBX, part.XtBy], [part.XtBy.T, part.ytBy]])


def split_gram(gram: Float, P: int) -> tuple[Float, Float, Float]:
    """Return X'BX, X'By and y'By."""
    whole = 0.5 * (gram + gram.T)
    return whole[:P, :P].copy(), whole[:P, P:].copy(), whole[P:, P:].copy()


def mapped(
    sums: CrossProducts, info: DesignInfo, W: Float, factors: Sequence[int], V: Sequence[Float]
) -> CrossProducts:
    """Return the sums of the columns [X y] W, and Z_f V_f of some of the factors in a new order.

    Parameters
    ----------
    sums : of the stored columns
    info : what the new columns are
    W : (P + t, P' + t)
    factors : which factors stay
    V : (Q_f, Q_f') for each of them
    """
    keyed = {key: _mapped_key(part, W, factors, V) for key, part in sums.keyed.items()}
    return replace(sums, info=info, keyed=keyed)


def _mapped_key(part: KeyedSums, W: Float, factors: Sequence[int], V: Sequence[Float]) -> KeyedSums:
    P = W.shape[1] - part.ytBy.shape[0]
    XtBX, XtBy, ytBy = split_gram(W.T @ whole_gram(part) @ W, P)
    pairs = {}
    for i, f in enumerate(factors):
        for j in range(i + 1, len(factors)):
            pair = oriented(part, f, factors[j])
            pairs[i, j] = replace(pair, ZtBZ=V[i].T @ pair.ZtBZ @ V[j])
    return replace(
        part,
        XtBX=XtBX,
        XtBy=XtBy,
        ytBy=ytBy,
        factors=tuple(
            _mapped_factor(part.factors[f], W, v, P) for f, v in zip(factors, V, strict=True)
        ),
        pairs=pairs,
    )


def oriented(part: KeyedSums, f: int, h: int) -> PairSums:
    """Return Z_f'BZ_h whichever of the two factors comes first in the store."""
    if (f, h) in part.pairs:
        return part.pairs[f, h]
    pair = part.pairs[h, f]
    order = np.lexsort((pair.rows, pair.cols))
    turned = np.ascontiguousarray(pair.ZtBZ.transpose(0, 2, 1)[order])
    return PairSums(pair.cols[order], pair.rows[order], turned)


def _mapped_factor(factor: FactorSums, W: Float, V: Float, P: int) -> FactorSums:
    XY = V.T @ np.concatenate([factor.ZtBX, factor.ZtBy], axis=2) @ W
    ZtBZ = V.T @ factor.ZtBZ @ V
    groups = factor.groups
    if groups is not None:
        groups = replace(groups, XYtBXY=_mapped_grams(groups.XYtBXY, W))
    return FactorSums(
        factor.levels,
        0.5 * (ZtBZ + ZtBZ.transpose(0, 2, 1)),
        np.ascontiguousarray(XY[:, :, :P]),
        np.ascontiguousarray(XY[:, :, P:]),
        groups,
    )


def _mapped_grams(upper: Float, W: Float) -> Float:
    """Return W'[X y]'B[X y]W of every level, a stretch of levels at a time."""
    width = W.shape[1]
    out = np.empty((len(upper), width * (width + 1) // 2))
    for start in range(0, len(upper), STRETCH):
        grams = W.T @ unpacked(upper[start : start + STRETCH], W.shape[0]) @ W
        out[start : start + STRETCH] = packed(0.5 * (grams + grams.transpose(0, 2, 1)))
    return out


def group_gram(groups: GroupSums, at: Int, width: int) -> Float:
    """Return [X y]'B[X y] over some levels, repeats counted as often as they stand there."""
    counts = np.bincount(at, minlength=len(groups.n_obs)).astype(float)
    return unpacked(counts @ groups.XYtBXY, width)


def rebased(sums: CrossProducts, pilots: Pilots) -> CrossProducts:
    """Return the sums of x~' = (s / s') x~ + (m - m') / s' for pilots m, s -> m', s'.

    Raises
    ------
    DataError
        if the pilots are those of other columns, or shift a column where no constant is there.
    """
    info = sums.info
    old = info.pilots
    _check_pilots(info, pilots)
    if same_pilots(old, pilots):
        return sums
    lead = int(sums.constant)
    constant = 0 if info.intercept is None else info.intercept
    W = np.eye(lead + len(info.x_columns) + len(info.traits))
    scale = np.concatenate(
        [np.ones(lead), old.x_scale / pilots.x_scale, old.y_scale / pilots.y_scale]
    )
    shift = np.concatenate(
        [
            np.zeros(lead),
            (old.x_shift - pilots.x_shift) / pilots.x_scale,
            (old.y_shift - pilots.y_shift) / pilots.y_scale,
        ]
    )
    W *= scale
    W[constant] += shift
    V = []
    for f, at in enumerate(info.z_intercept):
        v = np.diag(old.z_scale[f] / pilots.z_scale[f])
        if at is not None:
            v[at] += (old.z_shift[f] - pilots.z_shift[f]) / pilots.z_scale[f]
        V.append(v)
    return mapped(sums, replace(info, pilots=pilots), W, range(len(V)), V)


def _check_pilots(info: DesignInfo, pilots: Pilots) -> None:
    old = info.pilots
    pairs = [(old.x_shift, pilots.x_shift, info.intercept), (old.y_shift, pilots.y_shift, 0)]
    if len(old.z_shift) == len(pilots.z_shift):
        pairs += list(zip(old.z_shift, pilots.z_shift, info.z_intercept, strict=True))
    if len(old.z_shift) != len(pilots.z_shift) or any(a.shape != b.shape for a, b, _ in pairs):
        raise DataError("these pilots belong to other columns; take those of the same model")
    for before, after, constant in pairs:
        if constant is None and not np.array_equal(before, after):
            raise DataError("a shift needs the constant column among the columns that it moves")
    for scale in (pilots.x_scale, pilots.y_scale, *pilots.z_scale):
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise DataError("the scales of pilots must be positive")
