"""The groupings that a fit's between-within degrees of freedom count: random factors and groups of R.

Stands at "Degrees of freedom" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from mixedflow.crossproducts.levels import LevelArrays
from mixedflow.crossproducts.types import CrossProducts
from mixedflow.design.levels import LevelSet
from mixedflow.design.types import Float
from mixedflow.errors import UnsupportedError
from mixedflow.inference.between_within import (
    CONSTANT,
    CoefficientTests,
    Grouping,
    between_within_df,
    factor_grouping,
    is_nested,
    level_squares,
    residual_grouping,
)
from mixedflow.results.sharded import ShardedFit

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult

OFFERED = "offered are ddf='satterthwaite', 'residual' and 'asymptotic'"


def between_within(fit: FitResult) -> CoefficientTests:
    """Return tests with the degrees of freedom of the level that each column varies at.

    Raises
    ------
    UnsupportedError
        for crossed factors, models without groups, and random factors without an intercept.
    """
    kept, info = fit.estimates.kept, fit.crossproducts.info
    found = [_sharded(fit)] if isinstance(fit, ShardedFit) else _groupings(fit)
    if not found:
        raise UnsupportedError(
            f"ddf='between-within' needs groups, and '{fit.spec.formula}' has neither random effects "
            f"nor correlated residuals; {OFFERED}"
        )
    constant = np.zeros(len(info.x_columns), dtype=bool)
    if info.intercept is not None:
        constant[info.intercept] = True
    chosen = [Grouping(one.name, one.n_groups, one.varies[kept]) for one in found]
    own = between_within_df(chosen, fit.nobs, constant[kept])
    beta, vcov = fit.estimates.beta, fit.estimates.vcov
    return CoefficientTests("between-within", beta, vcov, vcov, np.nan, coefficient_df=own)


def _groupings(fit: FitResult) -> list[Grouping]:
    """Return the groupings, outermost first."""
    sums = fit.crossproducts
    used = sorted({term.factor for term in fit.encoder.terms})
    found = {f: _of_factor(fit, sums, f) for f in used}
    order = sorted(used, key=lambda f: found[f].n_groups)
    for outer, inner in pairwise(order):
        _check_nested(sums, inner, outer)
    groupings = [found[f] for f in order]
    design = sums.info.residual
    mine = {frozenset(sums.info.factors[f].variables) for f in used}
    if design is None or not design.group or frozenset(design.group) in mine:
        return groupings
    if sums.info.weighted:
        raise UnsupportedError(
            "ddf='between-within' does not tell columns within the groups of residuals with "
            f"weights; {OFFERED}"
        )
    innermost = residual_grouping(sums)
    return [*groupings, *([innermost] if innermost else [])]


def _of_factor(fit: FitResult, sums: CrossProducts, f: int) -> Grouping:
    grouping = factor_grouping(sums, f)
    if grouping is None:
        _refuse_slopes(fit, sums.info.factors[f].name)
    return grouping


def _refuse_slopes(fit: FitResult, name: str) -> NoReturn:
    raise UnsupportedError(
        f"ddf='between-within' counts rows by '{name}', of which '{fit.spec.formula}' has slopes and "
        f"no intercept; {OFFERED}"
    )


def _check_nested(sums: CrossProducts, inner: int, outer: int) -> None:
    key = (min(inner, outer), max(inner, outer))
    parts = [part.pairs[key] for part in sums.keyed.values()]
    rows, cols = (np.concatenate([getattr(p, at) for p in parts]) for at in ("rows", "cols"))
    pair = (rows, cols) if inner == key[0] else (cols, rows)
    if not is_nested(*pair):
        names = [sums.info.factors[f].name for f in (outer, inner)]
        raise UnsupportedError(
            f"ddf='between-within' is for nested groups, and '{names[0]}' and '{names[1]}' are "
            f"crossed; {OFFERED}"
        )


@dataclass(frozen=True, slots=True)
class ShardSquares:
    """What sums a shard's part of :func:`.level_squares`; picklable.

    Attributes
    ----------
    weights : (Q,), what makes 1 of the columns of Z in every row
    """

    weights: Float

    def __call__(self, sums: LevelArrays, names: LevelSet, _: int) -> tuple[int, Float]:
        """Return levels and squares of a shard."""
        return level_squares(sums[0], sums[1], self.weights) if len(names) else (0, np.zeros(1))


def _sharded(fit: ShardedFit) -> Grouping:
    """Return the levels of a sharded fit's factor: its columns are those that are kept."""
    fit._problem()  # the shards are there, or it says so
    sums, kept = fit.crossproducts, fit.estimates.kept
    (factor,), (at,) = sums.info.factors, sums.info.z_intercept
    if at is None:
        _refuse_slopes(fit, factor.name)
    parts = fit._store.each(ShardSquares(np.eye(len(factor.columns))[at]))
    squares = np.sum([part[1] * np.ones(len(kept)) for part in parts], axis=0)
    assert fit.system is not None  # noqa: S101 - the problem was there
    whole = np.diag(fit.system.XtBX)
    varies = np.zeros(len(sums.info.x_columns), dtype=bool)
    varies[kept] = whole - squares > CONSTANT * whole
    return Grouping(factor.name, sum(part[0] for part in parts), varies)
