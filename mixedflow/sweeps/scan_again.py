"""Covariates of a scan whose variances are estimated with them in the model: exact fits, many at once.

Stands at "Scans" in ``docs/algorithm.md``. The response stays; every covariate makes a design of its
own, X and itself, for :func:`mixedflow.sweeps.one_factor.fit_one_factor`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mixedflow.design.types import Float
from mixedflow.inference.hypotheses import t_below
from mixedflow.sweeps.frame import NOT_CONVERGED
from mixedflow.sweeps.null_rows import LevelParts, NullRows
from mixedflow.sweeps.one_factor import OneFactorFits, fit_one_factor
from mixedflow.sweeps.outcome import satterthwaite_df
from mixedflow.sweeps.scan import REPRODUCED, Tested, Tile
from mixedflow.sweeps.types import Designs, Entries, Responses

CHUNK_BYTES = 1 << 26
"""Memory that the designs of covariates that are fitted together may take."""


@dataclass(frozen=True, slots=True, eq=False)
class NullSums:
    """Sums of the null model's rows, which every covariate's design shares.

    Attributes
    ----------
    entries : of Lambda; reml : restricted likelihood, or the full one
    ZtZ : (L, q, q), ZtX : (L, q, p), Zty : (L, q), XtX : (p, p), Xty : (p,), yty
    """

    entries: Entries
    reml: bool
    ZtZ: Float
    ZtX: Float
    Zty: Float
    XtX: Float
    Xty: Float
    yty: float
    sum_log_weight: float


def null_sums(null: NullRows, parts: LevelParts, entries: Entries, *, reml: bool) -> NullSums:
    """Return the sums of the null model's rows."""
    BX, By = null.weights[:, None] * null.X, null.weights * null.y
    L, q = parts.H.shape[:2]
    R = np.column_stack([null.weights[:, None] * parts.Z, BX, By])
    sums = np.zeros((L, q, R.shape[1]))
    np.add.at(sums, parts.codes, parts.Z[:, :, None] * R[:, None, :])
    return NullSums(
        entries=entries,
        reml=reml,
        ZtZ=sums[:, :, :q],
        ZtX=sums[:, :, q:-1],
        Zty=sums[:, :, -1],
        XtX=null.X.T @ BX,
        Xty=null.X.T @ By,
        yty=float(null.y @ By),
        sum_log_weight=float(np.log(null.weights).sum()),
    )


def fit_again(tile: Tile, was: Tested, null: NullRows, sums: NullSums, below: float) -> Tested:
    """Return the results, those with p up to ``below`` by the exact fit with the covariate."""
    at = np.flatnonzero((was.reason == "") & (was.p <= below))
    L, q, p = sums.ZtX.shape
    size = max(1, CHUNK_BYTES // (8 * L * q * (q + p + 2)))
    out = replace(was, **{k: getattr(was, k).copy() for k in Tested.__slots__})
    for first in range(0, len(at), size):
        some = at[first : first + size]
        C = (tile.C[:, some] - tile.centre[some]).astype(float)
        length = np.sqrt(np.einsum("nm,n,nm->m", C, null.weights, C) / len(C))
        own = np.exp2(np.round(np.log2(length)))
        fits = _fits(C / own, null, sums)
        _put(out, some, fits, null.y_scale / (own * tile.scale[some]))
    return out


def _fits(C: Float, null: NullRows, sums: NullSums) -> OneFactorFits:
    """Return the fits of covariates, (n, m), each beside the columns of X."""
    parts = null.parts
    assert isinstance(parts, LevelParts)  # noqa: S101 - checked before a scan begins
    m, (L, q, p) = C.shape[1], sums.ZtX.shape
    BC = null.weights[:, None] * C
    ZtC = np.zeros((L, q, m))
    for a in range(q):
        np.add.at(ZtC[:, a], parts.codes, BC * parts.Z[:, a, None])
    XtX = np.empty((m, p + 1, p + 1))
    XtX[:, :p, :p] = sums.XtX
    XtX[:, :p, p] = XtX[:, p, :p] = BC.T @ null.X
    XtX[:, p, p] = np.einsum("nm,nm->m", C, BC)
    ZtX = np.empty((m, L, q, p + 1))
    ZtX[..., :p] = sums.ZtX
    ZtX[..., p] = ZtC.transpose(2, 0, 1)
    Xty = np.column_stack([np.broadcast_to(sums.Xty, (m, p)), BC.T @ null.y])
    designs = Designs(
        n_obs=np.full(m, len(C)),
        ZtZ=np.repeat(sums.ZtZ[None], m, axis=0),
        ZtX=ZtX,
        XtX=XtX,
        sum_log_weight=np.full(m, sums.sum_log_weight),
    )
    Zty = np.repeat(sums.Zty[None], m, axis=0)
    responses = Responses(np.arange(m), Zty, Xty, np.full(m, sums.yty))
    own = np.zeros((1, p + 1))
    own[0, p] = 1.0
    return fit_one_factor(designs, responses, sums.entries, reml=sums.reml, L=own)


def _put(out: Tested, some: np.ndarray, fits: OneFactorFits, unit: Float) -> None:
    """Write fits over the results of some covariates."""
    with np.errstate(all="ignore"):
        estimate = fits.look.beta[:, -1] * unit
        se = np.sqrt(fits.sigma2 * fits.spread[:, 0]) * unit
        df = satterthwaite_df(fits)[:, 0]
        p = 2.0 * t_below(-np.abs(estimate / se), df)
    for name, values in (("estimate", estimate), ("se", se), ("df", df), ("p", p)):
        getattr(out, name)[some] = np.where(fits.converged, values, np.nan)
    reasons = [
        (~fits.converged, NOT_CONVERGED),
        (fits.exact, REPRODUCED),
        (fits.aliased, "a sum of the model's columns"),
    ]
    for where, text in reasons:
        out.reason[some[where]] = text
    out.exact[some] = True
