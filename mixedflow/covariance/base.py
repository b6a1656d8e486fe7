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

from mixedflow.errors import FormulaError

Float = NDArray[np.float64]


class CovarianceStructure(ABC):
    """G = G(theta), q x q, of one random term.

    Attributes
    ----------
    name : as in formulas; ``title`` in words, ``formula`` as in books
    correlated : whether columns of a term may covary
    linear : whether G is linear in its natural coordinates: its entries, or variances
    """

    name: ClassVar[str]
    title: ClassVar[str]
    formula: ClassVar[str] = ""
    correlated: ClassVar[bool] = True
    linear: ClassVar[bool] = False

    @property
    def spelled(self) -> str:
        """The name with its argument, as a term's structure is stored."""
        return self.name

    @property
    def smallest(self) -> int:
        """The fewest columns that a term may have."""
        return 1

    def examples(self, dim: int) -> tuple[CovarianceStructure, ...]:
        """Return the structure as terms of ``dim`` columns may have it: with its arguments."""
        return (self,) if dim >= self.smallest else ()

    def with_argument(self, argument: object) -> CovarianceStructure:
        """Return the structure with the argument after the term, such as 2 in ``fa(x | g, 2)``."""
        raise FormulaError(
            f"the covariance structure '{self.name}' takes no argument; found {argument!r}"
        )

    def scaled(self, y_scale: float) -> CovarianceStructure:  # noqa: ARG002 - the protocol's
        """Return the structure for a response divided by ``y_scale``; most know no units."""
        return self

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

    def natural_second(self, theta: Float, dim: int, moves: Float) -> Float | None:  # noqa: ARG002
        """Return sum_ij W_ij d2G/dx_i dx_j, (q, q), x the coordinates that books give G by.

        W is the covariance of x where that of theta is moves moves', (n_params, k); None says that
        no such coordinates are known. See :mod:`mixedflow.covariance.natural`.
        """
        return np.zeros((dim, dim)) if self.linear else None

    @abstractmethod
    def m_step(self, S: Float, n: int, near: Float | None = None) -> Float:
        """Return the theta that maximises -1/2 [n log|G| + tr(G^-1 S)], S (q, q).

        ``near`` is where EM comes from: a search must not end below it.
        """

    @abstractmethod
    def lifted(self, theta: Float, floor: Float) -> Float:
        """Return parameters of nearly the same G whose factor has squared pivots >= floor (q,)."""

    @abstractmethod
    def pivot_index(self, dim: int) -> NDArray[np.int64]:
        """Return where in theta the pivots stand: G is singular where one is zero.

        One for every column where columns have one each; the same place for all columns where
        they share it.
        """

    @abstractmethod
    def expansion(self, dim: int) -> NDArray[np.bool_]:
        """Return which entries of the PX-EM working matrix may differ from zero, (q, q).

        All True says besides that the structure is closed under any change of columns.
        """

    def working(self, theta: Float, dim: int) -> Float:  # noqa: ARG002 - some depend on theta
        """Return P, (k, q, q): F(sum_i t_i P_i) keeps the structure for every t; none holds I."""
        places = np.argwhere(self.expansion(dim))
        out = np.zeros((len(places), dim, dim))
        out[np.arange(len(places)), places[:, 0], places[:, 1]] = 1.0
        return out

    def pivots(self, theta: Float, dim: int) -> Float:
        """Return the pivots: G is singular where one is zero."""
        values: Float = theta[self.pivot_index(dim)]
        return values

    def bounds(self, theta: Float, floor: Float) -> NDArray[np.int8]:
        """Return 1 where a parameter stands at its lower bound, -1 at its upper, 2 where held."""
        out = np.zeros(len(theta), dtype=np.int8)
        places = self.pivot_index(len(floor))
        out[places[np.abs(theta[places]) <= 2.0 * np.sqrt(floor)]] = 1
        return out

    def singular(self, theta: Float, dim: int) -> bool:
        """Return whether G is singular: a pivot is exactly zero."""
        return bool((self.pivots(theta, dim) == 0).any())

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


def shown(argument: object) -> str:
    """Return an argument as a message shows it."""
    return "none" if argument is None else repr(argument)
