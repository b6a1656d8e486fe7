"""Type III hypotheses by term: equally weighted means over the levels of the other factors.

Stands at "Degrees of freedom" in ``docs/algorithm.md``. Columns that share their numeric part N are N
times a function of the categories, g(a, b, ...) = sum_k c_k(a, b, ...) beta_k, whatever the contrasts.
A term's hypothesis is that the part of g that belongs to its categories, and to no smaller term of the
model, is zero: differences along these, means over all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mixedflow.design.columns import Column, Learned, Piece, coding_of, plan_columns
from mixedflow.design.formula import LinearPart, Term
from mixedflow.design.types import Float, Int
from mixedflow.errors import UnsupportedError

ROUNDING = 1e-12
"""Size below which a coefficient of a hypothesis is a sum of zeros."""

NumericPart = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class TermHypothesis:
    """L beta = 0 of one term: its label and L, (m, p), over the kept columns."""

    label: str
    L: Float


@dataclass(frozen=True, slots=True)
class _Factored:
    """A column: its numeric part, and the contrast values of its categories by name."""

    numeric: NumericPart
    values: Mapping[str, Float]


@dataclass(frozen=True, slots=True)
class _Kind:
    """A term: texts of its numeric expressions, names of its categories."""

    numeric: tuple[str, ...]
    categories: tuple[str, ...]


def type_three(part: LinearPart, learned: Learned, kept: Int) -> list[TermHypothesis]:
    """Return the type III hypothesis of every term but the intercept.

    Parameters
    ----------
    part : the fixed part
    learned : levels and states
    kept : columns that are not aliased

    Raises
    ------
    UnsupportedError
        where a hypothesis needs an aliased column: cells without rows have no mean.
    """
    columns = [_factored(column, learned) for column in plan_columns(part, learned)]
    kinds = [_kind(term, learned) for term in part.terms]
    out = []
    for term, kind in zip(part.terms, kinds, strict=True):
        if not term:
            continue
        label = ":".join(e.text for e in term)
        smaller = [set(k.categories) for k in kinds if _inside(k, kind)]
        L = _hypothesis(kind, smaller, columns)
        out.append(TermHypothesis(label, _over_kept(label, L, kept)))
    return out


def _kind(term: Term, learned: Learned) -> _Kind:
    numeric = sorted(e.text for e in term if not learned.is_category(e))
    return _Kind(tuple(numeric), tuple(e.names[0] for e in term if learned.is_category(e)))


def _inside(small: _Kind, large: _Kind) -> bool:
    """Say whether a term has the same numeric part and some of the categories."""
    return small.numeric == large.numeric and set(small.categories) < set(large.categories)


def _factored(column: Column, learned: Learned) -> _Factored:
    numeric = []
    values: dict[str, Float] = {}
    for piece in column.pieces:
        if learned.is_category(piece.expression):
            values[piece.expression.names[0]] = _contrast(piece, learned)
        else:
            numeric.append((piece.expression.text, piece.field + int(piece.reduced)))
    return _Factored(tuple(sorted(numeric)), values)


def _contrast(piece: Piece, learned: Learned) -> Float:
    coding = coding_of(piece.expression, learned, reduced=piece.reduced)
    values: Float = coding.matrix[:, piece.field]
    return values


def _hypothesis(kind: _Kind, smaller: Sequence[set[str]], columns: Sequence[_Factored]) -> Float:
    """Return L over all columns: rows by numeric part, then by margin of the categories."""
    mine = [c for c in columns if tuple(text for text, _ in c.numeric) == kind.numeric]
    margins = [
        set(chosen)
        for size in range(len(kind.categories) + 1)
        for chosen in combinations(kind.categories, size)
        if not any(set(chosen) <= lower for lower in smaller)
    ]
    rows = [
        np.column_stack([_entries(c, numeric, kind.categories, margin, mine) for c in columns])
        for numeric in dict.fromkeys(c.numeric for c in mine)
        for margin in margins
    ]
    return np.concatenate(rows) if rows else np.zeros((0, len(columns)))


def _entries(
    column: _Factored,
    numeric: NumericPart,
    categories: Sequence[str],
    margin: set[str],
    mine: Sequence[_Factored],
) -> Float:
    """Return a column's entries: differences along the margin, means along everything else."""
    sizes = {name: len(values) for c in mine for name, values in c.values.items()}
    product = np.ones(1)
    for name in categories:
        values = column.values.get(name, np.ones(sizes[name]))
        along = values[1:] - values[0] if name in margin else np.array([values.mean()])
        product = np.kron(product, along)
    others = [v.mean() for name, v in column.values.items() if name not in categories]
    return product * float(np.prod(others)) * float(column.numeric == numeric)


def _over_kept(label: str, L: Float, kept: Int) -> Float:
    aliased = np.setdiff1d(np.arange(L.shape[1]), kept)
    if (np.abs(L[:, aliased]) > ROUNDING).any():
        raise UnsupportedError(
            f"the type III test of '{label}' takes means over all combinations of levels, and some "
            "have no rows of their own: a column that it needs is aliased; offered is contrast(L) of "
            "the coefficients that are estimated"
        )
    out: Float = np.where(np.abs(L) > ROUNDING, L, 0.0)[:, kept]
    return out
