"""Correlation matrices C(psi) of m positions or columns, psi any real numbers.

Stands at "Structures" in ``docs/algorithm.md``. A family states C once, in operations that also
hold for complex numbers; derivatives then follow by the complex step (Squire and Trapp 1998),
dC/dpsi_i = Im C(psi + i h e_i) / h, without cancellation. G and R structures are made of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

LIMIT = 9.0
"""Largest |psi|: tanh(9) = 1 - 3e-8, a correlation of one to all that data can tell."""

_COMPLEX_STEP = 1e-30
_STEP = 1e-5


class Correlation(ABC):
    """C = C(psi), m x m with unit diagonal, positive definite for every real psi.

    Attributes
    ----------
    stacked : whether ``matrix`` takes psi of shape (..., n) and returns (..., m, m)
    """

    stacked: ClassVar[bool] = False

    @abstractmethod
    def n_params(self, m: int) -> int:
        """Return the number of parameters for m positions."""

    @abstractmethod
    def names(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return a label for every parameter."""

    @abstractmethod
    def matrix(self, psi: NDArray[Any], m: int) -> NDArray[Any]:
        """Return C, (m, m), of the type of psi: real, or complex for derivatives."""

    @abstractmethod
    def nearest(self, C: Float) -> Float:
        """Return parameters near a correlation matrix; exact where the family holds it."""

    def start(self, m: int) -> Float:
        """Return where a search begins when nothing is known: no correlation."""
        return np.zeros(self.n_params(m))

    def pairs(self, m: int) -> NDArray[np.int64] | None:  # noqa: ARG002 - families differ
        """Return the pairs whose correlations are the family's own parameters, (n_params, 2)."""
        return None

    def derivatives(self, psi: Float, m: int) -> Float:
        """Return dC/dpsi_i, (n_params, m, m)."""
        moved = psi + 1j * _COMPLEX_STEP * np.eye(len(psi))
        if self.stacked:
            return np.asarray(np.imag(self.matrix(moved, m)) / _COMPLEX_STEP)
        out = np.zeros((len(psi), m, m))
        for i, point in enumerate(moved):
            out[i] = np.imag(self.matrix(point, m)) / _COMPLEX_STEP
        return out

    def second(self, psi: Float, m: int) -> Float:
        """Return d2C/dpsi_i dpsi_j, (n_params, n_params, m, m), from differences of the first."""
        out = np.zeros((len(psi), len(psi), m, m))
        for i, unit in enumerate(np.eye(len(psi))):
            up, down = (self.derivatives(psi + s * _STEP * unit, m) for s in (1.0, -1.0))
            out[i] = (up - down) / (2.0 * _STEP)
        symmetric: Float = 0.5 * (out + out.transpose(1, 0, 2, 3))
        return symmetric


def inverse_tanh(correlation: Float | float) -> Float:
    """Return artanh of correlations, those at the edge moved to where tanh is 1 - 3e-8."""
    edge = np.tanh(LIMIT)
    values: Float = np.arctanh(np.clip(np.nan_to_num(np.atleast_1d(correlation)), -edge, edge))
    return values


def correlation_of(G: Float) -> Float:
    """Return the correlations of a covariance matrix; zero beside a vanishing variance."""
    sd = np.sqrt(np.maximum(np.diag(G), 0.0))
    scale = np.where(sd > 0, sd, 1.0)
    C: Float = G / np.outer(scale, scale)
    C[sd == 0, :] = C[:, sd == 0] = 0.0
    np.fill_diagonal(C, 1.0)
    return C
