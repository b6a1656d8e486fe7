"""Many responses over one set of rows: ``mixedflow.sweep``.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from mixedflow.data import open_source
from mixedflow.data.atomic import check_folder
from mixedflow.data.source import Source
from mixedflow.equations.budget import usable_cores
from mixedflow.errors import ConfigError
from mixedflow.estimation.control import FitControl
from mixedflow.parallel import Runner, condense, limited_threads, own_runner
from mixedflow.parallel.mapping import OnDone, map_each
from mixedflow.results.build import versions
from mixedflow.results.tabulating import pd
from mixedflow.sweeps.asking import Checked, SweepRequest, built_models, checked, with_tests
from mixedflow.sweeps.chunk import ChunkJob, ChunkTask
from mixedflow.sweeps.gathering import gathered
from mixedflow.sweeps.long import widened
from mixedflow.sweeps.model import SweepModel
from mixedflow.sweeps.parts import DIGEST, FOLDER, KEY, Parts, with_keys
from mixedflow.sweeps.ratios import Pair
from mixedflow.sweeps.result import OWN_FILES, SweepResult, load_sweep
from mixedflow.sweeps.traits import ColumnTraits, TraitRows, chosen_traits, make_matrix

__all__ = [
    "SweepPlan",
    "fit_missing",
    "gather",
    "load_sweep",
    "missing_traits",
    "plan_sweep",
    "sweep",
]

CHUNK_BYTES = 1 << 28
"""Memory that one chunk of responses may take."""

LARGEST_CHUNK = 1024
"""Responses of a chunk at most."""

LARGEST_SLOW_CHUNK = 32
"""Responses of a chunk at most where they are fitted one by one."""

CHUNKS = 16
"""Chunks that there are at least, where each has :data:`SMALLEST_CHUNK` responses."""

SMALLEST_CHUNK = 128
"""Responses that a chunk has at least, if there are as many: so many pay for the compiled search."""

Matrix: TypeAlias = tuple[Any, Any]


@dataclass(frozen=True, eq=False)
class SweepPlan:
    """A sweep that was checked, its designs learned, before any trait is fitted.

    Attributes
    ----------
    asked : the request
    models : in all subsets, with the refits that tests need
    pairs : the tests
    names : of the traits, in their order
    traits : their values
    source : the rows
    """

    asked: Checked
    models: tuple[SweepModel, ...]
    pairs: tuple[Pair, ...]
    names: tuple[str, ...]
    traits: TraitRows
    source: Source

    @property
    def record(self) -> dict[str, Any]:
        """What was asked, as plain values."""
        request = self.asked.request
        return {
            "models": request.named,
            "residual": {m.name: m.spec.residual for m in self.models},
            "subsets": {
                name: None
                if one is None
                else {c: [str(v) for v in values] for c, values in one.items()}
                for name, one in (request.subsets or {}).items()
            },
            "tests": {name: list(pair) for name, pair in self.asked.tests.items()},
            "reml": request.reml,
            "ddf": self.asked.ddf,
            "q": self.asked.q,
            "weights": request.weights,
            "missing": request.missing,
            "levels": {n: [str(v) for v in values] for n, values in (request.levels or {}).items()},
            "coefficients": {m.name: m.coefficients for m in self.models},
            "traits": list(self.names),
            "source": self.source.name,
            "rows": self.source.n_rows,
            "versions": versions(),
        }


def sweep(  # noqa: PLR0913 - everything that a sweep can be told
    models: str | Mapping[str, str],
    data: Any,
    traits: str | Sequence[str] | None = None,
    *,
    matrix: Matrix | None = None,
    long: Mapping[str, Any] | None = None,
    subsets: Mapping[str, Mapping[str, Any] | None] | None = None,
    tests: Mapping[str, Sequence[str]] | None = None,
    residual: str | Mapping[str, str] = "iid",
    reml: bool = True,
    ddf: str = "satterthwaite",
    q: str = "BH",
    weights: str | None = None,
    levels: Mapping[str, Sequence[Any]] | None = None,
    types: Mapping[str, str] | None = None,
    missing: str = "drop",
    control: FitControl | None = None,
    runner: Runner | None = None,
    path: str | Path | None = None,
    on_done: OnDone | None = None,
) -> SweepResult:
    """Fit many traits y_t = X beta_t + sum_j Z_j u_jt + e_t by one model or several.

    Every trait is fitted as :func:`mixedflow.fit` fits it, in its own rows without missing values.

    Parameters
    ----------
    models : formula without a response, ``"~ x + (1 | g)"``, or several by name
    data : rows as :func:`mixedflow.fit` takes them
    traits : names, patterns like ``gene*`` and ``re:^gene[0-9]+$``, of columns with numbers; may be
        left out for all traits of a matrix or of a long table
    matrix : (rows x traits, names): an array or a ``.npy`` file, whose rows are those of ``data``; a
        list of names, a text file with one a line or a Parquet file with one column
    long : ``{"trait": "gene", "value": "expr", "row": ["sample"]}`` where ``data`` have a row a
        measurement: the columns of the trait's name and value, and those that say which row it is of
    subsets : name -> column -> values, ``{"all": None, "male": {"sex": ["M"]}}``
    tests : name -> two models, smaller first, compared by likelihood ratio, by ML where fixed parts
        differ
    residual : structure of R, for all models or by name; such models are fitted one by one
    reml : restricted likelihood, or the full one
    ddf : degrees of freedom: ``satterthwaite``, ``residual`` (n - p), ``asymptotic``
    q : q-values over the traits of a model: ``BH``, or ``storey`` with an estimated share of nulls
    weights, levels, types : as :func:`mixedflow.fit` takes them
    missing : ``drop`` a trait's rows that lack its value or a predictor; with ``error`` a predictor
        must have all of its values, and a trait that lacks one is a row that says so
    control : settings of those fits that are made one by one
    runner : where chunks of traits are fitted; threads of this process unless said otherwise (the
        bits are the same everywhere)
    path : folder where finished parts are kept, and the result; a sweep that was broken off, or has
        more traits than before, fits only what is not there
    on_done : called with the chunks done and their total

    Raises
    ------
    MixedflowError
        one sentence on what is wrong with models, data or options. A trait that cannot be fitted is
        a row that says why.
    """
    request = SweepRequest(
        models, subsets, tests, residual, reml, ddf, q, weights, levels, control, missing
    )
    with limited_threads(1):
        plan = plan_sweep(request, data, traits, types=types, matrix=matrix, long=long, path=path)
        rows = fit_missing(plan, path, runner=runner, on_done=on_done)
        result = gather(plan, rows)
    if path is not None:
        result.save(path)
    return result


def plan_sweep(  # noqa: PLR0913 - where traits may be
    request: SweepRequest,
    data: Any,
    traits: str | Sequence[str] | None = None,
    *,
    types: Mapping[str, str] | None = None,
    matrix: Matrix | None = None,
    long: Mapping[str, Any] | None = None,
    path: str | Path | None = None,
) -> SweepPlan:
    """Return what a sweep will do, its designs learned; parameters are :func:`sweep`'s."""
    if matrix is not None and long is not None:
        raise ConfigError(
            "traits are in a matrix or in long format: matrix and long exclude each other"
        )
    if matrix is None and long is None and traits is None:
        raise ConfigError("name the traits of the sweep: columns, or patterns like 'gene*'")
    if path is not None:
        check_folder(path, OWN_FILES)
    source = open_source(data, types=types, levels=request.levels)
    asked = checked(request, list(source.columns()))
    values: TraitRows
    if long is not None:
        source, values = widened(source, long, sorted(asked.read), request.levels)
    elif matrix is not None:
        values = make_matrix(*_pair(matrix), source)
    else:
        values = ColumnTraits(source)
        values.check_numbers(traits)
    taken = asked.read if isinstance(values, ColumnTraits) else ()
    names = chosen_traits(traits, values.names, taken)
    models, pairs = with_tests(asked, built_models(asked, source, condense))
    keyed = models if path is None else with_keys(models)
    renewed = {m.identity: m for m in keyed}
    own = tuple(Pair(p.test, renewed[p.small.identity], renewed[p.large.identity]) for p in pairs)
    return SweepPlan(asked, keyed, own, names, values, source)


def _pair(matrix: Any) -> tuple[Any, Any]:
    if not isinstance(matrix, tuple | list) or len(matrix) != 2:
        raise ConfigError("matrix takes two things: the matrix or its .npy file, and the names")
    values, names = matrix
    return (Path(values) if isinstance(values, str | Path) else np.asarray(values)), names


def fit_missing(
    plan: SweepPlan,
    path: str | Path | None = None,
    *,
    runner: Runner | None = None,
    on_done: OnDone | None = None,
    only: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Fit what is not there yet and return the rows of all traits of the plan that are there.

    Parameters
    ----------
    plan : of the sweep
    path : folder of the sweep; nothing is kept without
    only : fit these traits alone, and return none of the rows
    """
    parts = None if path is None else Parts(Path(path) / FOLDER)
    names = plan.names if only is None else tuple(only)
    where = runner or own_runner(len(names), usable_cores())
    jobs, digests = _left(plan, parts, set(names), where)
    task = ChunkTask(plan.source.n_partitions, plan.traits, plan.models, jobs, condense, parts)
    made = map_each(task, len(jobs), runner=where, on_done=on_done)
    if parts is None:
        return pd.concat([one for one in made if isinstance(one, pd.DataFrame)], ignore_index=True)
    for one in made:
        if isinstance(one, dict):
            digests |= one
    if only is not None:
        return pd.DataFrame()
    return _chosen(parts.read([m.key for m in plan.models]), digests)


def missing_traits(
    plan: SweepPlan, path: str | Path, *, runner: Runner | None = None
) -> tuple[str, ...]:
    """Return the traits of a plan that lack rows in the folder of the sweep."""
    where = runner or own_runner(len(plan.names), usable_cores())
    jobs, _ = _left(plan, Parts(Path(path) / FOLDER), set(plan.names), where)
    found = {name for job in jobs for name in job.names}
    return tuple(name for name in plan.names if name in found)


def _left(
    plan: SweepPlan, parts: Parts | None, names: set[str], runner: Runner
) -> tuple[tuple[ChunkJob, ...], dict[str, str]]:
    """Return what is left to do of some traits, and the digests of those that have rows."""
    stored = None if parts is None else parts.read([m.key for m in plan.models])
    chunks = _chunks(plan)
    digests: dict[str, str] = {}
    if stored is not None and len(stored):
        task = ChunkTask(plan.source.n_partitions, plan.traits, plan.models, (), condense, parts)
        digests = _digests(task, chunks, set(stored["trait"]) & names, runner)
    return _jobs(chunks, names, _there(plan, digests, stored)), digests


def _digests(
    task: ChunkTask, chunks: Sequence[ChunkJob], names: set[str], runner: Runner
) -> dict[str, str]:
    """Return the digests of traits that have rows already."""
    own = [chunk.names for chunk in chunks if chunk.models == chunks[0].models]
    some = [tuple(n for n in chunk if n in names) for chunk in own]
    some = [chunk for chunk in some if chunk]
    found = map_each(_Digesting(task, tuple(some)), len(some), runner=runner)
    return {name: digest for one in found for name, digest in one.items()}


@dataclass(frozen=True, slots=True)
class _Digesting:
    """Makes digests of a chunk's traits; picklable."""

    task: ChunkTask
    chunks: tuple[tuple[str, ...], ...]

    def __call__(self, index: int) -> dict[str, str]:
        return self.task.digests(self.chunks[index])


def _there(
    plan: SweepPlan, digests: Mapping[str, str], stored: pd.DataFrame | None
) -> set[tuple[str, int]]:
    """Return which traits have rows of which models."""
    if stored is None:
        return set()
    places: dict[str, list[int]] = {}
    for m, model in enumerate(plan.models):
        places.setdefault(model.key, []).append(m)
    kept = _chosen(stored, digests)
    return {
        (name, m) for name, key in zip(kept["trait"], kept[KEY], strict=True) for m in places[key]
    }


def _chosen(stored: pd.DataFrame, digests: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows whose traits have the values of now."""
    return stored[stored[DIGEST] == stored["trait"].map(digests)]


def _jobs(
    chunks: Sequence[ChunkJob], wanted: set[str], there: set[tuple[str, int]]
) -> tuple[ChunkJob, ...]:
    """Return what is left to do; a chunk divides where its traits lack different models."""
    out = []
    for chunk in chunks:
        lacking: dict[tuple[int, ...], list[str]] = {}
        for name in chunk.names:
            lacks = tuple(m for m in chunk.models if (name, m) not in there)
            if lacks and name in wanted:
                lacking.setdefault(lacks, []).append(name)
        out += [ChunkJob(tuple(names), models) for models, names in lacking.items()]
    return tuple(out)


def gather(plan: SweepPlan, rows: pd.DataFrame) -> SweepResult:
    """Return the result of a sweep all of whose rows are there."""
    table, tests = gathered(rows, plan.names, plan.models, plan.pairs, plan.asked.q)
    return SweepResult(table, tests, plan.record)


def _chunks(plan: SweepPlan) -> tuple[ChunkJob, ...]:
    """Return all that a sweep fits, in chunks; those that are fitted one by one apart from the others.

    They depend on the plan alone: neither on who fits them nor on what was fitted before.
    """
    slow = tuple(m for m, model in enumerate(plan.models) if model.entries is None)
    fast = tuple(m for m in range(len(plan.models)) if m not in slow)
    out = []
    for models in (fast, slow):
        size = _chunk_size(plan, models) if models else 1
        places = range(0, len(plan.names), size) if models else range(0)
        out += [ChunkJob(plan.names[i : i + size], models) for i in places]
    return tuple(out)


def _chunk_size(plan: SweepPlan, models: tuple[int, ...]) -> int:
    """Return how many traits are fitted together: rows and sums fit in :data:`CHUNK_BYTES`."""
    source, count = plan.source, len(plan.names)
    ends = [*(source.row_offset(i) for i in range(source.n_partitions)), source.n_rows]
    chosen = {plan.models[m].rows: plan.models[m] for m in models}
    fast = all(model.entries is not None for model in chosen.values())
    rows, sums = int(np.diff(ends).max()) if fast else source.n_rows, 0
    for model in chosen.values() if fast else ():
        (factor,) = model.system.factors
        q, p = factor.dim, model.system.p
        sums += factor.n_levels * q * (q + p + 2)
    most = max(SMALLEST_CHUNK, -(-count // CHUNKS)) if fast else LARGEST_SLOW_CHUNK
    size = int(min(LARGEST_CHUNK, most, max(1, CHUNK_BYTES // (8 * (3 * rows + sums)))))
    return -(-count // -(-count // size))
