"""The sums of one key: sum over terms L'R of rows that stand side by side.

Stands at "Condensing" in ``docs/algorithm.md``. I, J and D are sums of L'L, and what is off the
diagonal is L'R + R'L. Products of [X y] are BLAS's; those by level use the loops of ``kernels.py`` or
their twins. A random factor is constant within a group, so both sides are of the same levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mixedflow.crossproducts.types import FactorSums, KeyedSums, PairSums
from mixedflow.crossproducts.work import local_levels
from mixedflow.design.types import DesignColumns, DesignInfo, Float, Int, Pieces


class Part(NamedTuple):
    """Some rows: [X y] (n, w), one (n, Q_f) array and one (n,) array of levels a factor."""

    XY: Float
    Z: tuple[Float, ...]
    codes: tuple[Int, ...]

    def rows(self, rows: slice) -> Part:
        """Return a stretch of rows, without a copy."""
        return Part(
            self.XY[rows], tuple(z[rows] for z in self.Z), tuple(c[rows] for c in self.codes)
        )

    def take(self, at: Int) -> Part:
        """Return the rows at some places."""
        return Part(self.XY[at], tuple(z[at] for z in self.Z), tuple(c[at] for c in self.codes))

    def every(self, i: int, k: int) -> Part:
        """Return row i of every group of k rows."""
        contiguous: Any = np.ascontiguousarray
        return Part(
            self.XY[i::k],
            tuple(contiguous(z[i::k]) for z in self.Z),
            tuple(contiguous(c[i::k]) for c in self.codes),
        )

    def totals(self, k: int) -> Part:
        """Return the sum over every group of k rows."""
        return Part(
            _added(self.XY, k),
            tuple(_added(z, k) for z in self.Z),
            tuple(c[::k] for c in self.codes),
        )


def _added(values: Float, k: int) -> Float:
    total: Float = values.reshape(len(values) // k, k, values.shape[1]).sum(axis=1)
    return total


class Term(NamedTuple):
    """L'R; row i of one side meets row i of the other."""

    left: Part
    right: Part


def stored_columns(
    columns: DesignColumns, info: DesignInfo, order: Int
) -> tuple[Float, tuple[Float, ...], Float | None]:
    """Return [1? X y], Z and w in an order of the rows, columns shifted, scaled and times sqrt(w)."""
    pilots = info.pilots
    y: list[Pieces] = [(values,) for values in columns.y]
    w = None if columns.weights is None else columns.weights[order]
    lead: list[Pieces] = [()] if info.intercept is None else []
    none, one = np.zeros(len(lead)), np.ones(len(lead))
    XY = _filled(
        [*lead, *columns.x, *y],
        np.concatenate([none, pilots.x_shift, pilots.y_shift]),
        np.concatenate([one, pilots.x_scale, pilots.y_scale]),
        order,
        w,
    )
    Z = tuple(
        _filled(z, pilots.z_shift[f], pilots.z_scale[f], order, w) for f, z in enumerate(columns.z)
    )
    return XY, Z, w


def _filled(
    columns: Sequence[Pieces], shift: Float, scale: Float, order: Int, w: Float | None
) -> Float:
    out = np.empty((len(order), len(columns)))
    in_place = bool((np.diff(order) == 1).all()) if len(order) else True
    for k, pieces in enumerate(columns):
        values: Any = 1.0
        for piece in pieces:
            values = values * piece if piece is not pieces[0] else piece
        moved = values if in_place or not pieces else values[order]
        out[:, k] = (moved - shift[k]) / scale[k]
    if w is not None:
        out *= np.sqrt(w)[:, None]
    return out


def gram_blocks(XY: Float, k: int) -> Float:
    """Return X_a'X_b for all positions a, b of groups of k rows each, (k, w, k, w)."""
    n, w = XY.shape
    wide = XY.reshape(n // k, k * w)
    gram: Float = (wide.T @ wide).reshape(k, w, k, w)
    return gram


class KeyMaker:
    """Makes the sums of keys of one design."""

    def __init__(self, info: DesignInfo, P: int, *, compiled: bool) -> None:
        self.P = P
        self.n_levels = [factor.n_levels for factor in info.factors]
        if compiled:
            from mixedflow.crossproducts.kernels import accumulate_pair as add
        else:
            from mixedflow.crossproducts.twins import pair_twin as add
        self._add = add

    def make(self, terms: Sequence[Term], n_obs: int, log_weight: float) -> KeyedSums:
        """Return the sums of some terms."""
        gram: Any = 0.0
        for left, right in terms:
            gram = gram + left.XY.T @ right.XY
        return self.with_gram(gram, terms, n_obs, log_weight)

    def with_gram(
        self, gram: Float, terms: Sequence[Term], n_obs: int, log_weight: float
    ) -> KeyedSums:
        """Return the sums of some terms of which [X y]'B[X y] is known."""
        P, gram = self.P, 0.5 * (gram + gram.T)
        pairs = {}
        for f in range(len(self.n_levels)):
            for h in range(f + 1, len(self.n_levels)):
                pairs[f, h] = self._pair(f, h, terms)
        return KeyedSums(
            n_obs=n_obs,
            sum_log_weight=log_weight,
            XtBX=gram[:P, :P].copy(),
            XtBy=gram[:P, P:].copy(),
            ytBy=gram[P:, P:].copy(),
            factors=tuple(self._factor(f, terms) for f in range(len(self.n_levels))),
            pairs=pairs,
        )

    def _factor(self, f: int, terms: Sequence[Term]) -> FactorSums:
        levels, local = local_levels(terms[0].left.codes[f], self.n_levels[f])
        Q, width = terms[0].left.Z[f].shape[1], terms[0].left.XY.shape[1]
        sums = np.zeros((len(levels), Q, Q + width))
        ones = np.ones(len(local))
        for left, right in terms:
            self._add(local, left.Z[f], np.hstack([right.Z[f], right.XY]), ones, sums)
        Z = sums[:, :, :Q]
        end = Q + self.P
        return FactorSums(
            levels,
            0.5 * (Z + Z.transpose(0, 2, 1)),
            np.ascontiguousarray(sums[:, :, Q:end]),
            np.ascontiguousarray(sums[:, :, end:]),
        )

    def _pair(self, f: int, h: int, terms: Sequence[Term]) -> PairSums:
        first, second = terms[0].left.codes[f], terms[0].left.codes[h]
        keys, local = np.unique(first * self.n_levels[h] + second, return_inverse=True)
        local = local.astype(np.int64, copy=False)
        shape = (len(keys), terms[0].left.Z[f].shape[1], terms[0].left.Z[h].shape[1])
        ZtBZ = np.zeros(shape)
        ones = np.ones(len(local))
        for left, right in terms:
            self._add(local, left.Z[f], right.Z[h], ones, ZtBZ)
        return PairSums(keys // self.n_levels[h], keys % self.n_levels[h], ZtBZ)
