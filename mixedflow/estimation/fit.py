"""From sums to estimates: solver, driver, boundary, certificate, in the user's units.

Stands at "Fitting" in ``docs/algorithm.md``. No Dask, no files.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mixedflow.crossproducts.levels import LevelStore
from mixedflow.crossproducts.repeated import gathered
from mixedflow.crossproducts.types import CrossProducts
from mixedflow.design.types import Float, Int, TermDesign
from mixedflow.equations.choice import EnginePlan, plan_engine
from mixedflow.equations.engines import Parts
from mixedflow.equations.iterative import IterativeEngine, IterativeRoute
from mixedflow.equations.system import ModelSystem, model_system
from mixedflow.estimation.boundary import settle, settle_passes, singular_terms
from mixedflow.estimation.certificate import Certificate, SettledEvaluation, certify
from mixedflow.estimation.checkpoint import Going, Keeper, key_of
from mixedflow.estimation.control import FitControl, Method, checked_method
from mixedflow.estimation.driver import (
    FitState,
    Progress,
    TraceRow,
    run_driver,
)
from mixedflow.estimation.grouped import compiled_pays, evaluate_grouped, local_levels
from mixedflow.estimation.likelihood import Evaluation
from mixedflow.estimation.parameters import VarianceParameters, start_parameters
from mixedflow.estimation.probed import MonteCarloError
from mixedflow.estimation.probing_driver import ProbedProblem, run_probed, warm_start
from mixedflow.estimation.problem import POLISHING, Problem
from mixedflow.estimation.problems import (
    evaluate_at,
    exact_problem,
    plan_system,
    residual_problem,
)
from mixedflow.estimation.turned import search_turned

CHEAP = 1e7
"""Predicted operations of an iteration, times p, up to which a fit is polished to the last digit."""

FEW_POLISHING = 2
"""Newton steps after convergence of larger systems: each gains two digits or more."""

WARM_DECREMENT = 1e-10
"""Decrement at which a fit with a warm start has converged: it is not polished, for every look is dear."""


@dataclass(frozen=True, slots=True)
class Estimates:
    """A fit in numbers, in the user's units unless said otherwise.

    Attributes
    ----------
    reml, method, solver : how it was fitted
    params : variance parameters in y's stored scale
    G : (q_j, q_j) a term
    sigma2 : residual variance
    beta : (p,), vcov : (p, p), of the kept columns
    kept, aliased : indices into the design's X columns
    u : (L_f, q_f) a grouping factor, its terms' columns side by side; empty where the levels are
        elsewhere
    minus2ll : -2 log-likelihood (REML or ML)
    n_obs, n_params : rows; fixed and variance parameters
    converged : the driver's verdict
    singular : a term whether its G is singular
    trace : one row an iteration
    certificate : evidence on convergence
    seconds : of fitting
    monte_carlo : what chance the solver ``pcg`` leaves in the fit; None for the exact solvers
    """

    reml: bool
    method: str
    solver: str
    params: VarianceParameters
    G: tuple[Float, ...]
    sigma2: float
    beta: Float
    vcov: Float
    kept: Int
    aliased: Int
    u: Parts
    minus2ll: float
    n_obs: int
    n_params: int
    converged: bool
    singular: tuple[bool, ...]
    trace: tuple[TraceRow, ...]
    certificate: Certificate
    seconds: float
    monte_carlo: MonteCarloError | None = None

    @property
    def monte_carlo_se(self) -> tuple[float, ...]:
        """Monte-Carlo standard errors, row by row of the variance components; empty if exact."""
        return () if self.monte_carlo is None else self.monte_carlo.se


def fit_reml(sums: CrossProducts, terms: Sequence[TermDesign], **options: object) -> Estimates:
    """Return the restricted maximum likelihood estimates; options as :func:`estimate`."""
    return estimate(sums, terms, reml=True, **options)  # type: ignore[arg-type]


def fit_ml(sums: CrossProducts, terms: Sequence[TermDesign], **options: object) -> Estimates:
    """Return the maximum likelihood estimates; options as :func:`estimate`."""
    return estimate(sums, terms, reml=False, **options)  # type: ignore[arg-type]


def estimate(  # noqa: PLR0913 - the public way in
    sums: CrossProducts,
    terms: Sequence[TermDesign],
    *,
    reml: bool = True,
    method: str = "auto",
    control: FitControl | None = None,
    start: VarianceParameters | None = None,
    progress: Progress | None = None,
    keeper: Keeper | None = None,
) -> Estimates:
    """Return argmax of the (restricted) likelihood over theta and sigma2, with BLUEs and BLUPs.

    Parameters
    ----------
    sums : of a design that holds the model's columns
    terms : random terms
    reml : restricted likelihood, or the full one
    method : "auto", "em", "px-em" or "ai"
    control : settings of the driver
    start : variance parameters to begin with, in y's stored scale
    progress : called with every row of the trace
    keeper : keeps where a long search stands, and knows where one was broken off
    """
    began = time.perf_counter()
    chosen: Method = checked_method(method)
    control = FitControl() if control is None else control
    key = partial(key_of, sums, terms, (reml, chosen, start), control)
    going = Going(keeper, None if keeper is None else keeper.found(key))
    if sums.info.residual is not None:
        structured = residual_problem(sums, terms, reml=reml, method=chosen, control=control)
        state = run_driver(structured, start=start, progress=progress, going=going)
        ended = settle(structured, state)
        limits = structured.at_limits(ended.params)
        return _estimates(ended, state, _How(chosen, structured.solver, began, limits=limits))
    system = model_system(sums, terms)
    plan = plan_system(system, control)
    if isinstance(plan.make, IterativeRoute):
        probed = ProbedProblem(system, plan.make, reml, chosen, control)
        found = run_probed(probed, start=start, progress=progress, going=going)
        how = _How(chosen, plan.name, began, found.error)
        return _estimates(found.settled, found.state, how)
    compiled = plan.name == "grouped" and compiled_pays(system)
    levels = local_levels(system, control.threads) if compiled else None
    problem = Problem(
        system,
        plan.make,
        reml,
        chosen,
        control,
        None if levels is None else gathered(levels),
        polishing=POLISHING if plan.flops * system.p < CHEAP else FEW_POLISHING,
    )
    near = _near(problem, plan, going.before) if start is None else None
    if near is not None:
        strict = min(control.tolerance, WARM_DECREMENT)
        problem = replace(
            problem, control=replace(control, em_steps=0, tolerance=strict), polishing=0
        )
    going = replace(going, near=near)
    first = start if near is None else near
    state = run_driver(problem, start=first, progress=progress, going=going)
    if near is not None:
        state = _begun_warm(state)
    how = _How(chosen, plan.name, began)
    return _settled(problem, state, levels, progress, how)


def _settled(
    problem: Problem,
    state: FitState,
    levels: LevelStore | None,
    progress: Progress | None,
    how: _How,
) -> Estimates:
    """Return the estimates where the search ended, or where another one in other columns did."""
    turned = search_turned(problem, state, progress)
    if turned is None:
        return _estimates(_at_rest(problem, state, levels), state, how)
    params = turned.back(_at_rest(turned.problem, turned.state, levels).params)
    if levels is None:
        found = replace(problem, levels=None).evaluate_at(params)
        assert isinstance(found, Evaluation)  # noqa: S101 - by arrays, not by passes
        return _estimates(found, turned.state, how)
    settled = evaluate_grouped(problem.system, params, levels, reml=problem.reml)
    return _estimates(settled, turned.state, how)


def _at_rest(problem: Problem, state: FitState, levels: LevelStore | None) -> SettledEvaluation:
    """Return the evaluation with every vanishing pivot exactly zero."""
    return settle(problem, state) if levels is None else settle_passes(problem, levels, state)


def _near(
    problem: Problem, plan: EnginePlan, before: Mapping[str, Any] | None
) -> VarianceParameters | None:
    """Return where conjugate gradients lead, if an exact evaluation is dear and that is wanted."""
    if before is not None:
        near = before["near"]
        return None if near is None else problem.start().with_vector(np.array(near, dtype=float))
    control, system = problem.control, problem.system
    if plan.warm is None or not control.warm_start or problem.method != "auto":
        return None
    probed = ProbedProblem(system, plan.warm, problem.reml, problem.method, control)
    return warm_start(probed, start_parameters(system))


def _begun_warm(state: FitState) -> FitState:
    """Return the state with a trace that says how its start was found."""
    first, *later = state.trace
    return replace(state, trace=(replace(first, step="warm start"), *later))


@dataclass(frozen=True, slots=True)
class _How:
    method: str
    solver: str
    began: float
    monte_carlo: MonteCarloError | None = None
    limits: tuple[tuple[str, str], ...] = ()


def estimate_levels(  # noqa: PLR0913 - as estimate
    system: ModelSystem,
    levels: LevelStore,
    *,
    reml: bool = True,
    method: str = "auto",
    control: FitControl | None = None,
    progress: Progress | None = None,
    going: Going | None = None,
) -> Estimates:
    """Return the estimates of a model of one factor whose levels' sums are elsewhere; ``u`` is empty.

    Parameters
    ----------
    system : from :func:`mixedflow.equations.system.pooled_system`
    levels : where the sums of the levels are
    reml, method, control, progress : as for :func:`estimate`
    going : knows where a search was broken off
    """
    began = time.perf_counter()
    chosen: Method = checked_method(method)
    control = FitControl() if control is None else control
    plan = plan_engine(system.pattern, wanted="grouped")
    polishing = POLISHING if plan.flops * system.p < CHEAP else FEW_POLISHING
    problem = Problem(system, plan.make, reml, chosen, control, levels, polishing)
    state = run_driver(problem, progress=progress, going=going)
    return _settled(problem, state, levels, progress, _How(chosen, "grouped", began))


def _estimates(settled: SettledEvaluation, state: FitState, how: _How) -> Estimates:
    system, params = settled.system, settled.params
    singular = singular_terms(system, params)
    labels = [term.label for term in system.terms]
    certificate = certify(state, settled, list(zip(labels, singular, strict=True)), how.limits)
    beta, vcov = fixed_effects(settled)
    y_scale = system.fixed_scale.y_scale
    return Estimates(
        reml=settled.reml,
        method=how.method,
        solver=how.solver,
        params=params,
        G=term_covariances(settled),
        sigma2=y_scale**2 * params.sigma2,
        beta=beta,
        vcov=vcov,
        kept=system.kept,
        aliased=system.aliased,
        u=random_effects(settled),
        minus2ll=settled.minus2ll,
        n_obs=system.n_obs,
        n_params=system.p + len(params.vector()),
        converged=certificate.converged,
        singular=singular,
        trace=state.trace,
        certificate=certificate,
        seconds=time.perf_counter() - how.began,
        monte_carlo=how.monte_carlo,
    )


def fixed_effects(evaluation: SettledEvaluation) -> tuple[Float, Float]:
    """Return beta = y_scale T b + constant and its covariance y_scale^2 T (X'V^-1X)^-1 T'."""
    scale = evaluation.system.fixed_scale
    T = scale.transform
    beta = scale.y_scale * (T @ evaluation.beta) + scale.constant
    vcov = scale.y_scale**2 * (T @ evaluation.S_inverse @ T.T)
    return beta, 0.5 * (vcov + vcov.T)


def user_factors(evaluation: SettledEvaluation) -> Parts:
    """Return y_scale T F a factor: G = (T F)(T F)' in the user's units."""
    system = evaluation.system
    scale = system.fixed_scale.y_scale
    return tuple(
        scale * (factor.units @ F)
        for factor, F in zip(system.factors, evaluation.factors, strict=True)
    )


def term_covariances(evaluation: SettledEvaluation) -> tuple[Float, ...]:
    """Return G of every term in the user's units."""
    system = evaluation.system
    out: list[Float] = [np.empty((0, 0))] * len(system.terms)
    for factor, F in zip(system.factors, user_factors(evaluation), strict=True):
        for term, where in zip(factor.terms, factor.slices, strict=True):
            out[term] = F[where, where] @ F[where, where].T
    return tuple(out)


def random_effects(evaluation: SettledEvaluation) -> Parts:
    """Return u = y_scale T F b, (L_f, q_f) a factor; none where the levels are elsewhere."""
    factors = user_factors(evaluation)
    scaled = evaluation.solution.b
    return tuple(b @ F.T for b, F in zip(scaled, factors, strict=False))


def conditional_covariances(evaluation: Evaluation) -> Parts:
    """Return Var(u_l | y, beta) = y_scale^2 T F (M_zz^-1)_ll F'T', (L_f, q_f, q_f)."""
    inverse = evaluation.solution.engine.inverse_diagonal()
    factors = user_factors(evaluation)
    return tuple(F @ part @ F.T for F, part in zip(factors, inverse, strict=True))


def conditional_covariances_at(evaluation: Evaluation, factor: int, levels: Int) -> Float:
    """Return Var(u_l | y, beta) of a few levels of a factor, (m, q, q), exactly for every solver."""
    engine = evaluation.solution.engine
    if isinstance(engine, IterativeEngine):
        inverse = engine.inverse_at(factor, levels)
    else:
        inverse = engine.inverse_diagonal()[factor][levels]
    F = user_factors(evaluation)[factor]
    covariances: Float = F @ inverse @ F.T
    return covariances


def trace_table(trace: Sequence[TraceRow]) -> dict[str, list[object]]:
    """Return the trace as columns."""
    names = ("iteration", "step", "minus2ll", "decrement", "rel_change", "halvings", "seconds")
    return {name: [getattr(row, name) for row in trace] for name in names}


__all__ = [
    "Estimates",
    "conditional_covariances",
    "conditional_covariances_at",
    "estimate",
    "estimate_levels",
    "evaluate_at",
    "exact_problem",
    "fit_ml",
    "fit_reml",
    "fixed_effects",
    "plan_system",
    "random_effects",
    "term_covariances",
    "trace_table",
]
