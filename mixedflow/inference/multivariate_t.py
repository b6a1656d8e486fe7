"""The largest |T_j| of a multivariate t, for simultaneous tests and intervals.

Stands at "Marginal means" in ``docs/algorithm.md``. With T = A z / S, z ~ N(0, I_r) and
S^2 ~ chi2_nu / nu, z has a length and a direction d, and the ratio of squared length and S^2 is
r F_{r,nu} whatever the direction. With g_c(x) = P(r F_{r,nu} > (c / x)^2),

    P(max_j |T_j| > c) = E_d g_c(max_j |a_j'd|) = sum_j P(|T_j| > c) - E_d sum_{others} g_c(|a_j'd|),

the others being all but the largest. Means over directions are by quasi-Monte Carlo, of smooth
functions; the two forms are mixed by the sum in the second, which is exact in the tail. Singular
correlations, such as those of all pairs, and any nu are no special cases (Genz and Bretz 2009, 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.inference.roots import increasing_root
from mixedflow.linalg.late import special

SHIFTS = 8
BINS = 512
FEWEST, MOST = 1 << 13, 1 << 18
"""Directions of a shift."""

STRETCH = 1 << 22
"""Numbers that are looked at together, and that a shift has where it may."""

SEED = 20_101
NULL = 1e-10
"""Share of the largest eigenvalue below which a direction has no variance."""


@dataclass(frozen=True, slots=True)
class LargestT:
    """|a_j'd| over the directions d of the unit sphere, counted in bins.

    Attributes
    ----------
    rank : r
    size : number of T_j
    at : (bins,) mean of the values in a bin, positive
    largest : (shifts, bins) share of directions whose largest value is there
    others : (shifts, bins) number of the other values there, a direction
    """

    rank: int
    size: int
    at: Float
    largest: Float
    others: Float

    def above(self, c: Float, df: Float) -> tuple[Float, Float]:
        """Return P(max |T_j| > c) and its Monte-Carlo standard error, (m,) each.

        Parameters
        ----------
        c : (m,) not negative
        df : (m,) degrees of freedom, inf allowed
        """
        r = float(self.rank)
        F = (c[:, None] / self.at) ** 2
        nu = df[:, None]
        finite = np.where(np.isinf(nu), 1.0, nu)
        g = np.where(np.isinf(nu), special.chdtrc(r, F), special.fdtrc(r, finite, F / r))
        total = self.size * 2.0 * _t_above(c, df)
        mixed = np.maximum(0.0, 1.0 - total)[:, None]
        by_shift = (1.0 - mixed) * (g @ self.largest.T)
        by_shift += mixed * (total[:, None] - g @ self.others.T)
        error = by_shift.std(axis=1, ddof=1) / np.sqrt(by_shift.shape[1])
        return np.clip(by_shift.mean(axis=1), 0.0, 1.0), error

    def quantile(self, level: float, df: Float) -> Float:
        """Return c with P(max |T_j| <= c) = level, (m,) as df."""
        finite = np.where(np.isinf(df), 1.0, df)
        tail = (1.0 - level) / 2.0 / self.size
        high = np.where(np.isinf(df), -special.ndtri(tail), -special.stdtrit(finite, tail))
        return increasing_root(
            lambda c: 1.0 - level - self.above(c, df)[0], np.zeros(len(df)), 1.001 * high
        )


def largest_t(spread: Float) -> LargestT:
    """Return the distribution of the largest |T_j|.

    Parameters
    ----------
    spread : (m, p), B with B B' the covariance or the correlation of the estimates
    """
    unit = spread / np.sqrt(np.einsum("mp,mp->m", spread, spread))[:, None]
    values, vectors = np.linalg.eigh(unit.T @ unit)
    A = unit @ vectors[:, values > NULL * values[-1]]
    points = min(max(1 << (STRETCH // len(A)).bit_length() - 1, FEWEST), MOST)
    lattice = _sobol(A.shape[1], points)
    counts = [_counted(_directions(lattice, k), A) for k in range(SHIFTS)]
    number, total, largest = (np.array(part) for part in zip(*counts, strict=True))
    seen = number.any(axis=0)
    at = total.sum(axis=0)[seen] / number.sum(axis=0)[seen]
    largest, number = largest[:, seen] / points, number[:, seen] / points
    return LargestT(A.shape[1], len(A), np.maximum(at, NULL), largest, number - largest)


def _counted(directions: Float, A: Float) -> tuple[Float, Float, Float]:
    """Return by bin of [0, 1] the number of |a_j'd|, their total, and how many are the largest."""
    number, total, largest = np.zeros(BINS), np.zeros(BINS), np.zeros(BINS)
    stretch = max(1, STRETCH // len(A))
    for start in range(0, len(directions), stretch):
        sizes = np.abs(directions[start : start + stretch] @ A.T)
        flat = sizes.ravel()
        place = _bin(flat)
        number += np.bincount(place, minlength=BINS)
        total += np.bincount(place, flat, BINS)
        largest += np.bincount(_bin(sizes.max(axis=1)), minlength=BINS)
    return number, total, largest


def _bin(values: Float) -> Int:
    out: Int = np.minimum((values * BINS).astype(np.int64), BINS - 1)
    return out


def _sobol(rank: int, points: int) -> Float:
    """Return the first points of Sobol's sequence in the unit cube, (points, rank)."""
    from scipy.stats.qmc import Sobol

    return np.asarray(Sobol(rank, scramble=False).random(points))


def _directions(lattice: Float, shift: int) -> Float:
    """Return points of the unit sphere: a shifted lattice through normal quantiles."""
    start = np.random.default_rng([SEED, lattice.shape[1], shift]).random(lattice.shape[1])
    normal = special.ndtri(np.clip((lattice + start) % 1.0, 1e-16, 1.0 - 1e-16))
    out: Float = normal / np.sqrt(np.einsum("nr,nr->n", normal, normal))[:, None]
    return out


def _t_above(c: Float, df: Float) -> Float:
    """Return P(T > c)."""
    finite = np.where(np.isinf(df), 1.0, df)
    out: Float = np.where(np.isinf(df), special.ndtr(-c), special.stdtr(finite, -c))
    return out
