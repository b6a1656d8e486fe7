"""From condensed data to a result: the fit with its messages, timings and versions.

Stands at "Results" in ``docs/algorithm.md``. The API (rows at hand) and the workflow (sums on disk)
come through here, so that both give the same result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import mixedflow
from mixedflow.crossproducts.types import CrossProducts
from mixedflow.data.source import Source
from mixedflow.design.encode import Encoder
from mixedflow.design.schema import Schema
from mixedflow.design.spec import ModelSpec
from mixedflow.estimation.checkpoint import Keeper
from mixedflow.estimation.control import FitControl
from mixedflow.estimation.driver import Progress
from mixedflow.estimation.fit import Estimates, estimate
from mixedflow.estimation.probed import MonteCarloError
from mixedflow.results.fit_result import FitResult

if TYPE_CHECKING:
    import pandas as pd

REPORTED = ("numpy", "scipy", "pandas", "pyarrow", "formulaic", "dask", "numba")


@dataclass(frozen=True, slots=True)
class FitRequest:
    """How sums are to be fitted.

    Attributes
    ----------
    reml, method, control : see :func:`mixedflow.fit`
    progress : called with every row of the trace
    keeper : keeps where a long search stands
    """

    reml: bool = True
    method: str = "auto"
    control: FitControl | None = None
    progress: Progress | None = None
    keeper: Keeper | None = None


@dataclass(frozen=True, slots=True)
class RowSource:
    """Where the rows came from, for messages, fitted values and the report."""

    name: str
    source: Source | None = None
    index: pd.Index | None = None
    timings: Mapping[str, float] = field(default_factory=dict)


def fit_condensed(
    spec: ModelSpec,
    schema: Schema,
    sums: CrossProducts,
    request: FitRequest | None = None,
    rows: RowSource | None = None,
) -> FitResult:
    """Return the fit of a model to sums of its design.

    Parameters
    ----------
    spec : the model; its terms may divide the condensed Z columns as they like
    schema, sums : of the design
    request : REML or ML, method, settings
    rows : where the rows came from
    """
    request = request or FitRequest()
    rows = rows or RowSource(schema.source)
    encoder = Encoder(spec, schema)
    estimates = estimate(
        sums,
        encoder.terms,
        reml=request.reml,
        method=request.method,
        control=request.control,
        progress=request.progress,
        keeper=request.keeper,
    )
    return FitResult(
        spec=spec,
        schema=schema,
        estimates=estimates,
        crossproducts=sums,
        data_summary=data_summary(rows.name, sums),
        messages=(*schema.messages, *fit_messages(estimates, sums)),
        timings={**rows.timings, "fit": estimates.seconds},
        versions=versions(),
        source=rows.source,
        row_index=rows.index,
    )


def data_summary(name: str, sums: CrossProducts) -> dict[str, Any]:
    """Return source, rows read, used and dropped, and the columns that were missing."""
    return {
        "source": name,
        "rows_in": sums.rows_in,
        "rows_used": sums.n_obs,
        "rows_dropped": sums.rows_in - sums.n_obs,
        "missing": dict(sums.missing),
    }


def fit_messages(estimates: Estimates, sums: CrossProducts) -> tuple[str, ...]:
    """Return sentences on aliased columns, no convergence, and parameters at their limits."""
    out = []
    if len(estimates.aliased):
        names = ", ".join(sums.info.x_columns[k] for k in estimates.aliased)
        out.append(
            f"fixed-effect model matrix is rank deficient, so {len(estimates.aliased)} "
            f"column(s) were dropped: {names}"
        )
    if not estimates.converged:
        last = estimates.trace[-1]
        out.append(
            f"not converged after {last.iteration} iterations of {estimates.method}: the estimates "
            f"are not the optimum; {_advice(estimates.method)}"
        )
    out += [
        f"the residual parameter '{name}' is at the limit of what double precision can tell: {meaning}"
        for name, meaning in estimates.certificate.limits
    ]
    if estimates.monte_carlo is not None:
        out += _chance_messages(estimates.monte_carlo)
    return tuple(out)


def _advice(method: str) -> str:
    """Return what to try where a method did not converge."""
    if method != "auto":
        return "raise max_iter or use method 'auto'"
    return (
        "raise max_iter, or fit a simpler structure: the likelihood may be flat or have no maximum"
    )


def _chance_messages(chance: MonteCarloError) -> list[str]:
    """Return sentences on what the solver 'pcg' leaves to chance."""
    traces = (
        f"solver 'pcg' estimated traces from {chance.probes} random vectors (seed {chance.seed}): "
        f"the Monte-Carlo error of the variance components is at most {chance.largest:.2%} of "
        "their standard errors"
    )
    likelihood = (
        f"the log-likelihood is an estimate, -2 logLik with a standard error of "
        f"{chance.minus2ll_se:.2g}: too noisy for likelihood-ratio tests, AIC and BIC unless "
        "models differ by much more"
    )
    out = [traces, likelihood]
    if not chance.met:
        out.append(
            f"the Monte-Carlo error is larger than the {chance.target:.2%} wanted; more than "
            f"{chance.probes} random vectors are not tried"
        )
    return out


def versions() -> dict[str, str]:
    """Return versions of mixedflow and of what it computed with."""
    return dict(_versions())


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    """Read every distribution's metadata once a process: parsing them takes longer than a small fit."""
    found = [("mixedflow", mixedflow.__version__)]
    for name in REPORTED:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)
