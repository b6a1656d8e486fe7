"""e_hat = y - X beta_hat - Z u_hat, in a second parallel pass over the rows.

Stands at "A second pass" in ``docs/algorithm.md``. One partition at a time is read, encoded,
written as a part of ``residuals.parquet`` and condensed to ``ResidualSums``, which add up in any
order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mixedflow.data.atomic import atomic_folder
from mixedflow.data.prepared import PreparedData
from mixedflow.data.source import Source
from mixedflow.design.arrow import PartitionPlace
from mixedflow.design.coded import fixed_part
from mixedflow.design.encode import Encoder
from mixedflow.design.types import DesignBlock, DesignInfo, Float, Int
from mixedflow.diagnostics.sketch import ResidualSums, Rows, empty_sums, summarise_rows
from mixedflow.errors import FitError, UnsupportedError
from mixedflow.inference.decorrelate import ResidualPlaces, placed_sds, position_sds
from mixedflow.results.fit_result import FitResult

FOLDER = "residuals.parquet"

MapReduce = Callable[
    [Callable[[int], ResidualSums], int, Callable[[ResidualSums, ResidualSums], ResidualSums]],
    ResidualSums,
]
"""``map_reduce(fn, n_items, combine)``: combine(fn(0), ..., fn(n_items - 1))."""


@dataclass(frozen=True, slots=True)
class Effects:
    """The estimates that turn a partition's numbers into fitted values.

    Attributes
    ----------
    beta : (p,) fixed effects in the order of the X columns, zero for a column that was dropped
    blups : one (L_f, Q_f) array a factor, summed over the terms that use a column
    sigma : residual standard deviation
    relative : standard deviations over sigma, (strata, positions or 1), where R has a structure
    """

    beta: Float
    blups: tuple[Float, ...]
    sigma: float
    relative: Float | None = None

    def sd(self, block: DesignBlock) -> Float:
        """Return the residual standard deviation of every row, of weight 1, (n,)."""
        if self.relative is None or block.pattern is None:
            return np.full(len(block.y), self.sigma)
        pattern = block.pattern
        places = ResidualPlaces(pattern.stratum, pattern.group, pattern.position)
        return self.sigma * placed_sds(self.relative, places)


def effects_of(fit: FitResult, info: DesignInfo) -> Effects:
    """Lay the estimates of a fit out in the columns and levels of its design."""
    beta = fit.fixef.reindex(list(info.x_columns)).to_numpy(dtype=np.float64, copy=True)
    beta[np.isnan(beta)] = 0.0
    blups = []
    for index, factor in enumerate(info.factors):
        frame = fit.ranef[factor.name]
        frame = frame.set_axis(frame.index.map(str))
        labels = [str(label) for label in fit.schema.level_labels(index)]
        ordered = frame if list(frame.index) == labels else frame.loc[labels]
        blups.append(_by_column(ordered, factor.columns))
    relative = None
    if info.residual is not None:
        relative = position_sds(info.residual, fit.estimates.params.psi)
    effects = Effects(beta, tuple(blups), float(fit.sigma), relative)
    numbers = [effects.beta, np.array([effects.sigma]), *effects.blups]
    if not all(np.isfinite(part).all() for part in numbers) or effects.sigma <= 0:
        raise FitError(
            "the fit holds estimates that are not finite, or a residual standard deviation that is "
            f"not positive (sigma = {effects.sigma}); residuals cannot be computed from it"
        )
    return effects


def _by_column(frame: pd.DataFrame, columns: tuple[str, ...]) -> Float:
    values = frame.to_numpy(dtype=np.float64)
    names = [str(name) for name in frame.columns]
    out = np.zeros((len(frame), len(columns)))
    for j, column in enumerate(columns):
        for k, name in enumerate(names):
            if name == column:
                out[:, j] += values[:, k]
    return out


def marginal_fitted(block: DesignBlock, effects: Effects) -> Float:
    """X beta + offset, (n,): the mean of a record whose groups are not known."""
    fitted = fixed_part(block, effects.beta)
    return fitted if block.offset is None else fitted + block.offset


def random_part(block: DesignBlock, effects: Effects) -> Float:
    """Z u = sum_f Z_f u_f[level], (n,); a level that the fit has never seen contributes zero."""
    out = np.zeros(len(block.X))
    for Z, codes, blups in zip(block.Z, block.codes, effects.blups, strict=True):
        known = codes >= 0
        out[known] += np.einsum("ij,ij->i", Z[known], blups[codes[known]])
    return out


@dataclass(frozen=True, slots=True)
class PartitionResiduals:
    """Fitted values and residuals of one partition, all (n,).

    Attributes
    ----------
    row : numbers of the rows in the source, counted from 1
    fitted, fitted_marginal : X beta + Z u and X beta, both with the offset
    residual, residual_marginal : y minus each of them
    standardised : conditional residual over the standard deviation of its row
    """

    row: Int
    fitted: Float
    fitted_marginal: Float
    residual: Float
    residual_marginal: Float
    standardised: Float

    def table(self) -> pa.Table:
        """Return the columns as they are written to ``residuals.parquet``."""
        return pa.table(
            {
                "row": self.row,
                "fitted": self.fitted,
                "fitted_marginal": self.fitted_marginal,
                "residual": self.residual,
                "residual_marginal": self.residual_marginal,
                "residual_standardised": self.standardised,
            }
        )


def partition_residuals(
    block: DesignBlock, effects: Effects, row_offset: int = 0
) -> PartitionResiduals:
    """Compute e = y - X beta - Z u and its relatives for one partition."""
    marginal = marginal_fitted(block, effects)
    fitted = marginal + random_part(block, effects)
    y = block.y[:, 0] if block.offset is None else block.y[:, 0] + block.offset
    residual = y - fitted
    sd = effects.sd(block)
    if block.weights is not None:
        sd = sd / np.sqrt(block.weights)
    return PartitionResiduals(
        row=row_offset + np.flatnonzero(block.kept).astype(np.int64) + 1,
        fitted=fitted,
        fitted_marginal=marginal,
        residual=residual,
        residual_marginal=y - marginal,
        standardised=residual / sd,
    )


def summarise_block(block: DesignBlock, values: PartitionResiduals) -> ResidualSums:
    """Condense one partition's residuals."""
    codes = (
        np.column_stack(block.codes)
        if block.codes
        else np.zeros((len(values.row), 0), dtype=np.int64)
    )
    return summarise_rows(
        Rows(values.row, values.fitted, values.residual, values.standardised, codes)
    )


@dataclass(frozen=True, slots=True)
class ResidualPart:
    """The work on partition i as a value that can be sent to a worker: read, write, sum."""

    source: Source
    encoder: Encoder
    columns: tuple[str, ...]
    effects: Effects
    folder: str | None

    def __call__(self, index: int) -> ResidualSums:
        """Return the summary of partition ``index``; its rows go to the folder, if there is one."""
        offset = self.source.row_offset(index)
        table = self.source.read(index, self.columns)
        place = PartitionPlace(self.source.name, index, offset)
        block = self.encoder.encode(table, where=place)
        values = partition_residuals(block, self.effects, offset)
        if self.folder is not None:
            path = Path(self.folder) / f"part-{index:05d}.parquet"
            pq.write_table(values.table(), path, compression="zstd")
        return summarise_block(block, values)


def add_sums(a: ResidualSums, b: ResidualSums) -> ResidualSums:
    """Return a + b; a named function, since workers receive it by name."""
    return a + b


def run_in_order(
    fn: Callable[[int], ResidualSums],
    n_items: int,
    combine: Callable[[ResidualSums, ResidualSums], ResidualSums],
) -> ResidualSums:
    """Map and reduce one partition after the other in this process."""
    total = empty_sums()
    for index in range(n_items):
        total = combine(total, fn(index))
    return total


def _check_positions(effects: Effects, source: Source, info: DesignInfo) -> None:
    """Raise where a row's place in its group is needed and groups may lie in several partitions."""
    design = info.residual
    if design is None or effects.relative is None or effects.relative.shape[1] == 1:
        return
    prepared = isinstance(source, PreparedData) and source.manifest.group in design.group
    if design.position is None and source.n_partitions > 1 and not prepared:
        group = ":".join(design.group)
        raise UnsupportedError(
            f"the standard deviations of {design.structure}(1 | {group}) go by a row's place in its "
            f"group, and '{source.name}' has {source.n_partitions} partitions that may divide "
            f"groups; name a column of positions, {design.structure}(visit | {group}), or give data "
            "prepared by this group"
        )


def residual_pass(
    fit: FitResult,
    source: Source,
    encoder: Encoder,
    folder: Path | None,
    map_reduce: MapReduce = run_in_order,
) -> ResidualSums:
    """Run the second pass; write ``residuals.parquet`` into ``folder`` when one is given.

    The parts are written to a folder beside it, which gets the name when all are there.
    """
    effects = effects_of(fit, encoder.info)
    _check_positions(effects, source, encoder.info)
    columns = tuple(encoder.variables())
    if folder is None:
        work = ResidualPart(source, encoder, columns, effects, None)
        return map_reduce(work, source.n_partitions, add_sums)
    with atomic_folder(folder / FOLDER, ("part-*.parquet",)) as draft:
        work = ResidualPart(source, encoder, columns, effects, str(draft))
        return map_reduce(work, source.n_partitions, add_sums)
