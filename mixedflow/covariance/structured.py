"""G = D C(psi) D: standard deviations and a family of correlations; one file a family uses it.

Stands at "Structures" in ``docs/algorithm.md``. theta is the standard deviations (one for all
columns, or one each), then psi. The factor D chol(C) is singular where a standard deviation is
zero, and G is smooth there; |psi| is kept to 9, where a correlation is one to all that data tell.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.base import CovarianceStructure, Float
from mixedflow.covariance.correlation import LIMIT, Correlation, correlation_of
from mixedflow.covariance.m_step import maximise
from mixedflow.covariance.natural import natural_second, variances_and_correlations
from mixedflow.linalg.triangular import solve_lower

_FELT = 1e8
"""Variances that psi ties, in units of the floors, below which it is held: G does not feel it."""

_SINGULAR = 1e-6
"""Smallest eigenvalue of C below which G is said to be singular."""

_TINY = 1e-300

_AT_LIMIT = 1e-6

_INNER = 2.0


class CorrelatedColumns(CovarianceStructure):
    """G = D C(psi) D with q standard deviations; with one, D = s I, where not heterogeneous."""

    correlation: ClassVar[Correlation]
    heterogeneous: ClassVar[bool] = True
    closed_form: ClassVar[bool] = False

    def n_params(self, dim: int) -> int:
        """Return the standard deviations and the correlations' parameters."""
        return self._n_sd(dim) + self.correlation.n_params(dim)

    def param_names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``sd(a)`` of every column, or ``sd``, then the correlations' labels."""
        sds = tuple(f"sd({name})" for name in columns) if self.heterogeneous else ("sd",)
        return (*sds, *self.correlation.names(columns))

    def start(self, guess: Float) -> Float:
        """Return the roots of the guess's variances (of their mean) and the nearest psi."""
        variances = np.maximum(np.diag(guess), 0.0)
        if self.heterogeneous:
            return np.concatenate(
                [np.sqrt(variances), self.correlation.nearest(correlation_of(guess))]
            )
        mean = variances.mean()
        C = guess / mean if mean > 0 else np.eye(len(guess))
        return np.concatenate([[np.sqrt(mean)], self.correlation.nearest(C)])

    def factor(self, theta: Float, dim: int) -> Float:
        """Return D chol(C)."""
        sd, C = self._parts(theta, dim)
        F: Float = sd[:, None] * np.linalg.cholesky(C)
        return F

    def matrix(self, theta: Float, dim: int) -> Float:
        """Return D C D."""
        sd, C = self._parts(theta, dim)
        G: Float = np.outer(sd, sd) * C
        return G

    def derivatives(self, theta: Float, dim: int) -> Float:
        """Return e_a e_a'C D + D C e_a e_a' for the sds (2 s C for one), D dC D for psi."""
        sd, C = self._parts(theta, dim)
        count = self._n_sd(dim)
        out = np.zeros((len(theta), dim, dim))
        out[:count] = self._sd_slopes(sd, C)
        psi = theta[count:]
        out[count:] = np.outer(sd, sd) * self.correlation.derivatives(psi, dim)
        return out

    def second_derivatives(self, theta: Float, dim: int) -> Float:
        """Return the second derivatives of D C D by the product rule."""
        sd, _ = self._parts(theta, dim)
        count = self._n_sd(dim)
        psi = theta[count:]
        C, dC = self.correlation.matrix(psi, dim), self.correlation.derivatives(psi, dim)
        out = np.zeros((len(theta), len(theta), dim, dim))
        if self.heterogeneous:
            at = np.arange(dim)
            for a in at:
                out[a, at, a, at] += C[a]
                out[a, at, at, a] += C[a]
        else:
            out[0, 0] = 2.0 * C
        for i, change in enumerate(dC):
            mixed = self._sd_slopes(sd, change)
            out[:count, count + i] = mixed
            out[count + i, :count] = mixed
        out[count:, count:] = np.outer(sd, sd) * self.correlation.second(psi, dim)
        return out

    def natural_second(self, theta: Float, dim: int, moves: Float) -> Float | None:
        """Return it in variances and correlations; zero where G is linear in its entries."""
        if self.linear:
            return np.zeros((dim, dim))
        pairs = self.correlation.pairs(dim)
        if pairs is None:
            return None
        coordinates = variances_and_correlations(self._n_sd(dim), pairs)
        G = self.matrix(theta, dim)
        return natural_second(G, lambda z: self.derivatives(z, dim), theta, moves, coordinates)

    def m_step(self, S: Float, n: int, near: Float | None = None) -> Float:
        """Return the start for S / n where that is the maximum, else Newton from there."""
        M = S / n
        first = self.start(M)
        if self.closed_form or not (np.diag(M) > 0).all():
            return first
        unit = np.sqrt(np.diag(M)) if self.heterogeneous else np.full(len(M), first[0])
        count = self._n_sd(len(M))
        inner = first.copy()
        inner[count:] = np.clip(0.7 * first[count:], -_INNER, _INNER)
        starts = [self._rescaled(t, 1.0 / unit) for t in (first, inner, near) if t is not None]

        def kept(theta: Float) -> Float:
            psi = np.clip(theta[count:], -LIMIT, LIMIT)
            return np.concatenate([theta[:count], psi])

        found = maximise(self, M / np.outer(unit, unit), starts, kept)
        return self._rescaled(found, unit)

    def lifted(self, theta: Float, floor: Float) -> Float:
        """Return positive standard deviations of at least the floor's root, |psi| of at most 9."""
        count = self._n_sd(len(floor))
        low = np.sqrt(floor) if self.heterogeneous else np.sqrt(floor.max(keepdims=True))
        psi = np.clip(theta[count:], -LIMIT, LIMIT)
        return np.concatenate([np.maximum(np.abs(theta[:count]), low), psi])

    def pivot_index(self, dim: int) -> NDArray[np.int64]:
        """Return 0 .. q - 1, or 0 for every column."""
        return np.arange(dim) if self.heterogeneous else np.zeros(dim, dtype=np.int64)

    def bounds(self, theta: Float, floor: Float) -> NDArray[np.int8]:
        """Return 1 for a standard deviation at its floor, -1 or 1 for psi at 9 or -9.

        2 for a psi that G does not feel, its standard deviations being at their floors.
        """
        dim = len(floor)
        count, out = self._n_sd(dim), super().bounds(theta, floor)
        psi, sd = theta[count:], self._parts(theta, dim)[0]
        where = np.abs(self.correlation.derivatives(psi, dim))
        where = where / np.maximum(where.max(axis=(1, 2), initial=0.0), _TINY)[:, None, None]
        felt = where * np.outer(sd, sd) / np.sqrt(np.outer(floor, floor))
        at_limit = np.abs(psi) >= LIMIT - _AT_LIMIT
        out[count:] = np.where(at_limit, -np.sign(psi), 0).astype(np.int8)
        unfelt = felt.max(axis=(1, 2), initial=0.0) < _FELT
        out[count:][unfelt & ~at_limit] = 2
        return out

    def singular(self, theta: Float, dim: int) -> bool:
        """Return whether a standard deviation is zero or the correlations are singular."""
        C = self._parts(theta, dim)[1]
        return super().singular(theta, dim) or bool(np.linalg.eigvalsh(C)[0] < _SINGULAR)

    def expansion(self, dim: int) -> NDArray[np.bool_]:
        """Return the lower triangle, where rescaled columns have their working matrices."""
        if not self.heterogeneous:
            return np.eye(dim, dtype=bool)
        return np.tril(np.ones((dim, dim), dtype=bool))

    def working(self, theta: Float, dim: int) -> Float:
        """Return F^-1 e_a e_a'F: columns rescaled one by one; I where they share one variance."""
        if not self.heterogeneous:
            return np.eye(dim)[None]
        return rescaling(self.factor(theta, dim))

    def _sd_slopes(self, sd: Float, C: Float) -> Float:
        dim = len(sd)
        if not self.heterogeneous:
            return 2.0 * sd[:1, None, None] * C
        out, at = np.zeros((dim, dim, dim)), np.arange(dim)
        out[at, at, :] += C * sd
        out[at, :, at] += C * sd
        return out

    def _rescaled(self, theta: Float, unit: Float) -> Float:
        out = theta.copy()
        count = self._n_sd(len(unit))
        out[:count] *= unit[:count]
        return out

    def _n_sd(self, dim: int) -> int:
        return dim if self.heterogeneous else 1

    def _parts(self, theta: Float, dim: int) -> tuple[Float, Float]:
        count = self._n_sd(dim)
        sd = theta[:count] if self.heterogeneous else np.full(dim, theta[0])
        return sd, self.correlation.matrix(theta[count:], dim)


def rescaling(F: Float) -> Float:
    """Return P_a = F^-1 e_a e_a'F, (q, q, q): F(sum t_a P_a) = diag(t) F."""
    dim = len(F)
    try:
        columns = solve_lower(F, np.eye(dim))
    except np.linalg.LinAlgError:
        return np.eye(dim)[None]
    P: Float = columns.T[:, :, None] * F[:, None, :]
    return P
