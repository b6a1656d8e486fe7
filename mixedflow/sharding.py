"""Fits whose per-group sums stay where the partitions were condensed.

Stands at "Shards" in ``docs/algorithm.md``: what :func:`mixedflow.fit` does with ``sharded=``.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from mixedflow.data import check_folder
from mixedflow.design.encode import Encoder
from mixedflow.design.shardable import check_shardable
from mixedflow.design.spec import ModelSpec
from mixedflow.equations.system import pooled_system
from mixedflow.estimation.control import FitControl
from mixedflow.parallel import Runner
from mixedflow.parallel.shards import make_shards, without_levels
from mixedflow.results.build import FitRequest, RowSource
from mixedflow.results.sharded import ShardedFit, ShardedSums, fit_shards


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
    check_shardable(spec, control.solver)
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
