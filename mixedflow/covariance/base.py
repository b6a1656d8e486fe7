"""What a covariance structure of random effects states about itself: G(theta) and its derivatives.

Stands at "Structures" in ``docs/algorithm.md``. Every structure is one file that defines one class
and registers it; nothing else knows the structures by name. Parameters are unconstrained reals in
which G is smooth up to and including the boundary, so a Newton step can land on a singular G.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


class CovarianceStructure(ABC):
    """G = G(theta), q x q, of one random term."""

    name: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def n_params(self, dim: int) -> int:
        """Return the number of parameters for a term of ``dim`` columns."""

    @abstractmethod
    def param_names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Return a label for every parameter."""

    @abstractmethod
    def start(self, guess: Float) -> Float:
        """Return parameters whose G is near a guessed covariance matrix ``guess`` (q, q)."""

    @abstractmethod
    def factor(self, theta: Float, dim: int) -> Float:
        """Return lower-triangular F, (q, q), with G = F F'; singular where G is."""

    @abstractmethod
    def derivatives(self, theta: Float, dim: int) -> Float:
        """Return dG/dtheta_i, shape (n_params, q, q)."""

    @abstractmethod
    def second_derivatives(self, theta: Float, dim: int) -> Float:
        """Return d2G/dtheta_i dtheta_j, shape (n_params, n_params, q, q)."""

    @abstractmethod
    def m_step(self, S: Float, n: int) -> Float:
        """Return the theta that maximises -1/2 [n log|G| + tr(G^-1 S)], S (q, q)."""

    @abstractmethod
    def lifted(self, theta: Float, floor: Float) -> Float:
        """Return parameters of nearly the same G whose factor has squared pivots >= floor (q,)."""

    @abstractmethod
    def pivot_index(self, dim: int) -> NDArray[np.int64]:
        """Return where in theta each pivot of the factor stands, (q,)."""

    @abstractmethod
    def expansion(self, dim: int) -> NDArray[np.bool_]:
        """Return which entries of the PX-EM working matrix are free, shape (q, q)."""

    def pivots(self, theta: Float, dim: int) -> Float:
        """Return the pivots of the factor, (q,): G is singular where one is zero."""
        values: Float = theta[self.pivot_index(dim)]
        return values

    def without_pivot(self, theta: Float, dim: int, at: int) -> Float:
        """Return the parameters with one pivot exactly zero."""
        out = theta.copy()
        out[self.pivot_index(dim)[at]] = 0.0
        return out

    def matrix(self, theta: Float, dim: int) -> Float:
        """Return G = F F', shape (q, q)."""
        F = self.factor(theta, dim)
        product: Float = F @ F.T
        return product


def psd_factor(G: Float) -> Float:
    """Return lower-triangular F with G = F F' for a positive semidefinite G.

    A column whose pivot vanishes (below 1e-14 of its own diagonal) is zero: G is singular there.
    """
    q = G.shape[0]
    F = np.zeros((q, q))
    for j in range(q):
        pivot = G[j, j] - F[j, :j] @ F[j, :j]
        if pivot <= 1e-14 * G[j, j] or G[j, j] <= 0:
            continue
        F[j, j] = np.sqrt(pivot)
        F[j + 1 :, j] = (G[j + 1 :, j] - F[j + 1 :, :j] @ F[j, :j]) / F[j, j]
    return F
