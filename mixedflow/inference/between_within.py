"""Degrees of freedom by the grouping that a coefficient's column varies in: between and within groups.

Stands at "Degrees of freedom" in ``docs/algorithm.md``: nlme's inner-outer rule for every coefficient,
which for one grouping is mmrm's between-within (Schluchter and Elashoff 1990; Pinheiro and Bates 2000).
Whether a column varies within groups is seen from its sum of squares within them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedflow.crossproducts.types import CrossProducts, KeyedSums
from mixedflow.design.types import Float, Int
from mixedflow.inference.denominators import ScaledF
from mixedflow.inference.hypotheses import FixedTests
from mixedflow.inference.row_sums import of_rows, row_gram

CONSTANT = 1e-9
"""Share of a column's sum of squares below which its part within groups is rounding."""

_SIZE = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Grouping:
    """Groups of rows.

    Attributes
    ----------
    name : of the factor
    n_groups : N
    varies : (p,), whether a column of X takes several values in some group
    """

    name: str
    n_groups: int
    varies: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CoefficientTests(FixedTests):
    """Tests in which every coefficient has its own degrees of freedom, a contrast the least of its.

    Attributes
    ----------
    coefficient_df : (p,)
    """

    coefficient_df: Float | None = None

    def _row_df(self, L: Float) -> Float:
        assert self.coefficient_df is not None  # noqa: S101 - given where it is made
        return np.asarray(np.where(L != 0, self.coefficient_df, np.inf).min(axis=1))

    def _denominator(self, L: Float) -> ScaledF:
        return ScaledF(1.0, float(self._row_df(L).min()))


def between_within_df(
    groupings: Sequence[Grouping], n_obs: int, constant: NDArray[np.bool_]
) -> Float:
    """Return N_g - N_{g-1} - p_g for every coefficient, g the level that its column varies at.

    N_0 is 1 with an intercept and 0 without, N_{G+1} the number of rows; a column belongs to the
    level below the innermost grouping that it varies in. The intercept has those of the rows.

    Parameters
    ----------
    groupings : nested, outermost first
    n_obs : rows
    constant : (p,), which column is the intercept

    Returns
    -------
    (p,); NaN where none are left.
    """
    sizes = np.array([int(constant.any()), *(one.n_groups for one in groupings), n_obs])
    level = np.zeros(len(constant), dtype=np.int64)
    for g, one in enumerate(groupings, start=1):
        level[one.varies] = g
    counts = np.bincount(level[~constant], minlength=len(sizes) - 1)
    df = (np.diff(sizes) - counts).astype(float)
    df[df <= 0] = np.nan
    level[constant] = len(groupings)
    out: Float = df[level]
    return out


def factor_grouping(sums: CrossProducts, f: int) -> Grouping | None:
    """Return the levels of a random factor; None where its columns do not add up to a constant."""
    factor = sums.info.factors[f]
    Q, P = len(factor.columns), row_gram(sums).shape[0]
    ZZ, ZX = np.zeros((factor.n_levels, Q, Q)), np.zeros((factor.n_levels, Q, P))
    for part in of_rows(sums):
        own = part.factors[f]
        ZZ[own.levels] += own.ZtBZ
        ZX[own.levels] += own.ZtBX
    gram, constant = row_gram(sums), constant_column(sums)
    ones = ZX[:, :, constant].sum(axis=0)
    weights: Float = np.linalg.lstsq(ZZ.sum(axis=0), ones, rcond=None)[0]
    if abs(gram[constant, constant] - ones @ weights) > CONSTANT * gram[constant, constant]:
        return None
    seen, squares = level_squares(ZZ, ZX, weights)
    return Grouping(factor.name, seen, _varies(sums, np.diag(gram) - squares))


def constant_column(sums: CrossProducts) -> int:
    """Return where the constant stands among the stored columns of X."""
    return sums.info.intercept or 0


def level_squares(ZZ: Float, ZX: Float, weights: Float) -> tuple[int, Float]:
    """Return the number of levels with rows and sum_g (sum of x over g)^2 / n_g of every column.

    Parameters
    ----------
    ZZ : (L, Q, Q), ZX : (L, Q, P)
    weights : (Q,), what makes 1 of the columns of Z in every row
    """
    n = np.einsum("q,lqr,r->l", weights, ZZ, weights)
    seen = n > 0
    totals = np.einsum("q,lqp->lp", weights, ZX[seen])
    return int(seen.sum()), np.sum(totals**2 / n[seen, None], axis=0)


def _varies(sums: CrossProducts, within: Float) -> NDArray[np.bool_]:
    whole = np.diag(row_gram(sums))
    lead = int(sums.constant)
    return np.asarray(within > CONSTANT * whole)[lead:]


def residual_grouping(sums: CrossProducts) -> Grouping | None:
    """Return the groups that rows of R are correlated in; None where rows are independent."""
    design = sums.info.residual
    if design is None or not design.group:
        return None
    squares = {"pairs": _pair_squares, "sizes": _size_squares, "gaps": _gap_squares}
    n_groups, within = squares[design.basis](sums)
    return Grouping(":".join(design.group), n_groups, _varies(sums, within))


def _diagonal(part: KeyedSums) -> Float:
    out: Float = np.diag(part.XtBX)
    return out


def _pair_squares(sums: CrossProducts) -> tuple[int, Float]:
    """Sum over patterns of sum_a x_a^2 - (sum_a x_a)^2 / k, k positions in the pattern."""
    design = sums.info.residual
    assert design is not None  # noqa: S101 - the caller looked
    m, mask = len(design.positions), (1 << design.mask_bits) - 1
    groups, within = 0.0, np.zeros(row_gram(sums).shape[0])
    for (pattern, element), part in sorted(sums.keyed.items()):
        k = (pattern & mask).bit_count()
        same = element // m == element % m
        within += ((1.0 if same else 0.0) - 1.0 / k) * _diagonal(part)
        groups += part.n_obs / k**2 if same else 0.0
    return round(groups), within


def _size_squares(sums: CrossProducts) -> tuple[int, Float]:
    """Sum over sizes of x'Ix - x'Jx / n."""
    groups, within = 0, np.zeros(row_gram(sums).shape[0])
    for (pattern, element), part in sorted(sums.keyed.items()):
        size = pattern & _SIZE
        within += _diagonal(part) * (1.0 if element == 0 else -1.0 / size)
        groups += part.n_obs // size if element == 0 else 0
    return groups, within


def _gap_squares(sums: CrossProducts) -> tuple[int, Float]:
    """Sum over neighbours of (x_i - x_j)^2, which is zero where that within groups is."""
    rows, pairs, within = 0, 0, np.zeros(row_gram(sums).shape[0])
    for (_, element), part in sorted(sums.keyed.items()):
        if element == 0:
            rows += part.n_obs
            continue
        within += _diagonal(part) * (1.0 if element % 2 else -1.0)
        pairs += part.n_obs if element % 2 else 0
    return rows - pairs, within


def is_nested(inner: Int, outer: Int) -> bool:
    """Say whether every level of a factor meets one level of another.

    Parameters
    ----------
    inner, outer : levels of the pairs that meet in some row
    """
    pairs = np.unique(np.stack([inner, outer]), axis=1)
    return bool(len(np.unique(pairs[0])) == pairs.shape[1])
