"""Diagonal G = diag(s_1^2, ..., s_q^2): the columns of a term vary independently.

Stands at "Structures" in ``docs/algorithm.md``. The parameters are the standard deviations; their
sign does not matter to G, so zero is an interior point.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.base import CovarianceStructure, Float
from mixedflow.covariance.registry import register


@register
class Diagonal(CovarianceStructure):
    """G = diag(s^2) with q free standard deviations."""

    name = "diag"
    title = "diagonal"
    linear = True
    formula = "G = diag(s_1^2, ..., s_q^2)"
    correlated = False

    def n_params(self, dim: int) -> int:
        """Return q."""
        return dim

    def param_names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``sd(a)`` for every column."""
        return tuple(f"sd({name})" for name in columns)

    def start(self, guess: Float) -> Float:
        """Return the roots of the guess's diagonal."""
        roots: Float = np.sqrt(np.maximum(np.diag(guess), 0.0))
        return roots

    def factor(self, theta: Float, dim: int) -> Float:  # noqa: ARG002 - the protocol's signature
        """Return diag(s)."""
        return np.diag(theta)

    def derivatives(self, theta: Float, dim: int) -> Float:
        """Return dG/ds_i = 2 s_i e_i e_i'."""
        out = np.zeros((dim, dim, dim))
        at = np.arange(dim)
        out[at, at, at] = 2.0 * theta
        return out

    def second_derivatives(self, theta: Float, dim: int) -> Float:  # noqa: ARG002
        """Return d2G/ds_i^2 = 2 e_i e_i'."""
        out = np.zeros((dim, dim, dim, dim))
        at = np.arange(dim)
        out[at, at, at, at] = 2.0
        return out

    def m_step(self, S: Float, n: int, near: Float | None = None) -> Float:  # noqa: ARG002
        """Return the roots of diag(S) / n."""
        return self.start(S / n)

    def lifted(self, theta: Float, floor: Float) -> Float:
        """Return the standard deviations, positive and at least the root of the floor."""
        raised: Float = np.maximum(np.abs(theta), np.sqrt(floor))
        return raised

    def pivot_index(self, dim: int) -> NDArray[np.int64]:
        """Return 0 .. q - 1."""
        return np.arange(dim)

    def expansion(self, dim: int) -> NDArray[np.bool_]:
        """Return the identity pattern: columns are rescaled one by one."""
        return np.eye(dim, dtype=bool)
