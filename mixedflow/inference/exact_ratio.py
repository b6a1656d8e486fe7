"""The exact distribution of the likelihood ratio that one variance is zero, from eigenvalues.

Stands at "Tests of variances" in ``docs/algorithm.md`` (Crainiceanu and Ruppert 2004). In a model with
one variance beside sigma2 it depends on the eigenvalues of Z'Z and Z'(I - X(X'X)^-1X')Z alone.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.system import ModelSystem
from mixedflow.errors import UnsupportedError
from mixedflow.inference.ratio import chi2_p

MOST_LEVELS = 3_000
"""Levels up to which eigenvalues are computed."""

QUICK_LEVELS = 500
"""Levels up to which the exact test takes a second or less, and is the default."""

DRAWS = 10_000
"""Draws of the null distribution."""

SEED = 20_261_122
"""Of the draws."""

FEWEST = 100
"""Draws beyond a ratio that are counted; with fewer the tail is that of a multiple of chi2_1."""

GRID = np.concatenate([[0.0], np.exp(np.linspace(-10.0, 8.0, 200))])
"""Ratios of the variance to sigma2, in units of the largest eigenvalue, that a maximum is looked for at."""


def exact_p(system: ModelSystem, statistic: float, *, reml: bool) -> tuple[float, bool]:
    """Return P(LR >= x) under a variance of zero, from 10,000 seeded draws, and whether they were counted.

    ::

        LR = sup_lambda m log(1 + N / D) - sum_s log(1 + lambda xi_s)
        N = sum_s lambda mu_s / (1 + lambda mu_s) w_s^2
        D = sum_s w_s^2 / (1 + lambda mu_s) + chi2_(n - p - K)

    with m = n - p and xi = mu by REML, m = n and xi of Z'Z by ML. Where fewer than 100 draws reach x the
    tail goes on from the draw q that 100 reach as that of a chi2_1, a the mean of all positive draws
    (Greven and others 2008)::

        P(LR >= x) = P(LR >= q) P(chi2_1 >= x / a) / P(chi2_1 >= q / a)

    Parameters
    ----------
    system : of a model with one random term of one column
    statistic : x
    reml : which likelihood
    """
    if statistic <= 0:
        return 1.0, True
    mu, xi = _eigenvalues(system)
    n, p = system.n_obs, system.p
    ratios = _draws(
        mu.tobytes(), mu.tobytes() if reml else xi.tobytes(), n - p, n - p if reml else n
    )
    beyond = int(np.count_nonzero(ratios >= statistic))
    if beyond >= FEWEST:
        return beyond / DRAWS, True
    q = float(ratios[-FEWEST])
    if q <= 0:  # less than one draw in a hundred is above zero
        return max(beyond, 1) / DRAWS, True
    a = float(ratios[ratios > 0].mean())
    return FEWEST / DRAWS * chi2_p(statistic / a, 1) / chi2_p(q / a, 1), False


@lru_cache(maxsize=8)
def _draws(mu_bytes: bytes, xi_bytes: bytes, left: int, m: int) -> Float:
    """Return draws of the ratio under a variance of zero, ascending; the same design asks once."""
    mu, logs = np.frombuffer(mu_bytes), np.frombuffer(xi_bytes)
    rng = np.random.default_rng(SEED)
    w2 = rng.normal(size=(DRAWS, len(mu))) ** 2
    rest = rng.chisquare(left - len(mu), size=DRAWS) if left > len(mu) else np.zeros(DRAWS)
    scale = 1.0 / max(mu.max(initial=0.0), np.finfo(float).tiny)
    best = np.zeros(DRAWS)
    for share in GRID * scale:
        shrunk = 1.0 / (1.0 + share * mu)
        D = w2 @ shrunk + rest
        N = w2 @ (1.0 - shrunk)
        best = np.maximum(best, m * np.log1p(N / D) - np.log1p(share * logs).sum())
    return np.sort(best)


def _eigenvalues(system: ModelSystem) -> tuple[Float, Float]:
    """Return the eigenvalues of Z'MZ that are not zero for certain, and those of Z'Z."""
    (factor,) = system.factors
    if factor.n_levels > MOST_LEVELS:
        raise UnsupportedError(
            f"method='exact' is for up to {MOST_LEVELS:,} levels, here are {factor.n_levels:,}; with "
            "so many the mixture, method='mixture', is as good as exact"
        )
    A = factor.basis
    own = np.einsum("ai,lab,bi->l", A, factor.ZtBZ, A)
    ZX = np.einsum("ai,lap->lp", A, factor.ZtBX)
    ZMZ = np.diag(own) - ZX @ np.linalg.solve(system.XtBX, ZX.T)
    mu = np.maximum(np.linalg.eigvalsh(ZMZ), 0.0)
    most = min(len(mu), system.n_obs - system.p)
    return mu[len(mu) - most :], own[own > 0]
