"""Conditional AIC and intraclass correlations with intervals, as tables.

Stands at "Conditional AIC" and "Shares of variance" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from mixedflow.errors import ConfigError, FitError
from mixedflow.estimation.observed import ObservedInformation, observed_information
from mixedflow.estimation.parameters import VarianceParameters
from mixedflow.estimation.problem import Problem
from mixedflow.inference.conditional import conditional_fit
from mixedflow.inference.constrained import coordinate_spread
from mixedflow.inference.natural import Natural, Read, between, term_covariance
from mixedflow.inference.profile import profile_interval
from mixedflow.results.comparison import check_exact, check_sums
from mixedflow.results.profile_lines import NaturalLines
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult

IccMethod = Literal["delta", "profile"]

WHOLE = (0.0, 1.0)
"""Between which values a share lies."""

ALL = "total"
"""Label of the share of all random effects."""


def conditional_aic(fit: FitResult) -> pd.Series:
    """Return conditional AIC; see :attr:`mixedflow.FitResult.caic`."""
    check_exact(fit)
    check_sums(fit, "measured")
    found = conditional_fit(fit._problem(), fit.estimates.params)
    known = found.rho + found.residual_params
    values = {
        "caic": -2.0 * found.loglik + 2.0 * found.df,
        "df": found.df,
        "loglik": found.loglik,
        "rho": found.rho,
        "caic_known": -2.0 * found.loglik + 2.0 * known,
    }
    return pd.Series(values, name="caic")


def icc_table(fit: FitResult, level: float, method: IccMethod) -> pd.DataFrame:
    """Return intraclass correlations with intervals; see :meth:`mixedflow.FitResult.icc_table`."""
    if method not in get_args(IccMethod):
        raise ConfigError(f"method='{method}' is not known; allowed are 'delta' and 'profile'")
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level must lie between 0 and 1, such as 0.95; {level!r} was given")
    from scipy.special import ndtri

    check_exact(fit)
    labels = list(fit.icc.index)
    z, problem = float(ndtri(0.5 + 0.5 * level)), fit._problem()
    information = observed_information(problem, fit.estimates.params)
    lines = NaturalLines(fit, problem)
    shares = list(_shares(problem, labels))
    rows = [
        _delta_row(fit, problem, one, information, z)
        if method == "delta"
        else _profile_row(fit, lines, one, z)
        for one in shares
    ]
    index = pd.Index([one.name for one in shares], name="group", dtype=object)
    return pd.DataFrame(rows, index=index)


def _shares(problem: Problem, labels: list[str]) -> Iterator[Natural]:
    """Yield the share of every term, and of all where there are several."""
    system = problem.system
    y2 = system.fixed_scale.y_scale**2

    def share(terms: list[int]) -> Read:
        def read(params: VarianceParameters) -> float:
            G = [float(term_covariance(system, params, j)[0, 0]) for j in range(len(labels))]
            return sum(G[j] for j in terms) / (sum(G) + y2 * params.sigma2)

        return read

    for j, label in enumerate(labels):
        yield Natural(label, share([j]), between(*WHOLE), WHOLE)
    if len(labels) > 1:
        yield Natural(ALL, share(list(range(len(labels)))), between(*WHOLE), WHOLE)


def _delta_row(
    fit: FitResult, problem: Problem, one: Natural, information: ObservedInformation, z: float
) -> dict[str, float | str]:
    """Return an interval by the delta method on the logit, from the observed information."""
    estimate = one.read(fit.estimates.params)
    row = {"estimate": estimate, "se": np.nan, "lower": np.nan, "upper": np.nan}
    if not 0.0 < estimate < 1.0:
        return {**row, "note": "on the boundary; method='profile' has an interval from 0"}
    se = coordinate_spread(problem, fit.estimates.params, information, one)
    if not np.isfinite(se):
        return {**row, "note": "the information is not positive definite"}
    at = one.scale.there(estimate)
    lower, upper = (float(one.scale.back(at + side * z * se)) for side in (-1.0, 1.0))
    # the coordinate is half a logit
    return {
        "estimate": estimate,
        "se": 2.0 * estimate * (1.0 - estimate) * se,
        "lower": lower,
        "upper": upper,
        "note": "",
    }


def _profile_row(
    fit: FitResult, lines: NaturalLines, one: Natural, z: float
) -> dict[str, float | str]:
    """Return an interval by the profile of the fit's own likelihood."""
    line = lines.line(one)
    row: dict[str, float | str] = {"estimate": line.estimate, "se": np.nan}
    try:
        ends = profile_interval(line.deviance, line.search(), fit.deviance, z)
    except FitError as error:
        return {**row, "lower": np.nan, "upper": np.nan, "note": str(error)}
    lower, upper = (float(line.back(end)) for end in ends)
    return {**row, "lower": lower, "upper": upper, "note": ""}
