"""Coordinates of the variance parameters in which an SD or a correlation can be held.

Stands at "Profile intervals" in ``docs/algorithm.md``. With the column in question first, F of
G = F F' has its SD in the corner; of two columns, F = [[a, 0], [r b, sqrt(1 - r^2) b]] has their
correlation r as an entry; a and b by their logs, for negative ones would turn its sign. Whatever the
others are, G stays a covariance matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.base import psd_factor
from mixedflow.design.types import Float
from mixedflow.equations.system import ModelSystem
from mixedflow.estimation.parameters import VarianceParameters, term_structures, term_units

VANISHING = 4.0
"""Log of how much smaller an SD is that is nearly zero."""

FARTHEST = 12.0
"""Largest |log SD| in the units of the equations that a search may try."""

DIFFERENCE = 1e-6
"""Half the distance of two points that a slope of coordinates is taken from, relative to their size."""


@dataclass(frozen=True, slots=True)
class HeldPart:
    """A term's G, or sigma, with one of its numbers held.

    Attributes
    ----------
    free : (k,) the other coordinates at the estimates
    values : value and free coordinates to the term's theta, or to [phi]
    logs : which free coordinates are logs of SDs, at whose vanishing a second maximum may lie
    """

    free: Float
    values: Callable[[float, Float], Float]
    logs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldVariance:
    """All variance parameters but one held number.

    Attributes
    ----------
    part : what the held number belongs to
    places : where the part's parameters stand in the vector
    at : the vector at the estimates
    """

    part: HeldPart
    places: slice
    at: Float

    @property
    def start(self) -> Float:
        """Free coordinates at the estimates: those of the part, then all other parameters."""
        return np.concatenate([self.part.free, np.delete(self.at, self.places)])

    @property
    def vanishing(self) -> tuple[Float, ...]:
        """Free coordinates with one of the SDs that are there by their logs nearly zero."""
        out = []
        for place in self.part.logs:
            out.append(self.start)
            out[-1][place] -= VANISHING
        return tuple(out)

    def vector(self, value: float, free: Float) -> Float:
        """Return the parameters at a held value."""
        k = len(self.part.free)
        out = np.empty_like(self.at)
        others = np.ones(len(out), dtype=bool)
        others[self.places] = False
        out[self.places] = self.part.values(value, free[:k])
        out[others] = free[k:]
        return out

    def slope(self, value: float, free: Float, score: Float) -> Float:
        """Return dl/dfree from dl/dvector."""
        k = len(self.part.free)
        mine = free[:k]
        size = max(1e-300, float(np.abs(mine).max(initial=0.0)))
        out = np.empty(k)
        for i in range(k):
            h = DIFFERENCE * max(abs(mine[i]), 0.1 * size)
            step = np.zeros(k)
            step[i] = h
            up, down = (self.part.values(value, mine + s * step) for s in (1.0, -1.0))
            out[i] = score[self.places] @ (up - down) / (2.0 * h)
        return np.concatenate([out, np.delete(score, self.places)])


def held_sigma(system: ModelSystem, params: VarianceParameters) -> HeldVariance:
    """Return the coordinates with sigma held."""
    at = params.vector()
    scale = system.fixed_scale.y_scale

    def values(value: float, _: Float) -> Float:
        return np.array([2.0 * np.log(value / scale)])

    return HeldVariance(HeldPart(np.empty(0), values), slice(len(at) - 1, len(at)), at)


def held_component(
    system: ModelSystem, params: VarianceParameters, term: int, columns: tuple[int, ...]
) -> HeldVariance:
    """Return the coordinates with the SD of a column of a term held, or the correlation of two.

    Parameters
    ----------
    system, params : the sums, and the estimates
    term : an unstructured or diagonal one
    columns : one for its SD, two for their correlation
    """
    dim, structure = system.dims[term], term_structures(system)[term]
    M, norms = _directions(term_units(system)[term], columns)
    inverse, scale = np.linalg.inv(M), system.fixed_scale.y_scale * norms[0]
    F = psd_factor(M @ structure.matrix(params.theta[term], dim) @ M.T)
    entries = np.tri(dim, dtype=bool) if structure.correlated else np.eye(dim, dtype=bool)
    entries[(0, 0) if len(columns) == 1 else (1, 0)] = False
    if len(columns) == 2:
        F[1, 1] = np.hypot(F[1, 0], F[1, 1])
        F[[0, 1], [0, 1]] = np.log(F[[0, 1], [0, 1]])

    def values(value: float, free: Float) -> Float:
        L = np.zeros((dim, dim))
        L[entries] = free
        if len(columns) == 1:
            L[0, 0] = value / scale
        else:
            L[0, 0], b = np.exp(np.clip(L[[0, 1], [0, 1]], -FARTHEST, FARTHEST))
            L[1, :2] = b * value, b * np.sqrt(1.0 - value * value)
        half = inverse @ L
        return structure.start(half @ half.T)

    first = sum(len(part) for part in params.theta[:term])
    places = slice(first, first + len(params.theta[term]))
    logs = (0, 1) if len(columns) == 2 else ()
    return HeldVariance(HeldPart(F[entries], values, logs), places, params.vector())


def _directions(units: Float, columns: tuple[int, ...]) -> tuple[Float, Float]:
    """Return M, (q, q), and norms: the user's columns in those of the equations, of length 1, first.

    The other rows are columns of the equations, which are of a size and hardly depend on each other.
    """
    rows = units[list(columns)]
    norms = np.linalg.norm(rows, axis=1)
    rows = rows / norms[:, None]
    left, reduced = list(range(units.shape[0])), rows.copy()
    for k in range(len(columns)):
        pivot = left.pop(int(np.argmax(np.abs(reduced[k, left]))))
        ratio = reduced[k + 1 :, pivot] / reduced[k, pivot]
        reduced[k + 1 :] -= np.outer(ratio, reduced[k])
    return np.vstack([rows, np.eye(units.shape[0])[left]]), norms


@dataclass(frozen=True, slots=True)
class HeldDirection:
    """All variance parameters but one, which makes up for c'x: a number that is affine in x is held.

    Attributes
    ----------
    coordinate : of the held number, t with t = t0 + c'(x - x0)
    c, x0, t0 : see there
    pivot : the parameter that is not free
    logs : (r,), which parameters are SDs and free by their logs
    """

    coordinate: Callable[[float], float]
    c: Float
    x0: Float
    t0: float
    pivot: int
    logs: NDArray[np.bool_]

    @property
    def start(self) -> Float:
        """Free coordinates at the estimates."""
        free = np.delete(self.x0, self.pivot)
        own = np.delete(self.logs, self.pivot)
        free[own] = np.log(np.maximum(np.abs(free[own]), np.exp(-FARTHEST)))
        return free

    @property
    def vanishing(self) -> tuple[Float, ...]:
        """Free coordinates with an SD nearly zero."""
        out = []
        for place in np.flatnonzero(np.delete(self.logs, self.pivot)):
            out.append(self.start)
            out[-1][place] -= VANISHING
        return tuple(out)

    def vector(self, value: float, free: Float) -> Float:
        """Return the parameters at a held value."""
        out = np.insert(self._plain(free), self.pivot, self.x0[self.pivot])
        missing = self.coordinate(value) - self.t0 - self.c @ (out - self.x0)
        out[self.pivot] += missing / self.c[self.pivot]
        return out

    def _plain(self, free: Float) -> Float:
        own = np.delete(self.logs, self.pivot)
        return np.where(own, np.exp(np.clip(np.where(own, free, 0.0), -FARTHEST, FARTHEST)), free)

    def slope(self, value: float, free: Float, score: Float) -> Float:  # noqa: ARG002 - as HeldVariance
        """Return dl/dfree from dl/dvector."""
        share = np.delete(self.c, self.pivot) / self.c[self.pivot]
        plain = np.delete(score, self.pivot) - score[self.pivot] * share
        own = np.delete(self.logs, self.pivot)
        felt = np.where(np.abs(free) < FARTHEST, self._plain(free), 0.0)
        out: Float = np.where(own, plain * felt, plain)
        return out

    def spread(self, root: Float) -> Float:
        """Return the covariance of the free coordinates where x has root root' and the number is held."""
        units = np.eye(len(self.x0))
        J = np.array([self.slope(0.0, self.start, unit) for unit in units])
        half = np.linalg.solve(root, J)
        precision = half.T @ half
        precision[np.diag_indices_from(precision)] += ~J.any(axis=0)
        covariance = np.linalg.inv(precision)
        out: Float = 0.5 * (covariance + covariance.T)
        return out
