"""Sums of many responses over one design, and what is found from them.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedflow.design.types import Float, Int


@dataclass(frozen=True, slots=True)
class Designs:
    """Sums of the columns over the rows of D patterns of missing values; one grouping factor.

    Attributes
    ----------
    n_obs : (D,) rows
    ZtZ : (D, L, q, q), ZtX : (D, L, q, p), XtX : (D, p, p)
    sum_log_weight : (D,)
    """

    n_obs: Int
    ZtZ: Float
    ZtX: Float
    XtX: Float
    sum_log_weight: Float


@dataclass(frozen=True, slots=True)
class Responses:
    """Sums of T responses, each shifted and scaled by its own pilots.

    Attributes
    ----------
    which : (T,) the design of every response
    Zty : (T, L, q), Xty : (T, p), yty : (T,)
    """

    which: Int
    Zty: Float
    Xty: Float
    yty: Float

    def take(self, at: Int) -> Responses:
        """Return some of the responses."""
        return Responses(self.which[at], self.Zty[at], self.Xty[at], self.yty[at])


@dataclass(frozen=True, slots=True)
class Entries:
    """Where parameters stand in Lambda, G = sigma2 Lambda Lambda': entry (row, col) is theta[place].

    Attributes
    ----------
    rows, cols, places : (e,), row >= col
    """

    rows: Int
    cols: Int
    places: Int

    @property
    def count(self) -> int:
        """Number of parameters."""
        return int(self.places.max(initial=-1)) + 1

    @property
    def diagonal(self) -> NDArray[np.bool_]:
        """Which parameters stand on the diagonal, (k,)."""
        out = np.zeros(self.count, dtype=bool)
        out[self.places[self.rows == self.cols]] = True
        return out


@dataclass(frozen=True, slots=True)
class Look:
    """The likelihood's parts at theta, one row a response.

    Attributes
    ----------
    logdet : (T,) log|I + Lambda'Z'Z Lambda| [+ log|X'V0^-1X|], V = sigma2 V0
    square : (T,) y'P0y
    of_log, of_square : (T, k), their slopes
    beta : (T, p), inverse : (T, p, p), (X'V0^-1X)^-1
    """

    logdet: Float
    square: Float
    of_log: Float
    of_square: Float
    beta: Float
    inverse: Float


@dataclass(frozen=True, slots=True)
class OneFactorFits:
    """Fits of T responses in the equations' columns.

    Attributes
    ----------
    theta : (T, k), Lambda's entries; sigma2 : (T,)
    minus2ll : (T,) less what scales of columns and responses add
    look : the likelihood's parts at theta
    hessian : (T, k + 1, k + 1) of -2l in [theta, sigma2]
    spread : (T, r), diagonal of L (X'V0^-1X)^-1 L'; slopes : (T, k, r), its slopes in theta
    converged, singular, aliased, exact : (T,); ``aliased``: a column is a sum of others in its rows;
        ``exact``: nothing is left of the response
    iterations : (T,)
    """

    theta: Float
    sigma2: Float
    minus2ll: Float
    look: Look
    hessian: Float
    spread: Float
    slopes: Float
    converged: NDArray[np.bool_]
    singular: NDArray[np.bool_]
    aliased: NDArray[np.bool_]
    exact: NDArray[np.bool_]
    iterations: Int
