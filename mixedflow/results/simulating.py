"""Responses simulated from a fit, and fits to other responses of the same rows.

Stands at "Bootstrap" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from mixedflow.crossproducts.condense import condense_block
from mixedflow.crossproducts.types import CrossProducts, KeyedSums
from mixedflow.design.moments import moments_of
from mixedflow.design.pilots import shift_and_scale
from mixedflow.design.types import DesignBlock, Float
from mixedflow.errors import ConfigError, DataError, UnsupportedError, did_you_mean, listing
from mixedflow.inference.counted import counted_normals
from mixedflow.inference.decorrelate import ResidualPlaces, correlated, row_sds
from mixedflow.inference.predict import linear_predictor, random_predictor
from mixedflow.results.build import FitRequest, RowSource, fit_condensed
from mixedflow.results.fit_result import FitResult
from mixedflow.results.sharded import ShardedFit
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    import pyarrow as pa

Effects = Literal["new", "fitted"]

RESIDUALS = 0
"""Stream of the residuals; that of the random effects of factor f is f + 1."""


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Rows of a fit that are encoded together.

    Attributes
    ----------
    offset : rows of the source before them
    block : their columns
    """

    offset: int
    block: DesignBlock

    @property
    def at(self) -> Any:
        """Places of the complete rows among all rows of the source."""
        return self.offset + np.flatnonzero(self.block.kept)


def simulate(fit: FitResult, nsim: int, seed: int, random: Effects) -> pd.DataFrame:
    """Return simulated responses; see :meth:`mixedflow.FitResult.simulate`."""
    check_count("nsim", nsim, 1)
    check_count("seed", seed, 0)
    if random not in get_args(Effects):
        raise ConfigError(
            f"random={random!r} is not known{did_you_mean(str(random), get_args(Effects))}; allowed "
            f"are {listing(get_args(Effects))}"
        )
    blocks = list(row_blocks(fit, "simulated"))
    values = simulated_rows(fit, blocks, range(nsim), seed, new=random == "new")
    columns = [f"sim_{k + 1}" for k in range(nsim)]
    return pd.DataFrame(values, index=fit.row_index, columns=columns)


def simulated_rows(
    fit: FitResult, blocks: Sequence[RowBlock], draws: Sequence[int], seed: int, *, new: bool
) -> Float:
    """Return responses of all rows of the source, (rows, draws), NaN where a row was not used.

    Parameters
    ----------
    fit : the model and its estimates
    blocks : all rows
    draws : numbers of the draws; each is the same whatever the others
    seed : of all draws
    new : whether random effects are drawn anew too
    """
    out = np.full((sum(one.block.rows_in for one in blocks), len(draws)), np.nan)
    for k, draw in enumerate(draws):
        u = _new_effects(fit, (seed, draw)) if new else fit._u_by_term
        for one in blocks:
            eta = linear_predictor(one.block, fit.estimates.beta, fit.estimates.kept.tolist())
            eta = eta + random_predictor(one.block, fit.encoder.terms, u)
            out[one.at, k] = eta + _residuals(fit, one, (seed, draw))
    return out


def row_blocks(fit: FitResult, what: str) -> Iterator[RowBlock]:
    """Yield all rows, encoded; at once where rows of a group depend on each other.

    Raises
    ------
    DataError
        if the fit's rows are not at hand.
    UnsupportedError
        for a sharded fit.
    """
    check_whole(fit, what)
    source = fit.source
    if source is None:
        raise DataError(
            f"this fit has no rows at hand, so its responses cannot be {what}; fit the model from "
            "rows, not from sums or from disk"
        )
    names = fit.encoder.variables()
    tables = [source.read(i, names) for i in range(source.n_partitions)]
    if fit.crossproducts.info.residual is not None:
        yield RowBlock(0, fit.encoder.encode(_together(tables)))
        return
    for i, table in enumerate(tables):
        yield RowBlock(source.row_offset(i), fit.encoder.encode(table))


def check_whole(fit: FitResult, what: str) -> None:
    """Raise for a fit whose sums are in shards."""
    if isinstance(fit, ShardedFit):
        raise UnsupportedError(
            f"a sharded fit keeps neither rows nor sums of its groups, so it cannot be {what}; fit the "
            "model without sharded=True"
        )


def _together(tables: Sequence[pa.Table]) -> pa.Table:
    if len(tables) == 1:
        return tables[0]
    import pyarrow as pa

    return pa.concat_tables(tables, promote_options="default").unify_dictionaries()


def _new_effects(fit: FitResult, stream: tuple[int, int]) -> list[Float]:
    """Return u of every term, (L, q), from N(0, G): G^1/2 z with the symmetric root."""
    out = []
    for j, (term, G) in enumerate(zip(fit.encoder.terms, fit.estimates.G, strict=True)):
        levels = fit.crossproducts.info.factors[term.factor].n_levels
        z = counted_normals((*stream, j + 1), 0, levels * len(G)).reshape(levels, len(G))
        values, vectors = np.linalg.eigh(G)
        root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        out.append(z @ root)
    return out


def _residuals(fit: FitResult, one: RowBlock, stream: tuple[int, int]) -> Float:
    """Return e of the complete rows; the normal of a row is that of its place in the source."""
    block, design = one.block, fit.crossproducts.info.residual
    z = counted_normals((*stream, RESIDUALS), one.offset, block.rows_in)[np.asarray(block.kept)]
    if design is not None:
        pattern = block.pattern
        assert pattern is not None  # noqa: S101 - the design has a structure
        position = None if pattern.position is None else np.asarray(pattern.position, dtype=float)
        places = ResidualPlaces(pattern.stratum, pattern.group, position)
        psi = fit.estimates.params.psi
        z = row_sds(design, psi, places) * correlated(design, psi, places, z)
    e = fit.sigma * z
    return e if block.weights is None else e / np.sqrt(block.weights)


def response_sums(
    fit: FitResult, blocks: Sequence[RowBlock], Y: Float, *, same_pilots: bool = False
) -> CrossProducts:
    """Return the sums with every column of Y, (rows, t), as a response.

    Parameters
    ----------
    fit, blocks : the model and all its rows
    Y : responses
    same_pilots : shift and scale them as the fit's own response, not each by its own moments
    """
    info, count = fit.crossproducts.info, Y.shape[1]
    parts = [(one, _offset_free(one.block, Y[one.at])) for one in blocks]
    shift, scale = np.repeat(info.pilots.y_shift, count), np.repeat(info.pilots.y_scale, count)
    for k in range(0 if same_pilots else count):
        shift[k], scale[k] = shift_and_scale(
            moments_of(np.concatenate([y[:, k] for _, y in parts]))
        )
    changed = replace(info.pilots, y_shift=shift, y_scale=scale)
    wanted = replace(info, traits=tuple(info.traits) * count, pilots=changed)
    return reduce(add, [condense_block(replace(one.block, y=y), wanted) for one, y in parts])


def _offset_free(block: DesignBlock, y: Float) -> Float:
    return y if block.offset is None else y - block.offset[:, None]


def with_response(sums: CrossProducts, many: CrossProducts, k: int) -> CrossProducts:
    """Return the sums with the k-th of many responses in place of their own; all else stays."""
    pilots = replace(
        sums.info.pilots,
        y_shift=many.info.pilots.y_shift[k : k + 1],
        y_scale=many.info.pilots.y_scale[k : k + 1],
    )
    keyed = {key: _keyed(part, many.keyed[key], k) for key, part in sums.keyed.items()}
    return replace(sums, info=replace(sums.info, pilots=pilots), keyed=keyed)


def _keyed(part: KeyedSums, many: KeyedSums, k: int) -> KeyedSums:
    factors = tuple(
        replace(own, ZtBy=new.ZtBy[:, :, k : k + 1], groups=None)
        for own, new in zip(part.factors, many.factors, strict=True)
    )
    one = slice(k, k + 1)
    return replace(part, XtBy=many.XtBy[:, one], ytBy=many.ytBy[one, one], factors=factors)


def refit(fit: FitResult, y: Any) -> FitResult:
    """Return the fit to other responses; see :meth:`mixedflow.FitResult.refit`."""
    blocks = list(row_blocks(fit, "refitted"))
    values = _checked_response(fit, y, sum(one.block.rows_in for one in blocks))
    lacking = sum(int((~np.isfinite(values[one.at])).sum()) for one in blocks)
    if lacking:
        raise DataError(
            f"the new response lacks a finite value in {lacking:,} of the {fit.nobs:,} rows that the "
            "fit uses; it needs one in each of them"
        )
    sums = with_response(fit.crossproducts, response_sums(fit, blocks, values[:, None]), 0)
    schema = replace(fit.schema, pilots=sums.info.pilots)
    rows = RowSource(str(fit.data_summary.get("source", "")))
    request = FitRequest(reml=fit.reml, method=fit.method)
    return fit_condensed(fit.spec, schema, sums, request, rows)


def _checked_response(fit: FitResult, y: Any, n_rows: int) -> Float:
    """Return the response as numbers in the order of the rows."""
    if isinstance(y, pd.DataFrame) and y.shape[1] == 1:
        y = y.iloc[:, 0]
    if isinstance(y, pd.Series) and fit.row_index is not None and not y.index.equals(fit.row_index):
        if not y.index.is_unique or len(fit.row_index.difference(y.index)):
            raise DataError(
                "the new response is a Series whose index is not that of the fit's rows; give "
                "values for the same index, or an array in the order of the rows"
            )
        y = y.reindex(fit.row_index)
    try:
        values = np.asarray(y, dtype=float)
    except (TypeError, ValueError):
        raise DataError("the new response must be numbers, one a row") from None
    if values.shape != (n_rows,):
        raise DataError(
            f"the new response must have {n_rows:,} values, one for every row of the data, "
            f"incomplete ones included; found an array of shape {values.shape}"
        )
    return values


def check_count(name: str, value: Any, least: int) -> None:
    """Raise unless a number is whole and not too small."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:
        raise ConfigError(f"{name} must be a whole number of {least} or more; found {value!r}")
