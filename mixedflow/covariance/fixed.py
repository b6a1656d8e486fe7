"""G = a known matrix: nothing is estimated.

Stands at "Structures" in ``docs/algorithm.md``. The matrix is written behind the term, in the units
of the response and the columns: ``fixed(1 + x | g, [[4, 0.5], [0.5, 1]])``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.base import CovarianceStructure, Float, psd_factor, shown
from mixedflow.covariance.registry import register
from mixedflow.errors import FormulaError, UnsupportedError

SINGULAR = 1e-14
"""Share of its largest variance that a singular matrix is raised by: factors need pivots."""

_ASYMMETRY = 1e-12
_NEGATIVE = 1e-10


@register
class Fixed(CovarianceStructure):
    """G given, symmetric and positive semidefinite."""

    name = "fixed"
    title = "a known matrix: no parameter"
    linear = True
    formula = "G given"

    def __init__(self, values: tuple[tuple[float, ...], ...] = (), y_scale: float = 1.0) -> None:
        self.values, self.y_scale = values, y_scale

    @property
    def spelled(self) -> str:
        """``fixed([[4.0,0.5],[0.5,1.0]])``."""
        rows = ",".join("[" + ",".join(map(repr, row)) + "]" for row in self.values)
        return f"{self.name}([{rows}])"

    def examples(self, dim: int) -> tuple[CovarianceStructure, ...]:
        """Return a matrix with falling covariances."""
        at = np.arange(dim)
        G = 2.0 * 0.5 ** np.abs(at[:, None] - at)
        return (self.with_argument(G.tolist()),)

    def with_argument(self, argument: object) -> CovarianceStructure:
        """Return the structure of a matrix, a list of rows.

        Raises
        ------
        FormulaError
            where it is no symmetric positive semidefinite matrix.
        """
        G = _square(argument)
        if np.abs(G - G.T).max() > _ASYMMETRY * np.abs(G).max():
            a, b = np.argwhere(np.abs(G - G.T) > _ASYMMETRY * np.abs(G).max())[0]
            raise FormulaError(
                f"the matrix of fixed(...) is not symmetric: row {a + 1}, column {b + 1} holds "
                f"{G[a, b]:g}, row {b + 1}, column {a + 1} holds {G[b, a]:g}"
            )
        smallest = float(np.linalg.eigvalsh(G)[0])
        if smallest < -_NEGATIVE * np.abs(G).max():
            raise FormulaError(
                "the matrix of fixed(...) is no covariance matrix: its smallest eigenvalue is "
                f"{smallest:.4g}, and none may be negative"
            )
        return Fixed(tuple(tuple(map(float, row)) for row in G), self.y_scale)

    def scaled(self, y_scale: float) -> CovarianceStructure:
        """Return the same matrix for a response divided by ``y_scale``."""
        return Fixed(self.values, y_scale)

    def n_params(self, dim: int) -> int:
        """Return 0.

        Raises
        ------
        UnsupportedError
            where the matrix is not of the term's size.
        """
        if dim != len(self.values):
            raise UnsupportedError(
                f"the matrix of fixed(...) is {len(self.values)} x {len(self.values)}, but its "
                f"term has {dim} column{'s' if dim != 1 else ''}; write one row and one column "
                "for each"
            )
        return 0

    def param_names(self, columns: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG002
        """Return none."""
        return ()

    def start(self, guess: Float) -> Float:
        """Return none."""
        return np.empty(self.n_params(len(guess)))

    def matrix(self, theta: Float, dim: int) -> Float:  # noqa: ARG002
        """Return the matrix in the response's stored units."""
        G: Float = np.array(self.values) / self.y_scale**2
        return G

    def factor(self, theta: Float, dim: int) -> Float:
        """Return its factor; a singular matrix raised by 1e-14 of its largest variance."""
        G = self.matrix(theta, dim)
        F = psd_factor(G)
        if (np.diag(F) == 0).any():
            F = psd_factor(G + SINGULAR * max(float(np.diag(G).max()), SINGULAR) * np.eye(dim))
        return F

    def derivatives(self, theta: Float, dim: int) -> Float:  # noqa: ARG002
        """Return none, (0, q, q)."""
        return np.zeros((0, dim, dim))

    def second_derivatives(self, theta: Float, dim: int) -> Float:  # noqa: ARG002
        """Return none, (0, 0, q, q)."""
        return np.zeros((0, 0, dim, dim))

    def m_step(self, S: Float, n: int, near: Float | None = None) -> Float:  # noqa: ARG002
        """Return none."""
        return np.empty(0)

    def lifted(self, theta: Float, floor: Float) -> Float:  # noqa: ARG002
        """Return none."""
        return theta.copy()

    def pivot_index(self, dim: int) -> NDArray[np.int64]:  # noqa: ARG002
        """Return none."""
        return np.empty(0, dtype=np.int64)

    def bounds(self, theta: Float, floor: Float) -> NDArray[np.int8]:  # noqa: ARG002
        """Return none."""
        return np.empty(0, dtype=np.int8)

    def expansion(self, dim: int) -> NDArray[np.bool_]:
        """Return all False: nothing is rescaled."""
        return np.zeros((dim, dim), dtype=bool)


def _square(argument: object) -> Float:
    rows: Any = argument
    try:
        G = np.array(rows, dtype=float)
    except (TypeError, ValueError):
        G = np.empty(0)
    if G.ndim != 2 or G.shape[0] != G.shape[1] or not G.size or not np.isfinite(G).all():
        raise FormulaError(
            f"fixed(...) needs a square matrix of numbers, such as [[4, 0.5], [0.5, 1]]; found "
            f"{shown(argument)}"
        )
    return G
