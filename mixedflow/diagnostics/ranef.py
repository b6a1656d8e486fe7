"""u_hat_l +- z_0.975 sd(u_l - u_hat_l): the BLUPs, sorted, and against the normal distribution.

Stands at "A second pass" in ``docs/algorithm.md``. A factor of a million levels gives a plot of
400: the ends are kept level by level, what lies between is thinned evenly in rank.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from mixedflow.design.types import Float, Int
from mixedflow.diagnostics.intervals import Z
from mixedflow.results.fit_result import FitResult
from mixedflow.results.summary import is_blank

MAX_LEVELS = 400
N_ENDS = 50


@dataclass(frozen=True, slots=True)
class RandomColumn:
    """One column of random effects of one factor, ready to be drawn.

    Attributes
    ----------
    factor, column : ``"Subject"``, ``"Days"``
    n_levels : levels of the factor; the lists below hold at most ``MAX_LEVELS`` of them
    sd : standard deviation of the column in the fit, sqrt(G_jj)
    caterpillar : level, rank (1 = smallest), blup, lower, upper; in the order of rank
    qq : level, theoretical, standardised; empty where the variance is zero
    """

    factor: str
    column: str
    n_levels: int
    sd: float
    caterpillar: dict[str, list[float] | list[str] | list[int]]
    qq: dict[str, list[float] | list[str]]


def normal_scores(n: int, rank: Int) -> Float:
    """z((rank - 1/2) / n), the normal quantile that belongs to a rank (from 1)."""
    return np.asarray(ndtri((rank - 0.5) / n), dtype=np.float64)


def kept_ranks(n: int) -> Int:
    """Return positions (from 0) to draw: all, or both ends and an even sample between them."""
    if n <= MAX_LEVELS:
        return np.arange(n, dtype=np.int64)
    middle = np.linspace(N_ENDS, n - N_ENDS - 1, MAX_LEVELS - 2 * N_ENDS)
    ends = [np.arange(N_ENDS), np.arange(n - N_ENDS, n)]
    return np.unique(np.concatenate([ends[0], np.rint(middle).astype(np.int64), ends[1]]))


def column_variance(fit: FitResult, factor: str, column: str) -> float:
    """G_jj, added up over the terms of the factor (``Subject``, ``Subject.1``) with this column."""
    frame = fit.varcorr
    label = re.compile(re.escape(factor) + r"(\.\d+)?")
    total = 0.0
    for group, term1, term2, vcov in zip(
        frame["group"], frame["term1"], frame["term2"], frame["vcov"], strict=True
    ):
        if is_blank(term2) and str(term1) == column and label.fullmatch(str(group)):
            total += float(vcov)
    return total


def standardised_blups(blup: Float, sd: Float, variance: float) -> Float:
    """u_hat / sqrt(G_jj - PEV): unit variance under the model; NaN where nothing was predicted."""
    own = variance - sd**2
    usable = own > 1e-8 * variance if variance > 0 else np.zeros(len(blup), dtype=bool)
    return np.where(usable, blup / np.sqrt(np.where(usable, own, 1.0)), np.nan)


def _caterpillar(
    levels: list[str], blup: Float, sd: Float
) -> dict[str, list[float] | list[str] | list[int]]:
    order = np.argsort(blup, kind="stable")
    kept = kept_ranks(len(order))
    index = order[kept]
    return {
        "level": [levels[i] for i in index],
        "rank": (kept + 1).tolist(),
        "blup": blup[index].tolist(),
        "lower": (blup[index] - Z * sd[index]).tolist(),
        "upper": (blup[index] + Z * sd[index]).tolist(),
    }


def _qq(levels: list[str], standardised: Float) -> dict[str, list[float] | list[str]]:
    usable = np.flatnonzero(np.isfinite(standardised))
    order = usable[np.argsort(standardised[usable], kind="stable")]
    kept = kept_ranks(len(order))
    index = order[kept]
    return {
        "level": [levels[i] for i in index],
        "theoretical": normal_scores(max(len(order), 1), kept + 1).tolist(),
        "standardised": standardised[index].tolist(),
    }


def random_columns(fit: FitResult) -> tuple[RandomColumn, ...]:
    """Return every column of every factor of the fit, in the order of ``fit.ranef``."""
    out = []
    for factor, frame in fit.ranef.items():
        if fit.monte_carlo is None:
            spread = fit.ranef_se[factor].to_numpy(dtype=np.float64)
        else:  # the solver has no conditional SDs
            spread = np.full(frame.shape, np.nan)
        levels = [str(level) for level in frame.index]
        for j, column in enumerate(str(name) for name in frame.columns):
            blup, sd = frame.iloc[:, j].to_numpy(dtype=np.float64), spread[:, j]
            variance = column_variance(fit, factor, column)
            out.append(
                RandomColumn(
                    factor=factor,
                    column=column,
                    n_levels=len(levels),
                    sd=float(np.sqrt(variance)),
                    caterpillar=_caterpillar(levels, blup, sd),
                    qq=_qq(levels, standardised_blups(blup, sd, variance)),
                )
            )
    return tuple(out)
