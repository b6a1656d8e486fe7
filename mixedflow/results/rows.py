"""Fitted values and residuals of the rows at hand: e, e over its SD, and e decorrelated.

Stands at "Results" in ``docs/algorithm.md``. Rows are read a partition at a time; those of a group
may be anywhere, so their residuals are brought together before they are decorrelated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from mixedflow.covariance.residual_types import ResidualDesign
from mixedflow.design.types import DesignBlock, Float, Int
from mixedflow.errors import DataError, UnsupportedError, did_you_mean, listing
from mixedflow.inference.decorrelate import ResidualPlaces, decorrelated, row_sds
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    import pyarrow as pa

    from mixedflow.results.fit_result import FitResult

ResidualKind = Literal["response", "pearson", "normalized"]


def fitted_rows(fit: FitResult) -> pd.DataFrame:
    """Return fitted values and residuals, one row a row used."""
    frame = pd.concat([_frame(fit, *one) for one in read_blocks(fit)])
    return _labelled(fit, frame)


def row_residuals(fit: FitResult, kind: ResidualKind) -> pd.Series:
    """Return residuals of one kind; see :meth:`FitResult.residuals`."""
    offered = get_args(ResidualKind)
    if kind not in offered:
        raise UnsupportedError(
            f"residuals of kind {kind!r} are not offered{did_you_mean(str(kind), offered)}; "
            f"offered are {listing(offered)}"
        )
    if kind == "response":
        return fit.resid.rename(kind)
    design = fit.crossproducts.info.residual
    parts = [_weighted(fit, *one) for one in read_blocks(fit)]
    frame = pd.concat([part for part, _ in parts])
    values = frame["resid"].to_numpy()
    if design is None:
        values = values / fit.sigma
    else:
        places = _places(frame, [keys for _, keys in parts], design.group)
        psi, sigma = fit.estimates.params.psi, fit.sigma
        values = values / (sigma * row_sds(design, psi, places))
        if kind == "normalized":
            values = decorrelated(design, psi, places, values)
    return _labelled(fit, pd.DataFrame({kind: values}, index=frame.index))[kind]


def read_blocks(fit: FitResult) -> list[tuple[int, pa.Table]]:
    """Return the partitions' tables with the number of rows before each."""
    source = fit.source
    if source is None:
        raise DataError(
            "this fit was read from disk without its rows, so it has no fitted values or "
            "residuals; use predict(newdata)"
        )
    names = fit.encoder.variables()
    return [(source.row_offset(i), source.read(i, names)) for i in range(source.n_partitions)]


def _labelled(fit: FitResult, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with the index of the pandas frame that the rows came from."""
    if fit.row_index is not None:
        frame.index = fit.row_index[frame.index]
    return frame


def _frame(fit: FitResult, offset: int, table: pa.Table) -> pd.DataFrame:
    return _computed(fit, offset, fit.encoder.encode(table))


def _computed(fit: FitResult, offset: int, block: DesignBlock) -> pd.DataFrame:
    fitted = fit._predictor(block, random=True)
    y = block.y[:, 0] if block.offset is None else block.y[:, 0] + block.offset
    at = offset + np.flatnonzero(block.kept)
    return pd.DataFrame({"fitted": fitted, "resid": y - fitted}, index=at)


def _weighted(
    fit: FitResult, offset: int, table: pa.Table
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return e sqrt(w) with its place in R, and the columns that name its group."""
    block = fit.encoder.encode(table)
    frame = _computed(fit, offset, block)
    if block.weights is not None:
        frame["resid"] *= np.sqrt(block.weights)
    if block.pattern is None:
        return frame, None
    design: Any = fit.crossproducts.info.residual
    places, keys = _placed(design, block, table)
    places.index = frame.index
    return pd.concat([frame, places], axis=1), keys


def row_places(
    design: ResidualDesign, blocks: Sequence[DesignBlock], tables: Sequence[pa.Table]
) -> ResidualPlaces:
    """Return where the rows of all partitions stand in R."""
    frames, keys = zip(
        *(_placed(design, *one) for one in zip(blocks, tables, strict=True)), strict=True
    )
    return _places(pd.concat(frames), list(keys), design.group)


def _placed(
    design: ResidualDesign, block: DesignBlock, table: pa.Table
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return strata and positions of a partition's rows, and the columns that name their groups."""
    pattern = block.pattern
    assert pattern is not None  # noqa: S101 - the design has a structure
    frame = pd.DataFrame({"stratum": pattern.stratum})
    if pattern.position is not None:
        frame["position"] = pattern.position
    return frame, table.select(list(design.group)).to_pandas()[np.asarray(block.kept)]


def _places(frame: pd.DataFrame, keys: list[Any], group: tuple[str, ...]) -> ResidualPlaces:
    codes: Int | None = None
    if group:
        together = pd.concat(keys, ignore_index=True).astype(object)
        codes = together.groupby(list(group), sort=False).ngroup().to_numpy(dtype=np.int64)
    position: Float | None = None
    if "position" in frame:
        position = frame["position"].to_numpy(dtype=np.float64)
    return ResidualPlaces(frame["stratum"].to_numpy(dtype=np.int64), codes, position)
