"""Many responses over one set of rows: ``mixedflow.sweep``.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixedflow.data import open_source
from mixedflow.data.source import Source
from mixedflow.design.spec import ModelSpec, make_spec, require_random_term
from mixedflow.equations.budget import usable_cores
from mixedflow.parallel import Runner, condense, limited_threads, own_runner
from mixedflow.parallel.mapping import OnDone, map_each
from mixedflow.results.tabulating import pd
from mixedflow.sweeps.chunk import ChunkTask
from mixedflow.sweeps.model import STAND_IN, SweepModel
from mixedflow.sweeps.standin import StandInSource
from mixedflow.sweeps.traits import (
    ColumnTraits,
    MatrixTraits,
    TraitRows,
    chosen_traits,
    open_matrix,
)

CHUNK_BYTES = 1 << 28
"""Memory that one chunk of responses may take."""

LARGEST_CHUNK = 1024
"""Responses of a chunk at most."""


def sweep(  # noqa: PLR0913 - everything that a sweep can be told
    models: str | Mapping[str, str],
    data: Any,
    traits: str | Sequence[str],
    *,
    reml: bool = True,
    weights: str | None = None,
    levels: Mapping[str, Sequence[Any]] | None = None,
    types: Mapping[str, str] | None = None,
    matrix: tuple[str | Path, Sequence[str]] | None = None,
    runner: Runner | None = None,
    on_done: OnDone | None = None,
) -> pd.DataFrame:
    """Return the fits of every trait by every model."""
    source = open_source(data, types=types, levels=levels)
    named = {"model": models} if isinstance(models, str) else dict(models)
    rows: TraitRows = ColumnTraits(source)
    if matrix is not None:
        open_matrix(Path(matrix[0]))
        rows = MatrixTraits(Path(matrix[0]), tuple(matrix[1]), source)
    names = chosen_traits(traits, rows.names)
    stand_in = _stand_in(source)
    with_response = StandInSource(source, stand_in)
    where = runner or own_runner(1_000_000, usable_cores())
    with limited_threads(1):
        built = tuple(
            _model(name, f"{stand_in} {formula}", with_response, reml, weights, levels)
            for name, formula in named.items()
        )
        chunks = chunked(names, built, source)
        task = ChunkTask(with_response, rows, built, chunks)
        found = map_each(task, len(chunks), runner=where, on_done=on_done)
    return pd.concat(found, ignore_index=True)


def _stand_in(source: Source) -> str:
    name = STAND_IN
    while name in source.columns():
        name += "_"
    return name


def _model(
    name: str,
    formula: str,
    source: StandInSource,
    reml: bool,
    weights: str | None,
    levels: Mapping[str, Sequence[Any]] | None,
) -> SweepModel:
    spec: ModelSpec = make_spec(formula, weights=weights, levels=levels)
    require_random_term(spec)
    schema, sums = condense(spec, source)
    return SweepModel(name, spec, schema, sums, reml)


def chunked(
    names: Sequence[str], models: Sequence[SweepModel], source: Source
) -> tuple[tuple[str, ...], ...]:
    """Return the responses in chunks whose rows and sums fit in :data:`CHUNK_BYTES`."""
    rows = max(
        (source.row_offset(i + 1) if i + 1 < source.n_partitions else source.n_rows)
        - source.row_offset(i)
        for i in range(source.n_partitions)
    )
    sums = 0
    for model in models:
        for factor in model.system.factors:
            q, p = factor.dim, model.system.p
            sums += factor.n_levels * q * (q + p + 2)
    size = int(min(LARGEST_CHUNK, max(1, CHUNK_BYTES // (8 * (3 * rows + sums)))))
    count = -(-len(names) // size)
    size = -(-len(names) // max(count, 1))
    return tuple(tuple(names[i : i + size]) for i in range(0, len(names), size))
