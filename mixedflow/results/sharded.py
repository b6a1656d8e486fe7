"""A fit whose random effects stay where the groups are: :class:`FitResult` less what needs them all.

Stands at "Shards" in ``docs/algorithm.md``. Random effects are computed shard by shard from the fitted
variances when they are asked for, and written to Parquet in parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow as pa

from mixedflow.crossproducts import levels as stretches
from mixedflow.crossproducts.levels import LevelArrays, ShardStore
from mixedflow.crossproducts.types import CrossProducts
from mixedflow.data.atomic import atomic_folder
from mixedflow.design.levels import LevelSet
from mixedflow.design.schema import Schema
from mixedflow.design.spec import ModelSpec
from mixedflow.design.types import Float
from mixedflow.equations.choice import plan_engine
from mixedflow.equations.system import ModelSystem
from mixedflow.errors import UnsupportedError
from mixedflow.estimation.checkpoint import Going, key_of
from mixedflow.estimation.control import FitControl
from mixedflow.estimation.effects import LevelEffects, LevelErrors, level_effects, level_errors
from mixedflow.estimation.fit import estimate_levels
from mixedflow.estimation.problem import Problem
from mixedflow.results.build import FitRequest, RowSource, data_summary, fit_messages, versions
from mixedflow.results.fit_result import FitResult
from mixedflow.results.ranef_parts import (
    PART_FILES,
    Part,
    check_part,
    copy_parts,
    part_paths,
    part_schema,
    part_writer,
    read_part,
)
from mixedflow.results.rows import ResidualKind

if TYPE_CHECKING:
    import pandas as pd

GATHER_LIMIT = 5_000_000
"""Random effects that are brought to one place on request."""


@dataclass(frozen=True, eq=False, repr=False)
class ShardedFit(FitResult):
    """A fitted model of one grouping factor whose levels stay in shards.

    What :class:`FitResult` has, but: ``ranef`` and ``ranef_se`` bring at most
    :data:`GATHER_LIMIT` random effects together, :meth:`ranef_parts` writes any number;
    ``crossproducts`` holds the global sums alone. Shards on workers last as long as their runner. A fit
    that was read from disk has no shards: its random effects are those in its files.

    Attributes
    ----------
    system : the equations, the levels added up as one; None for a fit that was read from disk
    levels : the shards; None for a fit that was read from disk
    stored : the folder of its random effects, for a fit that was read from disk
    digests : SHA-256 of the files there by their names
    """

    system: ModelSystem | None = None
    levels: ShardStore | None = None
    stored: Path | None = None
    digests: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def ranef(self) -> dict[str, pd.DataFrame]:
        """Random effects (BLUP): levels x columns, where they are few enough for one place."""
        return self._gathered[0]

    @cached_property
    def ranef_se(self) -> dict[str, pd.DataFrame]:
        """Conditional SDs of the random effects, where they are few enough for one place."""
        return self._gathered[1]

    def ranef_parts(self, path: str | Path) -> int:
        """Write random effects and their conditional SDs to a folder, a Parquet file a shard.

        Columns are those of a saved fit's ``ranef.parquet``: factor, level, column, blup, sd. Workers
        write their own parts, so the folder must be one that they and this process share.

        Parameters
        ----------
        path : the folder; it appears whole or not at all

        Returns
        -------
        int
            rows written.
        """
        with atomic_folder(Path(path), PART_FILES) as folder:
            if self.stored is not None:
                return copy_parts(self.stored, folder, self.digests)
            name, columns = self._factor_columns()
            task = WriteEffects(self._effects, str(folder.absolute()), name, tuple(columns))
            return int(sum(self._store.each(task)))

    def ranef_se_at(self, group: str, levels: Sequence[object]) -> pd.DataFrame:
        """Return the conditional SDs of a few levels, from those of all."""
        from mixedflow.results.chosen import chosen_levels

        _, at = chosen_levels(self.ranef_se, group, levels)
        return self.ranef_se[group].iloc[at]

    def _check_random(self) -> None:
        """Raise: random effects stay in shards."""
        _refuse("predict(newdata, random=True)", "predict(newdata, random=False)")

    def save(self, path: str | Path) -> None:
        """Write the fit to a folder, its random effects shard by shard; ``mixedflow.load`` reads it.

        Workers write their own parts, so the folder must be one that they and this process share.
        """
        from mixedflow.results.sharded_store import save_sharded

        save_sharded(self, Path(path))

    def residuals(self, kind: ResidualKind = "response") -> pd.Series:  # noqa: ARG002
        """Raise: random effects stay in shards."""
        _refuse("fitted values and residuals", "predict(newdata, random=False)")

    def _rows(self) -> pd.DataFrame:
        _refuse("fitted values and residuals", "predict(newdata, random=False)")

    @property
    def _store(self) -> ShardStore:
        assert self.levels is not None  # noqa: S101 - given by fit_shards
        return self.levels

    def _problem(self) -> Problem:
        if self.system is None:
            raise UnsupportedError(
                "standard errors of variance components and degrees of freedom need the sums of the "
                "groups, which a sharded fit that was read from disk does not have; ask for varcorr_se "
                "before it is saved, and for infer(), of which only 'residual' and 'asymptotic' are "
                "offered afterwards"
            )
        make = plan_engine(self.system.pattern, wanted="grouped").make
        return Problem(self.system, make, self.reml, "auto", FitControl(), self._store)

    @cached_property
    def _effects(self) -> LevelEffects:
        assert self.system is not None  # noqa: S101 - given by fit_shards
        return level_effects(self.system, self._store, self.estimates.params, reml=self.reml)

    def _factor_columns(self) -> tuple[str, list[str]]:
        (factor,) = self.crossproducts.info.factors
        return factor.name, [factor.columns[c] for term in self.encoder.terms for c in term.columns]

    @cached_property
    def _gathered(self) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
        import pandas as pd

        name, columns = self._factor_columns()
        self._check_count()
        parts = [part for part in self._every_part(len(columns)) if len(part[0])]
        union, order = _together([names for names, _, _ in parts])
        index = pd.Index(union.take(order).labels(), name=name, dtype=object)
        both = (np.concatenate([part[k] for part in parts])[order] for k in (1, 2))
        u, sd = ({name: pd.DataFrame(values, index=index, columns=columns)} for values in both)
        return u, sd

    def _error_covariances(self, *, known_beta: bool) -> Float:
        """Return Var(u-hat - u) of every level, (L, q, q), in the order of ``ranef``."""
        if self.levels is None or self.system is None:
            raise UnsupportedError(
                "prediction errors need the sums of the groups, which a sharded fit that was read from "
                "disk does not have; ranef_se has those that take the fixed effects as known"
            )
        self._check_count()
        params = self.estimates.params
        errors = level_errors(
            self.system, self.levels, params, reml=self.reml, known_beta=known_beta
        )
        parts = [part for part in self.levels.each(GatherErrors(errors)) if len(part[0])]
        _, order = _together([names for names, _ in parts])
        together: Float = np.concatenate([covariance for _, covariance in parts])[order]
        return together

    def _check_count(self) -> None:
        name, columns = self._factor_columns()
        count = self.n_levels[name] * len(columns)
        if count > GATHER_LIMIT:
            raise UnsupportedError(
                f"{count:,} random effects of '{name}' are not brought together (at most "
                f"{GATHER_LIMIT:,}); ranef_parts(path) writes them shard by shard"
            )

    def _every_part(self, q: int) -> list[Part]:
        if self.stored is None:
            return self._store.each(GatherEffects(self._effects))
        paths = part_paths(self.stored)
        for path in paths:
            check_part(path, self.digests)
        return [read_part(path, q) for path in paths]


@dataclass(frozen=True, slots=True)
class GatherEffects:
    """What brings a shard's random effects here; picklable."""

    effects: LevelEffects

    def __call__(self, sums: LevelArrays, names: LevelSet, _: int) -> Part:
        """Return names, random effects and conditional SDs of a shard."""
        u, sd = self.effects(sums, (0, len(names)))
        return names, u, sd


@dataclass(frozen=True, slots=True)
class GatherErrors:
    """What brings a shard's prediction errors here; picklable."""

    errors: LevelErrors

    def __call__(self, sums: LevelArrays, names: LevelSet, _: int) -> tuple[LevelSet, Float]:
        """Return names and covariances of u-hat - u of a shard."""
        return names, self.errors(sums, (0, len(names)))


@dataclass(frozen=True, slots=True)
class WriteEffects:
    """What writes a shard's random effects; picklable.

    Attributes
    ----------
    effects : computes them
    folder : to write to
    factor, columns : names
    """

    effects: LevelEffects
    folder: str
    factor: str
    columns: tuple[str, ...]

    def __call__(self, sums: LevelArrays, names: LevelSet, number: int) -> int:
        """Write a shard's part, a stretch of levels at a time; return its rows."""
        rows, step = 0, stretches.STRETCH
        schema = part_schema(names.kind, step)
        with part_writer(Path(self.folder), number, schema) as writer:
            for start in range(0, len(names), step):
                span = (start, min(len(names), start + step))
                u, sd = self.effects(sums, span)
                table = self._table(names.take(np.arange(*span)).labels(), u, sd)
                writer.write_table(table.cast(schema))
                rows += table.num_rows
        return rows

    def _table(self, labels: list[str], u: Any, sd: Any) -> pa.Table:
        m, q = u.shape
        return pa.table(
            {
                "factor": pa.array([self.factor] * (m * q)),
                "level": pa.array(labels * q),
                "column": pa.array(np.repeat(np.array(self.columns, dtype=object), m)),
                "blup": u.T.ravel(),
                "sd": sd.T.ravel(),
            }
        )


def _together(shards: Sequence[LevelSet]) -> tuple[LevelSet, Any]:
    """Return the levels of all shards, and their order."""
    union = shards[0]
    for names in shards[1:]:
        union = _joined(union, names)
    return union, _ascending(union)


def _joined(a: LevelSet, b: LevelSet) -> LevelSet:
    """Return the levels of two shards, one after the other."""
    if a.kind == "text":
        return LevelSet("text", pa.concat_arrays([a.values, b.values]))
    kind = a.kind if a.kind == b.kind else "float"
    return LevelSet(kind, np.concatenate([a.values, b.values]))


def _ascending(names: LevelSet) -> Any:
    if names.kind == "text":
        import pyarrow.compute as pc

        return np.asarray(pc.array_sort_indices(names.values), dtype=np.int64)
    return np.argsort(names.values, kind="stable")


def _refuse(what: str, offered: str) -> NoReturn:
    raise UnsupportedError(
        f"{what} is not offered for a sharded fit, whose random effects stay in shards; offered are "
        f"ranef_parts(path) and {offered}"
    )


@dataclass(frozen=True, slots=True)
class ShardedSums:
    """What a sharded fit is made from.

    Attributes
    ----------
    spec, schema : the model, and what was learned
    sums : global sums, with the number of levels
    system : the equations; levels : the shards
    """

    spec: ModelSpec
    schema: Schema
    sums: CrossProducts
    system: ModelSystem
    levels: ShardStore


def _key(found: ShardedSums, request: FitRequest, rows: RowSource) -> str:
    """Return one digest of what the bits depend on; the rows stand for the sums of the levels."""
    content = "" if rows.source is None else rows.source.fingerprint()
    how = (request.reml, request.method, content, found.spec.to_json())
    return key_of(found.sums, found.system.terms, how, request.control or FitControl())


def fit_shards(found: ShardedSums, request: FitRequest, rows: RowSource) -> ShardedFit:
    """Return the fit of a model to sums in shards."""
    keeper = request.keeper
    before = None if keeper is None else keeper.found(lambda: _key(found, request, rows))
    estimates = estimate_levels(
        found.system,
        found.levels,
        reml=request.reml,
        method=request.method,
        control=request.control,
        progress=request.progress,
        going=Going(keeper, before),
    )
    timings: Mapping[str, float] = {**rows.timings, "fit": estimates.seconds}
    return ShardedFit(
        spec=found.spec,
        schema=found.schema,
        estimates=estimates,
        crossproducts=found.sums,
        data_summary=data_summary(rows.name, found.sums),
        messages=(*found.schema.messages, *fit_messages(estimates, found.sums)),
        timings=timings,
        versions=versions(),
        source=rows.source,
        row_index=rows.index,
        system=found.system,
        levels=found.levels,
    )
