"""In which order the rows of a partition stand for keyed sums: by pattern, group and position.

Stands at "Condensing" in ``docs/algorithm.md``. Groups are ordered by value, so that the sums do not
depend on the order of the rows. What cannot be summed is said here, naming the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mixedflow.covariance.residual_types import STRATUM_OF_MASK, ResidualDesign
from mixedflow.design.types import DesignInfo, Int, RowPatterns
from mixedflow.errors import DataError, UnsupportedError

SIZE_BITS = 32


@dataclass(frozen=True, slots=True, eq=False)
class RowOrder:
    """The rows of a partition in their order.

    Attributes
    ----------
    order : (n,) rows, by pattern, then group, then position
    stratum : (n,) their strata
    position : (n,) their positions; 0, 1, ... within a group where these are the order of the rows
    group_starts : place of the first row of every group; empty for independent rows
    patterns : numbers of the patterns, ascending
    pattern_starts : place of the first row of every pattern
    """

    order: Int
    stratum: Int
    position: Any
    group_starts: Int
    patterns: tuple[int, ...]
    pattern_starts: Int

    def neighbours(self) -> tuple[Int, Any]:
        """Return every row that another of its group follows, and how far away that is."""
        last = np.zeros(len(self.order), dtype=bool)
        last[self.group_starts[1:] - 1] = True
        if len(last):
            last[-1] = True
        first = np.flatnonzero(~last)
        return first, self.position[first + 1] - self.position[first]

    @staticmethod
    def gap_code(gap: Any) -> int:
        """Return the number of a gap: itself, or the bits of a double."""
        return int(gap) if gap.dtype.kind == "i" else int(gap.view(np.int64))


def order_rows(
    pattern: RowPatterns, design: ResidualDesign, codes: tuple[Int, ...], info: DesignInfo
) -> RowOrder:
    """Order the rows of a partition and check its groups.

    Parameters
    ----------
    pattern : where the rows stand in R
    design : the residual structure
    codes : one (n,) array of level indices a random factor
    info : names of the factors

    Raises
    ------
    DataError
        naming two rows of a group with the same position, or of different strata.
    UnsupportedError
        if a random factor changes within a group.
    """
    if pattern.group is None:
        return _independent(pattern)
    group, position = pattern.group, pattern.position
    order = _sorted(group, position)
    starts = _starts(group[order])
    within = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    position = within if position is None else position[order]
    _check_groups(pattern, design, codes, info, order, within, position)
    stratum, names = pattern.stratum[order], None
    if design.basis == "gaps":
        number = stratum[starts]
    elif design.basis == "sizes":
        number = (stratum[starts] << SIZE_BITS) + np.diff([*starts, len(order)])
    else:
        number, names = _masks(pattern, design, order, starts, position)
    places = np.lexsort((number, stratum[starts])) if len(starts) else starts
    if (np.diff(places) == 1).all():
        moved, sorted_starts = order, starts
    else:
        sizes = np.diff([*starts, len(order)])[places]
        sorted_starts = np.cumsum(sizes) - sizes
        rows = np.repeat(starts[places] - sorted_starts, sizes) + np.arange(len(order))
        moved, position, stratum = order[rows], position[rows], stratum[rows]
        number = number[places]
    first = _changes(number, stratum[sorted_starts])
    return RowOrder(
        moved,
        stratum,
        position,
        sorted_starts,
        tuple(
            int(number[k])
            if names is None
            else int(stratum[sorted_starts[k]]) << design.mask_bits | names[int(number[k])]
            for k in first.tolist()
        ),
        sorted_starts[first],
    )


def _independent(pattern: RowPatterns) -> RowOrder:
    order = np.argsort(pattern.stratum, kind="stable")
    stratum = pattern.stratum[order]
    starts = _starts(stratum)
    none = np.empty(0, dtype=np.int64)
    return RowOrder(order, stratum, none, none, tuple(int(s) for s in stratum[starts]), starts)


def _sorted(group: Int, position: Any) -> Int:
    """Return the rows by group, then position; ties keep their order."""
    if position is None:
        return np.arange(len(group)) if _ascending(group) else np.argsort(group, kind="stable")
    later = group[1:] > group[:-1]
    if (later | ((group[1:] == group[:-1]) & (position[1:] >= position[:-1]))).all():
        return np.arange(len(group))
    return np.lexsort((position, group)).astype(np.int64, copy=False)


def _ascending(values: Any) -> bool:
    return bool((values[1:] >= values[:-1]).all())


def _starts(values: Any) -> Int:
    """Return where a run of equal values begins."""
    return _changes(values)


def _changes(*values: Any) -> Int:
    if not len(values[0]):
        return np.empty(0, dtype=np.int64)
    change = np.zeros(len(values[0]) - 1, dtype=bool)
    for one in values:
        change |= one[1:] != one[:-1]
    return np.concatenate([[0], np.flatnonzero(change) + 1]).astype(np.int64)


def _check_groups(
    pattern: RowPatterns,
    design: ResidualDesign,
    codes: tuple[Int, ...],
    info: DesignInfo,
    order: Int,
    within: Int,
    position: Any,
) -> None:
    """Compare every row with the one before it in its group."""
    inner = within[1:] > 0
    if pattern.position is not None:
        twice = inner & (position[1:] == position[:-1])
        if twice.any():
            one, other = _rows_at(twice, order)
            raise DataError(
                f"'{design.position}' holds the same position in {pattern.row(one)} and "
                f"{pattern.row(other)}, both of {pattern.who(one)}; a group has each position once."
            )
    stratum = pattern.stratum[order]
    other_stratum = inner & (stratum[1:] != stratum[:-1])
    if other_stratum.any():
        one, other = _rows_at(other_stratum, order)
        labels = [design.strata[pattern.stratum[k]] for k in (one, other)]
        raise DataError(
            f"'{':'.join(design.stratum)}' is '{labels[0]}' in {pattern.row(one)} and '{labels[1]}' "
            f"in {pattern.row(other)}, both of {pattern.who(one)}; strata must be constant within a "
            "group."
        )
    for factor, code in zip(info.factors, codes, strict=True):
        mine = code[order]
        change = inner & (mine[1:] != mine[:-1])
        if change.any():
            one, other = _rows_at(change, order)
            raise UnsupportedError(
                f"the random factor '{factor.name}' changes between {pattern.row(one)} and "
                f"{pattern.row(other)}, both of {pattern.who(one)}; with residuals correlated within "
                f"'{':'.join(design.group)}' random factors must be constant within its groups "
                f"(offered otherwise: residual='iid' or 'strata(...)')"
            )


def _rows_at(found: Any, order: Int) -> tuple[int, int]:
    """Return the first two rows, in the order of the data, that a comparison found."""
    k = int(found.argmax())
    a, b = int(order[k]), int(order[k + 1])
    return min(a, b), max(a, b)


def _masks(
    pattern: RowPatterns, design: ResidualDesign, order: Int, starts: Int, position: Int
) -> tuple[Int, list[int]]:
    """Return the place of every group's pattern among those of the rows, and these: a bit a position."""
    m = len(design.positions)
    if len(position) and position.max() >= m:
        first = int(order[int((position >= m).argmax())])
        raise DataError(
            f"{pattern.who(first)} has more rows than the {m} positions that the schema has, the "
            f"first of them {pattern.row(first)}."
        )
    if not len(starts):
        return np.empty(0, dtype=np.int64), []
    if m <= STRATUM_OF_MASK:
        bits = np.int64(1) << position.astype(np.int64)
        found, number = np.unique(np.add.reduceat(bits, starts), return_inverse=True)
        return number.astype(np.int64), [int(mask) for mask in found]
    ends = [*starts[1:].tolist(), len(position)]
    held = position.tolist()
    masks = [sum(1 << p for p in held[a:b]) for a, b in zip(starts.tolist(), ends, strict=True)]
    names = sorted(set(masks))
    place = {mask: k for k, mask in enumerate(names)}
    return np.array([place[mask] for mask in masks], dtype=np.int64), names
