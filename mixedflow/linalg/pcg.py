"""Preconditioned conjugate gradients for many right-hand sides at once.

Serves the iterative route of "Solving" in ``docs/algorithm.md``. The matrix is whatever multiplies;
columns are solved side by side but never meet, so that a column has the same bits whichever others
are solved with it. The coefficients of the recurrence are kept: they are Lanczos' tridiagonal matrix,
from which :func:`quadrature` takes z'f(A)z.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mixedflow.errors import FitError
from mixedflow.linalg.arrays import BoolArray, FloatArray, IntArray
from mixedflow.linalg.late import linalg

COMPILE_ABOVE = 2_000
"""Order above which the compiled loops pay for their start."""


_NOT_POSITIVE = (
    "conjugate gradients met a direction without positive curvature: the equations are not positive "
    "definite"
)


class PositiveOperator(Protocol):
    """A symmetric positive definite matrix that is never written down."""

    @property
    def order(self) -> int:
        """Number of rows."""

    @property
    def compiled(self) -> bool:
        """Whether to take the compiled loops."""

    def multiply(self, X: FloatArray) -> FloatArray:
        """Return A X, (n, k)."""

    def precondition(self, R: FloatArray) -> FloatArray:
        """Return K^-1 R for a K that is near A and easily solved."""


@dataclass(frozen=True, slots=True)
class PcgSolution:
    """X with A X = B, and how it was reached.

    Attributes
    ----------
    X : (n, k)
    iterations : (k,), steps that each column took
    residuals : (k,), |b - A x| / |b| by the recurrence, |r|^2 = r'K^-1 r
    converged : (k,), whether that is at most the tolerance
    alpha, beta : (steps, k), coefficients of the recurrence
    start : (k,), b'K^-1 b
    """

    X: FloatArray
    iterations: IntArray
    residuals: FloatArray
    converged: BoolArray
    alpha: FloatArray
    beta: FloatArray
    start: FloatArray


def solve_pcg(
    operator: PositiveOperator, right: FloatArray, *, tolerance: float, max_steps: int
) -> PcgSolution:
    """Return A^-1 B by conjugate gradients, each column to |b - A x| <= tolerance |b|.

    Lengths are |r|^2 = r'K^-1 r with the preconditioner K: rows of all sizes then count alike, and
    it is nearly the error's r'A^-1 r.

    Parameters
    ----------
    operator : A and its preconditioner
    right : (n, k), left as it is
    tolerance : relative size of the residual
    max_steps : after which a column is returned as not converged

    Raises
    ------
    FitError
        if A is found not to be positive definite.
    """
    dot, along, turn = _loops(compiled=operator.compiled)
    R = np.array(right, dtype=np.float64, order="C")
    X = np.zeros_like(R)
    Z = operator.precondition(R)
    P = Z.copy()
    rz = start = dot(R, Z)
    if not (start >= 0).all():
        raise FitError(_NOT_POSITIVE)
    limit = tolerance**2 * start
    active = start > 0
    steps = np.zeros(R.shape[1], dtype=np.int64)
    alphas: list[FloatArray] = []
    betas: list[FloatArray] = []
    while active.any() and len(alphas) < max_steps:
        Q = operator.multiply(P)
        curvature = dot(P, Q)
        if not (curvature[active] > 0).all():
            raise FitError(_NOT_POSITIVE)
        alpha = np.where(active, rz / np.where(active, curvature, 1.0), 0.0)
        along(X, R, P, Q, alpha)
        steps += active
        Z = operator.precondition(R)
        after = dot(R, Z)
        if not (after >= -limit).all():
            raise FitError(_NOT_POSITIVE)
        active = active & (after > limit)
        beta = np.where(active, after / np.where(active, rz, 1.0), 0.0)
        turn(P, Z, beta)
        rz = after
        alphas.append(alpha)
        betas.append(beta)
    safe = np.where(start > 0, start, 1.0)
    shape = (len(alphas), R.shape[1])
    return PcgSolution(
        X=X,
        iterations=steps,
        residuals=np.sqrt(np.maximum(rz, 0.0) / safe),
        converged=~active,
        alpha=np.array(alphas).reshape(shape),
        beta=np.array(betas).reshape(shape),
        start=start,
    )


def quadrature(found: PcgSolution, function: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Return z'f(K^-1/2 A K^-1/2)z of every column, z = K^-1/2 b (Golub and Meurant 1994), (k,).

    Conjugate gradients are Lanczos' method: their coefficients give the tridiagonal matrix whose
    eigenvalues and first components are the nodes and weights of Gauss' quadrature.
    """
    out = np.zeros(len(found.start))
    for t, m in enumerate(found.iterations):
        if m == 0:
            continue
        alpha, beta = found.alpha[:m, t], found.beta[: m - 1, t]
        diagonal = 1.0 / alpha
        diagonal[1:] += beta / alpha[:-1]
        nodes, vectors = linalg.eigh_tridiagonal(diagonal, np.sqrt(beta) / alpha[:-1])
        weights = vectors[0] ** 2
        out[t] = found.start[t] * float(weights @ function(np.asarray(nodes, dtype=np.float64)))
    return out


def column_products_twin(A: FloatArray, B: FloatArray) -> FloatArray:
    """Return a_t'b_t of every column, one column at a time, so that its bits are its own."""
    return np.array([np.add.reduce(A[:, t] * B[:, t]) for t in range(A.shape[1])])


def step_along_twin(
    X: FloatArray, R: FloatArray, P: FloatArray, Q: FloatArray, alpha: FloatArray
) -> None:
    """X += P alpha, R -= Q alpha in place."""
    X += alpha * P
    R -= alpha * Q


def new_direction_twin(P: FloatArray, Z: FloatArray, beta: FloatArray) -> None:
    """P <- Z + P beta in place."""
    P *= beta
    P += Z


def _loops(
    *, compiled: bool
) -> tuple[
    Callable[[FloatArray, FloatArray], FloatArray],
    Callable[[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray], None],
    Callable[[FloatArray, FloatArray, FloatArray], None],
]:
    if not compiled:
        return column_products_twin, step_along_twin, new_direction_twin
    from mixedflow.linalg.pcg_kernels import column_products, new_direction, step_along

    return column_products, step_along, new_direction
