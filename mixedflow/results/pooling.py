"""Fits of multiply imputed data sets brought together: ``mf.pool(fits)``.

Stands at "Multiple imputation" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixedflow.design.types import Float
from mixedflow.errors import ConfigError, DataError, UnsupportedError
from mixedflow.inference.hypotheses import DfMethod, t_below, t_quantile
from mixedflow.inference.rubin import Imputed, pooled_joint, pooled_rows
from mixedflow.results.fit_result import FitResult
from mixedflow.results.inferring import Inference, checked_rows
from mixedflow.results.tabulating import pd


@dataclass(frozen=True, eq=False, repr=False)
class Pooled:
    """Fixed effects of fits of m imputed data sets by Rubin's rules.

    Attributes
    ----------
    m : number of fits
    ddf : where the degrees of freedom of complete data are from
    level : of the confidence intervals
    table : by coefficient estimate, se, df, statistic, p, lower, upper; ``fmi``, fraction of missing
        information; ``riv``, relative increase of variance; ``lambda``, share of the variance that
        is due to missing values
    """

    m: int
    ddf: DfMethod
    level: float
    table: pd.DataFrame
    _data: Imputed
    _inferences: tuple[Inference, ...]

    @property
    def vcov(self) -> pd.DataFrame:
        """Total covariance, U-bar + (1 + 1/m) B."""
        names = list(self.table.index)
        return pd.DataFrame(self._data.total, index=names, columns=names)

    def contrast(self, L: object) -> pd.DataFrame:
        """Return the test of L beta = 0, a table with one row.

        Parameters
        ----------
        L : as for :meth:`Inference.contrast`; of several rows it is the D1 test, F with one relative
            increase of variance for all

        Returns
        -------
        pandas.DataFrame
            of one row as ``table``; of several num_df, den_df, F, p
        """
        rows = checked_rows(L, list(self.table.index))
        told = [one.contrast(rows) for one in self._inferences]
        if len(rows) == 1:
            df = np.array([np.mean([one["df"].iloc[0] for one in told])])
            return _table(self._data, rows, df, self.level, ["contrast"])
        found = pooled_joint(
            self._data, rows, float(np.mean([one["den_df"].iloc[0] for one in told]))
        )
        values = {name: [getattr(found, name)] for name in ("num_df", "den_df", "F", "p")}
        return pd.DataFrame(values, index=["contrast"])

    def __repr__(self) -> str:
        """Return one line."""
        return f"<Pooled: {self.m} fits, {len(self.table)} coefficients, {self.ddf}>"


def pool(fits: Iterable[FitResult], *, ddf: str = "satterthwaite", level: float = 0.95) -> Pooled:
    """Return the fixed effects of fits of multiply imputed data sets by Rubin's rules.

    With Q-bar the mean of the estimates, U-bar the mean of their covariances, B the covariance between
    them and T = U-bar + (1 + 1/m) B, degrees of freedom are those of Barnard and Rubin (1999).

    Parameters
    ----------
    fits : two or more, of the same model
    ddf : method of the degrees of freedom of complete data, as for ``fit.infer``; their mean over the
        fits is taken. ``"residual"`` is mice's default
    level : of the confidence intervals

    Raises
    ------
    DataError
        if the fits have different coefficients.
    UnsupportedError
        if some are by REML and others by ML.
    """
    chosen = _checked(fits)
    inferences = tuple(fit.infer(ddf, level=level) for fit in chosen)
    data = Imputed(
        np.array([fit.estimates.beta for fit in chosen]),
        np.array([one.vcov.to_numpy() for one in inferences]),
    )
    names = chosen[0].coefficient_names
    complete = np.mean([one.coef_table["df"].to_numpy() for one in inferences], axis=0)
    table = _table(data, np.eye(len(names)), complete, level, names)
    return Pooled(len(chosen), inferences[0].ddf, level, table, data, inferences)


def _table(
    data: Imputed, L: Float, complete_df: Float, level: float, names: list[str]
) -> pd.DataFrame:
    found = pooled_rows(data, L, complete_df)
    statistic = found.estimate / found.se
    half = t_quantile(0.5 + 0.5 * level, found.df) * found.se
    columns = {
        "estimate": found.estimate,
        "se": found.se,
        "df": found.df,
        "statistic": statistic,
        "p": 2.0 * t_below(-np.abs(statistic), found.df),
        "lower": found.estimate - half,
        "upper": found.estimate + half,
        "fmi": found.fmi,
        "riv": found.riv,
        "lambda": found.lambda_,
    }
    return pd.DataFrame(columns, index=names)


def _checked(fits: Any) -> list[FitResult]:
    chosen = list(fits) if isinstance(fits, Iterable) else [fits]
    if len(chosen) < 2 or not all(isinstance(fit, FitResult) for fit in chosen):
        raise ConfigError(
            f"pool() needs a list of two or more fits, one of each imputed data set; "
            f"{len(chosen)} was given"
        )
    first = chosen[0]
    for k, fit in enumerate(chosen[1:], start=2):
        if fit.coefficient_names != first.coefficient_names:
            odd = set(fit.coefficient_names) ^ set(first.coefficient_names)
            what = f"differ in '{sorted(odd)[0]}'" if odd else "stand in another order"
            raise DataError(
                f"fits of different coefficients cannot be pooled: those of fit {k} and of the first "
                f"{what}"
            )
        if fit.reml != first.reml:
            raise UnsupportedError(
                f"fit {k} is by {'REML' if fit.reml else 'ML'} and the first by "
                f"{'REML' if first.reml else 'ML'}; pool fits of one kind"
            )
    return chosen
