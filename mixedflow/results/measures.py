"""What a fit says of itself in one number: AICc, R2, correlations; intervals; what it could lack.

Stands at "Shares of variance" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from mixedflow.equations.system import model_system
from mixedflow.errors import UnsupportedError
from mixedflow.inference.ratio import aicc
from mixedflow.inference.shares import VarianceShares, fixed_variance, random_variances
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.results.conditional import IccMethod
    from mixedflow.results.fit_result import FitResult
    from mixedflow.results.profiling import IntervalMethod, Likelihood
    from mixedflow.results.variance_testing import TestMethod


class Measures:
    """Measures of a fit; :class:`mixedflow.FitResult` has them."""

    @property
    def aicc(self) -> float:
        """-2l + 2 k + 2 k (k + 1) / (n - k - 1), n the number of rows (as MuMIn)."""
        fit = cast("FitResult", self)
        return aicc(fit.deviance, fit.df_model, fit.nobs)

    @property
    def r2(self) -> pd.Series:
        """Nakagawa's R2: ``marginal``, of the fixed effects; ``conditional``, of random ones too.

        With random slopes by Johnson's mean variance tr(G Z'Z) / n; an offset counts as no effect.

        Raises
        ------
        UnsupportedError
            for weights and residual structures: the residual variance is another in every row.
        """
        shares = _shares(cast("FitResult", self))
        values = {"marginal": shares.marginal, "conditional": shares.conditional}
        return pd.Series(values, name="r2")

    @property
    def icc(self) -> pd.Series:
        """Intraclass correlations G_j / (sum_k G_k + sigma2) of every random intercept, by term.

        Raises
        ------
        UnsupportedError
            for random slopes, under which the correlation depends on the rows; and as for ``r2``.
        """
        fit = cast("FitResult", self)
        _check_intercepts(fit)
        shares = _shares(fit)
        whole = shares.total - shares.fixed
        labels = [term.label for term in fit.encoder.terms]
        values = [one / whole for one in shares.random]
        return pd.Series(values, index=pd.Index(labels, name="group", dtype=object), name="icc")

    def icc_table(self, level: float = 0.95, method: IccMethod = "delta") -> pd.DataFrame:
        """Return :attr:`icc` with intervals, ``total`` of all terms where there are several.

        Parameters
        ----------
        level : of confidence
        method : ``"delta"``, logit(icc) +- z se, the standard error from the observed information of
            the variances; ``"profile"``, of the likelihood that the fit is by, from 0 where a
            variance is estimated as zero

        Returns
        -------
        DataFrame
            ``estimate``, ``se`` (of the delta method), ``lower``, ``upper``, ``note``, by term
        """
        from mixedflow.results.conditional import icc_table

        return icc_table(cast("FitResult", self), level, method)

    @property
    def caic(self) -> pd.Series:
        """Conditional AIC: -2 log f(y | u) + 2 df, of predictions for these groups.

        ``df`` is Greven and Kneib's (2010) tr(dy-hat/dy), variances estimated, and one for every
        parameter of R (sigma among them); ``rho`` the trace of the hat matrix; ``caic_known`` Vaida
        and Blanchard's (2005), with rho in place of tr(dy-hat/dy); ``loglik`` is log f(y | u).
        """
        from mixedflow.results.conditional import conditional_aic

        return conditional_aic(cast("FitResult", self))

    def variance_test(
        self, terms: str | Sequence[str] | None = None, *, method: TestMethod = "auto"
    ) -> pd.DataFrame:
        """Return the tests that variances are zero, each smaller model on these sums.

        Parameters
        ----------
        terms : what is dropped, as the index of :meth:`drop_random` has it; each by default
        method : ``"mixture"`` of chi2 distributions, ``"exact"``, or ``"auto"``, exact where that is
            cheap; see :func:`mixedflow.variance_test`, which also tests several terms at once

        Returns
        -------
        DataFrame
            ``statistic``, ``df``, ``p``, ``p_chi2``, ``weights``, ``method``, ``note``
        """
        from mixedflow.results.variance_testing import variance_tests

        return variance_tests(cast("FitResult", self), terms, method)

    def confint(
        self,
        level: float = 0.95,
        method: IntervalMethod = "profile",
        *,
        parm: str | Sequence[str] | None = None,
        likelihood: Likelihood = "ml",
    ) -> pd.DataFrame:
        """Return intervals of SDs, correlations, parameters of R and fixed effects.

        Parameters
        ----------
        level : of confidence
        method : ``"profile"``, where the likelihood has fallen enough; ``"wald"``, estimate +- z se of
            the fixed effects alone
        parm : names of what is wanted, as the table's index has them; ``"theta_"`` for all variance
            parameters, ``"beta_"`` for all fixed effects; all by default
        likelihood : that is profiled: ``"ml"`` as lme4 (a REML fit is fitted again by ML, on its sums),
            or ``"reml"``, which has no fixed effects

        Returns
        -------
        DataFrame
            ``estimate``, ``lower``, ``upper``, ``note``; by ``sd_x|g``, ``cor_x.(Intercept)|g``,
            ``rho|g`` of structures of G, then ``sigma`` and what ``residual_params`` has, with
            ``sd(b)`` of position b, then coefficients. An SD whose profile never falls enough goes
            down to 0, a correlation to the end of what it can be; NaN where a profile cannot be
            followed or a correlation is undefined, as ``note`` says

        Raises
        ------
        UnsupportedError
            for fits that did not converge, and coefficients under REML.
        """
        from mixedflow.results.profiling import confint

        return confint(cast("FitResult", self), level, method, parm, likelihood)

    def profile(
        self, parm: str | Sequence[str] | None = None, *, likelihood: Likelihood = "ml"
    ) -> pd.DataFrame:
        """Return profiles to plot: zeta = sign(x - x_hat) sqrt(deviance(x) - deviance(x_hat)).

        A straight line through zero is a likelihood like that of a normal distribution (Bates et
        al. 2015).

        Parameters
        ----------
        parm, likelihood : as for :meth:`confint`

        Returns
        -------
        DataFrame
            ``parameter``, ``value``, ``zeta``: points between the limits of 99 %, in order; none of
            a parameter whose profile cannot be followed
        """
        from mixedflow.results.profiling import profile

        return profile(cast("FitResult", self), parm, likelihood)

    def drop_random(self) -> pd.DataFrame:
        """Return the likelihood-ratio tests of the random terms, each smaller model on these sums.

        Of ``(1 + x | g)`` the slope is dropped, with its covariance; ``(1 | g)`` as a whole. ``p_mixture``
        is by the mixture of chi2 that variances tested at zero have; see :meth:`variance_test`.

        Returns
        -------
        DataFrame
            ``npar``, ``logLik``, ``AIC``, ``chisq``, ``df``, ``p``, ``p_mixture``, ``note``; the
            first row is this fit
        """
        from mixedflow.results.dropping import drop_random

        return drop_random(cast("FitResult", self))


def _check_intercepts(fit: FitResult) -> None:
    info = fit.crossproducts.info
    if not fit.encoder.terms:
        raise UnsupportedError(f"'{fit.spec.formula}' has no random term, so there is no icc")
    for term in fit.encoder.terms:
        if list(term.columns) != [info.z_intercept[term.factor]]:
            raise UnsupportedError(
                f"icc is for random intercepts; the term '{term.label}' of '{fit.spec.formula}' has "
                "slopes, under which the correlation of two rows depends on the rows; r2 has the "
                "mean share of the random effects"
            )


def _shares(fit: FitResult) -> VarianceShares:
    from mixedflow.results.comparison import check_sums

    check_sums(fit, "measured")
    if fit.spec.weights or fit.spec.residual != "iid":
        what = f"residual='{fit.spec.residual}'" if not fit.spec.weights else "weights"
        raise UnsupportedError(
            f"r2 and icc divide by one residual variance; with {what} it is not the same in every row"
        )
    sums, found = fit.crossproducts, fit.estimates
    system = model_system(sums, fit.encoder.terms)
    return VarianceShares(
        fixed=fixed_variance(sums, system, found.beta),
        random=random_variances(system, found.G),
        residual=found.sigma2,
    )
