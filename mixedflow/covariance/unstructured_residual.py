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

_COMPLEX_STEP = 1e-30


class FreeCorrelation(Correlation):
    """C with m(m - 1)/2 free correlations."""

    stacked = True

    def n_params(self, m: int) -> int:
        """Return m(m - 1)/2."""
        return m * (m - 1) // 2

    def names(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``partial(b,a)`` row by row."""
        rows, cols = np.tril_indices(len(labels), -1)
        return tuple(f"partial({labels[i]},{labels[j]})" for i, j in zip(rows, cols, strict=True))

    def matrix(self, psi: NDArray[Any], m: int) -> NDArray[Any]:
        """Return L L' with rows of unit length."""
        _, _, L = _rows(psi, m)
        C: NDArray[Any] = L @ L.swapaxes(-1, -2)
        C[..., np.arange(m), np.arange(m)] = 1.0
        return C

    def gradient(self, psi: NDArray[Any], m: int, weights: NDArray[Any]) -> NDArray[Any]:
        """Return sum_ab w_ab dC_ab/dpsi_i for symmetric weights (..., m, m), of the type of psi.

        With dL = 2 w L it is (1 - z_ij^2) left_ij dL_ij - z_ij sum_(k>j) dL_ik l_ik.
        """
        z, left, L = _rows(psi, m)
        dL = 2.0 * weights @ L
        product = dL * L
        after = product.sum(axis=-1, keepdims=True) - np.cumsum(product, axis=-1)
        slope = (1.0 - z) * (1.0 + z) * left * dL - z * after
        return np.asarray(slope[(..., *np.tril_indices(m, -1))])

    def nearest(self, C: Float) -> Float:
        """Return the canonical partial correlations of C."""
        m = len(C)
        L = psd_factor(C)
        left = np.sqrt(np.maximum(1.0 - np.cumsum(L**2, axis=1) + L**2, 0.0))
        z = L / np.where(left > 0, left, 1.0)
        return inverse_tanh(z[np.tril_indices(m, -1)])


def _rows(psi: NDArray[Any], m: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return z, what the partial correlations before leave of a row's length, and L."""
    z = np.zeros((*psi.shape[:-1], m, m), dtype=psi.dtype)
    z[(..., *np.tril_indices(m, -1))] = np.tanh(psi)
    left = np.ones_like(z)
    left[..., 1:] = np.cumprod(np.sqrt((1.0 - z) * (1.0 + z)), axis=-1)[..., :-1]
    return z, left, left * (z + np.eye(m))


@register_residual
class UnstructuredResidual(CorrelatedResidual):
    """R0 = D C D, all free."""

    name = "us"
    title = "unstructured"
    heterogeneous = True
    linear = True
    correlation = FreeCorrelation()

    def curvature(self, psi: Float, size: int, weights: Float) -> Float:
        """Return sum_ab w_ab d2R0_ab/dpsi_i dpsi_j, by the complex step from the first derivatives."""
        free, count = FreeCorrelation(), size - 1
        moved = psi + 1j * _COMPLEX_STEP * np.eye(len(psi))
        scale = np.ones((len(psi), size), dtype=complex)
        scale[:, 1:] = np.exp(moved[:, :count])
        scaled = scale[:, :, None] * weights * scale[:, None, :]
        of_scale = 2.0 * (scaled * free.matrix(moved[:, count:], size)).sum(axis=2)[:, 1:]
        of_correlation = free.gradient(moved[:, count:], size, scaled)
        out = np.imag(np.concatenate([of_scale, of_correlation], axis=1)) / _COMPLEX_STEP
        return np.asarray(0.5 * (out + out.T))
