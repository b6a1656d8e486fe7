"""Fits whose per-group sums stay where the partitions were condensed.

Stands at "Shards" in ``docs/algorithm.md``: what :func:`mixedflow.fit` does with ``sharded=``.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from mixedflow.data import check_folder
from mixedflow.design.encode import Encoder
from mixedflow.design.spec import ModelSpec
from mixedflow.equations.system import pooled_system
from mixedflow.errors import UnsupportedError, listing
from mixedflow.estimation.control import FitControl
from mixedflow.parallel import Runner
from mixedflow.parallel.shards import make_shards, without_levels
from mixedflow.results.build import FitRequest, RowSource
from mixedflow.results.sharded import ShardedFit, ShardedSums, fit_shards

OFFERED = (
    "shards are offered for one grouping factor that is a column of its own, as in (1 + x | g)"
)


def fit_sharded(
    spec: ModelSpec,
    rows: RowSource,
    request: FitRequest,
    runner: Runner,
    folder: str | Path | None = None,
) -> ShardedFit:
    """Return the fit of a model with one grouping factor, its groups' sums left in shards.

    Parameters
    ----------
    spec : the model
    rows : its source, whose partitions hold whole groups
    request : REML or ML, method, settings
    runner : whose workers keep the shards; without workers they stay in this process
    folder : an empty or new one where the shards are kept instead, read as memory maps as long as
        the fit is used

    Raises
    ------
    UnsupportedError
        for models with more than one grouping factor, and for other solvers.
    DataError
        if a group has rows in two partitions.
    """
    began = time.perf_counter()
    control = request.control or FitControl()
    check_shardable(spec, control)
    source = rows.source
    assert source is not None  # noqa: S101 - rows that were opened
    place = None if folder is None else Path(folder).absolute()
    if place is not None:
        check_folder(place, ())
    shards = make_shards(spec, source, runner, place)
    terms = Encoder(spec, shards.schema).terms
    system, choice = pooled_system(shards.pooled, terms, shards.n_levels)
    levels = shards.chosen(choice, max(control.threads, runner.threads_per_worker))
    sums = without_levels(shards.pooled, shards.n_levels)
    found = ShardedSums(spec, shards.schema, sums, system, levels)
    timings = {**rows.timings, "condense": time.perf_counter() - began}
    return fit_shards(found, request, replace(rows, timings=timings))


def check_shardable(spec: ModelSpec, control: FitControl) -> None:
    """Raise unless shards are offered for the model and the solver."""
    factors = spec.parsed.factors
    if spec.residual != "iid":
        raise UnsupportedError(
            f"shards are offered for residual='iid', not for residual='{spec.residual}'; leave "
            "sharded out"
        )
    if len(factors) != 1:
        names = listing([factor.name for factor in factors])
        raise UnsupportedError(
            f"'{spec.formula}' has {len(factors)} grouping factors ({names}); {OFFERED}"
        )
    (factor,) = factors
    if len(factor.variables) != 1:
        raise UnsupportedError(
            f"the groups of '{factor.name}' combine columns; {OFFERED}: make the combination a "
            "column of the data"
        )
    parsed = spec.parsed
    others = (*spec.linear_expressions, parsed.response, *parsed.offsets)
    if any(factor.variables[0] in e.names for e in others):
        raise UnsupportedError(
            f"'{factor.name}' is a grouping factor and stands elsewhere in '{spec.formula}'; {OFFERED}"
        )
    if control.solver not in ("auto", "grouped"):
        raise UnsupportedError(
            f"solver '{control.solver}' cannot solve equations in shards; possible are 'auto' and "
            "'grouped'"
        )
