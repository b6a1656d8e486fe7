"""Conditional AIC: the likelihood of y given the random effects, and what it cost to fit it.

Stands at "Conditional AIC" in ``docs/algorithm.md``. All that is needed are W'R^-1W and W'R^-1y, the
solution v = (beta, u) of the mixed model equations, and how it moves with the variance parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.moments import moments
from mixedflow.equations.system import ModelSystem
from mixedflow.estimation.likelihood import Evaluation
from mixedflow.estimation.observed import observed_information, parameter_sizes
from mixedflow.estimation.parameters import VarianceParameters
from mixedflow.estimation.problem import Problem

STEP = 1e-4
"""Half the distance of two solutions that show a slope, relative to the parameter's size."""


@dataclass(frozen=True, slots=True)
class ConditionalFit:
    """What conditional AIC is made of.

    Attributes
    ----------
    loglik : log f(y | X beta + Z u, R)
    rho : tr(dy-hat/dy) at known variances, the trace of the hat matrix
    df : tr(dy-hat/dy) with variances estimated, and the parameters of R
    residual_params : number of parameters of R
    """

    loglik: float
    rho: float
    df: float
    residual_params: int


class _Vector(NamedTuple):
    """A vector over the columns of W: (p,) of X, (L, Q) a factor of Z in stored columns."""

    x: Float
    z: tuple[Float, ...]

    def dot(self, other: _Vector) -> float:
        return float(
            self.x @ other.x + sum(np.sum(a * b) for a, b in zip(self.z, other.z, strict=True))
        )

    def minus(self, other: _Vector, scale: float = 1.0) -> _Vector:
        z = tuple(scale * (a - b) for a, b in zip(self.z, other.z, strict=True))
        return _Vector(scale * (self.x - other.x), z)


def conditional_fit(problem: Problem, params: VarianceParameters) -> ConditionalFit:
    """Return log f(y | u), rho = tr(C W'R^-1W), and df of Greven and Kneib (2010) for any structure.

    With u_k = P dV_k P y = dscore_k/dy and H the observed information ::

        tr(dy-hat/dy) = rho + sum_jk (H^-1)_jk u_k'W dv/dx_j

    Parameters
    ----------
    problem : the fit's, exact
    params : the estimates; what stands at a bound does not move
    """
    at = _evaluated(problem, params)
    system, n = at.system, at.system.n_obs
    found = moments(at.solution, reml=True)
    minus2 = n * np.log(2.0 * np.pi * params.sigma2) - system.sum_log_weight
    minus2 += 2.0 * n * np.log(system.fixed_scale.y_scale) + found.residual
    information = observed_information(problem, params)
    free = np.flatnonzero(information.free)
    moves = [_move(problem, at, int(j)) for j in free]
    spread = [_times(system, one) for one in moves]
    scores = [_of_residual(problem, at, int(k)) for k in free]
    M = np.array(
        [
            [at.precision * f.dot(Wf) + own.dot(g) for g, Wf in zip(moves, spread, strict=True)]
            for f, own in zip(moves, scores, strict=True)
        ]
    ).reshape(len(free), len(free))
    correction = float(np.sum(information.covariance[np.ix_(free, free)] * M))
    of_residual = len(params.psi) + 1
    rho = float(found.residual_trace)
    return ConditionalFit(-0.5 * float(minus2), rho, rho + correction + of_residual, of_residual)


def _evaluated(problem: Problem, params: VarianceParameters) -> Evaluation:
    found = problem.evaluate_at(params)
    assert isinstance(found, Evaluation)  # noqa: S101 - by arrays, not by passes
    return found


def _solution(at: Evaluation) -> _Vector:
    loadings = at.solution.mme.loadings
    z = tuple(b @ T.T for b, T in zip(at.solution.b, loadings, strict=True))
    return _Vector(at.solution.beta, z)


def _stepped(at: Evaluation, j: int) -> tuple[Sequence[VarianceParameters], float]:
    """Return the parameters on both sides of the estimates along the j-th, and their distance."""
    step = np.zeros(len(at.params.vector()))
    step[j] = STEP * parameter_sizes(at)[j]
    both = [at.params.with_vector(at.params.vector() + sign * step) for sign in (1.0, -1.0)]
    return both, 2.0 * float(step[j])


def _move(problem: Problem, at: Evaluation, j: int) -> _Vector:
    """Return dv/dx_j."""
    both, distance = _stepped(at, j)
    up, down = (_solution(_evaluated(problem, one)) for one in both)
    return up.minus(down, 1.0 / distance)


def _of_residual(problem: Problem, at: Evaluation, k: int) -> _Vector:
    """Return -W'(dR^-1/dx_k) e, e the residuals: zero for parameters of G."""
    both, distance = _stepped(at, k)
    v = _solution(at)
    up, down = (_right(problem, one, v) for one in both)
    return down.minus(up, 1.0 / distance)


def _right(problem: Problem, params: VarianceParameters, v: _Vector) -> _Vector:
    """Return W'R^-1(y - W v) under other parameters."""
    at = _evaluated(problem, params)
    system = at.system
    y = _Vector(system.XtBy, tuple(factor.ZtBy for factor in system.factors))
    return y.minus(_times(system, v), at.precision)


def _times(system: ModelSystem, v: _Vector) -> _Vector:
    """Return W'BW v."""
    x = system.XtBX @ v.x
    z = []
    for factor, u in zip(system.factors, v.z, strict=True):
        x = x + np.einsum("lap,la->p", factor.ZtBX, u)
        z.append(factor.ZtBX @ v.x + np.einsum("lab,lb->la", factor.ZtBZ, u))
    for (f, h), pair in system.pairs.items():
        z[f] = z[f] + (pair.matrix @ v.z[h].ravel()).reshape(z[f].shape)
        z[h] = z[h] + pair.matrix.transposed_times(v.z[f].ravel()).reshape(z[h].shape)
    return _Vector(x, tuple(z))
