"""Rows to sums: W'BW and W'By of one partition, with columns shifted and scaled by their pilots.

Stands at "Condensing" in ``docs/algorithm.md``. The per-row loop is compiled (``kernels.py``) for
large partitions; up to :data:`COMPILE_ABOVE` numbers its NumPy twin (``twins.py``) is used, so that
small data never wait for a compiler. Both give the same sums up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from mixedflow.crossproducts.tiles import Tiles
from mixedflow.crossproducts.types import ONLY_KEY, CrossProducts, FactorSums, KeyedSums
from mixedflow.crossproducts.work import (
    Among,
    FactorWork,
    GroupWork,
    PairWork,
    Split,
)
from mixedflow.design.types import DesignBlock, DesignColumns, DesignInfo, Float, Int
from mixedflow.errors import UnsupportedError

COMPILE_ABOVE = 1_500_000
"""Numbers in X, y and Z above which the compiled kernel pays for its start (0.4 s and 90 MB)."""

TILE = 4096
"""Rows that are multiplied out at a time; a tile of ten columns stays in the cache."""

KernelChoice = Literal["auto", "numpy", "numba"]


def condense_block(
    block: DesignBlock,
    info: DesignInfo,
    *,
    kernel: KernelChoice = "auto",
    by_group: int | None = None,
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
        coded=block.coded,
        pattern=block.pattern,
    )
    return condense_columns(columns, info, kernel=kernel, by_group=by_group)


def condense_columns(
    columns: DesignColumns,
    info: DesignInfo,
    *,
    kernel: KernelChoice = "auto",
    by_group: int | None = None,
) -> CrossProducts:
    """Return [X y]'B[X y], Z'B[Z X y] of one partition; B = I, or diag(w) with weights.

    Parameters
    ----------
    columns : raw columns of the partition
    info : columns and pilots of the design
    kernel : "numpy", "numba", or "auto" by the size of the partition
    by_group : grouping factor of which every level's [X y]'B[X y] is kept besides

    Returns
    -------
    CrossProducts
        of the stored columns ``(column - shift) / scale`` (DESIGN 3.1, "Shift first").
    """
    if info.residual is not None:
        from mixedflow.crossproducts.coded import written_out
        from mixedflow.crossproducts.patterned import condense_patterned

        _check_by_group(by_group)
        return condense_patterned(written_out(columns), info, kernel=kernel)
    if columns.coded:
        from mixedflow.crossproducts.coded import condense_coded, written_out

        if by_group is None:
            return condense_coded(columns, info, partial(condense_columns, kernel=kernel))
        columns = written_out(columns)
    n = columns.n
    numbers = n * (len(columns.x) + len(columns.y) + sum(len(z) for z in columns.z))
    compiled = kernel == "numba" or (kernel == "auto" and numbers > COMPILE_ABOVE)
    step = TILE if compiled else max(n, 1)
    work = _Work(columns, info, step, compiled=compiled)
    if by_group is not None:
        work.keep_groups(by_group)
    for start in range(0, n, step):
        work.add_rows(slice(start, min(n, start + step)))
    weights = columns.weights
    sums = KeyedSums(
        n_obs=n,
        sum_log_weight=0.0 if weights is None else float(np.log(weights).sum()),
        XtBX=work.gram[: work.P, : work.P],
        XtBy=work.gram[: work.P, work.P :],
        ytBy=work.gram[work.P :, work.P :],
        factors=tuple(work.sums_of(f) for f in range(len(work.factors))),
        pairs={key: pair.sums() for key, pair in work.pairs.items()},
    )
    return CrossProducts(info, {ONLY_KEY: sums}, columns.rows_in, dict(columns.missing))


def _check_by_group(by_group: int | None) -> None:
    if by_group is not None:
        raise UnsupportedError(
            "sums are kept by group (by_group=...) for residual='iid' only; leave one of them out"
        )


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
            FactorWork(
                columns.codes[f],
                list(zip(columns.z[f], pilots.z_shift[f], pilots.z_scale[f], strict=True)),
                factor.n_levels,
                Among(self.width, places_in_x(info, f)),
            )
            for f, factor in enumerate(info.factors)
        ]
        self.pairs = {
            (f, h): PairWork(self.factors[f], self.factors[h], info.factors[h].n_levels)
            for f in range(len(self.factors))
            for h in range(f + 1, len(self.factors))
        }
        self._add = _kernels(compiled=compiled)
        self._xy = Tiles(self.xy, step, compiled=compiled)
        self._z = [
            Tiles(factor.columns if factor.inside is None else (), step, compiled=compiled)
            for factor in self.factors
        ]
        self._ones = np.ones(step)
        self._grouped: tuple[int, GroupWork] | None = None

    def keep_groups(self, f: int) -> None:
        """Keep [X y]'B[X y] of every level of a factor besides the global one."""
        factor = self.factors[f]
        self._grouped = (
            f,
            GroupWork(factor.local, len(factor.levels), self.width, self.columns.weights),
        )

    def sums_of(self, f: int) -> FactorSums:
        """Return the sums of a factor."""
        groups = None
        if self._grouped is not None and self._grouped[0] == f:
            groups = self._grouped[1].sums()
        return self.factors[f].sums(self.P, groups, self._add.split)

    def add_rows(self, rows: slice) -> None:
        """Add the sums of a stretch of rows."""
        XY = self._xy.of(rows)
        weights = self.columns.weights
        w = self._ones[: len(XY)] if weights is None else weights[rows]
        self.gram += XY.T @ (XY if weights is None else XY * w[:, None])
        Z: list[Float] = []
        for factor in self.factors:
            codes = factor.local[rows]
            if factor.inside is None:
                Z.append(self._z[len(Z)].of(rows))
                self._add.factor(codes, Z[-1], XY, w, factor.products)
            else:
                Z.append(XY[:, factor.inside] if self.pairs else XY)
                self._add.within(codes, factor.inside, XY, w, factor.products)
        if self._grouped is not None:
            groups = self._grouped[1]
            self._add.group(groups.local[rows], XY, w, groups.XYtBXY)
        for (f, h), pair in self.pairs.items():
            self._add.pair(pair.local[rows], Z[f], Z[h], w, pair.ZtBZ)


def places_in_x(info: DesignInfo, f: int) -> Int | None:
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


class _Kernels(NamedTuple):
    """What adds a tile to the sums: one factor, one whose columns stand in X, a pair, groups."""

    factor: Callable[[Int, Float, Float, Float, Float], None]
    within: Callable[[Int, Int, Float, Float, Float], None]
    pair: Callable[[Int, Float, Float, Float, Float], None]
    group: Callable[[Int, Float, Float, Float], None]
    split: Split


def _kernels(*, compiled: bool) -> _Kernels:
    if not compiled:
        from mixedflow.crossproducts import twins

        return _Kernels(
            twins.factor_twin,
            twins.within_twin,
            twins.pair_twin,
            twins.group_twin,
            twins.split_twin,
        )
    from mixedflow.crossproducts import kernels

    return _Kernels(
        kernels.accumulate_factor,
        kernels.accumulate_within,
        kernels.accumulate_pair,
        kernels.accumulate_group,
        kernels.split_sums,
    )
