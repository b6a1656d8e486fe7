"""A block of covariates against the null model: sums, estimates and tests.

Stands at "Scans" in ``docs/algorithm.md``. With P0 of the null model, a = c'P0y and d = c'P0c, a
covariate's coefficient is a / d and its variance sigma2 / d.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixedflow.design.types import Float, Int
from mixedflow.equations.system import SPAN_TOLERANCE
from mixedflow.inference.hypotheses import t_below
from mixedflow.sweeps.null_rows import CrossedParts, LevelParts, NullRows
from mixedflow.sweeps.one_factor import VANISHING

Missing = Literal["error", "mean"]
Sigma = Literal["each", "null"]

TILE = 256
"""Covariates that are added up side by side."""

COMPILE_ABOVE = 1_000_000
"""Numbers of all covariates from which the compiled pass pays for its start."""

MODERATE = (1e-100, 1e100)
"""Largest sizes of a covariate's values between which its squares need no scale."""

REPRODUCED = "fixed effects reproduce the response exactly"
"""Why a covariate that leaves nothing of the response has no test."""

LOST = 1e-12
"""Share of a covariate's squares that V0^-1 must leave, for there to be digits."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Some covariates side by side, ready to be multiplied.

    Attributes
    ----------
    C : (n, m) of any number type; what is meant is (C - centre), ``scale`` times as large
    centre, scale : (m,)
    missing : (m,) values that are missing
    reason : (m,) why there can be no estimate, or empty
    """

    C: Float
    centre: Float
    scale: Float
    missing: Int
    reason: NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Products:
    """Sums of m covariates less their centres.

    Attributes
    ----------
    CtW : (k, m); CtBC : (m,); spent : (m,), c'BZ H Z'Bc
    """

    CtW: Float
    CtBC: Float
    spent: Float


@dataclass(frozen=True, slots=True)
class Tested:
    """What a scan says of m covariates, in the user's units.

    Attributes
    ----------
    missing : (m,); estimate, se, df, p : (m,); reason : (m,) why there is none, or empty
    exact : (m,) whether the variances were estimated again with the covariate
    """

    missing: Int
    estimate: Float
    se: Float
    df: Float
    p: Float
    reason: NDArray[np.object_]
    exact: NDArray[np.bool_]


def tile_of(raw: Float, null: NullRows, missing: Missing, code: float | None = None) -> Tile:
    """Return covariates centred where X spans the constant, (n, m) as they were read.

    ``code`` is a number that stands for a missing value, besides NaN.
    """
    m = raw.shape[1]
    C = np.ascontiguousarray(raw, dtype=_number_type(raw.dtype))
    low, high = C.min(axis=0), C.max(axis=0)
    if code is not None and ((low <= code) & (high >= code)).any():
        gaps = np.equal(C, code)
        if gaps.any():
            return _mended(np.where(gaps, np.nan, C.astype(float)), null, missing)
    lacking = np.zeros(m, dtype=np.int64)
    reason = np.full(m, "", dtype=object)
    if C.dtype.kind == "f":
        with np.errstate(all="ignore"):
            peak = np.maximum(np.abs(low), np.abs(high)).astype(float)
            plain = (peak == 0) | ((peak > MODERATE[0]) & (peak < MODERATE[1]))
            if not plain.all():
                return _mended(C.astype(float), null, missing)
    if null.constant:
        reason[low == high] = "constant"
    return Tile(C, _centre(C, null), np.ones(m), lacking, reason)


def _number_type(held: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that numbers are multiplied as: their own, where compiled passes know it."""
    known = {"b": np.uint8, "f": np.float32 if held.itemsize <= 4 else np.float64}
    return np.dtype(known[held.kind]) if held.kind in known else held.newbyteorder("=")


def _centre(C: Float, null: NullRows) -> Float:
    """Return a number near the middle of every covariate; any would do but for rounding."""
    if not null.constant:
        return np.zeros(C.shape[1])
    some: Float = C[:: max(1, len(C) // 64)].mean(axis=0, dtype=float)
    return some


def _mended(C: Float, null: NullRows, missing: Missing) -> Tile:
    """Return covariates of which some lack values or are too large or small to be squared."""
    gaps = np.isnan(C)
    lacking = gaps.sum(axis=0)
    infinite: NDArray[np.bool_] = np.asarray(np.isinf(C).any(axis=0))
    C[:, infinite] = 0.0
    known = np.maximum(len(C) - lacking, 1)
    peak = np.where(gaps, 0.0, np.abs(C)).max(axis=0)
    scale = np.exp2(np.floor(np.log2(np.where(peak > 0, peak, 1.0))))
    C = C / scale
    low, high = np.where(gaps, np.inf, C).min(axis=0), np.where(gaps, -np.inf, C).max(axis=0)
    mean = np.where(gaps, 0.0, C).sum(axis=0) / known
    mean = np.where(low == high, low, mean)  # the mean of equal numbers may differ from them
    centre = mean if null.constant else np.zeros_like(mean)
    C = np.where(gaps, mean, C) - centre
    constant = np.logical_and(low == high, null.constant)
    reason = _gap_reasons(lacking, infinite, constant, len(C), missing)
    return Tile(C, np.zeros_like(mean), scale, lacking, reason)


def _gap_reasons(
    lacking: Int,
    infinite: NDArray[np.bool_],
    constant: NDArray[np.bool_],
    n: int,
    missing: Missing,
) -> NDArray[np.object_]:
    reason = np.full(len(lacking), "", dtype=object)
    reason[constant] = "constant"
    if missing == "error":
        for j in np.flatnonzero(lacking):
            reason[j] = (
                f"{lacking[j]} of {n} values are missing; missing='mean' puts the covariate's "
                "mean in their place"
            )
    reason[infinite] = "a value is infinite"
    reason[lacking == n] = "no value"
    return reason


def products(tile: Tile, null: NullRows, *, compiled: bool) -> Products:
    """Return the covariates' sums."""
    m, k = tile.C.shape[1], null.W.shape[1]
    parts = null.parts
    if isinstance(parts, LevelParts) and compiled:
        from mixedflow.sweeps.scan_kernels import group_products

        out = Products(np.zeros((k, m)), np.zeros(m), np.zeros(m))
        group_products(
            tile.C, parts.order, parts.starts, null.W, parts.Z, null.weights, parts.H, tile.centre,
            out.CtW, out.CtBC, out.spent,
        )  # fmt: skip
        return out
    C = tile.C - tile.centre
    CtW = null.W.T @ C
    CtBC = np.einsum("nm,n,nm->m", C, null.weights, C)
    return Products(CtW, CtBC, _spent(C, null.weights, parts))


def _spent(C: Float, weights: Float, parts: LevelParts | CrossedParts) -> Float:
    """Return c'BZ H Z'Bc of every covariate."""
    if isinstance(parts, CrossedParts):
        from scipy.linalg import solve_triangular

        half = solve_triangular(parts.root, parts.BZ.T @ C, lower=True)
        return np.asarray(np.einsum("rm,rm->m", half, half))
    sums = np.zeros((len(parts.H), parts.Z.shape[1], C.shape[1]))
    for a in range(parts.Z.shape[1]):
        np.add.at(sums[:, a], parts.codes, C * (weights * parts.Z[:, a])[:, None])
    out: Float = np.einsum("lam,lab,lbm->m", sums, parts.H, sums, optimize=True)
    return out


def tested(tile: Tile, found: Products, null: NullRows, sigma: Sigma) -> Tested:
    """Return estimates and tests of a tile; variances relative to sigma2 are the null model's."""
    a = found.CtW[-1]
    B = null.half @ found.CtW[:-1]
    whole = found.CtBC - found.spent
    d = whole - np.einsum("km,km->m", B, B)
    reason = tile.reason.copy()
    with np.errstate(all="ignore"):
        lost = ~(whole > LOST * found.CtBC)
        flat = (reason == "") & (lost | ~(d > SPAN_TOLERANCE * whole))
        reason[flat] = "a sum of the model's columns"
        square = null.square - a * (a / d)
        reason[(reason == "") & ~(square > VANISHING * null.square)] = REPRODUCED
        left = null.n - null.p - 1
        sigma2 = square / left if sigma == "each" else np.full(len(a), null.sigma2)
        df = np.full(len(a), float(left) if sigma == "each" else np.inf)
        estimate = a / d * (null.y_scale / tile.scale)
        se = np.sqrt(sigma2 / d) * (null.y_scale / tile.scale)
        p = 2.0 * t_below(-np.abs(a / d) / np.sqrt(sigma2 / d), df)
    for values in (estimate, se, df, p):
        values[reason != ""] = np.nan
    return Tested(tile.missing, estimate, se, df, p, reason, np.zeros(len(a), dtype=bool))


def joined(parts: list[Tested]) -> Tested:
    """Return the results of several tiles as one."""
    names = Tested.__slots__
    return Tested(*(np.concatenate([getattr(one, name) for one in parts]) for name in names))
