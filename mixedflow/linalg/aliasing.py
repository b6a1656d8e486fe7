"""X[:, aliased] = X[:, kept] T': which columns of X repeat earlier ones, seen from X'X alone.

Serves the rank step of ``docs/algorithm.md``: a fixed-effects design that is not of full rank
loses its aliased columns before any equation is built. Columns are taken in their own order and a
later column gives way to earlier ones, as in R, so that the answer depends neither on the scale of
a column nor on pivoting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixedflow.linalg.triangular import solve_lower

_EPS = float(np.finfo(np.float64).eps)
_CLEARLY_INDEPENDENT = (
    1e-3  # smallest pivot (as a norm) for which one plain Cholesky settles the matter
)


class ColumnAliases(NamedTuple):
    """Outcome of :func:`independent_columns`.

    Attributes
    ----------
    kept : (r,) int array
        Independent columns, ascending; r is the rank.
    aliased : (p - r,) int array
        Columns that are linear combinations of kept columns before them, ascending.
    explanation : (p - r, r) float array
        ``X[:, aliased[i]] = X[:, kept] @ explanation[i]``; rounding noise is set to zero, and the
        row of a column that is zero throughout is zero.
    """

    kept: NDArray[np.intp]
    aliased: NDArray[np.intp]
    explanation: NDArray[np.float64]

    def sentences(self, names: Sequence[str], limit: int = 6) -> list[str]:
        """Say each alias in words: ``'c' = 'a' + 2 'b'``."""
        kept_names = [names[column] for column in self.kept]
        return [
            f"'{names[column]}' = {_combination(row, kept_names, limit)}"
            for column, row in zip(self.aliased, self.explanation, strict=True)
        ]


def independent_columns(gram: ArrayLike, tol: float = 1e-11) -> ColumnAliases:
    """Split the columns of X into independent and aliased ones, given X'X.

    Column j is aliased when what is left of its squared norm after regression on the kept columns
    before it is at most ``tol`` of it, or is below the rounding error of X'X itself.

    Parameters
    ----------
    gram : (p, p) array
        X'X, symmetric and finite; only the lower triangle is read.
    tol : float
        Relative tolerance on the squared norm of a column. With columns of a large mean and a small
        spread, shift them before X'X is formed: no tolerance brings lost digits back.

    Returns
    -------
    ColumnAliases
        ``kept, aliased, explanation``.
    """
    matrix = np.asarray(gram, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"X'X must be a square matrix, found shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("X'X holds values that are not finite")
    norms = np.sqrt(np.maximum(np.diagonal(matrix), 0.0))
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0.0)
    lower = np.tril(matrix, -1) * scale[:, None] * scale[None, :]
    scaled = lower + lower.T
    np.fill_diagonal(scaled, (norms > 0.0).astype(np.float64))
    if _all_independent(scaled):
        p = len(norms)
        return ColumnAliases(np.arange(p), np.arange(0), np.zeros((0, p)))
    kept, aliased, rows = _eliminate(scaled, tol)
    explanation = np.zeros((len(aliased), len(kept)))
    for i, row in enumerate(rows):
        explanation[i, : len(row)] = row
    explanation *= norms[aliased, None] * scale[None, kept]
    return ColumnAliases(kept, aliased, explanation)


def _all_independent(scaled: NDArray[np.float64]) -> bool:
    """Whether a plain Cholesky of the unit-diagonal X'X leaves no doubt."""
    if not len(scaled):
        return True
    try:
        pivots = np.diagonal(np.linalg.cholesky(scaled))
    except np.linalg.LinAlgError:
        return False
    return bool(pivots.min() > _CLEARLY_INDEPENDENT)


def _eliminate(
    scaled: NDArray[np.float64], tol: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], list[NDArray[np.float64]]]:
    """Cholesky without pivoting that skips columns with nothing left; X'X has a unit diagonal."""
    p = len(scaled)
    factor = np.zeros((p, p), order="F")
    kept: list[int] = []
    aliased: list[int] = []
    rows: list[NDArray[np.float64]] = []
    for j in range(p):
        rank = len(kept)
        corner = factor[:rank, :rank]
        row = solve_lower(corner, scaled[kept, j])
        left = scaled[j, j] - row @ row
        weights = solve_lower(corner, row, transposed=True)
        # an error of p eps in the entries of X'X reaches the pivot through (w, -1)
        noise = p * _EPS * (1.0 + np.abs(weights).sum()) ** 2
        if left > max(tol, noise):
            factor[rank, :rank] = row
            factor[rank, rank] = np.sqrt(left)
            kept.append(j)
        else:
            aliased.append(j)
            weights[np.abs(weights) < 10.0 * np.sqrt(max(tol, noise))] = 0.0
            rows.append(weights)
    return np.array(kept, dtype=np.intp), np.array(aliased, dtype=np.intp), rows


def _combination(row: NDArray[np.float64], names: list[str], limit: int) -> str:
    """Write a linear combination, at most ``limit`` terms of it."""
    present = np.flatnonzero(row)
    if not len(present):
        return "0"
    text = ""
    for index in present[:limit]:
        size = float(f"{abs(row[index]):.4g}")
        sign = ("- " if row[index] < 0 else "+ ") if text else ("-" if row[index] < 0 else "")
        text += f"{' ' if text else ''}{sign}{'' if size == 1.0 else f'{size:g} '}'{names[index]}'"
    more = len(present) - limit
    return text if more <= 0 else f"{text} + {more} more"
