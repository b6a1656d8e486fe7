"""A chunk of responses: read, added up, fitted, one row each, whatever goes wrong.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixedflow.design.arrow import PartitionPlace
from mixedflow.design.types import Float, Int
from mixedflow.results.tabulating import pd
from mixedflow.sweeps.frame import (
    ALIASED,
    CONSTANT,
    EXACT,
    FEW_ROWS,
    INFINITE,
    LACKING,
    NO_VALUE,
    NOT_CONVERGED,
    outcome_frame,
)
from mixedflow.sweeps.general import fit_one_by_one
from mixedflow.sweeps.model import SweepModel
from mixedflow.sweeps.one_factor import fit_one_factor
from mixedflow.sweeps.outcome import outcomes
from mixedflow.sweeps.parts import DIGEST, KEY, Parts, TraitDigests
from mixedflow.sweeps.rows import RowColumns, row_columns
from mixedflow.sweeps.single import Condense, fit_from_rows
from mixedflow.sweeps.totals import Totals
from mixedflow.sweeps.traits import TraitRows
from mixedflow.sweeps.wrapped import row_mask

KEPT_ROWS = 1 << 23
"""Numbers of X and Z up to which a model's columns are kept from one chunk to the next."""


@dataclass(frozen=True, slots=True)
class ChunkJob:
    """What is to be fitted together.

    Attributes
    ----------
    names : of the responses
    models : places of the models among the sweep's
    """

    names: tuple[str, ...]
    models: tuple[int, ...]


@dataclass(frozen=True)
class ChunkTask:
    """What makes rows of results of a chunk of responses; picklable.

    Attributes
    ----------
    n_partitions : of the data
    traits : the responses
    models : what they are fitted by
    jobs : chunks of responses
    condense : makes sums of rows, for models whose residuals have a structure
    parts : where every chunk's rows are kept; None for nowhere
    """

    n_partitions: int
    traits: TraitRows
    models: tuple[SweepModel, ...]
    jobs: tuple[ChunkJob, ...]
    condense: Condense
    parts: Parts | None = None
    _columns: dict[tuple[int, int], RowColumns] = field(default_factory=dict, repr=False)

    def __call__(self, index: int) -> pd.DataFrame | dict[str, str]:
        """Return the results of a chunk; where they are kept as a part, the digests of its traits."""
        job = self.jobs[index]
        fast = [m for m in job.models if self.models[m].entries is not None]
        found = self._fast(job.names, fast) if fast or self.parts is not None else {}
        digests = found.pop(-1, None)
        for m in job.models:
            if m not in found:
                found[m] = self._slow(self.models[m], job.names)
        frames = [found[m].assign(**{KEY: self.models[m].label}) for m in job.models]
        whole = pd.concat(frames, ignore_index=True)
        if self.parts is None or digests is None:
            return whole
        whole[DIGEST] = np.tile(digests["digest"].to_numpy(), len(frames))
        self.parts.write(whole)
        return dict(zip(job.names, digests["digest"], strict=True))

    def _slow(self, model: SweepModel, names: tuple[str, ...]) -> pd.DataFrame:
        if model.spec.residual == "iid":
            return fit_one_by_one(model, self.traits, names)
        return fit_from_rows(model, self.traits, names, self.condense)

    def _fast(self, names: tuple[str, ...], fast: Sequence[int]) -> dict[int, pd.DataFrame]:
        """Return the fits of models with one factor, and at -1 the responses' digests."""
        totals = {self.models[m].rows: _empty(self.models[m], len(names)) for m in fast}
        leaders = {self.models[m].rows: m for m in reversed(fast)}
        infinite = np.zeros(len(names), dtype=bool)
        digests = TraitDigests(len(names)) if self.parts is not None else None
        for index in range(self.n_partitions):
            V = self.traits.read(index, names)
            if digests is not None:
                digests.add(V)
            huge = np.isinf(V)
            infinite |= huge.any(axis=1)
            V[huge] = np.nan
            for rows, m in leaders.items():
                columns = self._rows(m, index)
                own = _own(V, row_mask(self.models[m].source, index), columns.kept)
                totals[rows].add(own, columns)
        found = {m: self._fitted(m, totals[self.models[m].rows], names, infinite) for m in fast}
        if digests is not None:
            found[-1] = pd.DataFrame({"digest": digests.values()})
        return found

    def _rows(self, m: int, index: int) -> RowColumns:
        known = self._columns.get((m, index))
        if known is not None:
            return known
        model = self.models[m]
        source = model.source
        place = PartitionPlace(source.name, index, source.row_offset(index))
        table = source.read(index, model.spec.variables)
        found = row_columns(model.encoder, model.system, table, place)
        if source.n_rows * (found.X.shape[1] + found.Z.shape[1]) <= KEPT_ROWS:
            self._columns[m, index] = found
        return found

    def _fitted(
        self, m: int, total: Totals, names: tuple[str, ...], infinite: NDArray[np.bool_]
    ) -> pd.DataFrame:
        """Return a row a response, with its reason where there is no fit.

        What the compiled search cannot settle is fitted by itself: columns that are sums of others
        in a response's own rows, and likelihoods with a ridge, as at correlations of one.
        """
        model = self.models[m]
        frame = fitted_at_once(model, total, names, infinite)
        again = np.flatnonzero(frame["error"].isin([ALIASED, NOT_CONVERGED]))
        if len(again):
            slow = fit_one_by_one(model, self.traits, tuple(names[t] for t in again))
            slow.index = pd.Index(again)
            frame = pd.concat([frame.drop(index=slow.index), slow]).sort_index()
        return frame

    def digests(self, names: Sequence[str]) -> dict[str, str]:
        """Return the digests of responses' values."""
        found = TraitDigests(len(names))
        for index in range(self.n_partitions):
            found.add(self.traits.read(index, names))
        return dict(zip(names, found.values(), strict=True))

    def __getstate__(self) -> dict[str, object]:
        """Leave the kept columns where they are."""
        return {**self.__dict__, "_columns": {}}


def _own(V: Float, mask: NDArray[np.bool_] | None, kept: NDArray[np.bool_]) -> Float:
    """Return the responses in a model's rows of a partition."""
    if mask is not None:
        V = V[:, mask]
    return np.ascontiguousarray(V if kept.all() else V[:, kept])


def _empty(model: SweepModel, count: int) -> Totals:
    (factor,) = model.system.factors
    shape = (count, factor.n_levels, factor.dim, model.system.p)
    return Totals.empty(shape, shifted=bool(model.unit.any()))


def fitted_at_once(
    model: SweepModel, total: Totals, names: Sequence[str], infinite: NDArray[np.bool_]
) -> pd.DataFrame:
    """Return a row a response by the compiled search alone."""
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
            reml=model.reml, ddf=model.ddf,
        )  # fmt: skip
        frame = outcome_frame(model, names, found)
    reasons = [
        (infinite, INFINITE),
        (n_obs == 0, NO_VALUE),
        (np.array([model.lacks(int(n)) for n in n_obs]), LACKING),
        (total.low == total.high, CONSTANT),
        (n_obs <= model.system.p, FEW_ROWS),
        (fits.exact, EXACT),
        (fits.aliased, ALIASED),
    ]
    frame = _with_reasons(frame, reasons, n_obs, model)
    frame["seconds"] = (time.perf_counter() - began) / len(names)
    return frame


def _with_reasons(
    frame: pd.DataFrame,
    reasons: Sequence[tuple[NDArray[np.bool_], str]],
    n_obs: Int,
    model: SweepModel,
) -> pd.DataFrame:
    """Say why there is no fit, and leave nothing that looks like one."""
    error = frame["error"].to_numpy(dtype=object, copy=True)
    rows, p = model.sums.n_obs, model.system.p
    done = np.zeros(len(frame), dtype=bool)
    for where, text in reasons:
        new = where & ~done
        own = n_obs[new].tolist()
        error[new] = [text.format(n=n, p=p, rows=rows, lacking=rows - n) for n in own]
        done |= where
    frame["error"] = error
    if not done.any():
        return frame
    frame.loc[done, ["converged", "singular"]] = False
    numbers = [c for c in frame.columns if frame[c].dtype.kind == "f"]
    frame.loc[done, numbers] = np.nan
    return frame
