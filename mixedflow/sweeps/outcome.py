"""Fits of many responses in the user's units: estimates, standard errors, degrees of freedom, tests.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedflow.design.types import Float, Int
from mixedflow.equations.system import ModelSystem
from mixedflow.inference.hypotheses import t_below
from mixedflow.sweeps.one_factor import OneFactorFits
from mixedflow.sweeps.types import Entries

FAST = ("us", "diag", "id")
"""Structures of G whose factor is linear in its parameters."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a sweep says of T responses, in the user's units.

    Attributes
    ----------
    n_obs : (T,)
    beta, se, df, p : (T, p)
    G : one (T, q_j, q_j) a term; sigma2 : (T,)
    minus2ll : (T,); n_params : (T,) fixed effects and variances
    converged, singular : (T,); iterations : (T,)
    """

    n_obs: Int
    beta: Float
    se: Float
    df: Float
    p: Float
    G: tuple[Float, ...]
    sigma2: Float
    minus2ll: Float
    n_params: Int
    converged: NDArray[np.bool_]
    singular: NDArray[np.bool_]
    iterations: Int


def factor_entries(system: ModelSystem) -> Entries | None:
    """Return where parameters stand in Lambda, or None where the compiled route does not apply."""
    if len(system.factors) != 1:
        return None
    (factor,) = system.factors
    rows, cols, places = [], [], []
    count = 0
    for term, where in zip(factor.terms, factor.slices, strict=True):
        structure = system.terms[term].structure
        if structure not in FAST:
            return None
        size = where.stop - where.start
        own = np.tril_indices(size) if structure == "us" else np.diag_indices(size)
        rows.append(own[0] + where.start)
        cols.append(own[1] + where.start)
        tied = structure == "id"
        places.append(np.full(size, count) if tied else np.arange(count, count + len(own[0])))
        count += 1 if tied else len(own[0])
    parts = (np.concatenate(part).astype(np.int64) for part in (rows, cols, places))
    return Entries(*parts)


def outcomes(  # noqa: PLR0913 - the parts of one fit
    system: ModelSystem,
    fits: OneFactorFits,
    entries: Entries,
    pilots: tuple[Float, Float],
    n_obs: Int,
    unit: Float,
    *,
    reml: bool,
    ddf: str = "satterthwaite",
) -> Outcomes:
    """Return the fits in the user's units.

    Parameters
    ----------
    system : of the stand-in response: the way back of the columns
    fits : in the equations' columns, L the way back of the coefficients
    entries : of Lambda
    pilots : shift and scale of every response, (T,) each
    n_obs : (T,)
    unit : (p,), c with 1 = X c, zero where X does not span the constant
    reml : whether the restricted likelihood was maximised
    ddf : degrees of freedom: ``satterthwaite``, ``residual`` (n - p), ``asymptotic``
    """
    shift, y_scale = pilots
    T = system.fixed_scale.transform
    beta = y_scale[:, None] * (fits.look.beta @ T.T) + shift[:, None] * (T @ unit)
    se = y_scale[:, None] * np.sqrt(fits.sigma2[:, None] * fits.spread)
    df = degrees(fits, n_obs - system.p, ddf)
    m = n_obs - system.p if reml else n_obs
    scales = 2.0 * m * np.log(y_scale) + (system.fixed_scale.log_det if reml else 0.0)
    return Outcomes(
        n_obs=n_obs,
        beta=beta,
        se=se,
        df=df,
        p=2.0 * t_below(-np.abs(beta / se), df),
        G=_covariances(system, fits, entries, y_scale),
        sigma2=fits.sigma2 * y_scale**2,
        minus2ll=fits.minus2ll + scales,
        n_params=np.full(len(n_obs), system.p + entries.count + 1),
        converged=fits.converged,
        singular=fits.singular,
        iterations=fits.iterations,
    )


def _covariances(
    system: ModelSystem, fits: OneFactorFits, entries: Entries, y_scale: Float
) -> tuple[Float, ...]:
    """Return G of every term."""
    (factor,) = system.factors
    q = factor.dim
    Lam = np.zeros((len(fits.sigma2), q, q))
    Lam[:, entries.rows, entries.cols] = fits.theta[:, entries.places]
    F = factor.units @ Lam * (y_scale * np.sqrt(fits.sigma2))[:, None, None]
    whole = F @ F.swapaxes(1, 2)
    out: list[Float] = [whole] * len(factor.terms)
    for term, where in zip(factor.terms, factor.slices, strict=True):
        out[term] = whole[:, where, where]
    return tuple(out)


def degrees(fits: OneFactorFits, left: Int, ddf: str) -> Float:
    """Return degrees of freedom, (T, p); ``left`` is n - p."""
    if ddf == "satterthwaite":
        return satterthwaite_df(fits)
    common = left.astype(float) if ddf == "residual" else np.full(len(left), np.inf)
    return np.repeat(common[:, None], fits.spread.shape[1], axis=1)


def satterthwaite_df(fits: OneFactorFits) -> Float:
    """Return 2 Phi^2 / (g'Ag) of every coefficient, (T, p); A the inverse observed information.

    Parameters at zero are left out, as for a single fit; NaN where the information is not definite.
    """
    T, k = fits.theta.shape
    free = np.concatenate([fits.theta != 0, np.ones((T, 1), dtype=bool)], axis=1)
    information = 0.5 * fits.hessian * (free[:, :, None] & free[:, None, :])
    information[:, np.arange(k + 1), np.arange(k + 1)] += ~free
    bad = ~np.isfinite(information).all(axis=(1, 2))
    information[bad] = np.eye(k + 1)
    size = np.sqrt(np.abs(np.einsum("tii->ti", information)))
    unit = information / (size[:, :, None] * size[:, None, :])
    bad |= ~(np.linalg.eigvalsh(unit)[:, 0] > 0)
    unit[bad] = np.eye(k + 1)
    A = np.linalg.inv(unit) / (size[:, :, None] * size[:, None, :])
    slopes = (
        np.concatenate([fits.sigma2[:, None, None] * fits.slopes, fits.spread[:, None, :]], axis=1)
        * free[:, :, None]
    )
    variance = fits.sigma2[:, None] * fits.spread
    below = np.einsum("tip,tij,tjp->tp", slopes, A, slopes)
    df: Float = 2.0 * variance**2 / below
    df[bad] = np.nan
    return df
