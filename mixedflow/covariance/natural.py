"""Natural coordinates of a covariance matrix: variances and correlations, or its entries.

Stands at "Kenward and Roger" in ``docs/algorithm.md``. Fits move through coordinates z without limits;
what Kenward and Roger's covariance is said in are those of books and of SAS. With x(z) these and moves
dz = sum_k L_k e_k, e uncorrelated with variance 1 ::

    sum_ij W_ij d2M/dx_i dx_j = sum_k M''_k - sum_c dM/dz_c (J^-1 sum_k x''_k)_c

W = J L L'J', J = dx/dz, and '' the second derivative along L_k.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.correlation import Float
from mixedflow.errors import UnsupportedError

_STEP = 1e-4
"""Half the distance, relative to the move, of two slopes that show a second derivative."""


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Which entries of M stand for it, (n,) each.

    Attributes
    ----------
    rows, cols : of the entries
    scaled : True where the entry's correlation is meant, not the entry itself
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    scaled: NDArray[np.bool_]


def variances_and_correlations(n_variances: int, pairs: NDArray[np.int64]) -> Coordinates:
    """Return the first variances and the correlations of some pairs, (n, 2)."""
    at = np.arange(n_variances)
    return Coordinates(
        np.concatenate([at, pairs[:, 0]]),
        np.concatenate([at, pairs[:, 1]]),
        np.repeat([False, True], [n_variances, len(pairs)]),
    )


def no_coordinates(structure: str) -> UnsupportedError:
    """Return what is said where second derivatives are asked for that have no coordinates."""
    return UnsupportedError(
        "ddf='kenward-roger' needs the coordinates in which second derivatives are meant, and the "
        f"structure '{structure}' states none; offered are ddf='kenward-roger-linear', which leaves "
        "them out, and 'satterthwaite'"
    )


def natural_second(
    matrix: Float,
    derivatives: Callable[[Float], Float],
    at: Float,
    moves: Float,
    coordinates: Coordinates,
) -> Float:
    """Return sum_ij W_ij d2M/dx_i dx_j, (m, m), for x the coordinates; see the head of the file.

    Parameters
    ----------
    matrix : M at z
    derivatives : z -> dM/dz, (r, m, m)
    at : z, (r,)
    moves : L, (r, k)
    coordinates : as many as z has
    """
    slopes = derivatives(at)
    bend, total = np.zeros(len(coordinates.rows)), np.zeros_like(matrix)
    for move in moves.T:
        size = np.abs(move).max(initial=0.0)
        if size == 0.0:
            continue
        step = _STEP / size
        up, down = (derivatives(at + s * step * move) for s in (1.0, -1.0))
        second = np.tensordot(move, up - down, axes=1) / (2.0 * step)
        bend += _second(matrix, np.tensordot(move, slopes, axes=1), second, coordinates)
        total += second
    J = np.array([_first(matrix, slope, coordinates) for slope in slopes]).T
    back = np.linalg.lstsq(J, bend, rcond=None)[0]
    out: Float = total - np.tensordot(back, slopes, axes=1)
    return out


def _parts(matrix: Float, slope: Float, at: Coordinates) -> tuple[Float, Float, Float, Float]:
    """Return c, c', (v w)^-1/2 and the slope of its logarithm, 1 and 0 for plain entries."""
    v, w = (np.diag(matrix)[k] for k in (at.rows, at.cols))
    dv, dw = (np.diag(slope)[k] for k in (at.rows, at.cols))
    v, w = (np.where(part > 0, part, 1.0) for part in (v, w))
    scale = np.where(at.scaled, 1.0 / np.sqrt(v * w), 1.0)
    growth = np.where(at.scaled, -0.5 * (dv / v + dw / w), 0.0)
    return matrix[at.rows, at.cols], slope[at.rows, at.cols], scale, growth


def _first(matrix: Float, slope: Float, at: Coordinates) -> Float:
    c, dc, scale, growth = _parts(matrix, slope, at)
    out: Float = scale * (dc + c * growth)
    return out


def _second(matrix: Float, slope: Float, second: Float, at: Coordinates) -> Float:
    c, dc, scale, growth = _parts(matrix, slope, at)
    bent = np.zeros_like(growth)
    for k in (at.rows, at.cols):
        v = np.diag(matrix)[k]
        v = np.where(v > 0, v, 1.0)
        bent -= 0.5 * (np.diag(second)[k] / v - (np.diag(slope)[k] / v) ** 2)
    bent = np.where(at.scaled, bent, 0.0)
    d2c = second[at.rows, at.cols]
    out: Float = scale * (d2c + 2.0 * dc * growth + c * (growth**2 + bent))
    return out
