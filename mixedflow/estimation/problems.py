"""From sums and terms to a problem: which equations, solved by which engine.

Stands at "Fitting" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mixedflow.crossproducts.types import CrossProducts
from mixedflow.design.types import TermDesign
from mixedflow.equations.choice import EnginePlan, plan_engine
from mixedflow.equations.engines import NoneEngine
from mixedflow.equations.iterative import IterativeRoute, IterativeSettings
from mixedflow.equations.residual_system import residual_sums
from mixedflow.equations.system import ModelSystem, model_system
from mixedflow.errors import UnsupportedError
from mixedflow.estimation.control import FitControl, Method
from mixedflow.estimation.likelihood import Evaluation
from mixedflow.estimation.parameters import VarianceParameters
from mixedflow.estimation.probed import MonteCarloError
from mixedflow.estimation.problem import POLISHING, Problem
from mixedflow.estimation.residual import ResidualProblem


def plan_system(system: ModelSystem, control: FitControl) -> EnginePlan:
    """Return the route for the system's equations."""
    settings = IterativeSettings(
        probes=control.mc_probes, seed=control.mc_seed, threads=control.threads
    )
    return plan_engine(system.pattern, wanted=control.solver, iterative=settings)


def residual_problem(
    sums: CrossProducts,
    terms: Sequence[TermDesign],
    *,
    reml: bool,
    method: Method = "auto",
    control: FitControl | None = None,
) -> ResidualProblem:
    """Return the problem of a model whose residuals have a structure.

    Raises
    ------
    UnsupportedError
        if its equations are too large for the exact solvers.
    """
    control = FitControl() if control is None else control
    residual = residual_sums(sums, terms)
    plan = plan_system(residual.start, control)
    if isinstance(plan.make, IterativeRoute):
        raise UnsupportedError(
            f"the solver '{plan.name}' is for independent or weighted residuals; residuals with a "
            "structure need the solver 'auto', 'grouped', 'dense', 'schur' or 'sparse', and a "
            "system that fits in memory"
        )
    return ResidualProblem(
        residual.start,
        plan.make,
        reml,
        method,
        control,
        polishing=POLISHING,
        residual=residual,
        solver=plan.name,
    )


def evaluate_at(
    sums: CrossProducts,
    terms: Sequence[TermDesign],
    params: VarianceParameters,
    *,
    reml: bool,
    solver: str = "auto",
    monte_carlo: MonteCarloError | None = None,
) -> Evaluation:
    """Return the likelihood and solution at stored parameters, to verify or to go on from a fit.

    With the probes and the seed of ``monte_carlo`` an estimated likelihood is the same again.
    """
    problem = exact_problem(sums, terms, reml=reml, solver=solver, monte_carlo=monte_carlo)
    found = problem.evaluate_at(params)
    assert isinstance(found, Evaluation)  # noqa: S101 - by arrays, not by passes
    return found


def exact_problem(
    sums: CrossProducts,
    terms: Sequence[TermDesign],
    *,
    reml: bool,
    solver: str = "auto",
    monte_carlo: MonteCarloError | None = None,
) -> Problem:
    """Return the problem of a fit by arrays over all levels: to evaluate it, not to drive it."""
    wanted = "auto" if solver == NoneEngine.name else solver
    control = FitControl(solver=wanted)  # type: ignore[arg-type]  # checked by FitControl
    if sums.info.residual is not None:
        return residual_problem(sums, terms, reml=reml, control=control)
    system = model_system(sums, terms)
    if monte_carlo is not None:
        control = replace(control, mc_probes=monte_carlo.probes, mc_seed=monte_carlo.seed)
    return Problem(system, plan_system(system, control).make, reml, "auto", control)
