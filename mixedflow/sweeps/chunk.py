"""A chunk of responses: read, added up, fitted, one row each, whatever goes wrong.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mixedflow.data.source import Source
from mixedflow.design.arrow import PartitionPlace
from mixedflow.design.types import Int
from mixedflow.results.tabulating import pd
from mixedflow.sweeps.frame import NOT_CONVERGED, outcome_frame
from mixedflow.sweeps.general import fit_one_by_one
from mixedflow.sweeps.model import SweepModel
from mixedflow.sweeps.one_factor import OneFactorFits, fit_one_factor
from mixedflow.sweeps.outcome import outcomes
from mixedflow.sweeps.rows import RowColumns, row_columns
from mixedflow.sweeps.totals import Totals
from mixedflow.sweeps.traits import TraitRows

KEPT_ROWS = 1 << 23
"""Numbers of X and Z up to which a model's columns are kept from one chunk to the next."""


@dataclass(frozen=True)
class ChunkTask:
    """What makes rows of results of a chunk of responses; picklable.

    Attributes
    ----------
    source : rows with the predictors and the stand-in
    traits : the responses
    models : what each is fitted by
    chunks : names of the responses, a tuple a chunk
    """

    source: Source
    traits: TraitRows
    models: tuple[SweepModel, ...]
    chunks: tuple[tuple[str, ...], ...]
    _columns: dict[tuple[int, int], RowColumns] = field(default_factory=dict, repr=False)

    def __call__(self, index: int) -> pd.DataFrame:
        """Return the results of a chunk."""
        names = self.chunks[index]
        frames = []
        fast = [m for m, model in enumerate(self.models) if model.entries is not None]
        if fast:
            frames += self._fast(names, fast)
        for m, model in enumerate(self.models):
            if m not in fast:
                frames.append(fit_one_by_one(model, self.source, self.traits, names))
        return pd.concat(frames, ignore_index=True)

    def _fast(self, names: tuple[str, ...], fast: Sequence[int]) -> list[pd.DataFrame]:
        totals = {m: _empty(self.models[m], len(names)) for m in fast}
        for index in range(self.source.n_partitions):
            V = self.traits.read(index, names)
            for m in fast:
                columns = self._rows(m, index)
                own = V if columns.kept.all() else np.ascontiguousarray(V[:, columns.kept])
                totals[m].add(own, columns)
        return [_fitted(self.models[m], totals[m], names, self.source, self.traits) for m in fast]

    def _rows(self, m: int, index: int) -> RowColumns:
        known = self._columns.get((m, index))
        if known is not None:
            return known
        model = self.models[m]
        place = PartitionPlace(self.source.name, index, self.source.row_offset(index))
        table = self.source.read(index, model.spec.variables)
        found = row_columns(model.encoder, model.system, table, place)
        if self.source.n_rows * (found.X.shape[1] + found.Z.shape[1]) <= KEPT_ROWS:
            self._columns[m, index] = found
        return found

    def __getstate__(self) -> dict[str, object]:
        """Leave the kept columns where they are."""
        return {**self.__dict__, "_columns": {}}


def _empty(model: SweepModel, count: int) -> Totals:
    (factor,) = model.system.factors
    shape = (count, factor.n_levels, factor.dim, model.system.p)
    return Totals.empty(shape, shifted=bool(model.unit.any()))


def _fitted(
    model: SweepModel,
    total: Totals,
    names: tuple[str, ...],
    source: Source,
    traits: TraitRows,
) -> pd.DataFrame:
    """Return a row a response, with its reason where there is no fit.

    What the compiled search cannot settle is fitted by itself: columns that are sums of others in a
    response's own rows, and likelihoods with a ridge, as at correlations of one.
    """
    began = time.perf_counter()
    designs, responses = total.sums()
    entries = model.entries
    assert entries is not None  # noqa: S101 - the caller chose it
    fits = fit_one_factor(
        designs, responses, entries, reml=model.reml, L=model.system.fixed_scale.transform
    )
    n_obs = designs.n_obs[responses.which]
    with np.errstate(all="ignore"):
        found = outcomes(
            model.system, fits, entries, (total.shift, total.scale), n_obs, model.unit,
            reml=model.reml,
        )  # fmt: skip
        frame = outcome_frame(model, names, found)
    frame = _with_reasons(frame, model, total, fits, n_obs)
    frame["seconds"] = (time.perf_counter() - began) / len(names)
    again = np.flatnonzero(frame["error"].isin([ALIASED, NOT_CONVERGED]))
    if len(again):
        some = tuple(names[t] for t in again)
        slow = fit_one_by_one(model, source, traits, some)
        slow.index = pd.Index(again)
        frame = pd.concat([frame.drop(index=slow.index), slow]).sort_index()
    return frame


ALIASED = "a column is a sum of others in its rows"


def _with_reasons(
    frame: pd.DataFrame, model: SweepModel, total: Totals, fits: OneFactorFits, n_obs: Int
) -> pd.DataFrame:
    """Say why there is no fit, and leave nothing that looks like one."""
    p = model.system.p
    reasons = [
        (n_obs == 0, "no value"),
        (n_obs <= p, f"too few rows: {{n}} for {p} fixed effects"),
        (total.low == total.high, "constant"),
        (fits.exact, "fixed effects reproduce it exactly"),
        (fits.aliased, ALIASED),
    ]
    error = frame["error"].to_numpy(dtype=object)
    done = np.zeros(len(frame), dtype=bool)
    for where, text in reasons:
        new = where & ~done
        error[new] = [text.format(n=int(n)) for n in n_obs[new]]
        done |= where
    frame["error"] = error
    frame.loc[done, "converged"] = False
    frame.loc[done, "singular"] = False
    numbers = [c for c in frame.columns if frame[c].dtype.kind == "f"]
    frame.loc[done, numbers] = np.nan
    return frame
