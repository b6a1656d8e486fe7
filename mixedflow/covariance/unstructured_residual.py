"""Unstructured residuals: every variance and every correlation of the positions is free.

Stands at "Structures" in ``docs/algorithm.md``. The correlations are canonical partial ones
(Lewandowski, Kurowicka and Joe 2009), z = tanh psi: row i of C's Cholesky factor is
l_ij = z_ij prod_(k<j) (1 - z_ik^2)^(1/2), so any psi gives a positive definite C.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.base import psd_factor
from mixedflow.covariance.correlation import Correlation, Float, inverse_tanh
from mixedflow.covariance.registry import register_residual
from mixedflow.covariance.residual_base import CorrelatedResidual


class FreeCorrelation(Correlation):
    """C with m(m - 1)/2 free correlations."""

    def n_params(self, m: int) -> int:
        """Return m(m - 1)/2."""
        return m * (m - 1) // 2

    def names(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``partial(b,a)`` row by row."""
        rows, cols = np.tril_indices(len(labels), -1)
        return tuple(f"partial({labels[i]},{labels[j]})" for i, j in zip(rows, cols, strict=True))

    def matrix(self, psi: NDArray[Any], m: int) -> NDArray[Any]:
        """Return L L' with rows of unit length."""
        z = np.zeros((m, m), dtype=psi.dtype)
        z[np.tril_indices(m, -1)] = np.tanh(psi)
        left = np.ones((m, m), dtype=psi.dtype)
        left[:, 1:] = np.cumprod(np.sqrt((1.0 - z) * (1.0 + z)), axis=1)[:, :-1]
        L = left * (z + np.eye(m))
        C: NDArray[Any] = np.tril(L) @ np.tril(L).T
        np.fill_diagonal(C, 1.0)
        return C

    def nearest(self, C: Float) -> Float:
        """Return the canonical partial correlations of C."""
        m = len(C)
        L = psd_factor(C)
        left = np.sqrt(np.maximum(1.0 - np.cumsum(L**2, axis=1) + L**2, 0.0))
        z = L / np.where(left > 0, left, 1.0)
        return inverse_tanh(z[np.tril_indices(m, -1)])


@register_residual
class UnstructuredResidual(CorrelatedResidual):
    """R0 = D C D, all free."""

    name = "us"
    title = "unstructured"
    heterogeneous = True
    correlation = FreeCorrelation()
