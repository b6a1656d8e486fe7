"""A model fitted again to other sums of the same design: warm, without certificate and BLUPs.

Stands at "Bootstrap" in ``docs/algorithm.md``. Groups drawn with replacement are not copied: a pass over
the levels that were drawn c times counts c times.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from mixedflow.crossproducts.levels import LevelPass, LevelStore, LocalLevels, Totals, added
from mixedflow.crossproducts.linear import unpacked
from mixedflow.crossproducts.repeated import gathered
from mixedflow.crossproducts.types import GroupSums
from mixedflow.design.types import Float, Int
from mixedflow.equations.system import ColumnChoice, FactorSystem, ModelSystem, PooledFactor
from mixedflow.estimation.boundary import settle, settle_passes, singular_terms
from mixedflow.estimation.certificate import SettledEvaluation
from mixedflow.estimation.driver import run_driver
from mixedflow.estimation.grouped import compiled_pays, local_levels
from mixedflow.estimation.parameters import VarianceParameters
from mixedflow.estimation.problem import Problem


@dataclass(frozen=True, slots=True)
class Refitted:
    """Where a fit to other sums ended.

    Attributes
    ----------
    settled : parameters, likelihood and coefficients
    converged : the driver's verdict
    singular : whether some G is on its boundary
    """

    settled: SettledEvaluation
    converged: bool
    singular: bool


def refitted(
    problem: Problem, start: VarianceParameters | None, levels: LevelStore | None = None
) -> Refitted:
    """Return the optimum of a problem, from a point near by where there is one.

    Parameters
    ----------
    problem : on the new sums
    start : estimates of the same model, off the boundary; None for the usual start
    levels : where the sums of the levels are, if not in the problem's system
    """
    if levels is None and compiled_pays(problem.system) and not len(problem.start().psi):
        levels = gathered(local_levels(problem.system))
    problem = replace(problem, levels=levels, polishing=0)
    state = run_driver(problem, start=start)
    settled = settle(problem, state) if levels is None else settle_passes(problem, levels, state)
    return Refitted(settled, state.converged, any(singular_terms(settled.system, settled.params)))


@dataclass(frozen=True, slots=True)
class RepeatedDraws:
    """Levels of which some count several times.

    Attributes
    ----------
    stores : levels drawn once, twice, ...
    times : how often those of each store count
    """

    stores: tuple[LevelStore, ...]
    times: tuple[int, ...]

    @property
    def n_levels(self) -> int:
        """L, repeats counted."""
        both = zip(self.stores, self.times, strict=True)
        return sum(times * store.n_levels for store, times in both)

    def total(self, task: LevelPass) -> Totals:
        """Return the sum of a pass over all levels, repeats counted."""
        both = zip(self.stores, self.times, strict=True)
        return added([tuple(times * x for x in store.total(task)) for store, times in both])


@dataclass(frozen=True, slots=True)
class GroupDraws:
    """A model of one factor and what each of its levels adds to the sums.

    Attributes
    ----------
    system : of all levels
    groups : [1? X y]'B[X y] of every level
    choice : the model's columns among those
    width : of [1? X y]
    """

    system: ModelSystem
    groups: GroupSums
    choice: ColumnChoice
    width: int

    def drawn(self, counts: Int) -> tuple[ModelSystem, LevelStore | None]:
        """Return the sums over levels that count so often, and where the levels are if not there."""
        n_obs = int(counts @ self.groups.n_obs)
        gram = unpacked(counts.astype(float) @ self.groups.XYtBXY, self.width)
        at, y, shift = self.choice.at, self.width - 1, self.choice.shift
        system = replace(
            self.system,
            n_obs=n_obs,
            XtBX=gram[np.ix_(at, at)],
            XtBy=gram[at, y] + shift * gram[at, 0],
            ytBy=float(gram[y, y] + 2.0 * shift * gram[0, y] + shift**2 * gram[0, 0]),
            sum_log_weight=float(counts @ self.groups.sum_log_weight),
        )
        (only,) = self.system.factors
        if compiled_pays(system):
            pooled = replace(system, factors=(_pooled(only, counts),))
            return pooled, _counted(only, counts)
        at_levels = np.repeat(np.arange(len(counts)), counts)
        return replace(system, factors=(_taken(only, at_levels),)), None


def _taken(factor: FactorSystem, at: Int) -> FactorSystem:
    return replace(factor, ZtBZ=factor.ZtBZ[at], ZtBX=factor.ZtBX[at], ZtBy=factor.ZtBy[at])


def _pooled(factor: FactorSystem, counts: Int) -> PooledFactor:
    """Return the factor with its levels added up as one."""
    weights = counts.astype(float)
    own = {field.name: getattr(factor, field.name) for field in fields(FactorSystem)}
    for name in ("ZtBZ", "ZtBX", "ZtBy"):
        own[name] = np.tensordot(weights, own[name], axes=1)[None]
    return PooledFactor(**own, levels=int(counts.sum()))


def _counted(factor: FactorSystem, counts: Int) -> LevelStore:
    """Return the levels drawn once, twice, ..., those alike brought together."""
    stores, times = [], []
    for number in np.unique(counts[counts > 0]).tolist():
        at = np.flatnonzero(counts == number)
        arrays: tuple[Float, Float, Float] = (
            factor.ZtBZ[at],
            factor.ZtBX[at],
            factor.ZtBy[at],
        )
        stores.append(gathered(LocalLevels(arrays)))
        times.append(int(number))
    return RepeatedDraws(tuple(stores), tuple(times))
