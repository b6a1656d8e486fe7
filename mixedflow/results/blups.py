"""Prediction errors of the random effects as tables: PEV, reliability, accuracy, intervals.

Stands at "Prediction error" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, cast, get_args

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.engines import Parts
from mixedflow.errors import DataError, UnsupportedError, did_you_mean, listing
from mixedflow.inference.hypotheses import t_quantile
from mixedflow.inference.prediction_error import (
    ErrorKind,
    error_covariances,
    error_covariances_at,
    reliability,
)
from mixedflow.results.chosen import chosen_levels
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult

NO_INVERSE = (
    "the solver 'pcg' never forms the inverse of the equations, so prediction errors of all random "
    "effects are not available; ask for chosen levels, fit.ranef_table(group, levels=...), or fit with "
    "the solver 'schur' or 'sparse'"
)


class Blups:
    """Prediction errors of a fit's random effects; :class:`mixedflow.FitResult` has them."""

    @cached_property
    def pev(self) -> dict[str, pd.DataFrame]:
        """Prediction error variances Var(u-hat - u) of every factor: levels x columns.

        The uncertainty of the fixed effects is part of them, as in ASReml and BLUPF90; ``ranef_se``
        squared is without it, as in lme4. The variances are taken as known in both.

        Raises
        ------
        UnsupportedError
            for a fit by the solver 'pcg', of which :meth:`ranef_table` has chosen levels.
        """
        fit = cast("FitResult", self)
        parts = zip(fit.ranef.items(), _every(fit, "full"), strict=True)
        return {name: _like(u, _diagonal(part)) for (name, u), part in parts}

    @cached_property
    def reliability(self) -> dict[str, pd.DataFrame]:
        """Reliabilities 1 - PEV / G_jj of every factor: levels x columns; NaN where G_jj is zero."""
        fit = cast("FitResult", self)
        variances = _variances(fit)
        return {
            f: _like(pev, reliability(pev.to_numpy(), variances[f])) for f, pev in self.pev.items()
        }

    def ranef_table(
        self,
        group: str | None = None,
        *,
        levels: Sequence[object] | None = None,
        pev: ErrorKind = "full",
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Return the random effects with their prediction errors, a row a level and column.

        Parameters
        ----------
        group : grouping factor; all of them otherwise
        levels : of that factor, as ``ranef[group]`` names them: exact for every solver, pcg too
        pev : "full", with the uncertainty of the fixed effects; "known_beta", lme4's condVar
        level : of the intervals, estimate +- z se

        Returns
        -------
        DataFrame
            ``group``, ``level``, ``column``, ``estimate``, ``se`` (root of ``pev``), ``lower``,
            ``upper``, ``pev``, ``reliability`` (1 - PEV / G_jj), ``accuracy`` (its root)
        """
        fit = cast("FitResult", self)
        _check(pev, level)
        if not fit.encoder.terms:
            raise UnsupportedError(f"'{fit.spec.formula}' has no random effects")
        found = _covariances(fit, group, levels, pev)
        variances = _variances(fit)
        parts = [
            _table(name, effects, _diagonal(covariance), variances[name], level)
            for name, (effects, covariance) in found.items()
        ]
        return pd.concat(parts, ignore_index=True)

    def ranef_cov(
        self, group: str, *, levels: Sequence[object] | None = None, pev: ErrorKind = "full"
    ) -> pd.DataFrame:
        """Return the covariance of u-hat - u within every level of a factor.

        Parameters
        ----------
        group, levels, pev : as for :meth:`ranef_table`

        Returns
        -------
        DataFrame
            (L q, q), its rows by level and column
        """
        fit = cast("FitResult", self)
        _check(pev, 0.5)
        effects, covariance = _covariances(fit, group, levels, pev)[group]
        index = pd.MultiIndex.from_product(
            [effects.index, effects.columns], names=[group, "column"]
        )
        values = covariance.reshape(-1, covariance.shape[2])
        return pd.DataFrame(values, index=index, columns=effects.columns)


def _check(pev: str, level: float) -> None:
    offered = get_args(ErrorKind)
    if pev not in offered:
        raise UnsupportedError(
            f"pev={pev!r} is not offered; offered are {listing(offered)}"
            f"{did_you_mean(str(pev), offered)}"
        )
    if not 0.0 < level < 1.0:
        raise DataError(f"level={level!r} is not a confidence level; it lies between 0 and 1")


def _covariances(
    fit: FitResult, group: str | None, levels: Sequence[object] | None, kind: ErrorKind
) -> dict[str, tuple[pd.DataFrame, Float]]:
    """Return effects, levels x columns, and their (m, q, q) covariances by factor."""
    if levels is not None:
        if group is None:
            raise DataError("levels are those of one grouping factor; name it: group=...")
        factor, at = chosen_levels(fit.ranef, group, levels)
        if fit.monte_carlo is None:
            covariance = _every(fit, kind)[factor][at]
        else:
            covariance = error_covariances_at(fit._evaluation(), factor, at, kind)
        return {group: (fit.ranef[group].iloc[at], covariance)}
    if group is not None:
        chosen_levels(fit.ranef, group, [])
    parts = zip(fit.ranef.items(), _every(fit, kind), strict=True)
    return {name: (u, part) for (name, u), part in parts if group in (None, name)}


def _every(fit: FitResult, kind: ErrorKind) -> Parts:
    from mixedflow.results.sharded import ShardedFit

    if isinstance(fit, ShardedFit):
        return (fit._error_covariances(known_beta=kind == "known_beta"),)
    if fit.monte_carlo is not None:
        raise UnsupportedError(NO_INVERSE)
    return error_covariances(fit._evaluation(), kind)


def _variances(fit: FitResult) -> dict[str, Float]:
    """Return the diagonal of G of every factor, its terms' columns side by side."""
    terms, info = fit.encoder.terms, fit.crossproducts.info
    return {
        info.factors[f].name: np.concatenate(
            [np.diag(G) for t, G in zip(terms, fit.estimates.G, strict=True) if t.factor == f]
        )
        for f in sorted({term.factor for term in terms})
    }


def _like(frame: pd.DataFrame, values: Float) -> pd.DataFrame:
    return pd.DataFrame(values, index=frame.index, columns=frame.columns)


def _diagonal(covariance: Float) -> Float:
    diagonal: Float = np.einsum("laa->la", covariance).copy()
    return diagonal


def _table(
    name: str, effects: pd.DataFrame, pev: Float, variance: Float, level: float
) -> pd.DataFrame:
    L, q = pev.shape
    estimate, se = effects.to_numpy().ravel(), np.sqrt(pev.ravel())
    half = float(t_quantile(0.5 + level / 2.0, np.array(np.inf))) * se
    share = reliability(pev, variance).ravel()
    return pd.DataFrame(
        {
            "group": name,
            "level": np.repeat(effects.index.to_numpy(), q),
            "column": np.tile(np.asarray(effects.columns, dtype=object), L),
            "estimate": estimate,
            "se": se,
            "lower": estimate - half,
            "upper": estimate + half,
            "pev": pev.ravel(),
            "reliability": share,
            "accuracy": np.sqrt(share),
        }
    )
