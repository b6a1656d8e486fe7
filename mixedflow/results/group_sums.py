"""[X y]'R0^-1[X y] of every group of a fit: from its sums, or once more from the rows at hand.

Stands at "Robust covariance" in ``docs/algorithm.md``. Fits of sums condensed with ``by_group`` need no
rows; others read them once more, and with a residual structure decorrelate them first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mixedflow.covariance.residual_types import ResidualDesign
from mixedflow.crossproducts.coded import written_out
from mixedflow.crossproducts.condense import condense_columns
from mixedflow.crossproducts.keyed import stored_columns
from mixedflow.crossproducts.linear import unpacked
from mixedflow.crossproducts.types import ONLY_KEY, GroupSums
from mixedflow.design.types import DesignInfo, Float, Int
from mixedflow.equations.system import ModelSystem
from mixedflow.errors import UnsupportedError
from mixedflow.estimation.likelihood import Evaluation
from mixedflow.inference.decorrelate import ResidualPlaces, decorrelated, row_sds
from mixedflow.inference.independent_groups import (
    GroupColumns,
    GroupProducts,
    Owners,
    group_columns,
    group_products,
    outermost,
)
from mixedflow.results.comparison import check_exact, check_sums
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult


@dataclass(frozen=True, slots=True)
class FitGroups:
    """The groups that are independent of each other under a fit.

    Attributes
    ----------
    name : of the grouping factor
    labels : of its levels
    evaluation : of the likelihood at the estimates
    owners : the group of every level, a factor
    grams : (G, p + 1, p + 1), [X y]'R0^-1[X y] in the columns of the equations
    n_obs : (G,) rows
    """

    name: str
    labels: list[str]
    evaluation: Evaluation
    owners: Owners
    grams: Float
    n_obs: Int

    def products(self) -> GroupProducts:
        """Return what the groups add to X'V^-1X, X'V^-1e and e'V^-1e."""
        return group_products(self.evaluation.solution, self.owners, self.grams, self.n_obs)

    def columns(self) -> list[GroupColumns]:
        """Return the groups' products of Z and X."""
        return group_columns(self.evaluation.solution, self.owners, self.grams)


def fit_groups(fit: FitResult, what: str) -> FitGroups:
    """Return the groups of the outermost grouping factor.

    Parameters
    ----------
    fit : whose grouping factors are nested in one of them
    what : is asked for, for messages

    Raises
    ------
    UnsupportedError
        for crossed factors, and where neither sums of groups nor rows are at hand.
    """
    check_exact(fit)
    check_sums(fit, what)
    evaluation: Evaluation = fit._evaluation()
    used = sorted({term.factor for term in fit.encoder.terms})
    if not used:
        return _residual_groups(fit, evaluation)
    found = outermost(evaluation.system)
    if found is None:
        names = [fit.crossproducts.info.factors[f].name for f in used]
        raise UnsupportedError(
            f"'{fit.spec.formula}' cannot be {what} by group: its grouping factors "
            f"{' and '.join(repr(name) for name in names)} are crossed, so that no groups are "
            "independent; offered are ddf='satterthwaite' with the model's covariance, and influence()"
        )
    f = used[found[0]]
    factor = fit.crossproducts.info.factors[f]
    n_obs, grams = level_grams(fit, evaluation.system, f)
    return FitGroups(factor.name, fit.schema.level_labels(f), evaluation, found[1], grams, n_obs)


def level_grams(fit: FitResult, system: ModelSystem, f: int) -> tuple[Int, Float]:
    """Return rows and [X y]'R0^-1[X y] of every level of a factor, in the columns of the equations."""
    info = fit.crossproducts.info
    L = info.factors[f].n_levels
    if info.residual is not None:
        rows = _decorrelated_rows(fit, system)
        return _grams_of_rows(rows.codes[f], rows.XY, L)
    part = fit.crossproducts.keyed[ONLY_KEY]
    stored = part.factors[f]
    levels, groups = stored.levels, stored.groups
    if groups is None:
        levels, groups = groups_of_rows(fit, f)
    width = len(part.XtBX) + 1
    n_obs, grams = np.zeros(L, dtype=np.int64), np.zeros((L, width, width))
    n_obs[levels], grams[levels] = groups.n_obs, unpacked(groups.XYtBXY, width)
    W = choosing(system, info, width)
    chosen: Float = W.T @ grams @ W
    return n_obs, chosen


def choosing(system: ModelSystem, info: DesignInfo, width: int) -> Float:
    """Return the map of stored [1? X y] to the columns of the equations, (width, p + 1)."""
    W = np.zeros((width, system.p + 1))
    W[system.kept + int(info.intercept is None), np.arange(system.p)] = 1.0
    W[-1, -1] = 1.0
    if info.intercept is None and not system.fixed_scale.constant.any():
        W[0, -1] = info.pilots.y_shift[0] / info.pilots.y_scale[0]
    return W


def groups_of_rows(fit: FitResult, f: int) -> tuple[Int, GroupSums]:
    """Return the sums by group, by another reading of the rows."""
    name = fit.crossproducts.info.factors[f].name
    check_rows(fit, f", or of sums made by condense(..., by_group='{name}')")
    source: Any = fit.source
    names = fit.encoder.variables()
    total = None
    for i in range(source.n_partitions):
        columns = fit.encoder.columns(source.read(i, names))
        sums = condense_columns(columns, fit.encoder.info, by_group=f)
        total = sums if total is None else total + sums
    assert total is not None  # noqa: S101 - a source has a partition
    stored = total.keyed[ONLY_KEY].factors[f]
    assert stored.groups is not None  # noqa: S101 - asked for
    return stored.levels, stored.groups


def has_groups(fit: FitResult, f: int) -> bool:
    """Whether the sums of every level of a factor can be had, from the sums or the rows."""
    part = fit.crossproducts.keyed.get(ONLY_KEY)
    return fit.source is not None or (part is not None and part.factors[f].groups is not None)


def check_rows(fit: FitResult, instead: str = "") -> None:
    """Raise unless the rows are at hand, naming what does without them."""
    if fit.source is None:
        raise UnsupportedError(
            "the sums of this fit do not say what each group adds to them, and its rows are not at "
            f"hand; offered is a fit of the rows{instead}"
        )


def _residual_groups(fit: FitResult, evaluation: Evaluation) -> FitGroups:
    """Return the groups of a residual structure beside which there are no random effects."""
    design = fit.crossproducts.info.residual
    name = ":".join(design.group) if design is not None else ""
    if design is None or not design.group:
        raise UnsupportedError(
            f"'{fit.spec.formula}' with residual='{fit.spec.residual}' has no groups, for all rows are "
            "independent; offered is the model's covariance"
        )
    rows = _decorrelated_rows(fit, evaluation.system)
    n_obs, grams = _grams_of_rows(rows.group, rows.XY, len(rows.labels))
    return FitGroups(name, rows.labels, evaluation, (), grams, n_obs)


def _grams_of_rows(codes: Int, XY: Float, n_groups: int) -> tuple[Int, Float]:
    """Return rows and [X y]'[X y] of every group."""
    order = np.argsort(codes, kind="stable")
    n_obs = np.bincount(codes, minlength=n_groups)
    ends = np.cumsum(n_obs)
    grams = np.zeros((n_groups, XY.shape[1], XY.shape[1]))
    for g in range(n_groups):
        own = XY[order[ends[g] - n_obs[g] : ends[g]]]
        grams[g] = own.T @ own
    return n_obs, grams


@dataclass(frozen=True, slots=True)
class _WhiteRows:
    """R0^-1/2 [X y], (n, p + 1), with the codes of the grouping factors and of R's groups."""

    codes: list[Int]
    group: Int
    labels: list[str]
    XY: Float


def _decorrelated_rows(fit: FitResult, system: ModelSystem) -> _WhiteRows:
    check_rows(fit)
    design: Any = fit.crossproducts.info.residual
    source: Any = fit.source
    names = fit.encoder.variables()
    tables = [source.read(i, names) for i in range(source.n_partitions)]
    parts = [written_out(fit.encoder.columns(table)) for table in tables]
    group, labels = _row_groups(fit, design, tables, sum(part.n for part in parts))
    XY = np.concatenate(
        [stored_columns(part, fit.encoder.info, np.arange(part.n))[0] for part in parts]
    )
    XY = XY @ choosing(system, fit.crossproducts.info, XY.shape[1])
    places = _where(parts, group if design.group else None)
    white = _white(design, fit.estimates.params.psi, places, XY)
    codes = [np.concatenate([p.codes[f] for p in parts]) for f in range(len(parts[0].codes))]
    return _WhiteRows(codes, group, labels, white)


def _row_groups(
    fit: FitResult, design: ResidualDesign, tables: list[pa.Table], n: int
) -> tuple[Int, list[str]]:
    """Return the group of every complete row and the groups' names; of strata, each row its own."""
    if not design.group:
        return np.arange(n), [f"row {i}" for i in range(1, n + 1)]
    keys = [
        table.select(list(design.group)).to_pandas()[np.asarray(fit.encoder.encode(table).kept)]
        for table in tables
    ]
    together = pd.concat(keys, ignore_index=True).astype(object)
    group = together.groupby(list(design.group), sort=True).ngroup().to_numpy(dtype=np.int64)
    first = together.groupby(group).first()
    return group, [":".join(map(str, row)) for row in first.itertuples(index=False)]


def _where(parts: list[Any], group: Int | None) -> ResidualPlaces:
    patterns = [part.pattern for part in parts]
    stratum = np.concatenate([pattern.stratum for pattern in patterns])
    position = None
    if patterns[0].position is not None:
        position = np.concatenate([np.asarray(p.position, dtype=float) for p in patterns])
    return ResidualPlaces(stratum.astype(np.int64), group, position)


def _white(design: ResidualDesign, psi: Float, places: ResidualPlaces, XY: Float) -> Float:
    sds = row_sds(design, psi, places)
    columns = [decorrelated(design, psi, places, column / sds) for column in XY.T]
    return np.column_stack(columns)
