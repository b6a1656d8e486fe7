"""Categories with many levels in X: their columns are known by level codes and never written out.

Stands at "Rows become columns" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixedflow.design.columns import Column, Learned, Piece, Rows, coding_of
from mixedflow.design.safety import Expression
from mixedflow.design.types import CodedColumns, DesignBlock, Float, LevelContrasts

CODED_FROM = 16
"""Levels from which codes are condensed: 1.5 to 2.9 times as fast there, as fast at 8 (measured)."""


@dataclass(frozen=True, slots=True)
class CodedTerm:
    """Columns of X that are one category's contrasts times the same other pieces.

    Attributes
    ----------
    expression : the category
    others : the other pieces of each column's product
    places : of the columns in X
    contrasts : their contrast matrix
    """

    expression: Expression
    others: tuple[Piece, ...]
    places: tuple[int, ...]
    contrasts: LevelContrasts

    def of(self, rows: Rows) -> CodedColumns:
        """Return the columns for some rows."""
        return CodedColumns(
            category=self.expression.text,
            places=np.array(self.places, dtype=np.int64),
            contrasts=self.contrasts,
            codes=rows.codes(self.expression.names[0]),
            pieces=tuple(rows.piece(other) for other in self.others),
        )


@dataclass(frozen=True, slots=True)
class CodedPlan:
    """Which columns of X are written out and which are known by codes.

    Attributes
    ----------
    plain : places of the columns that are written out
    terms : the others
    """

    plain: tuple[int, ...]
    terms: tuple[CodedTerm, ...]


def plan_coded(columns: Sequence[Column], learned: Learned) -> CodedPlan:
    """Choose a column's category with the most levels, if those are many, and gather by it."""
    plain = []
    found: dict[tuple[Expression, bool, tuple[Piece, ...]], list[tuple[int, int]]] = {}
    for place, column in enumerate(columns):
        at = _largest(column, learned)
        if at is None:
            plain.append(place)
            continue
        piece = column.pieces[at]
        others = (*column.pieces[:at], *column.pieces[at + 1 :])
        key = (piece.expression, piece.reduced, others)
        found.setdefault(key, []).append((place, piece.field))
    matrices: dict[tuple[Expression, bool], Float] = {}
    terms = []
    for (expression, reduced, others), members in found.items():
        if (expression, reduced) not in matrices:
            coding = coding_of(expression, learned, reduced=reduced)
            matrices[expression, reduced] = coding.matrix
        fields = [field for _, field in members]
        matrix = matrices[expression, reduced]
        every = fields == list(range(matrix.shape[1]))
        contrasts = level_contrasts(matrix if every else matrix[:, fields])
        terms.append(CodedTerm(expression, others, tuple(p for p, _ in members), contrasts))
    return CodedPlan(tuple(plain), tuple(terms))


def _largest(column: Column, learned: Learned) -> int | None:
    sizes = [
        len(learned.levels[p.expression.names[0]]) if learned.is_category(p.expression) else 0
        for p in column.pieces
    ]
    most = max(sizes, default=0)
    return sizes.index(most) if most >= CODED_FROM else None


def level_contrasts(matrix: Float) -> LevelContrasts:
    """Return a contrast matrix, (L, c), its rows with nothing but one 1 told apart."""
    entries = np.count_nonzero(matrix, axis=1)
    at = matrix.argmax(axis=1)
    unit = (entries == 1) & (matrix[np.arange(len(matrix)), at] == 1.0)
    dense = np.flatnonzero((entries > 0) & ~unit)
    return LevelContrasts(np.where(unit, at, -1), dense, matrix[dense])


def contrast_matrix(columns: CodedColumns) -> Float:
    """Return C, (L, c)."""
    contrasts = columns.contrasts
    C = np.zeros((len(contrasts.column), len(columns.places)))
    units = np.flatnonzero(contrasts.column >= 0)
    C[units, contrasts.column[units]] = 1.0
    C[contrasts.dense] = contrasts.rows
    return C


def multiplier(columns: CodedColumns) -> Float:
    """Return the number a row that the contrasts are multiplied by, (n,)."""
    values = np.ones(len(columns.codes))
    with np.errstate(all="ignore"):
        for piece in columns.pieces:
            values *= piece
    return values


def fixed_part(block: DesignBlock, beta: Float) -> Float:
    """Return X beta, (n,), for beta in the order of all columns of X."""
    if not block.coded:
        return np.asarray(block.X @ beta)
    taken = np.concatenate([one.places for one in block.coded])
    eta: Float = block.X @ np.delete(beta, taken)
    for one in block.coded:
        effects = level_effects(one.contrasts, beta[one.places])[one.codes]
        eta += effects * multiplier(one) if one.pieces else effects
    return eta


def level_effects(contrasts: LevelContrasts, beta: Float) -> Float:
    """Return C beta, (L,)."""
    effects = np.where(contrasts.column >= 0, beta[contrasts.column], 0.0)
    effects[contrasts.dense] = contrasts.rows @ beta
    return effects
