"""Hypotheses by term of types I and II, and III where cells have no rows.

Stands at "Types of hypotheses" in ``docs/algorithm.md``. All three come from X'X and the formula;
where they differ among programs they are lmerTest's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mixedflow.crossproducts.types import CrossProducts
from mixedflow.design.columns import Learned, plan_columns
from mixedflow.design.formula import LinearPart
from mixedflow.design.types import Float, Int
from mixedflow.inference.empty_cells import ModelTerms, estimable_rows
from mixedflow.inference.marginal import TermHypothesis, term_kinds, type_three
from mixedflow.inference.row_sums import kept_coordinates, row_gram, sequential_rows, user_columns

AnovaType = Literal[1, 2, 3]


@dataclass(frozen=True, slots=True)
class FixedPart:
    """The fixed part of a fit.

    Attributes
    ----------
    part, learned : the formula's terms, levels and states
    kept : columns that are not aliased
    """

    part: LinearPart
    learned: Learned
    kept: Int


def term_hypotheses(fixed: FixedPart, sums: CrossProducts, kind: AnovaType) -> list[TermHypothesis]:
    """Return the hypothesis of every term but the intercept.

    A term whose columns are all aliased has no rows.

    Parameters
    ----------
    fixed : terms and columns
    sums : of the rows; the global ones are enough
    kind : type of the hypotheses
    """
    if kind == 3:
        return _type_three(fixed, sums)
    lead, kept = int(sums.constant), fixed.kept
    gram = row_gram(sums)[lead:, lead:][np.ix_(kept, kept)]
    A = user_columns(sums.info)[np.ix_(kept, kept)]
    of_column = _terms_of_columns(fixed)
    inside = containing(fixed.part, fixed.learned)
    out = []
    for at, label in labels(fixed.part):
        if kind == 1:
            rows = sequential_rows(gram, A, range(len(kept)))[of_column == at]
        else:
            rows = _type_two(gram, A, of_column, (at, inside[at]))
        out.append(TermHypothesis(label, rows))
    return out


def labels(part: LinearPart) -> list[tuple[int, str]]:
    """Return number and name of every term but the intercept."""
    return [(k, ":".join(e.text for e in term)) for k, term in enumerate(part.terms) if term]


def containing(part: LinearPart, learned: Learned) -> list[list[int]]:
    """Return for every term those with the same numbers and all of its categories and more."""
    kinds = term_kinds(part, learned)
    return [[k for k, large in enumerate(kinds) if small.inside(large)] for small in kinds]


def _terms_of_columns(fixed: FixedPart) -> Int:
    columns = plan_columns(fixed.part, fixed.learned)
    return np.array([columns[k].term for k in fixed.kept], dtype=np.int64)


def _type_two(gram: Float, A: Float, of_column: Int, term: tuple[int, Sequence[int]]) -> Float:
    """Return a term's rows after all terms that do not contain it."""
    at, larger = term
    mine = np.flatnonzero(of_column == at)
    if not len(larger):
        return np.eye(len(of_column))[mine]
    after = np.flatnonzero(np.isin(of_column, larger))
    before = np.setdiff1d(np.arange(len(of_column)), [*mine, *after])
    order = np.concatenate([before, mine, after])
    rows: Float = sequential_rows(gram, A, order.tolist())[len(before) : len(before) + len(mine)]
    return rows


def _type_three(fixed: FixedPart, sums: CrossProducts) -> list[TermHypothesis]:
    if () in fixed.part.terms and len(fixed.kept) == len(sums.info.x_columns):
        return type_three(fixed.part, fixed.learned)
    model = ModelTerms(fixed.part, fixed.learned, containing(fixed.part, fixed.learned))
    rows = estimable_rows(model, kept_coordinates(sums, fixed.kept))
    return [TermHypothesis(label, rows[at]) for at, label in labels(fixed.part)]
