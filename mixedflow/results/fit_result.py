"""What a fit is: frozen estimates with the accessors that users of lme4 know.

Stands at "Results" in ``docs/algorithm.md``. Values are tables by name; arrays without names stay in
``estimates``. Whatever costs time (conditional SDs, fitted values) is computed when first asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mixedflow.crossproducts.types import CrossProducts
from mixedflow.data.source import Source
from mixedflow.design.encode import Encoder
from mixedflow.design.schema import Schema
from mixedflow.design.spec import ModelSpec
from mixedflow.design.types import Float
from mixedflow.equations.iterative import NO_INVERSE
from mixedflow.errors import UnsupportedError
from mixedflow.estimation.certificate import Certificate
from mixedflow.estimation.fit import (
    Estimates,
    conditional_covariances,
    conditional_covariances_at,
    evaluate_at,
    exact_problem,
    trace_table,
)
from mixedflow.estimation.probed import MonteCarloError
from mixedflow.estimation.problem import Problem
from mixedflow.inference.components import variance_components
from mixedflow.inference.predict import effects_by_term, linear_predictor, random_predictor
from mixedflow.results.chosen import chosen_levels
from mixedflow.results.questions import Questions
from mixedflow.results.rows import ResidualKind, fitted_rows, row_residuals
from mixedflow.results.summary import render_summary
from mixedflow.results.tabulating import pd
from mixedflow.results.variances import errors_table, residual_covariance, residual_table


@dataclass(frozen=True, eq=False, repr=False)
class FitResult(Questions):
    """A fitted linear mixed model.

    Attributes
    ----------
    spec, schema : what was asked, and what was learned from the data
    estimates : the numbers, see :class:`mixedflow.estimation.fit.Estimates`
    crossproducts : the sums that the model was fitted from
    data_summary : source, rows_in, rows_used, rows_dropped, missing (column -> rows)
    messages : what a reader should know: aliased columns, boundary, non-convergence
    timings : seconds by stage
    versions : of mixedflow and what it computed with
    source : the rows, where they are at hand
    row_index : labels of the source's rows, where it is a pandas frame
    """

    spec: ModelSpec
    schema: Schema
    estimates: Estimates
    crossproducts: CrossProducts
    data_summary: Mapping[str, Any]
    messages: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    source: Source | None = None
    row_index: pd.Index | None = None

    @property
    def reml(self) -> bool:
        """Whether the restricted likelihood was maximised."""
        return self.estimates.reml

    @property
    def method(self) -> str:
        """Method of estimation: auto, em, px-em or ai."""
        return self.estimates.method

    @property
    def loglik(self) -> float:
        """Log-likelihood; the restricted one, without log|X'X|, for REML (as lme4 and nlme)."""
        return -0.5 * self.estimates.minus2ll

    @property
    def deviance(self) -> float:
        """-2 log-likelihood; for REML this is lme4's REML criterion."""
        return self.estimates.minus2ll

    @property
    def aic(self) -> float:
        """-2l + 2 k, k counting fixed effects and variance parameters (as lme4, REML too)."""
        return self.deviance + 2.0 * self.df_model

    @property
    def bic(self) -> float:
        """-2l + k log n, n the number of rows (as lme4, REML too)."""
        return self.deviance + self.df_model * float(np.log(self.nobs))

    @property
    def nobs(self) -> int:
        """Rows in the fit."""
        return self.estimates.n_obs

    @property
    def df_model(self) -> int:
        """Number of parameters: fixed effects, those of every G, those of R (at least sigma)."""
        return self.estimates.n_params

    @property
    def sigma(self) -> float:
        """Residual standard deviation of a row of weight 1.

        Of several variances that of the first position of the first stratum, as in nlme; see
        ``residual_params`` for the others.
        """
        return float(np.sqrt(self.estimates.sigma2))

    @property
    def converged(self) -> bool:
        """Whether the convergence criteria were met."""
        return self.estimates.converged

    @property
    def singular(self) -> bool:
        """Whether some G lies on its boundary."""
        return any(self.estimates.singular)

    @property
    def n_iter(self) -> int:
        """Number of iterations."""
        return int(self.estimates.trace[-1].iteration)

    @property
    def certificate(self) -> Certificate:
        """Evidence on convergence."""
        return self.estimates.certificate

    @property
    def conditions(self) -> dict[str, float]:
        """Condition numbers of X'V^-1X and of the information, each scaled to a unit diagonal."""
        return {
            "X'V^-1X": self.certificate.condition_fixed,
            "information": self.certificate.condition_information,
        }

    @cached_property
    def encoder(self) -> Encoder:
        """Turns rows into the columns of this design."""
        return Encoder(self.spec, self.schema)

    @property
    def coefficient_names(self) -> list[str]:
        """Names of the fixed effects that are not aliased."""
        names = self.crossproducts.info.x_columns
        return [names[k] for k in self.estimates.kept]

    @cached_property
    def fixef(self) -> pd.Series:
        """Fixed effects by name (BLUE)."""
        return pd.Series(self.estimates.beta, index=self.coefficient_names, name="estimate")

    @cached_property
    def vcov(self) -> pd.DataFrame:
        """Covariance of the fixed effects, (X'V^-1X)^-1."""
        names = self.coefficient_names
        return pd.DataFrame(self.estimates.vcov, index=names, columns=names)

    @cached_property
    def varcorr(self) -> pd.DataFrame:
        """Variance components: group, term1, term2, vcov, sdcor; ``term2`` is "" on variances."""
        info = self.crossproducts.info
        found = self.estimates
        rows = variance_components(
            info, self.encoder.terms, found.G, found.sigma2, found.params.psi
        )
        return pd.DataFrame(rows, columns=["group", "term1", "term2", "vcov", "sdcor"])

    @cached_property
    def varcorr_se(self) -> pd.DataFrame:
        """``varcorr`` with standard errors: ``se`` of ``vcov``, ``se_sdcor`` of SD or correlation.

        From the observed information, when first asked for: two slopes of the likelihood a
        parameter. NaN where ``note`` says why: on the boundary, or not estimated.

        Raises
        ------
        UnsupportedError
            for a fit by the solver 'pcg', which only estimates the slope.
        """
        return errors_table(self, self._problem())

    @cached_property
    def residual_params(self) -> pd.DataFrame:
        """Parameters of R by stratum, as nlme and mmrm name them: stratum, parameter, estimate."""
        return residual_table(self)

    @cached_property
    def residual_cov(self) -> pd.DataFrame | dict[str, pd.DataFrame]:
        """Covariance of residuals of weight 1 over positions; a dict by stratum where there are strata.

        Raises
        ------
        UnsupportedError
            where the structure has no named positions; ``residual_params`` is there for all.
        """
        return residual_covariance(self)

    @property
    def n_levels(self) -> dict[str, int]:
        """Levels of every grouping factor."""
        return {factor.name: factor.n_levels for factor in self.crossproducts.info.factors}

    @cached_property
    def ranef(self) -> dict[str, pd.DataFrame]:
        """Random effects (BLUP) of every grouping factor: levels x columns."""
        return self._by_factor(self.estimates.u)

    @cached_property
    def ranef_se(self) -> dict[str, pd.DataFrame]:
        """Conditional SDs of the random effects given y and the fixed effects (lme4's condVar).

        Raises
        ------
        UnsupportedError
            for a fit by the solver 'pcg', which never has the inverse that they stand in.
        """
        if self.monte_carlo is not None:
            raise UnsupportedError(NO_INVERSE)
        covariances = conditional_covariances(self._evaluation())
        spread = [np.sqrt(np.einsum("laa->la", part)) for part in covariances]
        return self._by_factor(tuple(spread))

    def ranef_se_at(self, group: str, levels: Sequence[object]) -> pd.DataFrame:
        """Return the conditional SDs of a few levels: exact for every solver, pcg included.

        Parameters
        ----------
        group : grouping factor
        levels : its levels, as the index of ``ranef[group]`` names them
        """
        factor, at = chosen_levels(self.ranef, group, levels)
        covariances = conditional_covariances_at(self._evaluation(), factor, at)
        spread = np.sqrt(np.einsum("laa->la", covariances))
        frame = self.ranef[group]
        return pd.DataFrame(spread, index=frame.index[at], columns=frame.columns)

    @property
    def monte_carlo(self) -> MonteCarloError | None:
        """What chance the solver 'pcg' leaves in the fit; None for the exact solvers."""
        return self.estimates.monte_carlo

    @property
    def monte_carlo_se(self) -> pd.Series:
        """Monte-Carlo standard error of ``varcorr["vcov"]``, row by row; empty if exact."""
        return pd.Series(self.estimates.monte_carlo_se, dtype=float, name="monte_carlo_se")

    def _evaluation(self) -> Any:
        estimates = self.estimates
        return evaluate_at(
            self.crossproducts,
            self.encoder.terms,
            estimates.params,
            reml=estimates.reml,
            solver=estimates.solver,
            monte_carlo=estimates.monte_carlo,
        )

    def _problem(self) -> Problem:
        estimates = self.estimates
        return exact_problem(
            self.crossproducts,
            self.encoder.terms,
            reml=estimates.reml,
            solver=estimates.solver,
            monte_carlo=estimates.monte_carlo,
        )

    def _by_factor(self, parts: tuple[Float, ...]) -> dict[str, pd.DataFrame]:
        """Name (L_f, q_f) arrays, given in the order of the model's factors, terms side by side."""
        info, terms = self.crossproducts.info, self.encoder.terms
        out = {}
        for f, values in zip(sorted({term.factor for term in terms}), parts, strict=True):
            factor = info.factors[f]
            columns = [factor.columns[c] for t in terms if t.factor == f for c in t.columns]
            labels = pd.Index(self.schema.level_labels(f), name=factor.name, dtype=object)
            out[factor.name] = pd.DataFrame(values, index=labels, columns=columns)
        return out

    @cached_property
    def _u_by_term(self) -> tuple[Float, ...]:
        return effects_by_term(self.encoder.terms, self.estimates.u)

    @cached_property
    def trace(self) -> pd.DataFrame:
        """One row an iteration."""
        return pd.DataFrame(trace_table(self.estimates.trace))

    def _predictor(self, block: Any, *, random: bool) -> Float:
        eta = linear_predictor(block, self.estimates.beta, self.estimates.kept.tolist())
        if random:
            eta = eta + random_predictor(block, self.encoder.terms, self._u_by_term)
        return eta

    @cached_property
    def fitted(self) -> pd.Series:
        """Fitted values X beta + offset + Z u of the rows used."""
        return self._rows()["fitted"].rename("fitted")

    @cached_property
    def resid(self) -> pd.Series:
        """Conditional residuals y - fitted of the rows used."""
        return self._rows()["resid"].rename("resid")

    def residuals(self, kind: ResidualKind = "response") -> pd.Series:
        """Return conditional residuals e = y - X beta - Z u of the rows used, as nlme does.

        Parameters
        ----------
        kind : ``response``, e; ``pearson``, e sqrt(w) over its row's standard deviation;
            ``normalized``, L^-1 of that with L L' the correlation of the rows of a group
        """
        return row_residuals(self, kind)

    def _rows(self) -> pd.DataFrame:
        return fitted_rows(self)

    def summary(self) -> str:
        """Return the fit as text, laid out as lme4's."""
        return render_summary(self)

    def __str__(self) -> str:
        """Return the summary."""
        return self.summary()

    def __repr__(self) -> str:
        """Return one line."""
        state = "converged" if self.converged else "not converged"
        return f"<FitResult {self.spec.formula!r}: logLik {self.loglik:.4f}, {state}>"

    def save(self, path: str | Path) -> None:
        """Write the fit to a folder; :func:`mixedflow.load` reads and verifies it."""
        from mixedflow.results.store import save_fit

        save_fit(self, Path(path))

    def as_record(self) -> dict[str, Any]:
        """Return the scalars and small tables as plain JSON values."""
        from mixedflow.results.store import fit_record

        return fit_record(self)
