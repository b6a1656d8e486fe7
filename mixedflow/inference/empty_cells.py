"""Type III hypotheses where some cells have no rows: SAS's general form of estimable functions.

Stands at "Types of hypotheses" in ``docs/algorithm.md``. The columns of all cells of all terms are
X* = X_K G with X_K those of them that are independent; the rows of G span what can be estimated. A
term's part of these, made orthogonal to that of the terms that contain it, is its hypothesis
(Goodnight 1978; lmerTest's type III).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from mixedflow.design.columns import Learned, plan_columns
from mixedflow.design.formula import LinearPart
from mixedflow.design.types import Float, Int
from mixedflow.inference.marginal import ColumnFactors, TermKind, factored, term_kinds
from mixedflow.linalg.aliasing import independent_columns

ZERO = 1e-8
"""Size of a coefficient of an estimable function that is rounding."""


@dataclass(frozen=True, slots=True)
class ModelTerms:
    """Terms of a fixed part, and for each those that contain it."""

    part: LinearPart
    learned: Learned
    containing: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class CellColumns:
    """The columns of all cells of all terms, (p, R) in the columns of X, and the terms they are of."""

    coordinates: Float
    term: Int


def estimable_rows(model: ModelTerms, E: Float) -> list[Float]:
    """Return the hypothesis of every term, (m, r) over the kept columns.

    Parameters
    ----------
    model : terms
    E : (r, p), X = X_kept E
    """
    cells = cell_columns(model)
    B = E @ cells.coordinates
    K = np.asarray(independent_columns(B.T @ B).kept, dtype=np.int64)
    back = np.linalg.inv(B[:, K])
    functions = _cleaned((back @ B).T)
    of_column = cells.term[K]
    for at in _largest_first(model):
        mine = of_column == at
        larger = np.isin(of_column, model.containing[at])
        if mine.any() and larger.any():
            spanned = functions[:, larger]
            fitted = spanned @ np.linalg.lstsq(spanned, functions[:, mine], rcond=None)[0]
            functions[:, mine] = _cleaned(functions[:, mine] - fitted)
    functions = functions[K]
    rows = [functions[:, of_column == at].T for at in range(len(model.part.terms))]
    return [L[np.abs(L).sum(axis=1) > ZERO] @ back for L in rows]


def _largest_first(model: ModelTerms) -> list[int]:
    return sorted(range(len(model.part.terms)), key=lambda at: -len(model.part.terms[at]))


def _cleaned(values: Float) -> Float:
    out: Float = np.where(np.abs(values) > ZERO, values, 0.0)
    return out


def cell_columns(model: ModelTerms) -> CellColumns:
    """Return the cells' columns of every term; within a term those without a first level lead."""
    columns = [factored(c, model.learned) for c in plan_columns(model.part, model.learned)]
    kinds = term_kinds(model.part, model.learned)
    parts = [_of_term(kind, columns) for kind in kinds]
    return CellColumns(
        np.concatenate(parts, axis=1),
        np.repeat(np.arange(len(parts)), [part.shape[1] for part in parts]),
    )


def _of_term(kind: TermKind, columns: Sequence[ColumnFactors]) -> Float:
    mine = [c for c in columns if tuple(text for text, _ in c.numeric) == kind.numeric]
    sizes = {name: len(v) for c in mine for name, v in c.values.items()}
    shape = [sizes[name] for name in kind.categories]
    first = np.array([0 in cell for cell in product(*map(range, shape))], dtype=bool)
    order = np.argsort(first, kind="stable")
    parts = []
    for numeric in dict.fromkeys(c.numeric for c in mine):
        at = [
            k
            for k, c in enumerate(columns)
            if c.numeric == numeric and set(c.values) <= set(kind.categories)
        ]
        values = np.column_stack([_on_cells(columns[k], kind.categories, sizes) for k in at])
        part = np.zeros((len(columns), len(order)))
        part[at] = np.linalg.lstsq(values, np.eye(len(order)), rcond=None)[0][:, order]
        parts.append(_cleaned(part))
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(columns), 0))


def _on_cells(column: ColumnFactors, categories: Sequence[str], sizes: dict[str, int]) -> Float:
    """Return a column's number in every cell, the last category running fastest."""
    out: Float = np.ones(1)
    for name in categories:
        out = np.kron(out, column.values.get(name, np.ones(sizes[name]))).astype(float)
    return out
