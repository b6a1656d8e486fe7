"""Intervals of fixed effects, SDs and correlations: by profile likelihood, or Wald's.

Stands at "Profile intervals" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from mixedflow.errors import ConfigError, FitError, UnsupportedError
from mixedflow.estimation.problem import Problem
from mixedflow.estimation.problems import exact_problem
from mixedflow.inference.held import HeldVariance, held_component, held_sigma
from mixedflow.inference.profile import (
    CoefficientProfile,
    Search,
    VarianceProfile,
    profile_interval,
)
from mixedflow.inference.ratio import FREE_STRUCTURES
from mixedflow.results.comparison import by_ml, check_exact, check_sums
from mixedflow.results.fit_result import FitResult
from mixedflow.results.tabulating import pd

IntervalMethod = Literal["profile", "wald"]

SMALLEST = 1e-4
"""Share of an SD that is as good as zero."""

STEEPEST = 7.0
"""atanh of a correlation that is as good as one."""


@dataclass(frozen=True, slots=True)
class Component:
    """An SD or a correlation of a fit.

    Attributes
    ----------
    name : in lme4's way: ``sd_x|g``, ``cor_x.(Intercept)|g``, ``sigma``
    estimate : of it
    held : coordinates in which it can be held
    correlation : whether it is one
    """

    name: str
    estimate: float
    held: HeldVariance
    correlation: bool = False


def confint(
    fit: FitResult, level: float = 0.95, method: IntervalMethod = "profile"
) -> pd.DataFrame:
    """Return intervals; see :meth:`mixedflow.FitResult.confint`."""
    if method not in get_args(IntervalMethod):
        raise ConfigError(f"method='{method}' is not known; allowed are 'profile' and 'wald'")
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level must lie between 0 and 1, such as 0.95; {level!r} was given")
    from scipy.special import ndtri

    z = float(ndtri(0.5 + 0.5 * level))
    if method == "profile":
        return _profiles(fit, z)
    table = fit.coef_table
    estimate, se = table["estimate"], table["se"]
    return pd.DataFrame(
        {"estimate": estimate, "lower": estimate - z * se, "upper": estimate + z * se}
    )


def _profiles(fit: FitResult, z: float) -> pd.DataFrame:
    check_exact(fit)
    check_sums(fit, "profiled")
    _check_structures(fit)
    fit = by_ml(fit)
    _check_inside(fit)
    problem = exact_problem(
        fit.crossproducts, fit.encoder.terms, reml=False, solver=fit.estimates.solver
    )
    rows = [
        *(_component_row(fit, problem, one, z) for one in _components(fit, problem)),
        *(_coefficient_row(fit, problem, at, z) for at in range(len(fit.coefficient_names))),
    ]
    return pd.DataFrame(rows).set_index("parameter")


def _component_row(
    fit: FitResult, problem: Problem, one: Component, z: float
) -> dict[str, float | str]:
    """Return the interval of an SD, searched by its log, or of a correlation, by its atanh."""
    deviance = VarianceProfile(problem, fit.estimates.params, one.held)
    there, back = (np.arctanh, np.tanh) if one.correlation else (np.log, np.exp)
    at = float(there(one.estimate))
    if one.correlation:
        end = max(STEEPEST, abs(at) + 2.0)
        search = Search(at, 0.4, -end, end)
    else:
        step = 0.25 if one.name != "sigma" else 1.0 / np.sqrt(2.0 * fit.nobs)
        search = Search(at, step, at + float(np.log(SMALLEST)))

    def along(x: float) -> float:
        return deviance(float(back(x)), one.name)

    return _row(
        one.name, one.estimate, back, lambda: profile_interval(along, search, fit.deviance, z)
    )


def _coefficient_row(fit: FitResult, problem: Problem, at: int, z: float) -> dict[str, float | str]:
    name = fit.coefficient_names[at]
    deviance = CoefficientProfile(problem, fit.estimates.params, at)
    estimate = float(fit.estimates.beta[at])
    search = Search(estimate, float(np.sqrt(fit.estimates.vcov[at, at])))
    return _row(
        name,
        estimate,
        np.float64,
        lambda: profile_interval(lambda v: deviance(v, name), search, fit.deviance, z),
    )


def _row(
    name: str,
    estimate: float,
    back: Callable[[float], float],
    ends: Callable[[], tuple[float, float]],
) -> dict[str, float | str]:
    """Return a row; NaN and the reason where the profile cannot be followed."""
    try:
        lower, upper = (float(back(end)) for end in ends())
    except FitError as error:
        lower, upper, note = np.nan, np.nan, str(error)
    else:
        note = ""
    return {"parameter": name, "estimate": estimate, "lower": lower, "upper": upper, "note": note}


def _components(fit: FitResult, problem: Problem) -> Iterator[Component]:
    """Yield SDs and correlations, by term and column as lme4 lists them, then sigma."""
    params, system, info = fit.estimates.params, problem.system, fit.crossproducts.info
    for j, (term, G) in enumerate(zip(fit.encoder.terms, fit.estimates.G, strict=True)):
        factor = info.factors[term.factor]
        names = [factor.columns[c] for c in term.columns]
        sd = np.sqrt(np.diag(G))
        for a, name in enumerate(names):
            held = held_component(system, params, j, (a,))
            yield Component(f"sd_{name}|{factor.name}", float(sd[a]), held)
            for b in range(a + 1, len(names)) if term.structure == "us" else ():
                held = held_component(system, params, j, (a, b))
                label = f"cor_{names[b]}.{name}|{factor.name}"
                yield Component(label, float(G[a, b] / (sd[a] * sd[b])), held, correlation=True)
    yield Component("sigma", fit.sigma, held_sigma(system, params))


def _check_structures(fit: FitResult) -> None:
    found = [t.structure for t in fit.encoder.terms if t.structure not in FREE_STRUCTURES]
    if found or fit.spec.residual != "iid":
        what = f"the structure '{found[0]}'" if found else f"residual='{fit.spec.residual}'"
        raise UnsupportedError(
            f"profile intervals are for unstructured and diagonal random terms and independent "
            f"residuals, not for {what}; use method='wald', and varcorr_se for the variances"
        )


def _check_inside(fit: FitResult) -> None:
    if fit.singular:
        raise UnsupportedError(
            f"the fit of '{fit.spec.formula}' by ML is on the boundary (a variance of zero or a "
            "correlation of one), where profiles are not followed; drop what drop_random() shows "
            "to be needless, or use method='wald'"
        )
    if not fit.converged:
        raise UnsupportedError(
            f"the fit of '{fit.spec.formula}' did not converge; profiles start from an optimum"
        )
