"""X'X and sums within groups of the rows, out of sums that are kept for a structure of R.

Stands at "Types of hypotheses" in ``docs/algorithm.md``. Every basis of R^-1 holds I: sums over the
keys of I are sums over rows, weighted where rows have weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixedflow.covariance.residual_types import ResidualDesign, SumKey
from mixedflow.crossproducts.types import CrossProducts, KeyedSums
from mixedflow.design.types import DesignInfo, Float, Int

ROUNDING = 1e-10
"""Share of X'X that aliased columns are known to."""


def of_rows(sums: CrossProducts) -> list[KeyedSums]:
    """Return the sums of the keys whose B add up to I."""
    design = sums.info.residual
    return [part for key, part in sorted(sums.keyed.items()) if design is None or _own(design, key)]


def _own(design: ResidualDesign, key: SumKey) -> bool:
    """Say whether the products of a key are those of rows with themselves."""
    if design.basis == "pairs":
        first, second = divmod(key[1], len(design.positions))
        return first == second
    return key[1] == 0


def row_gram(sums: CrossProducts) -> Float:
    """Return X'X (X'WX with weights) of the stored columns, (P, P), the leading constant included."""
    gram: Float = np.sum([part.XtBX for part in of_rows(sums)], axis=0)
    return gram


def user_columns(info: DesignInfo) -> Float:
    """Return A, (p, p), with X = X~ A: a column is its scale times the stored one plus its shift."""
    A = np.diag(info.pilots.x_scale)
    if info.intercept is not None:
        A[info.intercept, :] += info.pilots.x_shift
    return A


def kept_coordinates(sums: CrossProducts, kept: Int) -> Float:
    """Return E, (r, p), with X = X_kept E: aliased columns in those that are kept."""
    lead = int(sums.constant)
    gram, A = row_gram(sums)[lead:, lead:], user_columns(sums.info)
    stored = np.linalg.solve(gram[np.ix_(kept, kept)], gram[kept])
    norms = np.sqrt(np.diag(gram))
    share = np.abs(stored) * norms[kept, None]
    stored[share <= ROUNDING * norms[None, :]] = 0.0
    E = np.linalg.solve(A[np.ix_(kept, kept)], stored @ A).astype(float)
    E[:, kept] = np.eye(len(kept))
    return E


def sequential_rows(gram: Float, A: Float, order: Sequence[int]) -> Float:
    """Return the rows of the coefficients after each has lost what earlier columns explain.

    Row j of the unit upper triangle of the Cholesky factor of X'X, X in the order given: what
    coefficient j and those after it add up to when they are left out of the model one by one.

    Parameters
    ----------
    gram : (r, r), X~'X~
    A : (r, r), X = X~ A, triangular but for the order of columns
    order : columns from first to last

    Returns
    -------
    (r, r), row k for column ``order[k]``, over the columns as they stand.
    """
    at = np.asarray(order)
    upper = np.linalg.cholesky((A.T @ gram @ A)[np.ix_(at, at)]).T
    out = np.zeros_like(upper)
    out[:, at] = upper / np.diag(upper)[:, None]
    return out
