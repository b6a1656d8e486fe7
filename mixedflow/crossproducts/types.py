"""The sums, and what it means to add them: W'B_kW and W'B_ky for W = [X Z].

Stands at "Sums" in ``docs/algorithm.md``. Sums are keyed by (observation pattern, basis element),
because R^-1 = sum_k f_k(phi) B_k holds per pattern (DESIGN 3.1); independent residuals have one
key. Only levels that occur are stored, so a partition that sees few groups makes small sums.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mixedflow.covariance.residual_types import ResidualDesign, SumKey
from mixedflow.design.residual import ParsedResidual
from mixedflow.design.types import DesignInfo, Float, Int, Pilots
from mixedflow.errors import DataError

ONLY_KEY: SumKey = (0, 0)
"""The key of independent residuals: one pattern, one basis element."""


@dataclass(frozen=True, slots=True)
class GroupSums:
    """[X y]'B[X y] of every level of a grouping factor: what its levels add to the global sums.

    Kept on request only; groups can then be left out, or drawn again, without their rows.

    Attributes
    ----------
    n_obs : (m,) rows
    sum_log_weight : (m,) sum of log w over the rows
    XYtBXY : (m, w (w + 1) / 2) upper triangles by row, w = P + t
    """

    n_obs: Int
    sum_log_weight: Float
    XYtBXY: Float


@dataclass(frozen=True, slots=True)
class FactorSums:
    """Z'B[Z X y] for every level of one grouping factor.

    Attributes
    ----------
    levels : (m,) level indices that occur, increasing
    ZtBZ : (m, Q, Q)
    ZtBX : (m, Q, P)
    ZtBy : (m, Q, t)
    groups : what each level adds to the global sums, where it was asked for
    """

    levels: Int
    ZtBZ: Float
    ZtBX: Float
    ZtBy: Float
    groups: GroupSums | None = None


@dataclass(frozen=True, slots=True)
class PairSums:
    """Z_f'B Z_h for every pair of levels of two factors that meet in some row.

    Attributes
    ----------
    rows, cols : (m,) level indices in the first and the second factor, sorted by (row, col)
    ZtBZ : (m, Q_f, Q_h)
    """

    rows: Int
    cols: Int
    ZtBZ: Float


@dataclass(frozen=True, slots=True)
class KeyedSums:
    """All sums of one (pattern, basis) key.

    Attributes
    ----------
    n_obs : number of rows
    sum_log_weight : sum of log w over the rows; 0 without weights
    XtBX : (P, P), XtBy : (P, t), ytBy : (t, t)
    factors : one a grouping factor
    pairs : (f, h) with f < h -> sums of the pair
    """

    n_obs: int
    sum_log_weight: float
    XtBX: Float
    XtBy: Float
    ytBy: Float
    factors: tuple[FactorSums, ...]
    pairs: Mapping[tuple[int, int], PairSums] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CrossProducts:
    """Everything that a fit needs of the rows; ``a + b`` are the sums of the rows of both.

    Stored columns are shifted and scaled by ``info.pilots``. Where the model has no intercept, a
    constant column precedes the others (:attr:`constant` says so), so that shifts can be undone.

    Attributes
    ----------
    info : the columns
    keyed : sums by (pattern, basis)
    rows_in : rows read, before incomplete ones were dropped
    missing : column -> rows dropped in which it was missing
    """

    info: DesignInfo
    keyed: Mapping[SumKey, KeyedSums]
    rows_in: int
    missing: Mapping[str, int] = field(default_factory=dict)

    @property
    def n_obs(self) -> int:
        """Rows in the sums."""
        patterns: dict[int, tuple[int, int]] = {}
        for (pattern, element), sums in self.keyed.items():
            lowest = patterns.get(pattern)
            if lowest is None or element < lowest[0]:
                patterns[pattern] = (element, sums.n_obs)
        return sum(n for _, n in patterns.values())

    @property
    def lacks_levels(self) -> bool:
        """Whether a level of a grouping factor has no rows."""
        parts = list(self.keyed.values())
        for f, factor in enumerate(self.info.factors):
            seen = np.zeros(factor.n_levels, dtype=bool)
            for part in parts:
                seen[part.factors[f].levels] = True
            if not seen.all():
                return True
        return False

    @property
    def constant(self) -> bool:
        """Whether a constant column that is not the model's precedes the columns of X."""
        return self.info.intercept is None

    def __add__(self, other: CrossProducts) -> CrossProducts:
        """Return the sums over the rows of both; neither is changed."""
        check_same_columns(self.info, other.info, "added")
        keys = sorted(set(self.keyed) | set(other.keyed))
        return CrossProducts(
            info=larger_design(self.info, other.info),
            keyed={key: _add_optional(self.keyed.get(key), other.keyed.get(key)) for key in keys},
            rows_in=self.rows_in + other.rows_in,
            missing=_add_counts(self.missing, other.missing),
        )

    def __sub__(self, other: CrossProducts) -> CrossProducts:
        """Return the sums over the rows that are here and not in ``other``."""
        from mixedflow.crossproducts.taking import subtracted

        return subtracted(self, other)

    def rebase(self, pilots: Pilots) -> CrossProducts:
        """Return the sums of the same rows, their columns shifted and scaled by other pilots."""
        from mixedflow.crossproducts.linear import rebased

        return rebased(self, pilots)


def check_same_columns(a: DesignInfo, b: DesignInfo, what: str) -> None:
    """Raise unless two designs are the same to the bit."""
    if not same_columns(a, b):
        raise DataError(
            f"cross-products of different designs cannot be {what}: their columns, levels or pilot "
            "values differ; condense both with the same schema"
        )


def same_columns(a: DesignInfo, b: DesignInfo) -> bool:
    """Whether two designs have the same columns, levels and pilots, to the bit."""
    if a is b:
        return True
    names = (a.traits, a.x_columns, a.factors, a.weighted) == (
        b.traits,
        b.x_columns,
        b.factors,
        b.weighted,
    )
    return names and same_positions(a.residual, b.residual) and same_pilots(a.pilots, b.pilots)


def with_structure(sums: CrossProducts, residual: ParsedResidual) -> CrossProducts:
    """Return the same sums for another residual structure of their basis."""
    design = sums.info.residual
    if design is None:
        return sums
    changed = replace(design, structure=residual.structure, common=residual.product)
    if changed == design:
        return sums
    return replace(sums, info=replace(sums.info, residual=changed))


def same_positions(a: ResidualDesign | None, b: ResidualDesign | None) -> bool:
    """Whether sums are keyed alike; structures that share a basis share the sums."""
    if a is None or b is None:
        return a is b
    return replace(a, structure=b.structure, common=b.common, largest=b.largest) == b


def same_pilots(a: Pilots, b: Pilots) -> bool:
    """Whether the pilots of the same columns are equal, to the bit."""
    return all(
        np.array_equal(left, right)
        for left, right in zip(_pilot_arrays(a), _pilot_arrays(b), strict=True)
    )


def _pilot_arrays(p: Pilots) -> list[Float]:
    return [p.x_shift, p.x_scale, p.y_shift, p.y_scale, *p.z_shift, *p.z_scale]


def larger_design(a: DesignInfo, b: DesignInfo) -> DesignInfo:
    """Return the design of both; of R the largest group counts."""
    if a.residual is None or b.residual is None or a.residual.largest >= b.residual.largest:
        return a
    return replace(a, residual=replace(a.residual, largest=b.residual.largest))


def _add_counts(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    return {name: a.get(name, 0) + b.get(name, 0) for name in dict.fromkeys((*a, *b))}


def _add_optional(a: KeyedSums | None, b: KeyedSums | None) -> KeyedSums:
    if a is None or b is None:
        found = a if b is None else b
        assert found is not None  # noqa: S101 - a key comes from one of the two
        return found
    return add_keyed(a, b)


def add_keyed(a: KeyedSums, b: KeyedSums) -> KeyedSums:
    """Return the sums of one key over the rows of both."""
    return KeyedSums(
        n_obs=a.n_obs + b.n_obs,
        sum_log_weight=a.sum_log_weight + b.sum_log_weight,
        XtBX=a.XtBX + b.XtBX,
        XtBy=a.XtBy + b.XtBy,
        ytBy=a.ytBy + b.ytBy,
        factors=tuple(add_factors(f, g) for f, g in zip(a.factors, b.factors, strict=True)),
        pairs={
            key: add_pairs(a.pairs[key], b.pairs[key]) if key in b.pairs else a.pairs[key]
            for key in a.pairs
        },
    )


def add_factors(a: FactorSums, b: FactorSums) -> FactorSums:
    """Return Z'B[Z X y] of both, over the union of their levels."""
    levels = a.levels
    add: Callable[[Any, Any], Any] = operator.add
    if not np.array_equal(a.levels, b.levels):
        levels = np.union1d(a.levels, b.levels)
        at_a, at_b = np.searchsorted(levels, a.levels), np.searchsorted(levels, b.levels)

        def add(left: Any, right: Any) -> Any:
            return _scatter_add(len(levels), at_a, left, at_b, right)

    arrays = (add(a.ZtBZ, b.ZtBZ), add(a.ZtBX, b.ZtBX), add(a.ZtBy, b.ZtBy))
    if a.groups is None or b.groups is None:
        return FactorSums(levels, *arrays)
    names = ("n_obs", "sum_log_weight", "XYtBXY")
    groups = GroupSums(*(add(getattr(a.groups, n), getattr(b.groups, n)) for n in names))
    return FactorSums(levels, *arrays, groups)


def add_pairs(a: PairSums, b: PairSums) -> PairSums:
    """Return Z_f'B Z_h of both, over the union of their pairs of levels."""
    if np.array_equal(a.rows, b.rows) and np.array_equal(a.cols, b.cols):
        return PairSums(a.rows, a.cols, a.ZtBZ + b.ZtBZ)
    width = 1 + max(int(part.max(initial=0)) for part in (a.cols, b.cols))
    key_a, key_b = a.rows * width + a.cols, b.rows * width + b.cols
    keys = np.union1d(key_a, key_b)
    at_a, at_b = np.searchsorted(keys, key_a), np.searchsorted(keys, key_b)
    values = _scatter_add(len(keys), at_a, a.ZtBZ, at_b, b.ZtBZ)
    return PairSums(keys // width, keys % width, values)


def _scatter_add(size: int, at_a: Int, a: Any, at_b: Int, b: Any) -> Any:
    out = np.zeros((size, *a.shape[1:]), dtype=a.dtype)
    out[at_a] = a
    out[at_b] += b
    return out
