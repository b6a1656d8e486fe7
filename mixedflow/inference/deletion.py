"""What leaving out a group does to beta-hat and its covariance, at the variances of the fit.

Stands at "Deletion" in ``docs/algorithm.md``. Independent groups: total minus own, p x p a group. Rows
of any others, such as a level of a crossed factor: Henderson's equations less a few rows, by the
entries of C at the effects that these rows touch (Sherman, Morrison and Woodbury).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedflow.design.types import Float
from mixedflow.inference.independent_groups import GroupProducts

NOTHING = 1e-9
"""1 - leverage below which a group alone tells of some coefficient, which cannot be had without it."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What m deletions do; coordinates in which (X'V^-1X)^-1 is I. NaN where nothing is left to tell.

    Attributes
    ----------
    root : (p, p), the way to the user's coefficients
    change : (m, p), beta-hat - beta-hat(without)
    share : (m, p), eigenvalues of I - Phi^-1 of the others: the leverages
    axes : (m, p, p), their eigenvectors
    """

    root: Float
    change: Float
    share: Float
    axes: Float

    @property
    def shifts(self) -> Float:
        """(m, p), beta-hat - beta-hat(without) in the user's units."""
        shifts: Float = self.change @ self.root.T
        return shifts

    @property
    def errors(self) -> Float:
        """(m, p), standard errors of the coefficients without the group."""
        half = self.root @ self.axes
        left = np.maximum(1.0 - self.share, NOTHING)
        errors: Float = np.sqrt(np.einsum("mpa,ma->mp", half * half, 1.0 / left))
        return errors

    @property
    def leverage(self) -> Float:
        """(m,), trace of X_g Phi X_g'V_g^-1: the coefficients that the group alone determines."""
        return np.asarray(self.share.sum(axis=1))

    @property
    def largest(self) -> Float:
        """(m,), the largest eigenvalue of the same."""
        return np.asarray(self.share.max(axis=1))

    @property
    def cook(self) -> Float:
        """(m,), change'Phi^-1 change / p (Cook 1977)."""
        return np.asarray(np.mean(self.change**2, axis=1))

    @property
    def mdffits(self) -> Float:
        """(m,), change'Phi(without)^-1 change / p (Belsley, Kuh and Welsch 1980)."""
        along = np.einsum("mba,mb->ma", self.axes, self.change)
        return np.asarray(np.mean((1.0 - self.share) * along**2, axis=1))

    @property
    def covratio(self) -> Float:
        """(m,), |Phi(without)| / |Phi|."""
        left = 1.0 - self.share
        found = 1.0 / np.prod(np.maximum(left, NOTHING), axis=1)
        return np.where((left > NOTHING).all(axis=1), found, np.inf)

    @property
    def covtrace(self) -> Float:
        """(m,), tr(Phi^-1 Phi(without)) - p: the relative growth of the variances of beta-hat."""
        left = 1.0 - self.share
        found = np.sum(self.share / np.maximum(left, NOTHING), axis=1)
        return np.where((left > NOTHING).all(axis=1), found, np.inf)


def group_deletion(found: GroupProducts) -> Deletion:
    """Return what leaving out each independent group does: (I - S_g) change = s_g.

    Parameters
    ----------
    found : S_g = X_g'V_g^-1X_g and s_g = X_g'V_g^-1e_g of the groups
    """
    return _deletion(found.root, found.gram, found.score)


def _deletion(root: Float, loss: Float, score: Float) -> Deletion:
    """Return deletions that take ``loss`` of Phi^-1 = I and leave (I - loss) change = score."""
    share, axes = np.linalg.eigh(loss)
    left = 1.0 - share
    with np.errstate(divide="ignore", invalid="ignore"):
        along = np.einsum("mba,mb->ma", axes, score) / left
    change = np.einsum("mba,ma->mb", axes, along)
    change[(left <= NOTHING).any(axis=1)] = np.nan
    return Deletion(root, change, np.clip(share, 0.0, 1.0), axes)


def rows_deletion(W: Float, e: Float, C: Float, cross: Float) -> tuple[Float, Float]:
    """Return (beta-hat - beta-hat(without), Phi(without)) when some rows are left out.

    C W'(I - W C W')^-1 e and Phi + C W'(I - W C W')^-1 W C for the rows of beta, or with k x k
    matrices, C (I - W'W C)^-1 W'e, where there are more rows than effects that they touch.

    Parameters
    ----------
    W : (n, k), the rows' entries of R^-1/2 [X Z] at the k effects that they touch, X first
    e : (n,), their residuals R^-1/2 (y - X beta - Z u)
    C : (k, k), of the inverse of Henderson's matrix
    cross : (p, k), its rows of beta; its first p columns are Phi
    """
    n, k = W.shape
    p = len(cross)
    if n <= k:
        half = cross @ W.T
        inner = np.linalg.solve(np.eye(n) - W @ C @ W.T, np.column_stack([e, half.T]))
        return half @ inner[:, 0], cross[:, :p] + half @ inner[:, 1:]
    N = W.T @ W
    inner = np.linalg.solve(np.eye(k) - N @ C, np.column_stack([W.T @ e, N @ cross.T]))
    return cross @ inner[:, 0], cross[:, :p] + cross @ inner[:, 1:]


def deletions(root: Float, changes: Float, covariances: Float) -> Deletion:
    """Return deletions from their changes and covariances of beta-hat, in coordinates of Phi = I.

    Parameters
    ----------
    root : (p, p), the way to the user's coefficients
    changes : (m, p)
    covariances : (m, p, p), Phi(without)
    """
    values, axes = np.linalg.eigh(covariances)
    share = 1.0 - 1.0 / np.maximum(values, 1.0)
    lost = (~np.isfinite(values) | (1.0 - share <= NOTHING)).any(axis=1)
    return Deletion(root, np.where(lost[:, None], np.nan, changes), share, axes)
