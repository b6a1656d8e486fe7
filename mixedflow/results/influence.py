"""Which groups pull: deletion of groups, the jackknife, groups that do not fit the model.

Stands at "Deletion" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult
    from mixedflow.results.jackknifing import Jackknife


class Influence:
    """What a fit says of its groups; :class:`mixedflow.FitResult` has it."""

    def influence(
        self,
        factor: str | None = None,
        levels: Sequence[object] | None = None,
        *,
        refit: bool = False,
    ) -> pd.DataFrame:
        """Return what leaving out each level's rows does, at the variances of the fit or with a refit.

        Independent groups come from the sums by group; levels of a factor that is crossed with
        others, or nested in one, from their rows.

        Parameters
        ----------
        factor : grouping factor; the outermost where there is one
        levels : of it, all unless said otherwise
        refit : estimate the variances without the level's rows as well, from the fit's own: an
            iteration or two a level

        Returns
        -------
        DataFrame
            by level: ``leverage``, the trace of the group's part of the hat matrix of the fixed
            effects, and ``max_leverage``, its largest eigenvalue; ``cook``, change' Phi^-1 change / p;
            ``mdffits``, the same with Phi without the group; ``covratio`` and ``covtrace``, how Phi
            grows; ``dfbetas_...``, change of every coefficient over its standard error without the
            group. NaN where some coefficient cannot be estimated without it. Refits have no leverage,
            but ``rvc_...``, the relative change of every SD, correlation and sigma
        """
        fit = cast("FitResult", self)
        from mixedflow.results.deleting import influence

        return influence(fit, factor, levels, refit=refit)

    def jackknife(self, *, refit: bool = True) -> Jackknife:
        """Return the estimates without each level of the outermost factor.

        Parameters
        ----------
        refit : estimate the variances again; or (False) leave them, for coefficients in closed form

        Returns
        -------
        Jackknife
            ``replicates``, ``table`` with bias and standard errors, ``vcov``
        """
        from mixedflow.results.jackknifing import jackknife

        return jackknife(cast("FitResult", self), refit=refit)

    def outlying_groups(self, factor: str | None = None) -> pd.DataFrame:
        """Return how far every level is from what the model expects of it, the farthest first.

        Parameters
        ----------
        factor : grouping factor; the first without one

        Returns
        -------
        DataFrame
            by level: ``Q`` = u'Var(u-hat)^-1 u of its random effects u-hat, with ``df`` and ``p`` of
            chi2, ``p_bonferroni`` and ``p_bh`` (false discoveries) for their number; where groups are
            independent also ``distance``, e'Var(e)^-1 e of their residuals y - X beta-hat, with
            ``distance_df``, ``distance_p``, ``distance_p_bonferroni``, ``distance_p_bh``
        """
        from mixedflow.results.outlying import outlying_groups

        return outlying_groups(cast("FitResult", self), factor)

    def ranef_tests(self) -> pd.DataFrame:
        """Return whether random effects look normal, by factor and column.

        Returns
        -------
        DataFrame
            ``levels``; ``Q``, the sum of the squared standardised effects, and ``per_level``, its mean,
            1 under the model; ``skewness``, ``kurtosis`` (excess), ``jarque_bera`` and ``p``
        """
        from mixedflow.results.outlying import ranef_tests

        return ranef_tests(cast("FitResult", self))
