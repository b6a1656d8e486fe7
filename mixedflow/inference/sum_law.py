"""The law of the sums of simulated responses: X'By, Z'By and y'By drawn without a row.

Stands at "Bootstrap" in ``docs/algorithm.md``. With y = X b + Z u + e, e ~ N(0, s2 B^-1), the sums
W'By, W = [Z X], are W'BW [u b] + W'Be, and W'Be ~ N(0, s2 W'BW). The factor with most effects is
eliminated: its levels do not meet, so that with Z_g'BZ_g = R_g R_g' and H_g its pseudo-inverse ::

    Z_g'Be = s R_g z_g,    V'Be = s (sum_g (H_g Z_g'BV)' z_g + R_S z_0),
    R_S R_S' = V'BV - sum_g (H_g Z_g'BV)'(H_g Z_g'BV)

for the other columns V, with z standard normal. e'Be is the projection's z'z plus chi2 with as many
degrees of freedom as rows are left, n - rank W. All of it is exact in distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.equations.residual_system import ResidualSums
from mixedflow.equations.system import ModelSystem, PairSystem

DEPENDENT = 1e-10
"""Share of a column's sum of squares below which what is left of it is rounding."""

LARGEST_REST = 4000
"""Columns beside the eliminated factor whose square matrix is still laid out."""

LARGEST_CROSS = 5e7
"""Numbers of the eliminated factor by those columns that are laid out."""


@dataclass(frozen=True, slots=True)
class SumsOfRows:
    """W'BW of rows whose residuals are independent with one variance.

    Attributes
    ----------
    n_obs : rows
    XtBX : (p, p)
    ZtBZ, ZtBX : one (M_f, Q_f, Q_f) and (M_f, Q_f, p) a factor
    levels : one (M_f,) a factor, the level of every matrix
    pairs : (f, h) -> Z_f'BZ_h, for all levels of both
    X_size, Z_size : (p,) and (M_f, Q_f), sums of squares that rounding is measured by
    """

    n_obs: int
    XtBX: Float
    ZtBZ: tuple[Float, ...]
    ZtBX: tuple[Float, ...]
    levels: tuple[Int, ...]
    pairs: dict[tuple[int, int], PairSystem]
    X_size: Float
    Z_size: tuple[Float, ...]


@dataclass(frozen=True, slots=True)
class ResponseSums:
    """Z'By a factor (M_f, Q_f), X'By (p,) and y'By of one response."""

    ZtBy: tuple[Float, ...]
    XtBy: Float
    ytBy: float


def rows_of_system(system: ModelSystem) -> SumsOfRows:
    """Return the sums of a model with independent residuals."""
    factors = system.factors
    return SumsOfRows(
        n_obs=system.n_obs,
        XtBX=system.XtBX,
        ZtBZ=tuple(one.ZtBZ for one in factors),
        ZtBX=tuple(one.ZtBX for one in factors),
        levels=tuple(np.arange(one.n_levels) for one in factors),
        pairs=dict(system.pairs),
        X_size=np.diag(system.XtBX),
        Z_size=tuple(np.einsum("gaa->ga", one.ZtBZ) for one in factors),
    )


def rows_of_keys(
    sums: ResidualSums, weights: dict[int, float], n_obs: int, whole: int
) -> SumsOfRows:
    """Return the sums of rows that the sums of some keys add up to; of one factor at most.

    Parameters
    ----------
    sums : of the model; its keys have the same levels in the same order
    weights : key -> what its sums count
    n_obs : rows, or directions of them
    whole : key whose sums of squares rounding is measured by
    """
    keys = {*weights, whole}
    at = {key: [np.flatnonzero(f.meeting.key == key) for f in sums.factors] for key in keys}

    def added(arrays: Sequence[Float]) -> Float:
        return np.asarray(sum(w * a for w, a in zip(weights.values(), arrays, strict=True)))

    factors = list(enumerate(sums.factors))
    return SumsOfRows(
        n_obs=n_obs,
        XtBX=added([sums.XtBX[key] for key in weights]),
        ZtBZ=tuple(added([one.ZtBZ[at[key][f]] for key in weights]) for f, one in factors),
        ZtBX=tuple(added([one.ZtBX[at[key][f]] for key in weights]) for f, one in factors),
        levels=tuple(one.meeting.target[at[whole][f]] for f, one in factors),
        pairs={},
        X_size=np.diag(sums.XtBX[whole]),
        Z_size=tuple(np.einsum("gaa->ga", one.ZtBZ[at[whole][f]]) for f, one in factors),
    )


def feasible(system: ModelSystem) -> bool:
    """Say whether the roots of W'BW can be had: always with one factor, or few columns beside it."""
    sizes = [one.ZtBZ.shape[0] * one.ZtBZ.shape[1] for one in system.factors]
    if len(sizes) < 2:
        return True
    rest = system.p + sum(sizes) - max(sizes)
    return bool(rest <= LARGEST_REST and rest * max(sizes) <= LARGEST_CROSS)


class ErrorLaw:
    """W'Be and e'Be of e ~ N(0, B^-1), roots of W'BW made once.

    Attributes
    ----------
    rank : of W
    left : rows beyond it, n - rank
    """

    def __init__(self, rows: SumsOfRows) -> None:
        self.rows = rows
        sizes = [Z.shape[0] * Z.shape[1] for Z in rows.ZtBZ]
        self.main = int(np.argmax(sizes)) if sizes else -1
        self.others = [f for f in range(len(sizes)) if f != self.main]
        V = _gram_of_rest(rows, self.others)
        size = np.concatenate([*(rows.Z_size[h].ravel() for h in self.others), rows.X_size])
        self.rank = 0
        if self.main >= 0:
            self.root, self.half, ranks = roots(rows.ZtBZ[self.main], rows.Z_size[self.main])
            self.rank = int(ranks.sum())
            V = V - self._taken()
        self.rest_root, rest_rank = _root_of_rest(V, size)
        self.rank += rest_rank
        self.left = rows.n_obs - self.rank

    def _pair(self, h: int, x: Float, *, transposed: bool) -> Float:
        """Return Z_h'BZ_main x, or of its transpose where asked."""
        main, pairs = self.main, self.rows.pairs
        pair, forward = (pairs[h, main], True) if (h, main) in pairs else (pairs[main, h], False)
        product = pair.matrix.__matmul__ if forward != transposed else pair.matrix.transposed_times
        return product(x)

    def _taken(self) -> Float:
        """Return sum_g (H_g Z_g'BV)'(H_g Z_g'BV), by columns of V."""
        ZX, half = self.rows.ZtBX[self.main], self.half
        scaled = (half @ ZX).reshape(-1, ZX.shape[2])
        if not self.others:
            return np.asarray(scaled.T @ scaled)
        M, Q = ZX.shape[:2]
        parts = []
        for h in self.others:
            columns = self.rows.ZtBZ[h].shape[0] * self.rows.ZtBZ[h].shape[1]
            cross = self._pair(h, np.eye(columns), transposed=True)
            parts.append((half @ cross.reshape(M, Q, columns)).reshape(M * Q, columns))
        whole = np.hstack([*parts, scaled])
        return np.asarray(whole.T @ whole)

    def draw(self, rng: np.random.Generator) -> ResponseSums:
        """Return Z'Be, X'Be and e'Be."""
        rows = self.rows
        squared, drawn = 0.0, np.empty((0, 0))
        rest: Float = np.zeros(len(self.rest_root))
        if self.main >= 0:
            M, Q = rows.ZtBZ[self.main].shape[:2]
            z = rng.standard_normal((M, Q))
            used = np.where(self.half.any(axis=2), z, 0.0)
            squared += float(np.sum(used**2))
            drawn = np.einsum("gab,gb->ga", self.root, used)
            back = np.einsum("gab,ga->gb", self.half, used)
            parts = [self._pair(h, back.reshape(-1), transposed=False) for h in self.others]
            parts.append(np.einsum("gap,ga->p", rows.ZtBX[self.main], back))
            rest = np.concatenate(parts)
        z0: Float = np.asarray(rng.standard_normal(self.rest_root.shape[1]))
        rest = rest + self.rest_root @ z0
        squared += float(z0 @ z0)
        if self.left > 0:
            squared += float(rng.chisquare(self.left))
        return self._laid_out(drawn, rest, squared)

    def _laid_out(self, drawn: Float, rest: Float, squared: float) -> ResponseSums:
        parts: dict[int, Float] = {self.main: drawn} if self.main >= 0 else {}
        start = 0
        for h in self.others:
            M, Q = self.rows.ZtBZ[h].shape[:2]
            parts[h] = rest[start : start + M * Q].reshape(M, Q)
            start += M * Q
        return ResponseSums(tuple(parts[f] for f in sorted(parts)), rest[start:], squared)


def roots(grams: Float, squares: Float) -> tuple[Float, Float, Int]:
    """Return R, H and the ranks of semi-definite (M, Q, Q): R R' = gram, H gram H' = 1 on its range.

    Rows of H that belong to the null space are zero, as are those columns of R. What is small beside
    the squares, (M, Q), is rounding.
    """
    size = np.sqrt(squares)
    scale = np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(grams / (scale[:, :, None] * scale[:, None, :]))
    kept = values > DEPENDENT
    length = np.sqrt(np.where(kept, values, 1.0))
    R = scale[:, :, None] * vectors * np.where(kept, length, 0.0)[:, None, :]
    H = (vectors * np.where(kept, 1.0 / length, 0.0)[:, None, :]).transpose(0, 2, 1)
    return R, H / scale[:, None, :], kept.sum(axis=1)


def _gram_of_rest(rows: SumsOfRows, others: Sequence[int]) -> Float:
    """Return V'BV of the other factors' columns and X."""
    sizes = [rows.ZtBZ[h].shape[0] * rows.ZtBZ[h].shape[1] for h in others]
    starts = np.cumsum([0, *sizes])
    p = len(rows.XtBX)
    V = np.zeros((starts[-1] + p,) * 2)
    V[starts[-1] :, starts[-1] :] = rows.XtBX
    for i, h in enumerate(others):
        M, Q = rows.ZtBZ[h].shape[:2]
        own = np.arange(starts[i], starts[i + 1]).reshape(M, Q)
        V[own[:, :, None], own[:, None, :]] = rows.ZtBZ[h]
        V[starts[i] : starts[i + 1], starts[-1] :] = rows.ZtBX[h].reshape(M * Q, p)
        V[starts[-1] :, starts[i] : starts[i + 1]] = rows.ZtBX[h].reshape(M * Q, p).T
        for j, k in enumerate(others[i + 1 :], start=i + 1):
            pair = rows.pairs[h, k].matrix.toarray()
            V[starts[i] : starts[i + 1], starts[j] : starts[j + 1]] = pair
            V[starts[j] : starts[j + 1], starts[i] : starts[i + 1]] = pair.T
    return V


def _root_of_rest(S: Float, size: Float) -> tuple[Float, int]:
    """Return R (r, rank), R R' = S, what was lost to rounding beside the former size left out."""
    scale = np.sqrt(np.where(size > 0, size, 1.0))
    values, vectors = np.linalg.eigh(S / np.outer(scale, scale))
    kept = values > DEPENDENT
    R = scale[:, None] * vectors[:, kept] * np.sqrt(values[kept])
    return R, int(kept.sum())


def add_signal(
    law: ErrorLaw, error: ResponseSums, beta: Float, effects: Sequence[Float], sd: float
) -> ResponseSums:
    """Return the sums of y = X beta + Z a + sd e from those of e.

    Parameters
    ----------
    law : whose rows
    error : of e
    beta : (p,)
    effects : (L_f, Q_f) a factor, coefficients of the stored columns
    sd : of a row of weight 1
    """
    rows = law.rows
    at = [a[levels] for a, levels in zip(effects, rows.levels, strict=True)]
    Xt = rows.XtBX @ beta
    Zt = [ZX @ beta for ZX in rows.ZtBX]
    for f, a in enumerate(at):
        Xt = Xt + np.einsum("gap,ga->p", rows.ZtBX[f], a)
        Zt[f] = Zt[f] + np.einsum("gab,gb->ga", rows.ZtBZ[f], a)
    for (f, h), pair in rows.pairs.items():
        Zt[f] = Zt[f] + (pair.matrix @ at[h].reshape(-1)).reshape(Zt[f].shape)
        Zt[h] = Zt[h] + pair.matrix.transposed_times(at[f].reshape(-1)).reshape(Zt[h].shape)
    square = float(beta @ Xt) + sum(float(np.sum(a * Z)) for a, Z in zip(at, Zt, strict=True))
    cross = float(beta @ error.XtBy)
    cross += sum(float(np.sum(a * Z)) for a, Z in zip(at, error.ZtBy, strict=True))
    return ResponseSums(
        tuple(Z + sd * own for Z, own in zip(Zt, error.ZtBy, strict=True)),
        Xt + sd * error.XtBy,
        square + 2.0 * sd * cross + sd**2 * error.ytBy,
    )
