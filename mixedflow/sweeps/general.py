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
from mixedflow.design.arrow import PartitionPlace
from mixedflow.design.types import DesignBlock, DesignInfo, Float, Int
from mixedflow.results.build import FitRequest, fit_condensed
from mixedflow.results.tabulating import pd
from mixedflow.sweeps.frame import CONSTANT, FEW_ROWS, INFINITE, LACKING, NO_VALUE
from mixedflow.sweeps.model import SweepModel
from mixedflow.sweeps.single import attempted, failed_row, fitted_row
from mixedflow.sweeps.traits import TraitRows
from mixedflow.sweeps.wrapped import row_mask


@dataclass(frozen=True, slots=True)
class _Rows:
    """A partition's encoded rows and responses, (T, n)."""

    block: DesignBlock
    V: Float


def fit_one_by_one(model: SweepModel, traits: TraitRows, names: Sequence[str]) -> pd.DataFrame:
    """Return a row a response; one that fails is a row with its reason."""
    rows = [_rows(model, traits, names, i) for i in range(model.source.n_partitions)]
    V = np.concatenate([one.V for one in rows], axis=1)
    lacking = np.isnan(V)
    packed = np.packbits(lacking, axis=1)
    _, which = np.unique(packed, axis=0, return_inverse=True)
    frames: list[pd.DataFrame | None] = [None] * len(names)
    for pattern in range(int(which.max()) + 1):
        at = np.flatnonzero(which.ravel() == pattern)
        here = ~lacking[at[0]]
        values = V[at][:, here]
        reasons = [_reason(one, model) for one in values]
        good = np.array([k for k, reason in enumerate(reasons) if not reason], dtype=np.int64)
        for k in np.flatnonzero([bool(reason) for reason in reasons]):
            n_obs = int(np.isfinite(values[k]).sum())
            frames[at[k]] = failed_row(model, names[int(at[k])], n_obs, reasons[k])
        if len(good):
            fitted = _pattern(model, rows, at[good], here, values[good])
            for k, (sums, shared) in zip(at[good], fitted, strict=True):
                frames[k] = _row(model, names[int(k)], sums, shared)
    return pd.concat([frame for frame in frames if frame is not None], ignore_index=True)


def _reason(values: Float, model: SweepModel) -> str:
    """Return why a response cannot be fitted; empty where it can be tried."""
    if not len(values):
        return NO_VALUE
    if np.isinf(values).any():
        return INFINITE
    rows, p = model.sums.n_obs, model.system.p
    if model.lacks(len(values)):
        return LACKING.format(lacking=rows - len(values), rows=rows)
    if values.min() == values.max():
        return CONSTANT
    return FEW_ROWS.format(n=len(values), p=p) if len(values) <= p else ""


def _rows(model: SweepModel, traits: TraitRows, names: Sequence[str], index: int) -> _Rows:
    source = model.source
    place = PartitionPlace(source.name, index, source.row_offset(index))
    block = model.encoder.encode(source.read(index, model.spec.variables), where=place)
    V, mask = traits.read(index, names), row_mask(source, index)
    V = (V if mask is None else V[:, mask])[:, block.kept]
    return _Rows(block, V if block.offset is None else V - block.offset)


def _pattern(
    model: SweepModel, rows: Sequence[_Rows], at: Int, here: NDArray[np.bool_], values: Float
) -> list[tuple[CrossProducts, float]]:
    """Return the sums of every response of one pattern, and the seconds that they took."""
    began = time.perf_counter()
    total = _sums(model, rows, at, here, values)
    shared = (time.perf_counter() - began) / len(at)
    return [(one_trait(total, k), shared) for k in range(len(at))]


def _sums(
    model: SweepModel, rows: Sequence[_Rows], at: Int, here: NDArray[np.bool_], values: Float
) -> CrossProducts:
    """Return the sums of the responses of one pattern."""
    info = model.encoder.info
    size = np.abs(values).max(axis=1)
    spread = (values / size[:, None]).std(axis=1) * size
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


def _row(model: SweepModel, name: str, sums: CrossProducts, shared: float) -> pd.DataFrame:
    """Return the row of one response."""
    began = time.perf_counter()
    request = FitRequest(model.reml, control=model.control)

    def fitted() -> pd.DataFrame:
        return fitted_row(model, name, fit_condensed(model.spec, model.schema, sums, request))

    frame = attempted(model, name, sums.n_obs, fitted)
    frame["seconds"] = time.perf_counter() - began + shared
    return frame
