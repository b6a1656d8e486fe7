"""Models whose responses are fitted one by one: several factors, structures of G, aliased columns.

Stands at "Sweeps" in ``docs/algorithm.md``. Responses that lack the same rows share the sums of the
columns; every fit is the one that a single response would have.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixedflow.crossproducts.condense import condense_block
from mixedflow.crossproducts.types import CrossProducts, FactorSums
from mixedflow.data.source import Source
from mixedflow.design.arrow import PartitionPlace
from mixedflow.design.types import DesignBlock, DesignInfo, Float, Int
from mixedflow.errors import MixedflowError
from mixedflow.estimation.fit import Estimates
from mixedflow.results.build import FitRequest, fit_condensed
from mixedflow.results.fit_result import FitResult
from mixedflow.results.tabulating import pd
from mixedflow.sweeps.frame import outcome_frame
from mixedflow.sweeps.model import SweepModel
from mixedflow.sweeps.outcome import Outcomes
from mixedflow.sweeps.traits import TraitRows


@dataclass(frozen=True, slots=True)
class _Rows:
    """A partition's encoded rows and responses, (T, n)."""

    block: DesignBlock
    V: Float


def fit_one_by_one(
    model: SweepModel, source: Source, traits: TraitRows, names: Sequence[str]
) -> pd.DataFrame:
    """Return a row a response; one that fails is a row with its reason."""
    rows = [_rows(model, source, traits, names, i) for i in range(source.n_partitions)]
    lacking = np.concatenate([np.isnan(one.V) for one in rows], axis=1)
    packed = np.packbits(lacking, axis=1)
    _, which = np.unique(packed, axis=0, return_inverse=True)
    frames: list[pd.DataFrame | None] = [None] * len(names)
    for pattern in range(int(which.max()) + 1):
        at = np.flatnonzero(which.ravel() == pattern)
        here = ~lacking[at[0]]
        values = np.concatenate([one.V[at] for one in rows], axis=1)[:, here]
        began = time.perf_counter()
        sums = _sums(model, rows, at, here, values) if here.any() else None
        shared = (time.perf_counter() - began) / len(at)
        for k, t in enumerate(at):
            frames[t] = _row(model, names[int(t)], sums, k, (values[k], shared))
    return pd.concat([frame for frame in frames if frame is not None], ignore_index=True)


def _rows(
    model: SweepModel, source: Source, traits: TraitRows, names: Sequence[str], index: int
) -> _Rows:
    place = PartitionPlace(source.name, index, source.row_offset(index))
    block = model.encoder.encode(source.read(index, model.spec.variables), where=place)
    V = traits.read(index, names)[:, block.kept]
    return _Rows(block, V if block.offset is None else V - block.offset)


def _sums(
    model: SweepModel, rows: Sequence[_Rows], at: Int, here: NDArray[np.bool_], values: Float
) -> CrossProducts:
    """Return the sums of the responses of one pattern."""
    info = model.encoder.info
    spread = values.std(axis=1)
    scale = np.exp2(np.round(np.log2(np.where(spread > 0, spread, 1.0))))
    pilots = replace(info.pilots, y_shift=values.mean(axis=1), y_scale=scale)
    info = replace(info, traits=tuple(str(t) for t in at), pilots=pilots)
    total, first = None, 0
    for one in rows:
        last = first + len(one.block.y)
        own = here[first:last]
        sums = condense_block(_some(one.block, own, one.V[at][:, own].T), info)
        total = sums if total is None else total + sums
        first = last
    assert total is not None  # noqa: S101 - a source has partitions
    return total


def _some(block: DesignBlock, rows: NDArray[np.bool_], y: Float) -> DesignBlock:
    """Return some rows of a partition with other responses."""
    coded = tuple(
        replace(one, codes=one.codes[rows], pieces=tuple(np.asarray(p)[rows] for p in one.pieces))
        for one in block.coded
    )
    return replace(
        block,
        X=block.X[rows],
        y=np.ascontiguousarray(y),
        Z=tuple(Z[rows] for Z in block.Z),
        codes=tuple(codes[rows] for codes in block.codes),
        weights=None if block.weights is None else block.weights[rows],
        coded=coded,
    )


def one_trait(sums: CrossProducts, k: int) -> CrossProducts:
    """Return the sums of one of several responses."""
    info: DesignInfo = sums.info
    pilots = replace(
        info.pilots, y_shift=info.pilots.y_shift[[k]], y_scale=info.pilots.y_scale[[k]]
    )
    keyed = {
        key: replace(
            part,
            XtBy=part.XtBy[:, [k]],
            ytBy=part.ytBy[np.ix_([k], [k])],
            factors=tuple(_one_of(factor, k) for factor in part.factors),
        )
        for key, part in sums.keyed.items()
    }
    return replace(sums, info=replace(info, traits=(info.traits[k],), pilots=pilots), keyed=keyed)


def _one_of(factor: FactorSums, k: int) -> FactorSums:
    return replace(factor, ZtBy=np.ascontiguousarray(factor.ZtBy[:, :, [k]]))


def _row(
    model: SweepModel, name: str, sums: CrossProducts | None, k: int, seen: tuple[Float, float]
) -> pd.DataFrame:
    """Return the row of one response."""
    values, shared = seen
    began = time.perf_counter()
    error, found = "", None
    if sums is None:
        error = "no value"
    elif values.min() == values.max():
        error = "constant"
    else:
        try:
            request = FitRequest(model.reml)
            fit = fit_condensed(model.spec, model.schema, one_trait(sums, k), request)
            found = _outcomes(model, fit)
        except MixedflowError as failure:
            error = str(failure)
    frame = outcome_frame(model, [name], found or _nothing(model, len(values)))
    if error:
        frame["error"] = error
    frame["seconds"] = time.perf_counter() - began + shared
    return frame


def _outcomes(model: SweepModel, fit: FitResult) -> Outcomes:
    """Return a single fit as a sweep's outcome, NaN for columns that it could not estimate."""
    estimates: Estimates = fit.estimates
    at = np.searchsorted(model.system.kept, estimates.kept)
    table = fit.infer().coef_table

    def spread(values: Float) -> Float:
        out = np.full((1, model.system.p), np.nan)
        out[0, at] = values
        return out

    return Outcomes(
        n_obs=np.array([fit.nobs]),
        beta=spread(estimates.beta),
        se=spread(table["se"].to_numpy()),
        df=spread(table["df"].to_numpy()),
        p=spread(table["p"].to_numpy()),
        G=tuple(G[None] for G in estimates.G),
        sigma2=np.array([estimates.sigma2]),
        minus2ll=np.array([fit.deviance]),
        n_params=fit.df_model,
        converged=np.array([fit.converged]),
        singular=np.array([fit.singular]),
        iterations=np.array([fit.n_iter]),
    )


def _nothing(model: SweepModel, n: int) -> Outcomes:
    """Return an outcome of nothing."""
    p = model.system.p
    none, row = np.full(1, np.nan), np.full((1, p), np.nan)
    no = np.zeros(1, dtype=bool)
    G = tuple(np.full((1, size, size), np.nan) for size in model.system.dims)
    zero = np.zeros(1, dtype=np.int64)
    return Outcomes(np.array([n]), row, row, row, row, G, none, none, 0, no, no, zero)
