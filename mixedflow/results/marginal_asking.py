"""From words to marginal means: ``emmeans("a | b", at=...)`` and ``emtrends("a", "x")``.

Stands at "Marginal means" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mixedflow.errors import DataError, did_you_mean, listing
from mixedflow.inference.cell_weights import cell_weights
from mixedflow.inference.estimability import estimability
from mixedflow.inference.linear_functions import FunctionBasis, LinearFunctions
from mixedflow.inference.reference_grid import GridMaker, ReferenceGrid, Values
from mixedflow.results.marginal_means import MarginalMeans
from mixedflow.results.marginal_words import checked_adjustment, checked_specs, checked_weights
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.inference.hypotheses import FixedTests
    from mixedflow.results.fit_result import FitResult


@dataclass(frozen=True, slots=True)
class MeansRequest:
    """What was asked for, as the user wrote it.

    Attributes
    ----------
    specs, by : variables
    at : values of variables
    weights : of the levels that are averaged over
    level, adjust : of the intervals
    """

    specs: object
    by: object
    at: Mapping[str, Any] | None
    weights: str
    level: float
    adjust: str


def marginal_means(fit: FitResult, tests: FixedTests, asked: MeansRequest) -> MarginalMeans:
    """Return the means of a fit."""
    maker = GridMaker(fit.spec, fit.schema)
    specs, by = checked_specs(asked.specs, asked.by, maker.variables)
    grid = maker.grid(_ordered(maker.values(asked.at or {}), specs + by))
    return _answer(fit, tests, asked, (specs, by), grid, None)


def marginal_slopes(
    fit: FitResult, tests: FixedTests, asked: MeansRequest, name: str
) -> MarginalMeans:
    """Return the slopes of a fit by a covariate."""
    maker = GridMaker(fit.spec, fit.schema)
    slopes = [n for n in maker.spec.parsed.fixed.names if n not in maker.categories]
    if name not in slopes:
        raise DataError(
            f"emtrends() takes slopes of a covariate of the fixed part, and '{name}' is none; they are "
            f"{listing(slopes) or 'none'}{did_you_mean(str(name), slopes)}"
        )
    specs, by = checked_specs(asked.specs, asked.by, maker.variables)
    grid = maker.slopes(_ordered(maker.values(asked.at or {}), specs + by), name)
    return _answer(fit, tests, asked, (specs, by), grid, name)


def _answer(
    fit: FitResult,
    tests: FixedTests,
    asked: MeansRequest,
    variables: tuple[tuple[str, ...], tuple[str, ...]],
    grid: ReferenceGrid,
    trend: str | None,
) -> MarginalMeans:
    if not 0.0 < asked.level < 1.0:
        raise DataError(f"level={asked.level!r} is not a confidence level; it lies between 0 and 1")
    specs, by = variables
    estimates, names = fit.estimates, [*specs, *by]
    kind = checked_weights(asked.weights)
    weights = (
        None
        if kind == "equal"
        else cell_weights(fit.crossproducts, GridMaker(fit.spec, fit.schema), grid, names, kind)
    )
    found = estimability(fit.crossproducts, fit.encoder.terms, estimates.kept, estimates.aliased)
    return MarginalMeans(
        specs=specs,
        by=by,
        levels=_levels(grid, names),
        level=asked.level,
        adjust=checked_adjustment(asked.adjust, None),
        trend=trend,
        _functions=LinearFunctions(*grid.means(names, weights)),
        _basis=FunctionBasis(tests, found),
    )


def _ordered(values: Mapping[str, Values], first: Sequence[str]) -> dict[str, Values]:
    """Put some variables before the others."""
    return {n: values[n] for n in (*first, *(n for n in values if n not in first))}


def _levels(grid: ReferenceGrid, names: Sequence[str]) -> pd.DataFrame:
    """Return the combinations of values of the first variables, the first of them changing fastest."""
    import numpy as np

    sizes = [len(grid.values[n]) for n in names]
    codes = np.unravel_index(np.arange(int(np.prod(sizes))), sizes, order="F") if sizes else ()
    columns = {n: [grid.values[n][k] for k in code] for n, code in zip(names, codes, strict=True)}
    return pd.DataFrame(columns, index=range(int(np.prod(sizes))))
