"""Rows to sums: W'BW and W'By of one partition, with columns shifted and scaled by their pilots.

Stands at "Condensing" in ``docs/algorithm.md``. The per-row loop is compiled (``kernels.py``) for
large partitions; below :data:`COMPILE_ABOVE` rows its NumPy twin here is used, so that small data
never wait for a compiler. Both give the same sums up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from mixedflow.crossproducts.types import (
    ONLY_KEY,
    CrossProducts,
    FactorSums,
    KeyedSums,
    PairSums,
)
from mixedflow.design.types import DesignBlock, DesignColumns, DesignInfo, Float, Int, Pieces

COMPILE_ABOVE = 50_000
"""Rows above which the compiled kernel pays for its start."""

TILE = 4096
"""Rows that are multiplied out at a time; a tile of ten columns stays in the cache."""

KernelChoice = Literal["auto", "numpy", "numba"]


def condense_block(
    block: DesignBlock, info: DesignInfo, *, kernel: KernelChoice = "auto"
) -> CrossProducts:
    """Return the sums of a partition whose columns are matrices; see :func:`condense_columns`."""
    columns = DesignColumns(
        n=block.y.shape[0],
        x=tuple((column,) for column in block.X.T),
        y=tuple(block.y.T),
        z=tuple(tuple((column,) for column in Z.T) for Z in block.Z),
        codes=block.codes,
        weights=block.weights,
        rows_in=block.rows_in,
        missing=block.missing,
    )
    return condense_columns(columns, info, kernel=kernel)


def condense_columns(
    columns: DesignColumns, info: DesignInfo, *, kernel: KernelChoice = "auto"
) -> CrossProducts:
    """Return [X y]'B[X y], Z'B[Z X y] of one partition; B = I, or diag(w) with weights.

    Parameters
    ----------
    columns : raw columns of the partition
    info : columns and pilots of the design
    kernel : "numpy", "numba", or "auto" by the number of rows

    Returns
    -------
    CrossProducts
        of the stored columns ``(column - shift) / scale`` (DESIGN 3.1, "Shift first").
    """
    n = columns.n
    compiled = kernel == "numba" or (kernel == "auto" and n > COMPILE_ABOVE)
    step = TILE if compiled else max(n, 1)
    work = _Work(columns, info, step, compiled=compiled)
    for start in range(0, n, step):
        work.add_rows(slice(start, min(n, start + step)))
    weights = columns.weights
    sums = KeyedSums(
        n_obs=n,
        sum_log_weight=0.0 if weights is None else float(np.log(weights).sum()),
        XtBX=work.gram[: work.P, : work.P],
        XtBy=work.gram[: work.P, work.P :],
        ytBy=work.gram[work.P :, work.P :],
        factors=tuple(factor.sums(work.P) for factor in work.factors),
        pairs={key: pair.sums() for key, pair in work.pairs.items()},
    )
    return CrossProducts(info, {ONLY_KEY: sums}, columns.rows_in, dict(columns.missing))


class _Work:
    """Sums of one partition while tiles of at most ``step`` rows are added."""

    def __init__(
        self, columns: DesignColumns, info: DesignInfo, step: int, *, compiled: bool
    ) -> None:
        pilots = info.pilots
        lead = [((), 0.0, 1.0)] if info.intercept is None else []
        x = zip(columns.x, pilots.x_shift, pilots.x_scale, strict=True)
        y = zip(columns.y, pilots.y_shift, pilots.y_scale, strict=True)
        self.xy = [*lead, *x, *(((values,), shift, scale) for values, shift, scale in y)]
        self.P = len(lead) + len(columns.x)
        self.width = len(self.xy)
        self.gram = np.zeros((self.width, self.width))
        self.columns = columns
        self.factors = [
            _FactorWork(
                columns.codes[f],
                list(zip(columns.z[f], pilots.z_shift[f], pilots.z_scale[f], strict=True)),
                factor.n_levels,
                _Among(self.width, _places_in_x(info, f)),
            )
            for f, factor in enumerate(info.factors)
        ]
        self.pairs = {
            (f, h): _PairWork(self.factors[f], self.factors[h], info.factors[h].n_levels)
            for f in range(len(self.factors))
            for h in range(f + 1, len(self.factors))
        }
        self._add = _kernels(compiled=compiled)
        self._room = [
            np.empty((step, width)) for width in (self.width, *(len(z) for z in columns.z))
        ]
        self._ones = np.ones(step)

    def add_rows(self, rows: slice) -> None:
        """Add the sums of a stretch of rows."""
        XY = _tile(self.xy, rows, self._room[0])
        weights = self.columns.weights
        w = self._ones[: len(XY)] if weights is None else weights[rows]
        self.gram += XY.T @ (XY if weights is None else XY * w[:, None])
        Z: list[Float] = []
        for factor in self.factors:
            codes = factor.local[rows]
            if factor.inside is None:
                Z.append(_tile(factor.columns, rows, self._room[1 + len(Z)]))
                self._add.factor(codes, Z[-1], XY, w, factor.products)
            else:
                Z.append(XY[:, factor.inside] if self.pairs else XY)
                self._add.within(codes, factor.inside, XY, w, factor.products)
        for (f, h), pair in self.pairs.items():
            self._add.pair(pair.local[rows], Z[f], Z[h], w, pair.ZtBZ)


class _Among(NamedTuple):
    """Width of [X y], and where a factor's columns stand in it, or None where not all do."""

    width: int
    inside: Int | None


def _places_in_x(info: DesignInfo, f: int) -> Int | None:
    """Return the place of every column of Z_f among [1? X], if all stand there with their pilots."""
    pilots, lead = info.pilots, int(info.intercept is None)
    places = []
    for name, shift, scale in zip(
        info.factors[f].columns, pilots.z_shift[f], pilots.z_scale[f], strict=True
    ):
        if name not in info.x_columns:
            return None
        at = info.x_columns.index(name)
        if (pilots.x_shift[at], pilots.x_scale[at]) != (shift, scale):
            return None
        places.append(lead + at)
    return np.array(places, dtype=np.int64)


StoredColumn = tuple[Pieces, float, float]
"""A column's factors, its shift and its scale."""


class _FactorWork:
    """Sums of one grouping factor over the levels that occur in the partition."""

    def __init__(
        self, codes: Int, columns: list[StoredColumn], n_levels: int, among: _Among
    ) -> None:
        self.codes, self.columns, self.inside = codes, columns, among.inside
        self.levels, self.local = _local_levels(codes, n_levels)
        m, Q = len(self.levels), len(columns)
        extra = Q if among.inside is None else 0
        self.products = np.zeros((m, Q, extra + among.width))

    def sums(self, P: int) -> FactorSums:
        """Return them, Z, X and y apart."""
        Q = len(self.columns)
        XY = self.products if self.inside is not None else self.products[:, :, Q:]
        Z = self.products[:, :, :Q] if self.inside is None else XY[:, :, self.inside]
        symmetric = 0.5 * (Z + Z.transpose(0, 2, 1))
        ZtBX, ZtBy = np.ascontiguousarray(XY[:, :, :P]), np.ascontiguousarray(XY[:, :, P:])
        return FactorSums(self.levels, symmetric, ZtBX, ZtBy)


class _PairWork:
    """Sums of the pairs of levels of two factors that meet in the partition."""

    def __init__(self, first: _FactorWork, second: _FactorWork, n_levels: int) -> None:
        self.n_levels = n_levels
        self.keys, local = np.unique(first.codes * n_levels + second.codes, return_inverse=True)
        self.local = local.astype(np.int64, copy=False)
        self.ZtBZ = np.zeros((len(self.keys), len(first.columns), len(second.columns)))

    def sums(self) -> PairSums:
        """Return them."""
        return PairSums(self.keys // self.n_levels, self.keys % self.n_levels, self.ZtBZ)


def _tile(columns: Sequence[StoredColumn], rows: slice, room: Float) -> Float:
    """Return (product of the factors - shift) / scale of a stretch of rows, (rows, columns).

    The tile stands in ``room``: a new array for each would cost more than filling it.
    """
    tile = room[: rows.stop - rows.start]
    for k, (pieces, shift, scale) in enumerate(columns):
        if not pieces:
            tile[:, k] = (1.0 - shift) / scale
            continue
        values = pieces[0][rows]
        for other in pieces[1:]:
            values = values * other[rows]
        np.subtract(values, shift, out=tile[:, k])
        if scale != 1.0:
            tile[:, k] *= 1.0 / scale
    return tile


class _Kernels(NamedTuple):
    """What adds a tile to the sums: one factor, one whose columns stand in X, a pair."""

    factor: Callable[[Int, Float, Float, Float, Float], None]
    within: Callable[[Int, Int, Float, Float, Float], None]
    pair: Callable[[Int, Float, Float, Float, Float], None]


def _kernels(*, compiled: bool) -> _Kernels:
    if not compiled:
        return _Kernels(factor_twin, within_twin, pair_twin)
    from mixedflow.crossproducts import kernels

    return _Kernels(kernels.accumulate_factor, kernels.accumulate_within, kernels.accumulate_pair)


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
