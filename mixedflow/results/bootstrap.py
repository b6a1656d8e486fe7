"""What a bootstrap found: draws, and what they say of bias, standard errors and intervals.

Stands at "Bootstrap" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from mixedflow.errors import ConfigError, DataError, UnsupportedError, did_you_mean, listing
from mixedflow.results.bca import bca_limits
from mixedflow.results.tabulating import pd

BootstrapKind = Literal["parametric", "group"]
BootstrapInterval = Literal["percentile", "basic", "normal", "bca"]

VERDICTS = ("converged", "singular")
"""Columns of the draws that are no parameters."""


@dataclass(frozen=True, eq=False, repr=False)
class Bootstrap:
    """Draws of a fit's parameters, and intervals from them.

    Attributes
    ----------
    kind : "parametric", responses simulated from the estimates; "group", groups drawn again
    estimate : of the fit itself, by parameter
    draws : nsim x parameters: fixed effects, ``sd_x|g``, ``cor_x.(Intercept)|g``, ``sigma``, what a
        statistic gave; then ``converged`` and ``singular``. NaN where a draw could not be fitted
    seed : of the draws
    influence : groups x parameters, (n - 1) (mean - t_j) with t_j the estimate without group j; None
        where it was not asked for
    """

    kind: BootstrapKind
    estimate: pd.Series
    draws: pd.DataFrame
    seed: int
    influence: pd.DataFrame | None = None

    @property
    def failed(self) -> int:
        """Number of draws that could not be fitted; intervals leave them out."""
        return int(self._values().isna().all(axis=1).sum())

    @property
    def se(self) -> pd.Series:
        """Standard deviation of the draws, by parameter."""
        return self._values().std().rename("se")

    @property
    def bias(self) -> pd.Series:
        """Mean of the draws less the estimate, by parameter."""
        return (self._values().mean() - self.estimate).rename("bias")

    def confint(
        self, level: float = 0.95, method: BootstrapInterval = "percentile"
    ) -> pd.DataFrame:
        """Return intervals of every parameter: estimate, lower, upper.

        Parameters
        ----------
        level : of confidence
        method : ``"percentile"``, the quantiles q of the draws; ``"basic"``, 2 estimate - q;
            ``"normal"``, estimate - bias +- z se (Davison and Hinkley 1997, chapter 5); ``"bca"``,
            quantiles corrected for bias and acceleration, for ``bootstrap(kind="group",
            jackknife=True)``. Quantiles stand at (R + 1) alpha of R sorted draws
        """
        offered = get_args(BootstrapInterval)
        if method not in offered:
            raise UnsupportedError(
                f"method={method!r} is not offered for bootstrap intervals"
                f"{did_you_mean(str(method), offered)}; offered are {listing(offered)}"
            )
        if not 0.0 < level < 1.0:
            raise ConfigError(f"level must lie between 0 and 1, such as 0.95; {level!r} was given")
        values = self._values()
        if (values.notna().sum() < 2).any():
            raise DataError("fewer than two draws could be fitted, too few for an interval")
        lower, upper = self._limits(values, level, method)
        table = {"estimate": self.estimate, "lower": lower, "upper": upper}
        return pd.DataFrame(table, index=values.columns)

    def _limits(
        self, values: pd.DataFrame, level: float, method: BootstrapInterval
    ) -> tuple[pd.Series, pd.Series]:
        if method == "bca":
            return self._accelerated(values, level)
        if method == "normal":
            from scipy.special import ndtri

            centre, reach = self.estimate - self.bias, float(ndtri(0.5 + 0.5 * level)) * self.se
            return centre - reach, centre + reach
        tails = (0.5 - 0.5 * level, 0.5 + 0.5 * level)
        found = [
            pd.Series(np.nanquantile(values, tail, axis=0, method="weibull"), index=values.columns)
            for tail in tails
        ]
        if method == "basic":
            return 2.0 * self.estimate - found[1], 2.0 * self.estimate - found[0]
        return found[0], found[1]

    def _accelerated(self, values: pd.DataFrame, level: float) -> tuple[pd.Series, pd.Series]:
        if self.influence is None:
            raise UnsupportedError(
                "method='bca' needs the estimates without each group: bootstrap(kind='group', "
                "jackknife=True); method='percentile' needs the draws alone"
            )
        found = [
            bca_limits(
                values[name].to_numpy(),
                float(self.estimate[name]),
                self.influence[name].to_numpy(),
                level,
            )
            for name in values.columns
        ]
        lower, upper = (pd.Series(side, index=values.columns) for side in zip(*found, strict=True))
        return lower, upper

    def _values(self) -> pd.DataFrame:
        return self.draws.drop(columns=list(VERDICTS)).astype(float)

    def __repr__(self) -> str:
        """Return one line."""
        return f"<Bootstrap: {self.kind}, {len(self.draws):,} draws, {self.failed} failed>"
