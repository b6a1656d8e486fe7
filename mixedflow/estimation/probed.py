"""The likelihood where traces are estimated from probes, and what chance that leaves in the fit.

Stands at "Solving" in ``docs/algorithm.md``. The score is the exact score plus noise of mean zero that
is the same function of the parameters at every iteration, for the probes are kept. Its root therefore
differs from the exact one by H^-1 times the noise, and the scatter between probes says how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.engines import Parts
from mixedflow.equations.iterative import IterativeEngine, IterativeRoute
from mixedflow.equations.probing import ProbedMoments, probed_moments
from mixedflow.equations.system import ModelSystem
from mixedflow.errors import UnsupportedError
from mixedflow.estimation.average import average_information
from mixedflow.estimation.evaluation import FreeEntry
from mixedflow.estimation.information import Information, score
from mixedflow.estimation.likelihood import Evaluation, evaluate
from mixedflow.estimation.parameters import VarianceParameters, term_structures, term_units
from mixedflow.estimation.steps import NewtonStep


@dataclass(frozen=True, slots=True)
class ProbedEvaluation:
    """The likelihood at some variances, its log-determinant and traces by probes.

    Attributes
    ----------
    inner : the evaluation; its ``minus2ll`` is a Monte-Carlo estimate
    """

    inner: Evaluation

    @property
    def params(self) -> VarianceParameters:
        """Where."""
        return self.inner.params

    @property
    def minus2ll(self) -> float:
        """-2 log-likelihood, estimated."""
        return self.inner.minus2ll

    @property
    def reml(self) -> bool:
        """Which likelihood."""
        return self.inner.reml

    @property
    def system(self) -> ModelSystem:
        """The sums."""
        return self.inner.system

    @property
    def factors(self) -> Parts:
        """F of every grouping factor."""
        return self.inner.factors

    @property
    def precision(self) -> float:
        """1 / sigma2."""
        return self.inner.precision

    @property
    def beta(self) -> Float:
        """Fixed effects in stored columns."""
        return self.inner.beta

    @property
    def S_inverse(self) -> Float:
        """(X'V^-1X)^-1 in stored columns."""
        return self.inner.S_inverse

    def moments(self) -> ProbedMoments:
        """Return the E-step's moments."""
        return probed_moments(self.inner.solution, reml=self.reml)

    def average(self, found: ProbedMoments) -> Float:
        """Return the average information, exact up to the tolerance of the solutions."""
        return average_information(self.inner.solution, self.params, found)

    def expanded(
        self,
        found: ProbedMoments,  # noqa: ARG002 - as every evaluation
        index: Sequence[FreeEntry],  # noqa: ARG002
    ) -> tuple[Float, Float]:
        """Refuse: PX-EM needs the inverse at every pair of levels that meet.

        Raises
        ------
        UnsupportedError
            always.
        """
        raise UnsupportedError(
            "method 'px-em' is not available with the solver 'pcg'; use 'auto', 'ai' or 'em'"
        )


def evaluate_probed(
    system: ModelSystem, params: VarianceParameters, route: IterativeRoute, *, reml: bool
) -> ProbedEvaluation:
    """Return the likelihood at given variances, by conjugate gradients and probes."""
    return ProbedEvaluation(evaluate(system, params, route, reml=reml))


@dataclass(frozen=True, slots=True)
class MonteCarloError:
    """What chance the probes leave in a fit.

    Attributes
    ----------
    se : standard error, due to the probes alone, of the variance or covariance in every row of the
        table of variance components, in the user's units
    relative : the same as a share of the component's own standard error
    target : the largest share that was wanted
    minus2ll_se : standard error of -2 log-likelihood
    probes, seed : how many random vectors, from which seed
    """

    se: tuple[float, ...]
    relative: tuple[float, ...]
    target: float
    minus2ll_se: float
    probes: int
    seed: int

    @property
    def largest(self) -> float:
        """The largest relative error."""
        return max(self.relative)

    @property
    def met(self) -> bool:
        """Whether every component is as precise as was wanted."""
        return self.largest <= self.target


def monte_carlo_error(
    evaluation: ProbedEvaluation,
    found: ProbedMoments,
    looked: tuple[Information, NewtonStep],
    target: float,
) -> MonteCarloError:
    """Return J H^-1 Var(score) H^-1 J' of the components, J their derivatives by the parameters.

    Parameters
    ----------
    evaluation, found : at the optimum
    looked : information there, and the Newton step that says which parameters are free
    target : the share of the statistical standard error that is wanted
    """
    info, newton = looked
    engine = evaluation.inner.solution.engine
    assert isinstance(engine, IterativeEngine)  # noqa: S101 - the route that makes evaluations
    probes = engine.settings.probes
    scores = _scores_by_probe(evaluation, found)[:, newton.free]
    noise = np.atleast_2d(np.cov(scores, rowvar=False)) / probes
    inverse = _inverse(info.hessian[np.ix_(newton.free, newton.free)])
    J = component_derivatives(evaluation.system, evaluation.params)[:, newton.free]
    se = _roots(J @ inverse @ noise @ inverse @ J.T)
    own = _roots(J @ inverse @ J.T)
    logdets = engine.logdet_by_probe()
    return MonteCarloError(
        se=tuple(se.tolist()),
        relative=tuple((se / np.where(own > 0, own, 1.0)).tolist()),
        target=target,
        minus2ll_se=float(logdets.std(ddof=1) / np.sqrt(probes)),
        probes=probes,
        seed=engine.settings.seed,
    )


def _scores_by_probe(evaluation: ProbedEvaluation, found: ProbedMoments) -> Float:
    """Return the score that each probe by itself would have given, (probes, r)."""
    extra = evaluation.system.p if found.reml else 0
    out = []
    for number in range(len(found.T_by_probe[0])):
        T = tuple(part[number] for part in found.T_by_probe)
        trace = sum(float(np.trace(part)) for part in T) + extra
        out.append(score(evaluation, replace(found, T=T, residual_trace=trace)))
    return np.array(out)


def _inverse(H: Float) -> Float:
    """Return H^-1 after scaling to a unit diagonal; directions without information count nothing."""
    scale = np.sqrt(np.where(np.diag(H) > 0, np.diag(H), 1.0))
    scaled = np.linalg.pinv(H / np.outer(scale, scale), rcond=1e-12, hermitian=True)
    inverse: Float = scaled / np.outer(scale, scale)
    return inverse


def _roots(covariance: Float) -> Float:
    return np.sqrt(np.maximum(np.diag(covariance), 0.0))


def component_derivatives(system: ModelSystem, params: VarianceParameters) -> Float:
    """Return d(component)/d(parameter) in the user's units, one row a variance component.

    Rows as in the table of variance components: of every term its variances, then its covariances
    unless it is diagonal; the residual variance last.
    """
    y2 = system.fixed_scale.y_scale**2
    starts = np.cumsum([0, *(len(theta) for theta in params.theta)])
    width = int(starts[-1]) + 1
    rows = []
    by_term = term_units(system)
    for j, (structure, theta) in enumerate(zip(term_structures(system), params.theta, strict=True)):
        dim = system.dims[j]
        slopes = y2 * (by_term[j] @ structure.derivatives(theta, dim) @ by_term[j].T)
        places = [(a, a) for a in range(dim)]
        if structure.correlated:
            places += [(a, b) for a in range(dim) for b in range(a + 1, dim)]
        for a, b in places:
            row = np.zeros(width)
            row[starts[j] : starts[j + 1]] = slopes[:, a, b]
            rows.append(row)
    last = np.zeros(width)
    last[-1] = y2 * params.sigma2
    return np.array([*rows, last])
