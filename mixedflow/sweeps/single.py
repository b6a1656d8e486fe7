"""The fit of one response as a sweep's row, and fits from rows where residuals have a structure.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from mixedflow.crossproducts.types import CrossProducts
from mixedflow.data.source import Source
from mixedflow.design.schema import Schema
from mixedflow.design.spec import ModelSpec
from mixedflow.design.types import Float
from mixedflow.errors import MixedflowError
from mixedflow.results.build import FitRequest, fit_condensed
from mixedflow.results.fit_result import FitResult
from mixedflow.results.tabulating import pd
from mixedflow.sweeps.frame import LACKING, NO_VALUE, outcome_frame
from mixedflow.sweeps.model import SweepModel
from mixedflow.sweeps.outcome import Outcomes
from mixedflow.sweeps.standin import TraitSource
from mixedflow.sweeps.traits import TraitRows

OUT_OF_RANGE = "values too large or too small for double precision"

Condense: TypeAlias = Callable[[ModelSpec, Source], tuple[Schema, CrossProducts]]

FAILURES = (MixedflowError, np.linalg.LinAlgError)
"""What a response may fail by without ending the sweep."""


def fit_from_rows(
    model: SweepModel, traits: TraitRows, names: Sequence[str], condense: Condense
) -> pd.DataFrame:
    """Return a row a response, each learned, condensed and fitted as a single fit is."""
    return pd.concat([_from_rows(model, traits, n, condense) for n in names], ignore_index=True)


def _from_rows(model: SweepModel, traits: TraitRows, name: str, condense: Condense) -> pd.DataFrame:
    began = time.perf_counter()
    source = TraitSource(model.source.source, model.source.response, traits, name)
    request = FitRequest(model.reml, control=model.control)

    def fitted() -> pd.DataFrame:
        values = [source.values(i, 0) for i in range(source.n_partitions)]
        if all(np.isnan(one).all() for one in values):
            return failed_row(model, name, 0, NO_VALUE)
        known = sum(int((~np.isnan(one)).sum()) for one in values)
        if model.lacks(known):
            rows = model.sums.n_obs
            return failed_row(model, name, known, LACKING.format(lacking=rows - known, rows=rows))
        schema, sums = condense(model.spec, source)
        return fitted_row(model, name, fit_condensed(model.spec, schema, sums, request))

    frame = attempted(model, name, 0, fitted)
    frame["seconds"] = time.perf_counter() - began
    return frame


def attempted(
    model: SweepModel, name: str, n_obs: int, fitted: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    """Return the row of a fit, or the row that says why there is none."""
    try:
        return fitted()
    except ArithmeticError:
        return failed_row(model, name, n_obs, OUT_OF_RANGE)
    except FAILURES as failure:
        return failed_row(model, name, n_obs, str(failure).splitlines()[0])


def failed_row(model: SweepModel, name: str, n_obs: int, error: str) -> pd.DataFrame:
    """Return the row of a response that has no fit."""
    frame = outcome_frame(model, [name], _nothing(model, n_obs))
    frame["error"] = error
    frame["seconds"] = 0.0
    return frame


def fitted_row(model: SweepModel, name: str, fit: FitResult) -> pd.DataFrame:
    """Return a single fit as a sweep's row, NaN for columns that it could not estimate."""
    at = [model.coefficients.index(one) for one in fit.coefficient_names]
    table = fit.infer(model.ddf).coef_table

    def spread(values: Float) -> Float:
        out = np.full((1, len(model.coefficients)), np.nan)
        out[0, at] = values
        return out

    more = {}
    if model.spec.residual != "iid":
        named = fit.residual_params
        names = [
            f"{s}.{p}" if s else p for s, p in zip(named.stratum, named.parameter, strict=True)
        ]
        more = dict(zip(names, named["estimate"], strict=True))
        more.pop("sigma", None)
    found = Outcomes(
        n_obs=np.array([fit.nobs]),
        beta=spread(fit.estimates.beta),
        se=spread(table["se"].to_numpy()),
        df=spread(table["df"].to_numpy()),
        p=spread(table["p"].to_numpy()),
        G=tuple(G[None] for G in fit.estimates.G),
        sigma2=np.array([fit.estimates.sigma2]),
        minus2ll=np.array([fit.deviance]),
        n_params=np.array([fit.df_model]),
        converged=np.array([fit.converged]),
        singular=np.array([fit.singular]),
        iterations=np.array([fit.n_iter]),
    )
    return outcome_frame(model, [name], found, more)


def _nothing(model: SweepModel, n: int) -> Outcomes:
    """Return an outcome of nothing."""
    none, row = np.full(1, np.nan), np.full((1, len(model.coefficients)), np.nan)
    no = np.zeros(1, dtype=bool)
    G = tuple(np.full((1, len(t.columns), len(t.columns)), np.nan) for t in model.encoder.terms)
    zero = np.zeros(1, dtype=np.int64)
    return Outcomes(np.array([n]), row, row, row, row, G, none, none, zero, no, no, zero)
