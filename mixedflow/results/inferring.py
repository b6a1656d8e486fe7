"""Tests and intervals of the fixed effects as tables: ``fit.infer(ddf=...)``.

Stands at "Degrees of freedom" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mixedflow.design.types import Float
from mixedflow.errors import DataError, did_you_mean, listing
from mixedflow.inference.hypotheses import DfMethod, FixedTests
from mixedflow.results.denominators import checked_method, fixed_tests
from mixedflow.results.marginal_questions import MarginalInference
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult


@dataclass(frozen=True, eq=False, repr=False)
class Inference(MarginalInference):
    """Tests and intervals of a fit's fixed effects by one method of degrees of freedom.

    Attributes
    ----------
    ddf : "satterthwaite", "kenward-roger", "kenward-roger-linear", "between-within",
        "residual" or "asymptotic"
    level : of the confidence intervals
    covariance : of the coefficients: "model", or the robust "CR0", "CR1", "CR2", "CR3"
    coef_table : estimate, se, df, statistic, p, lower, upper of every coefficient
    """

    ddf: DfMethod
    level: float
    covariance: str
    coef_table: pd.DataFrame
    _fit: FitResult
    _tests: FixedTests

    @property
    def vcov(self) -> pd.DataFrame:
        """Covariance of the fixed effects: the robust one, or Kenward and Roger's, where asked for."""
        names = self._fit.coefficient_names
        return pd.DataFrame(self._tests.vcov, index=names, columns=names)

    def contrast(self, L: object) -> pd.DataFrame:
        """Return the test of L beta = 0, a table with one row.

        Parameters
        ----------
        L : numbers, (p,) or (m, p), in the order of the coefficients; or weights by the names of
            coefficients (a mapping, Series or DataFrame), the others zero

        Returns
        -------
        pandas.DataFrame
            of one row t: estimate, se, df, statistic, p, lower, upper; of several F: num_df,
            den_df, F, p.
        """
        rows = checked_rows(L, self._fit.coefficient_names)
        if len(rows) == 1:
            return _row_table(self._tests, rows, self.level, ["contrast"])
        return _joint_table(self._tests, {"contrast": rows})

    def anova(self, type: int | str = 3) -> pd.DataFrame:  # noqa: A002 - the field's own word
        """Return F tests by term: num_df, den_df, F, p.

        Type I tests each term after those before it; type II after all that do not contain it.
        Type III is about means over the levels of the other factors with equal weights, whatever
        contrasts code them; of cells without rows what can be estimated is left of it, as in
        lmerTest and SAS. A term whose columns are all aliased has num_df 0.

        Parameters
        ----------
        type : 1, 2 or 3; or "I", "II", "III"
        """
        from mixedflow.results.term_tests import anova_hypotheses

        return _joint_table(self._tests, anova_hypotheses(self._fit, type))

    def __repr__(self) -> str:
        """Return one line."""
        words = self.ddf if self.covariance == "model" else f"{self.covariance}, {self.ddf}"
        return f"<Inference of {self._fit.spec.formula!r}: {words}, {100 * self.level:g} %>"


class Inferring:
    """What :class:`mixedflow.results.fit_result.FitResult` offers of tests and intervals."""

    def infer(
        self, ddf: str = "satterthwaite", *, level: float = 0.95, vcov: str = "model"
    ) -> Inference:
        """Return tests and intervals of the fixed effects.

        Parameters
        ----------
        ddf : degrees of freedom: "satterthwaite"; "kenward-roger" for REML fits, with the adjusted
            covariance, and "kenward-roger-linear" without second derivatives; "between-within", by
            the level of nested groups that a column varies at; "residual", n - p; "asymptotic", the
            normal distribution
        level : of the confidence intervals, between 0 and 1
        vcov : "model", (X'V^-1X)^-1; or one that holds whatever the covariance of a group's rows:
            "CR0", "CR1" (times G / (G - 1)), bias-reduced "CR2", "CR3" (jackknife), for independent
            groups, the levels of the outermost factor. ddf is then "satterthwaite" (Bell and
            McCaffrey's, with Hotelling's F), "residual" or "asymptotic"
        """
        return _inference(cast("FitResult", self), ddf, level, vcov)

    def anova(
        self,
        type: int | str = 3,  # noqa: A002 - the field's own word
        ddf: str = "satterthwaite",
        *,
        vcov: str = "model",
    ) -> pd.DataFrame:
        """Return F tests by term; ``infer(ddf, vcov=vcov).anova(type)``."""
        return self.infer(ddf, vcov=vcov).anova(type)

    def contrast(
        self, L: object, ddf: str = "satterthwaite", *, vcov: str = "model"
    ) -> pd.DataFrame:
        """Return the test of L beta = 0; ``infer(ddf, vcov=vcov).contrast(L)``."""
        return self.infer(ddf, vcov=vcov).contrast(L)


def _inference(fit: FitResult, ddf: str, level: float, vcov: str) -> Inference:
    method = checked_method(ddf)
    if not 0.0 < level < 1.0:
        raise DataError(f"level={level!r} is not a confidence level; it lies between 0 and 1")
    if vcov == "model":
        tests = fixed_tests(fit, method)
    else:
        from mixedflow.results.robust import robust_tests

        tests = robust_tests(fit, method, vcov)
    names = fit.coefficient_names
    table = _row_table(tests, np.eye(len(names)), level, names)
    return Inference(method, level, vcov, table, fit, tests)


def _row_table(tests: FixedTests, L: Float, level: float, names: list[str]) -> pd.DataFrame:
    found = tests.rows(L, level)
    columns = ("estimate", "se", "df", "statistic", "p", "lower", "upper")
    return pd.DataFrame({name: getattr(found, name) for name in columns}, index=names)


def _joint_table(tests: FixedTests, hypotheses: Mapping[str, Float]) -> pd.DataFrame:
    rows = [tests.joint(L) for L in hypotheses.values()]
    columns = ("num_df", "den_df", "F", "p")
    values = {name: [getattr(row, name) for row in rows] for name in columns}
    return pd.DataFrame(values, index=pd.Index(list(hypotheses), dtype=object))


def checked_rows(L: Any, names: list[str]) -> Float:
    """Return L as (m, p) numbers."""
    if isinstance(L, Mapping):
        L = pd.Series(dict(L), dtype=float)
    if isinstance(L, pd.Series):
        L = L.to_frame().T
    if isinstance(L, pd.DataFrame):
        unknown = [str(name) for name in L.columns if name not in names]
        if unknown:
            raise DataError(
                f"the contrast names '{unknown[0]}', which is no coefficient; they are "
                f"{listing(names)}{did_you_mean(unknown[0], names)}"
            )
        L = L.reindex(columns=names, fill_value=0.0)
    try:
        rows = np.atleast_2d(np.asarray(L, dtype=float))
    except (TypeError, ValueError):
        raise DataError("the contrast must be numbers, (p,) or (m, p)") from None
    if rows.ndim != 2 or rows.shape[1] != len(names) or not np.isfinite(rows).all():
        raise DataError(
            f"the contrast must have {len(names)} finite numbers a row, one for each of "
            f"{listing(names)}; found an array of shape {rows.shape}"
        )
    if not rows.any(axis=1).all():
        raise DataError("the contrast has a row of zeros, which tests nothing")
    return rows
