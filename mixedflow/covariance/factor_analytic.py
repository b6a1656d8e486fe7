"""Factor-analytic G = Lambda Lambda' + diag(psi^2): k common factors and what is left.

Stands at "Structures" in ``docs/algorithm.md``. Lambda (q, k) has zeros above its diagonal, without
which any rotation of it would give the same G: it is one rotation of the loadings, chosen to be
identified and not to be interpreted; G is not touched by it. Written ``fa(0 + site | g, 2)``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.base import CovarianceStructure, Float, psd_factor, shown
from mixedflow.covariance.m_step import maximise
from mixedflow.covariance.registry import register
from mixedflow.covariance.structured import rescaling
from mixedflow.errors import FormulaError, UnsupportedError

LEAST = 0.3
"""Share of the variances that common factors have at the start, at least."""

OWN = 1e-3
"""Share of a standard deviation that a column has of its own at the start, at least."""

_RANK = 1e-12


@register
class FactorAnalytic(CovarianceStructure):
    """G = Lambda Lambda' + diag(psi^2); theta is Lambda row by row, then psi."""

    name = "fa"
    title = "factor-analytic with k factors"
    formula = "G = Lambda Lambda' + diag(psi_1^2, ..., psi_q^2)"

    def __init__(self, k: int = 1) -> None:
        self.k = k

    @property
    def spelled(self) -> str:
        """``fa(2)``."""
        return f"{self.name}({self.k})"

    @property
    def smallest(self) -> int:
        """Columns from which it has no more parameters than an unstructured G."""
        q = self.k + 1
        while (q - self.k) ** 2 < q + self.k:
            q += 1
        return q

    def examples(self, dim: int) -> tuple[CovarianceStructure, ...]:
        """Return as many factors as the columns can tell apart."""
        every = [FactorAnalytic(k) for k in range(1, dim)]
        return tuple(one for one in every if one.smallest <= dim)

    def with_argument(self, argument: object) -> CovarianceStructure:
        """Return the structure with k factors."""
        if not isinstance(argument, int) or isinstance(argument, bool) or argument < 1:
            raise FormulaError(
                "fa(...) needs its number of factors, a whole number from 1 on, such as "
                f"fa(0 + site | g, 2); found {shown(argument)}"
            )
        return FactorAnalytic(argument)

    def n_params(self, dim: int) -> int:
        """Return q k - k(k - 1)/2 + q."""
        return dim * self.k - self.k * (self.k - 1) // 2 + dim

    def param_names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``loading(a,j)`` row by row, then ``psi(a)``."""
        rows, cols = self._places(len(columns))
        loadings = [f"loading({columns[i]},{j + 1})" for i, j in zip(rows, cols, strict=True)]
        return (*loadings, *(f"psi({name})" for name in columns))

    def start(self, guess: Float) -> Float:
        """Return the principal factors of the guess, brought to its own maximum.

        Raises
        ------
        UnsupportedError
            where a term has too few columns for k factors.
        """
        dim = len(guess)
        if dim < self.smallest:
            raise UnsupportedError(
                f"fa with {self.k} factor{'s' if self.k > 1 else ''} needs a term of at least "
                f"{self.smallest} columns, found {dim}; 'us' is the structure of few columns"
            )
        first = self._principal(guess)
        off = guess - np.diag(np.diag(guess))
        if not off.any() or not (np.diag(guess) > 0).all():
            return first
        loadings, own = self._parts(self.m_step(guess, 1, first), dim)
        return self._packed(loadings, np.maximum(np.abs(own), OWN * np.sqrt(np.diag(guess))))

    def factor(self, theta: Float, dim: int) -> Float:
        """Return the Cholesky factor of G."""
        return psd_factor(self.matrix(theta, dim))

    def matrix(self, theta: Float, dim: int) -> Float:
        """Return Lambda Lambda' + diag(psi^2)."""
        loadings, own = self._parts(theta, dim)
        G: Float = loadings @ loadings.T + np.diag(own**2)
        return G

    def derivatives(self, theta: Float, dim: int) -> Float:
        """Return e_i l_j' + l_j e_i' for loadings, 2 psi_i e_i e_i'."""
        loadings, own = self._parts(theta, dim)
        rows, cols = self._places(dim)
        out = np.zeros((len(theta), dim, dim))
        at, last = np.arange(len(rows)), np.arange(dim)
        out[at, rows, :] += loadings[:, cols].T
        out[at, :, rows] += loadings[:, cols].T
        out[len(rows) + last, last, last] = 2.0 * own
        return out

    def second_derivatives(self, theta: Float, dim: int) -> Float:
        """Return [j = l] (e_i e_k' + e_k e_i') for loadings, 2 e_i e_i' for psi."""
        rows, cols = self._places(dim)
        out = np.zeros((len(theta), len(theta), dim, dim))
        for a in range(len(rows)):
            for b in np.flatnonzero(cols == cols[a]):
                out[a, b, rows[a], rows[b]] += 1.0
                out[a, b, rows[b], rows[a]] += 1.0
        at = np.arange(dim)
        out[len(rows) + at, len(rows) + at, at, at] = 2.0
        return out

    def natural_second(self, theta: Float, dim: int, moves: Float) -> Float:  # noqa: ARG002
        """Return it in the loadings and psi^2: 2 sum_k Lambda_k Lambda_k' of the moves."""
        out = np.zeros((dim, dim))
        for move in moves.T:
            loadings, _ = self._parts(move, dim)
            out += 2.0 * loadings @ loadings.T
        return out

    def m_step(self, S: Float, n: int, near: Float | None = None) -> Float:
        """Return the maximum by Newton, from principal factors or from where EM comes from."""
        M = S / n
        sd = np.sqrt(np.maximum(np.diag(M), 0.0))
        first = self._principal(M)
        if not (sd > 0).all():
            return first if near is None else near
        starts = [self._rescaled(t, 1.0 / sd) for t in (first, near) if t is not None]
        found = maximise(self, M / np.outer(sd, sd), starts, lambda theta: theta)
        return self._rescaled(found, sd)

    def lifted(self, theta: Float, floor: Float) -> Float:
        """Return psi positive and at least the floor's root, Lambda's diagonal positive."""
        loadings, own = self._parts(theta, len(floor))
        signs = np.where(np.diag(loadings) < 0, -1.0, 1.0)
        return self._packed(loadings * signs, np.maximum(np.abs(own), np.sqrt(floor)))

    def pivot_index(self, dim: int) -> NDArray[np.int64]:
        """Return the places of psi: what a column has of its own may vanish."""
        return np.arange(dim) + self.n_params(dim) - dim

    def singular(self, theta: Float, dim: int) -> bool:
        """Return whether G itself is; it need not be where one psi is zero."""
        G = self.matrix(theta, dim)
        sd = np.sqrt(np.diag(G))
        if not (sd > 0).all():
            return True
        return bool(np.linalg.eigvalsh(G / np.outer(sd, sd))[0] < _RANK)

    def expansion(self, dim: int) -> NDArray[np.bool_]:
        """Return the lower triangle, where rescaled columns have their working matrices."""
        return np.tril(np.ones((dim, dim), dtype=bool))

    def working(self, theta: Float, dim: int) -> Float:
        """Return F^-1 e_a e_a'F: columns are rescaled one by one."""
        return rescaling(self.factor(theta, dim))

    def _principal(self, guess: Float) -> Float:
        """Return principal factors of the correlations, none of them without a share."""
        dim = len(guess)
        sd = np.sqrt(np.maximum(np.diag(guess), 0.0))
        safe = np.where(sd > 0, sd, 1.0)
        C = guess / np.outer(safe, safe)
        np.fill_diagonal(C, 1.0)
        unique = 0.5 / np.diag(np.linalg.inv(C + 0.1 * np.eye(dim)))
        values, vectors = np.linalg.eigh(C - np.diag(unique))
        top = np.argsort(values)[::-1][: self.k]
        loadings = vectors[:, top] * np.sqrt(np.maximum(values[top], 0.0))
        if not (C - np.eye(dim)).any():
            angle = np.pi * np.outer(np.arange(dim) + 0.5, np.arange(self.k)) / dim
            loadings = np.cos(angle) * np.sqrt(LEAST / self.k)
        shared = np.sum(loadings**2, axis=1)
        loadings = loadings * np.sqrt(np.minimum(1.0, 0.95 / np.maximum(shared, 0.95)))[:, None]
        rest = np.sqrt(1.0 - np.sum(loadings**2, axis=1))
        return self._packed(_trapezoid(sd[:, None] * loadings), sd * rest)

    def _places(self, dim: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows, cols = np.tril_indices(dim)
        return rows[cols < self.k], cols[cols < self.k]

    def _parts(self, theta: Float, dim: int) -> tuple[Float, Float]:
        loadings = np.zeros((dim, self.k))
        loadings[self._places(dim)] = theta[:-dim]
        return loadings, theta[-dim:]

    def _packed(self, loadings: Float, own: Float) -> Float:
        return np.concatenate([loadings[self._places(len(own))], own])

    def _rescaled(self, theta: Float, unit: Float) -> Float:
        loadings, own = self._parts(theta, len(unit))
        return self._packed(unit[:, None] * loadings, unit * own)


def _trapezoid(loadings: Float) -> Float:
    """Return the loadings rotated until they are zero above the diagonal, which is positive."""
    R = np.linalg.qr(loadings.T)[1].T
    signs = np.where(np.diag(R) < 0, -1.0, 1.0)
    turned: Float = R * signs
    return turned
