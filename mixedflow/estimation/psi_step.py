"""EM's M-step of psi: Newton's method on the expected log-likelihood, each step one that lowers it.

Stands at "Structures of R" in ``docs/algorithm.md`` (DESIGN 3.3). With sigma2 profiled out it is, for
fixed s_k = E[e'B_k e], the minimum over psi of log h + log|R0| / n, h = sum_k f_k s_k.
"""

from __future__ import annotations

import numpy as np

from mixedflow.covariance.residual_weights import ResidualPlan
from mixedflow.design.types import Float
from mixedflow.equations.residual_system import ResidualSums
from mixedflow.errors import FitError

STEPS = 30
"""Newton steps at most."""

HALVINGS = 20
"""Times a step is halved before it is given up."""

LARGEST = 1.0
"""Largest change of a psi in one step."""

FLAT = 1e-12
"""Slope at which the minimum is reached; a curvature as small, relatively, is no curvature."""

NOTHING = 1e-12
"""Fall of the log-likelihood of a row that a step promises, from which on it is the last."""

ENOUGH = 1e-4
"""Share of the fall that the slope promises and that a step must keep."""


def psi_m_step(residual: ResidualSums, expected: Float, psi: Float) -> Float:
    """Return argmin over psi of n log sum_k f_k s_k + log|R0|, sigma2 profiled out; never above psi.

    Parameters
    ----------
    expected : (K,), s_k
    psi : where EM comes from
    """
    n, plan, (low, high) = residual.start.n_obs, residual.plan, residual.limits
    value = _value(plan, expected, n, psi)
    for _ in range(STEPS if len(psi) and np.isfinite(value) else 0):
        slope, curvature = _derivatives(plan, expected, n, psi)
        free = ~(((psi <= low) & (slope > 0)) | ((psi >= high) & (slope < 0)))
        if not np.any(np.abs(slope[free]) > FLAT):
            break
        step = np.zeros(len(psi))
        step[free] = _downhill(slope[free], curvature[np.ix_(free, free)])
        last = -float(slope @ step) < NOTHING
        for halving in range(HALVINGS):
            trial = np.clip(psi + 0.5**halving * step, low, high)
            there = _value(plan, expected, n, trial)
            if there <= value + ENOUGH * float(slope @ (trial - psi)):
                break
        else:
            break
        if there >= value:
            break
        psi, value = trial, there
        if last:
            break
    return psi


def _value(plan: ResidualPlan, expected: Float, n: int, psi: Float) -> float:
    try:
        f, logdet = plan.values(psi)
    except FitError:
        return np.inf
    total = float(f @ expected)
    return np.log(total) + logdet / n if total > 0 else np.inf


def _derivatives(plan: ResidualPlan, expected: Float, n: int, psi: Float) -> tuple[Float, Float]:
    total = float(plan.values(psi)[0] @ expected)
    of_sum, of_log = plan.slopes(psi, expected)
    second = plan.curvature(psi, (n / total) * expected) / n
    return of_sum / total + of_log / n, second - np.outer(of_sum, of_sum) / total**2


def _downhill(slope: Float, curvature: Float) -> Float:
    """Return -|H|^-1 g, |H| with the sizes of H's eigenvalues, no element beyond the largest."""
    sizes, axes = np.linalg.eigh(curvature)
    sizes = np.maximum(np.abs(sizes), FLAT * max(1.0, float(np.abs(sizes).max())))
    step = -axes @ ((axes.T @ slope) / sizes)
    return np.asarray(step * min(1.0, LARGEST / max(float(np.abs(step).max()), 1e-300)))
