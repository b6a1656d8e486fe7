"""Unstructured G = F F', F lower triangular: every variance and covariance is free.

Stands at "Structures" in ``docs/algorithm.md``. The parameters are the entries of F, row by row;
the sign of a column of F does not matter to G, so a zero on the diagonal is an interior point.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.base import CovarianceStructure, Float, psd_factor
from mixedflow.covariance.registry import register


@cache
def _lower(dim: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of a lower triangle: small fits would spend a tenth of their time here."""
    rows, cols = np.tril_indices(dim)
    for places in (rows, cols):
        places.flags.writeable = False
    return rows, cols


@register
class Unstructured(CovarianceStructure):
    """G = F F' with q(q + 1)/2 free entries of F."""

    name = "us"
    title = "unstructured"
    linear = True
    formula = "G = F F', F lower triangular"

    def n_params(self, dim: int) -> int:
        """Return q(q + 1)/2."""
        return dim * (dim + 1) // 2

    def param_names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``chol(a)`` and ``chol(b,a)`` as lme4 orders rows of the factor."""
        rows, cols = _lower(len(columns))
        return tuple(
            f"chol({columns[i]})" if i == j else f"chol({columns[i]},{columns[j]})"
            for i, j in zip(rows, cols, strict=True)
        )

    def start(self, guess: Float) -> Float:
        """Return the Cholesky factor of the guess."""
        return self._pack(psd_factor(guess))

    def factor(self, theta: Float, dim: int) -> Float:
        """Return F, lower triangular."""
        F = np.zeros((dim, dim))
        F[_lower(dim)] = theta
        return F

    def derivatives(self, theta: Float, dim: int) -> Float:
        """Return dG/dF_ij = e_i f_j' + f_j e_i', f_j the j-th column of F."""
        F = self.factor(theta, dim)
        rows, cols = _lower(dim)
        out = np.zeros((len(rows), dim, dim))
        at = np.arange(len(rows))
        out[at, rows, :] += F[:, cols].T
        out[at, :, rows] += F[:, cols].T
        return out

    def second_derivatives(self, theta: Float, dim: int) -> Float:  # noqa: ARG002
        """Return d2G/dF_ij dF_kl = [j = l] (e_i e_k' + e_k e_i')."""
        rows, cols = _lower(dim)
        count = len(rows)
        out = np.zeros((count, count, dim, dim))
        for a in range(count):
            for b in np.flatnonzero(cols == cols[a]):
                out[a, b, rows[a], rows[b]] += 1.0
                out[a, b, rows[b], rows[a]] += 1.0
        return out

    def m_step(self, S: Float, n: int, near: Float | None = None) -> Float:  # noqa: ARG002
        """Return the factor of S / n."""
        return self._pack(psd_factor(S / n))

    def lifted(self, theta: Float, floor: Float) -> Float:
        """Return F with positive pivots of at least the floor; a column's sign is free."""
        dim = len(floor)
        F = self.factor(theta, dim)
        pivots = np.diag(F)
        F = F * np.where(pivots < 0, -1.0, 1.0)
        np.fill_diagonal(F, np.maximum(np.abs(pivots), np.sqrt(floor)))
        return self._pack(F)

    def pivot_index(self, dim: int) -> NDArray[np.int64]:
        """Return the places of the diagonal of F."""
        return np.cumsum(np.arange(1, dim + 1)) - 1

    def expansion(self, dim: int) -> NDArray[np.bool_]:
        """Return all True: any working matrix keeps G unstructured."""
        return np.ones((dim, dim), dtype=bool)

    @staticmethod
    def _pack(F: Float) -> Float:
        packed: Float = F[_lower(F.shape[0])]
        return packed
