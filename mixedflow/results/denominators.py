"""Which degrees of freedom a fit can have, and what its tests rest on under each.

Stands at "Degrees of freedom" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, get_args

from mixedflow.errors import UnsupportedError, did_you_mean, listing
from mixedflow.estimation.residual import ResidualProblem
from mixedflow.inference.hypotheses import KENWARD_ROGER, DfMethod, FixedTests
from mixedflow.inference.kenward_roger import AdjustedCovariance, adjusted_covariance
from mixedflow.inference.kenward_roger_residual import adjusted_for_structure
from mixedflow.inference.satterthwaite import observed_uncertainty

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult

NO_CURVATURE = (
    "degrees of freedom stand in the exact slope of the likelihood, which the solver 'pcg' only "
    "estimates; offered are ddf='between-within', 'residual' and 'asymptotic', and all others with a "
    "solver that factorises: solver='auto', 'sparse', 'schur' or 'dense'"
)


def checked_method(ddf: str) -> DfMethod:
    """Return the method that a word names."""
    offered = get_args(DfMethod)
    if ddf not in offered:
        raise UnsupportedError(
            f"ddf={ddf!r} is not offered; offered are {listing(offered)}"
            f"{did_you_mean(str(ddf), offered)}"
        )
    return cast("DfMethod", ddf)


def fixed_tests(fit: FitResult, method: DfMethod) -> FixedTests:
    """Return what tests of the fit's fixed effects rest on by a method."""
    estimates = fit.estimates
    beta, vcov = estimates.beta, estimates.vcov
    if method == "asymptotic":
        return FixedTests(method, beta, vcov, vcov, float("inf"))
    if method == "residual":
        return FixedTests(method, beta, vcov, vcov, float(fit.nobs - len(beta)))
    if method == "between-within":
        from mixedflow.results.groupings import between_within

        return between_within(fit)
    if fit.monte_carlo is not None:
        raise UnsupportedError(NO_CURVATURE)
    if method in KENWARD_ROGER:
        return _kenward_roger(fit, method)
    uncertainty = observed_uncertainty(fit._problem(), estimates.params)
    return FixedTests(method, beta, vcov, vcov, float("nan"), uncertainty)


def _kenward_roger(fit: FitResult, method: DfMethod) -> FixedTests:
    if not fit.reml:
        raise UnsupportedError(
            f"ddf='{method}' is for REML fits, and this one is by ML; offered are fit(..., "
            "reml=True), and ddf='satterthwaite' for both"
        )
    found = _adjusted(fit, second=method == "kenward-roger")
    estimates = fit.estimates
    return FixedTests(
        method,
        estimates.beta,
        found.vcov,
        estimates.vcov,
        float("nan"),
        found.uncertainty,
    )


def _adjusted(fit: FitResult, *, second: bool) -> AdjustedCovariance:
    problem, params = fit._problem(), fit.estimates.params
    if isinstance(problem, ResidualProblem):
        from mixedflow.results.gap_products import GapProducts

        rows = GapProducts(fit, problem.system)
        return adjusted_for_structure(problem, params, second=second, from_rows=rows)
    at = problem.evaluate_at(params)
    free = problem.bounds(params) == 0
    return adjusted_covariance(at, free, second=second, levels=problem.levels)
