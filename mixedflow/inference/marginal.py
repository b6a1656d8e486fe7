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
from mixedflow.design.types import Float

ROUNDING = 1e-12
"""Size below which a coefficient of a hypothesis is a sum of zeros."""

NumericPart = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class TermHypothesis:
    """L beta = 0 of one term: its label and L, (m, p), over the kept columns."""

    label: str
    L: Float


@dataclass(frozen=True, slots=True)
class ColumnFactors:
    """A column: its numeric part, and the contrast values of its categories by name."""

    numeric: NumericPart
    values: Mapping[str, Float]


@dataclass(frozen=True, slots=True)
class TermKind:
    """A term: texts of its numeric expressions, names of its categories."""

    numeric: tuple[str, ...]
    categories: tuple[str, ...]

    def inside(self, large: TermKind) -> bool:
        """Say whether a term has the same numeric part and some of the categories."""
        return self.numeric == large.numeric and set(self.categories) < set(large.categories)


def type_three(part: LinearPart, learned: Learned) -> list[TermHypothesis]:
    """Return the type III hypothesis of every term but the intercept, no column being aliased.

    Parameters
    ----------
    part : the fixed part
    learned : levels and states
    """
    columns = [factored(column, learned) for column in plan_columns(part, learned)]
    kinds = term_kinds(part, learned)
    out = []
    for term, kind in zip(part.terms, kinds, strict=True):
        if not term:
            continue
        label = ":".join(e.text for e in term)
        smaller = [set(k.categories) for k in kinds if k.inside(kind)]
        L = _hypothesis(kind, smaller, columns)
        out.append(TermHypothesis(label, np.where(np.abs(L) > ROUNDING, L, 0.0)))
    return out


def term_kinds(part: LinearPart, learned: Learned) -> list[TermKind]:
    """Return what every term is made of."""
    return [_kind(term, learned) for term in part.terms]


def _kind(term: Term, learned: Learned) -> TermKind:
    numeric = sorted(e.text for e in term if not learned.is_category(e))
    return TermKind(tuple(numeric), tuple(e.names[0] for e in term if learned.is_category(e)))


def factored(column: Column, learned: Learned) -> ColumnFactors:
    """Return the numeric part of a column, and its contrasts."""
    numeric = []
    values: dict[str, Float] = {}
    for piece in column.pieces:
        if learned.is_category(piece.expression):
            values[piece.expression.names[0]] = _contrast(piece, learned)
        else:
            numeric.append((piece.expression.text, piece.field + int(piece.reduced)))
    return ColumnFactors(tuple(sorted(numeric)), values)


def _contrast(piece: Piece, learned: Learned) -> Float:
    coding = coding_of(piece.expression, learned, reduced=piece.reduced)
    values: Float = coding.matrix[:, piece.field]
    return values


def _hypothesis(
    kind: TermKind, smaller: Sequence[set[str]], columns: Sequence[ColumnFactors]
) -> Float:
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
    column: ColumnFactors,
    numeric: NumericPart,
    categories: Sequence[str],
    margin: set[str],
    mine: Sequence[ColumnFactors],
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
