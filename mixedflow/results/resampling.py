"""Simulated responses, refits and bootstraps as questions to a fit.

Stands at "Bootstrap" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.parallel import Runner
    from mixedflow.results.bootstrap import Bootstrap, BootstrapKind
    from mixedflow.results.bootstrapping import Statistic
    from mixedflow.results.fit_result import FitResult
    from mixedflow.results.simulating import Effects


class Resampling:
    """What :class:`mixedflow.results.fit_result.FitResult` offers of simulation."""

    def simulate(self, nsim: int = 1, *, seed: int = 1, random: Effects = "new") -> pd.DataFrame:
        """Return responses y = X beta + offset + Z u + e, simulated from the estimates.

        Random numbers belong to rows and levels, not to partitions, so that the same rows have the
        same responses however they are divided. Where the formula transforms the response,
        ``log(y)``, it is the transformed one.

        Parameters
        ----------
        nsim : number of responses
        seed : of the random numbers
        random : ``"new"`` draws u ~ N(0, G) for every level; ``"fitted"`` keeps the BLUPs

        Returns
        -------
        pandas.DataFrame
            rows x nsim, columns ``sim_1``, ...; NaN in rows that the fit does not use

        Raises
        ------
        DataError
            if the rows are not at hand.
        """
        from mixedflow.results.simulating import simulate

        return simulate(cast("FitResult", self), nsim, seed, random)

    def refit(self, y_new: Any) -> FitResult:
        """Return the same model's fit to another response: X'BX, Z'BX and Z'BZ stay as they are.

        Parameters
        ----------
        y_new : (rows,) numbers in the order of the rows, or a Series with their index; the response
            as the formula has it, offset included, so that a column of :meth:`simulate` can be
            given. Rows that the fit does not use may be NaN

        Returns
        -------
        FitResult
            by the same likelihood and method; it has no rows of its own

        Raises
        ------
        DataError
            if the length is another, a value is missing, or the rows are not at hand.
        """
        from mixedflow.results.simulating import refit

        return refit(cast("FitResult", self), y_new)

    def bootstrap(  # noqa: PLR0913 - everything that a bootstrap can be told
        self,
        nsim: int = 1000,
        *,
        kind: BootstrapKind = "parametric",
        statistic: Statistic | None = None,
        seed: int = 1,
        factor: str | None = None,
        strata: object = None,
        jackknife: bool = False,
        workers: int | None = None,
        runner: Runner | None = None,
    ) -> Bootstrap:
        """Return draws of the parameters, with standard errors and intervals.

        A parametric draw simulates y from the estimates; for independent, weighted and strata
        residuals it draws X'By, Z'By and y'By themselves, no row is made. A group draw takes as many
        groups as there are, with replacement, as multiples of their sums. Every draw has random
        numbers of its own, so the draws are the same however many workers make them.

        Parameters
        ----------
        nsim : number of draws
        kind : "parametric" or "group"
        statistic : function of a draw, given as a light fit (:class:`.Replicate`: beta, fixef, vcov, G,
            varcorr, sigma, sigma2, icc, loglik), that returns a number, or numbers by name
        seed : of all draws
        factor : whose groups are drawn, where the model has several grouping factors
        strata : the stratum of every group, by level: groups are drawn within strata
        jackknife : of groups, also fit without each of them, which the intervals ``"bca"`` need
        workers : threads; the cores of this process where draws are long, one otherwise
        runner : worker processes or a Dask scheduler (``mixedflow.parallel.open_runner``)

        Raises
        ------
        UnsupportedError
            of groups: where another factor is crossed with them, and for residual structures; of
            parametric draws: where they need rows that are not at hand.
        """
        from mixedflow.results.bootstrapping import BootstrapRequest, bootstrap

        request = BootstrapRequest(nsim, kind, statistic, seed, factor, strata, jackknife)
        return bootstrap(cast("FitResult", self), request, workers, runner)
