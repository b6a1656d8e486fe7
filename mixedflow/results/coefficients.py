"""``fit.coef_table``: tests of the coefficients by the default method, or by the normal distribution.

Stands at "Degrees of freedom" in ``docs/algorithm.md``. Satterthwaite's degrees of freedom cost four
evaluations on the sums a variance parameter. Where that is predicted to be long, or cannot be, the
table says that its tests are asymptotic, and why; ``fit.infer()`` computes whatever is asked for.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, cast

from mixedflow.equations.choice import plan_engine
from mixedflow.errors import FitError, UnsupportedError
from mixedflow.estimation.problem import Problem
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult
    from mixedflow.results.inferring import Inference

LONGEST = 2e11
"""Predicted operations of degrees of freedom that come unasked: some five seconds of one core."""

EVALUATIONS = 4
"""Evaluations a variance parameter: two scores for its information, two more for the slopes."""

A_LEVEL = 2e4
"""Time of a level in an evaluation, in operations of LAPACK (measured)."""

SHARDED = "the groups are in shards, which it would read over and over; infer() does that"
PROBED = "the solver 'pcg' only estimates the slope of the likelihood"
LONG = "Satterthwaite's degrees of freedom are predicted to take long; infer() computes them"
NO_CURVATURE = (
    "the likelihood has no curvature at the estimates that degrees of freedom could rest on"
)


class Coefficients:
    """The table of the fixed effects; :class:`mixedflow.FitResult` has it."""

    @cached_property
    def coef_table(self) -> pd.DataFrame:
        """Fixed effects: estimate, se, df, statistic, p, lower, upper (95 %).

        The table of ``infer()``: t tests with Satterthwaite's degrees of freedom, computed when first
        asked for. ``attrs["ddf"]`` names the method. It is "asymptotic", df infinite, and
        ``attrs["note"]`` says why, for fits by 'pcg', sharded fits, and those for which degrees of
        freedom are predicted to take more than some seconds; ``infer()`` has no such limit.
        """
        fit = cast("FitResult", self)
        found, note = _default(fit)
        table = found.coef_table.copy()
        table.attrs = {"ddf": found.ddf, "level": found.level, "note": note}
        return table


def _default(fit: FitResult) -> tuple[Inference, str]:
    """Return what can be said of the coefficients at once, and why it is no more."""
    note = _refused(fit)
    if not note:
        try:
            found = fit.infer("satterthwaite")
        except (FitError, UnsupportedError) as error:
            note = str(error)
        else:
            if not found.coef_table["df"].isna().any():
                return found, ""
            note = NO_CURVATURE
    return fit.infer("asymptotic"), note


def _refused(fit: FitResult) -> str:
    from mixedflow.results.sharded import ShardedFit

    if fit.monte_carlo is not None:
        return PROBED
    if isinstance(fit, ShardedFit):
        return SHARDED
    parameters = len(fit.estimates.params.vector())
    predicted = parameters * predicted_operations(fit._problem(), fit.estimates.solver)
    return LONG if predicted > LONGEST else ""


def predicted_operations(problem: Problem, solver: str) -> float:
    """Return what Satterthwaite's degrees of freedom cost for one variance parameter, by prediction.

    It is the same on any machine.

    Parameters
    ----------
    problem : the fit's
    solver : that it was fitted by
    """
    system = problem.system
    pattern = system.pattern
    flops = float(system.p) ** 3
    if pattern.shapes:
        flops += plan_engine(pattern, wanted=solver).flops
        flops += A_LEVEL * sum(levels for levels, _ in pattern.shapes)
    residual = getattr(problem, "residual", None)
    if residual is not None:
        flops += 2.0 * residual.XtBX.size
    return EVALUATIONS * flops
