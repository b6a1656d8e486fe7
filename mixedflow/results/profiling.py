"""Intervals of fixed effects, SDs, correlations and what determines R: profile likelihood, or Wald's.

Stands at "Profile intervals" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np

from mixedflow.errors import ConfigError, FitError, UnsupportedError, did_you_mean, listing
from mixedflow.estimation.problems import exact_problem
from mixedflow.inference.profile import CoefficientProfile, Search, profile_interval
from mixedflow.results.comparison import by_ml, check_exact, check_sums
from mixedflow.results.fit_result import FitResult
from mixedflow.results.profile_lines import UNDEFINED, Line, variance_lines
from mixedflow.results.tabulating import pd

IntervalMethod = Literal["profile", "wald"]
Likelihood = Literal["ml", "reml"]

VARIANCES, COEFFICIENTS = "theta_", "beta_"
"""lme4's words for all variance parameters and all fixed effects."""

OUTERMOST = 2.5758293035489004
"""zeta at which a table of a profile ends: the limits of 99 %."""

POINTS = 7
"""Points of a table on either side of the estimate."""


def confint(
    fit: FitResult,
    level: float = 0.95,
    method: IntervalMethod = "profile",
    parm: str | Sequence[str] | None = None,
    likelihood: Likelihood = "ml",
) -> pd.DataFrame:
    """Return intervals; see :meth:`mixedflow.FitResult.confint`."""
    if method not in get_args(IntervalMethod):
        raise ConfigError(f"method='{method}' is not known; allowed are 'profile' and 'wald'")
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level must lie between 0 and 1, such as 0.95; {level!r} was given")
    from scipy.special import ndtri

    z = float(ndtri(0.5 + 0.5 * level))
    if method == "profile":
        found = Profiles(fit, likelihood)
        rows = [_interval(one, found.least, z) for one in found.chosen(parm)]
        return pd.DataFrame(rows).set_index("parameter")
    beta, se = fit.estimates.beta, np.sqrt(np.diag(fit.estimates.vcov))
    table = pd.DataFrame(
        {"estimate": beta, "lower": beta - z * se, "upper": beta + z * se},
        index=fit.coefficient_names,
    )
    return table.loc[_chosen(parm, [], list(table.index))]


def profile(
    fit: FitResult, parm: str | Sequence[str] | None = None, likelihood: Likelihood = "ml"
) -> pd.DataFrame:
    """Return profiles as a table; see :meth:`mixedflow.FitResult.profile`."""
    found = Profiles(fit, likelihood)
    rows = [row for one in found.chosen(parm) for row in _points(one, found.least)]
    return pd.DataFrame(rows, columns=["parameter", "value", "zeta"])


class Profiles:
    """All that can be profiled of a fit, by one likelihood.

    Raises
    ------
    UnsupportedError
        for sharded fits, those of the solver 'pcg', and those that did not converge.
    """

    def __init__(self, fit: FitResult, likelihood: Likelihood) -> None:
        if likelihood not in get_args(Likelihood):
            raise ConfigError(
                f"likelihood='{likelihood}' is not known; allowed are 'ml' and 'reml'"
            )
        check_exact(fit)
        check_sums(fit, "profiled")
        self.likelihood = likelihood
        self.fit = by_ml(fit) if likelihood == "ml" else by_reml(fit)
        _check_converged(self.fit)
        self.problem = exact_problem(
            fit.crossproducts,
            fit.encoder.terms,
            reml=likelihood == "reml",
            solver=fit.estimates.solver,
        )

    @property
    def least(self) -> float:
        """The deviance at the estimates."""
        return self.fit.deviance

    def chosen(self, parm: str | Sequence[str] | None) -> list[Line]:
        """Return what is asked for, all variance parameters and coefficients if nothing is.

        Raises
        ------
        UnsupportedError
            for a coefficient under REML, whose likelihood does not depend on it.
        """
        variances = {one.name: one for one in variance_lines(self.fit, self.problem)}
        names = list(self.fit.coefficient_names)
        if self.likelihood == "reml":
            self._check_reml(parm, names)
            names = []
        wanted = _chosen(parm, list(variances), names)
        return [
            variances[name] if name in variances else self._coefficient(names.index(name))
            for name in wanted
        ]

    def _check_reml(self, parm: str | Sequence[str] | None, names: list[str]) -> None:
        asked = [parm] if isinstance(parm, str) else list(parm or ())
        for name in asked:
            if name == COEFFICIENTS or name in names:
                raise UnsupportedError(
                    f"'{name}' has no profile under REML: the restricted likelihood does not depend "
                    "on fixed effects; use likelihood='ml' for it, or infer() for t intervals by REML"
                )

    def _coefficient(self, at: int) -> Line:
        name, estimates = self.fit.coefficient_names[at], self.fit.estimates
        deviance = CoefficientProfile(self.problem, estimates.params, at)
        estimate = float(estimates.beta[at])
        step = float(np.sqrt(estimates.vcov[at, at]))
        return Line(
            name, estimate, lambda: Search(estimate, step), lambda v: deviance(v, name), float
        )


def by_reml(fit: FitResult) -> FitResult:
    """Return the fit by REML, on the same sums; the fit itself if that is what it is."""
    if fit.reml:
        return fit
    from mixedflow.results.build import FitRequest, RowSource, fit_condensed

    rows = RowSource(str(fit.data_summary.get("source", "")), fit.source, fit.row_index)
    request = FitRequest(reml=True, method=fit.method)
    return fit_condensed(fit.spec, fit.schema, fit.crossproducts, request, rows)


def _chosen(parm: str | Sequence[str] | None, variances: list[str], names: list[str]) -> list[str]:
    """Return the names that are asked for, in the order of the table."""
    known = [*variances, *names]
    if parm is None:
        return known
    asked = [parm] if isinstance(parm, str) else list(parm)
    groups = {VARIANCES: variances, COEFFICIENTS: names}
    for one in asked:
        if one not in known and one not in groups:
            raise ConfigError(
                f"parm='{one}' is no parameter of this fit; they are {listing(known)}, all variance "
                f"parameters are '{VARIANCES}' and all fixed effects '{COEFFICIENTS}'"
                f"{did_you_mean(str(one), known)}"
            )
    wanted = {name for one in asked for name in groups.get(one, [one])}
    return [name for name in known if name in wanted]


def _interval(line: Line, least: float, z: float) -> dict[str, float | str]:
    """Return a row; NaN and the reason where the profile cannot be followed."""
    lower, upper, note = np.nan, np.nan, UNDEFINED
    if np.isfinite(line.estimate):
        try:
            ends = profile_interval(line.deviance, line.search(), least, z)
        except FitError as error:
            note = str(error)
        else:
            lower, upper = (float(line.back(end)) for end in ends)
            note = ""
    return {
        "parameter": line.name,
        "estimate": line.estimate,
        "lower": lower,
        "upper": upper,
        "note": note,
    }


def _points(line: Line, least: float) -> Iterator[tuple[str, float, float]]:
    """Yield name, value and signed root of what the deviance rises, between the limits of 99 %."""
    if not np.isfinite(line.estimate):
        return
    search = line.search()
    try:
        ends = profile_interval(line.deviance, search, least, OUTERMOST)
    except FitError:
        return
    outer = [max(ends[0], search.lowest), min(ends[1], search.highest)]
    below, above = (np.linspace(search.estimate, end, POINTS + 1)[1:] for end in outer)
    for at in sorted({*below, search.estimate, *above}):
        side = np.sign(at - search.estimate)
        rise = line.deviance(float(at)) - least if side else 0.0
        yield line.name, float(line.back(at)), float(side * np.sqrt(max(rise, 0.0)))


def _check_converged(fit: FitResult) -> None:
    if not fit.converged:
        raise UnsupportedError(
            f"the fit of '{fit.spec.formula}' did not converge; profiles start from an optimum"
        )
