"""Rows of a partition to sums by (pattern, basis element) of R^-1 = sum_k f_k B_k.

Stands at "Condensing" in ``docs/algorithm.md`` (DESIGN 3.1, "The R basis"). A group's rows stand
together in the order of their positions; what is summed is W'B_kW for W = [X Z], y riding along with X:

- strata: B = I over the rows of a stratum;
- sizes: I and J over groups of n rows;
- gaps: I over all rows; D_d = sum e_ie_i' + e_je_j' and O_d = sum e_ie_j' + e_je_i' over
  neighbours i, j of a group that are d apart;
- pairs: e_ae_a' and e_ae_b' + e_be_a' over all groups with the same observed positions.

With weights w a row enters as sqrt(w) times itself: R_i = W^-1/2 R W^-1/2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mixedflow.covariance.residual_types import SEPARATOR, ResidualDesign, SumKey, held_positions
from mixedflow.crossproducts.condense import COMPILE_ABOVE, KernelChoice
from mixedflow.crossproducts.keyed import (
    KeyMaker,
    Part,
    Term,
    gram_blocks,
    stored_columns,
)
from mixedflow.crossproducts.ordering import SIZE_BITS, RowOrder, order_rows
from mixedflow.crossproducts.types import CrossProducts, KeyedSums
from mixedflow.design.types import DesignColumns, DesignInfo, Float
from mixedflow.errors import UnsupportedError

MOST_NUMBERS = 1 << 27
"""Numbers (of 8 bytes) that the sums of one partition may take; each key counts some more."""

NUMBERS_OF_A_KEY = 128
"""What a key costs besides its numbers, in numbers of 8 bytes."""


def condense_patterned(
    columns: DesignColumns, info: DesignInfo, *, kernel: KernelChoice = "auto"
) -> CrossProducts:
    """Return the keyed sums of one partition, which holds whole groups.

    Parameters
    ----------
    columns : raw columns of the partition, with the place of every row in R
    info : columns, pilots and residual structure of the design
    kernel : "numpy", "numba", or "auto" by the size of the partition

    Raises
    ------
    DataError
        if a position occurs twice in a group, or a stratum changes within one, naming the rows.
    UnsupportedError
        if a random factor changes within a group, or the sums would take too much memory.
    """
    design, pattern = info.residual, columns.pattern
    assert design is not None  # noqa: S101 - the caller's choice of this function
    assert pattern is not None  # noqa: S101 - the encoder fills it where the design has a structure
    rows = order_rows(pattern, design, columns.codes, info)
    XY, Z, w = stored_columns(columns, info, rows.order)
    codes = tuple(code[rows.order] for code in columns.codes)
    numbers = columns.n * (XY.shape[1] + sum(z.shape[1] for z in Z))
    compiled = kernel == "numba" or (kernel == "auto" and bool(Z) and numbers > COMPILE_ABOVE)
    maker = KeyMaker(info, XY.shape[1] - len(columns.y), compiled=compiled)
    work = _Work(rows, Part(XY, Z, codes), None if w is None else np.log(w), maker, design)
    keyed = dict(_BASES[design.basis](work))
    return CrossProducts(info, dict(sorted(keyed.items())), columns.rows_in, dict(columns.missing))


SIZE_MASK = (1 << SIZE_BITS) - 1

Keyed = Iterator[tuple[SumKey, KeyedSums]]


class _Run(NamedTuple):
    """Rows start .. stop - 1, all of one pattern."""

    pattern: int
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)


class _Work(NamedTuple):
    """Ordered rows, their numbers and log weights, and what makes keys of them."""

    rows: RowOrder
    whole: Part
    logs: Float | None
    maker: KeyMaker
    design: ResidualDesign

    def runs(self) -> list[_Run]:
        """Return the rows of every pattern."""
        starts = self.rows.pattern_starts.tolist()
        ends = [*starts[1:], len(self.rows.order)]
        return [_Run(*one) for one in zip(self.rows.patterns, starts, ends, strict=True)]

    def log_weight(self, run: _Run) -> float:
        """Return the sum of log w over the rows of a pattern."""
        return 0.0 if self.logs is None else float(self.logs[run.rows].sum())

    def whole_run(self, run: _Run) -> KeyedSums:
        """Return the sums of a pattern with B = I."""
        part = self.whole.rows(run.rows)
        return self.maker.make([Term(part, part)], run.stop - run.start, self.log_weight(run))


def _strata(work: _Work) -> Keyed:
    for run in work.runs():
        yield (run.pattern, 0), work.whole_run(run)


def _sizes(work: _Work) -> Keyed:
    runs = work.runs()
    _check_room(2 * len(runs), work)
    for run in runs:
        totals = work.whole.rows(run.rows).totals(run.pattern & SIZE_MASK)
        yield (run.pattern, 0), work.whole_run(run)
        yield (run.pattern, 1), work.maker.make([Term(totals, totals)], run.stop - run.start, 0.0)


def _gaps(work: _Work) -> Keyed:
    rows, whole, maker = work.rows, work.whole, work.maker
    for run in work.runs():
        yield (run.pattern, 0), work.whole_run(run)
    first, gap = rows.neighbours()
    if not len(first):  # every group of the partition has one row
        return
    stratum = rows.stratum[first]
    order = np.lexsort((gap, stratum))
    first, gap, stratum = first[order], gap[order], stratum[order]
    change = np.flatnonzero((np.diff(gap) != 0) | (np.diff(stratum) != 0)) + 1
    starts = np.concatenate([[0], change])
    _check_room(2 * len(starts), work)
    ends = [*starts[1:].tolist(), len(first)]
    for start, end in zip(starts.tolist(), ends, strict=True):
        left, right = whole.take(first[start:end]), whole.take(first[start:end] + 1)
        code, s = rows.gap_code(gap[start]), int(stratum[start])
        same = [Term(left, left), Term(right, right)]
        yield (s, 1 + 2 * code), maker.make(same, end - start, 0.0)
        both = [Term(left, right), Term(right, left)]
        yield (s, 2 + 2 * code), maker.make(both, end - start, 0.0)


def _pairs(work: _Work) -> Keyed:
    m, whole, maker = len(work.design.positions), work.whole, work.maker
    runs = work.runs()
    mask = (1 << work.design.mask_bits) - 1
    members = [held_positions(run.pattern & mask) for run in runs]
    count = sum(len(own) * (len(own) + 1) // 2 for own in members)
    _check_room(count, work)
    for run, own in zip(runs, members, strict=True):
        part = whole.rows(run.rows)
        k, n = len(own), len(part.XY)
        blocks = gram_blocks(part.XY, k)
        at = [part.every(i, k) for i in range(k)] if part.Z else []
        log = work.log_weight(run)
        for i in range(k):
            for j in range(i, k):
                gram = blocks[i, :, i] if i == j else blocks[i, :, j] + blocks[i, :, j].T
                pairs = [(i, j)] if i == j else [(i, j), (j, i)]
                terms = [Term(at[a], at[b]) for a, b in pairs] if at else []
                key = (run.pattern, own[i] * m + own[j])
                yield key, maker.with_gram(gram, terms, n, log if i == j == 0 else 0.0)


_BASES = {"strata": _strata, "sizes": _sizes, "gaps": _gaps, "pairs": _pairs}


def _check_room(n_keys: int, work: _Work) -> None:
    """Raise where the sums would take more memory than a partition may."""
    rows, whole, design = work.rows, work.whole, work.design
    width = whole.XY.shape[1]
    numbers = n_keys * (width * width + NUMBERS_OF_A_KEY)
    groups = len(rows.group_starts)
    for Z, n_levels in zip(whole.Z, work.maker.n_levels, strict=True):
        per_group = {"sizes": 2, "gaps": 2 * len(rows.order) / max(groups, 1)}
        each = per_group.get(design.basis, n_keys / max(len(rows.patterns), 1))
        levels = min(groups * each, n_keys * float(n_levels))
        numbers += int(levels * Z.shape[1] * (Z.shape[1] + width))
    if numbers <= MOST_NUMBERS:
        return
    what = {"gaps": "distinct gaps between neighbours", "sizes": "distinct sizes of groups"}
    found = (
        f"{n_keys // 2:,} {what[design.basis]}"
        if design.basis in what
        else (f"{len(rows.patterns):,} patterns of observed positions")
    )
    position = design.position or "1"
    advice = {
        "gaps": f"round '{position}' to a coarser unit",
        "sizes": "take groups of fewer sizes",
        "pairs": f"take fewer positions, or ar1({position} | {':'.join(design.group)})",
        "points": "take coarser coordinates, or smaller groups",
    }["points" if SEPARATOR in position else design.basis]
    random = ", each with sums of the random factors' levels" if whole.Z else ""
    raise UnsupportedError(
        f"{design.structure}({position} | {':'.join(design.group)}) has {found} in a partition of "
        f"{len(rows.order):,} rows{random}; sums would take {8 * numbers / 1e9:,.1f} GB where "
        f"{8 * MOST_NUMBERS / 1e9:,.1f} GB are allowed; {advice}"
    )
