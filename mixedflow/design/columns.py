"""Terms become columns: which expressions a column multiplies, and how each is coded.

Stands at "Rows become columns" in ``docs/algorithm.md``. Which categories lose a level to keep the
columns independent is formulaic's decision, made once on a two-row stand-in frame; the columns
themselves are computed here, straight from the Arrow buffers.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, cast

import numpy as np
import pyarrow as pa

from mixedflow.design.arrow import numbers, stored_numbers
from mixedflow.design.contrasts import Coding, contrast_coding
from mixedflow.design.evaluate import State, evaluate, state_key
from mixedflow.design.formula import LinearPart
from mixedflow.design.levels import LevelIndex, LevelSet
from mixedflow.design.safety import Call, Expression, take_apart
from mixedflow.design.transforms import apply_basis, basis_fields
from mixedflow.design.types import Float, Int, Pieces

INTERCEPT = "(Intercept)"


@dataclass(frozen=True, slots=True)
class Piece:
    """One factor of a product: an expression, whether it lost a level, and which of its fields."""

    expression: Expression
    reduced: bool
    field: int


@dataclass(frozen=True, slots=True)
class Column:
    """A column of X or Z: the product of its pieces; none of them is the constant.

    Attributes
    ----------
    name : as formulaic has it
    pieces : factors of the product
    degree : number of expressions of its term
    term : which term of the sum it belongs to
    """

    name: str
    pieces: tuple[Piece, ...]
    degree: int
    term: int


@dataclass(frozen=True, slots=True)
class Learned:
    """What the schema pass learned, as far as columns depend on it.

    Attributes
    ----------
    levels : ordered levels, by column
    categories : columns that are coded by level where they stand by themselves
    states : states of the transforms
    """

    levels: Mapping[str, LevelSet]
    categories: frozenset[str]
    states: Mapping[str, State]

    def is_category(self, expression: Expression) -> bool:
        """Whether the expression is coded by levels."""
        if expression.kind == "contrast":
            return True
        return expression.kind == "column" and expression.names[0] in self.categories


def plan_columns(part: LinearPart, learned: Learned) -> tuple[Column, ...]:
    """List the columns of a sum of terms, in formulaic's order."""
    expressions = part.expressions
    spanning = tuple(_spans_intercept(e, learned) for e in expressions)
    places = {e: k for k, e in enumerate(expressions)}
    terms = tuple(tuple(places[e] for e in term) for term in part.terms)
    columns = []
    for scoped, term in _structure(terms, spanning):
        pieces = [(expressions[k], reduced) for k, reduced in scoped]
        names = [_fields(e, learned, reduced=reduced) for e, reduced in pieces]
        for reverse in product(*(range(len(n)) for n in reversed(names))):
            choice = reverse[::-1]
            label = ":".join(n[f] for n, f in zip(names, choice, strict=True)) or INTERCEPT
            chosen = zip(pieces, choice, strict=True)
            parts = tuple(Piece(e, r, f) for (e, r), f in chosen)
            columns.append(Column(label, parts, len(terms[term]), term))
    return tuple(columns)


@lru_cache(maxsize=256)
def _structure(
    terms: tuple[tuple[int, ...], ...], spanning: tuple[bool, ...]
) -> tuple[tuple[tuple[tuple[int, bool], ...], int], ...]:
    """Say which expressions lose a level in which term, and which term that is.

    None does where none spans the intercept; formulaic's order is then that of the degrees.
    """
    if not any(spanning):
        by_degree = sorted(range(len(terms)), key=lambda k: len(terms[k]))
        return tuple((tuple((k, False) for k in terms[at]), at) for at in by_degree)
    return _formulaic_structure(terms, spanning)


def _formulaic_structure(
    terms: tuple[tuple[int, ...], ...], spanning: tuple[bool, ...]
) -> tuple[tuple[tuple[tuple[int, bool], ...], int], ...]:
    """Ask formulaic which expressions lose a level in which term, on stand-ins ``v0, v1, ...``."""
    import pandas as pd
    from formulaic import Formula

    frame = pd.DataFrame(
        {
            f"v{k}": pd.Categorical(["a", "b"]) if spans else [0.0, 1.0]
            for k, spans in enumerate(spanning)
        },
        index=[0, 1],
    )
    text = " + ".join(":".join(f"v{k}" for k in term) or "1" for term in terms)
    text = text if () in terms else f"0 + {text}"
    structure = Formula(text).get_model_matrix(frame).model_spec.structure
    places = {frozenset(term): at for at, term in enumerate(terms)}
    found = []
    for entry in structure:
        at = places[frozenset(int(f.expr[1:]) for f in entry.term.factors if f.expr[0] == "v")]
        for scoped in entry.scoped_terms:
            pieces = tuple((int(f.factor.expr[1:]), bool(f.reduced)) for f in scoped.factors)
            found.append((pieces, at))
    return tuple(found)


def _spans_intercept(expression: Expression, learned: Learned) -> bool:
    if learned.is_category(expression):
        return True
    if expression.kind != "basis":
        return False
    return bool(basis_call(expression).parameters.get("include_intercept"))


def _fields(expression: Expression, learned: Learned, *, reduced: bool) -> tuple[str, ...]:
    """Names of an expression's columns."""
    if learned.is_category(expression):
        return coding_of(expression, learned, reduced=reduced).names
    if expression.kind != "basis":
        return (expression.text,)
    fields = basis_fields(basis_call(expression), learned.states[state_key(expression.tree)])
    return tuple(f"{expression.text}[{field}]" for field in fields[1 if reduced else 0 :])


def basis_call(expression: Expression) -> Call:
    """Take the call of a basis expression apart."""
    return take_apart(cast(ast.Call, expression.tree), expression.text)


def coding_of(expression: Expression, learned: Learned, *, reduced: bool) -> Coding:
    """Contrast matrix of a categorical expression."""
    labels = learned.levels[expression.names[0]].labels()
    contrast = None
    if isinstance(expression.tree, ast.Call):
        contrast = take_apart(expression.tree, "").parameters["contrasts"]
    return contrast_coding(expression.text, labels, contrast, reduced=reduced)


class Rows:
    """Complete rows of one partition, evaluated on demand, each expression once."""

    def __init__(
        self, table: pa.Table, learned: Learned, indices: Mapping[str, LevelIndex]
    ) -> None:
        self.table = table
        self.learned = learned
        self.indices = indices
        self.n = table.num_rows
        self._numbers: dict[str, Float] = {}
        self._codes: dict[str, Int] = {}
        self._values: dict[tuple[Expression, bool], Float] = {}

    def numbers(self, name: str) -> Float:
        """Return a data column as float64."""
        if name not in self._numbers:
            self._numbers[name] = numbers(self.table.column(name))
        return self._numbers[name]

    def stored(self, name: str) -> Any:
        """Return a data column of numbers as it is stored."""
        return stored_numbers(self.table.column(name))

    def codes(self, name: str) -> Int:
        """Return level codes of a data column; -1 where the level is unknown."""
        if name not in self._codes:
            self._codes[name] = self.indices[name].codes(self.table.column(name))
        return self._codes[name]

    def numeric(self, expression: Expression) -> Float:
        """Return the values of a numeric expression, (n,)."""
        if expression.kind == "column":
            return self.numbers(expression.names[0])
        data = {name: self.numbers(name) for name in expression.names}
        return evaluate(expression.tree, data, self.learned.states)

    def values(self, expression: Expression, *, reduced: bool) -> Float:
        """Return all columns of an expression, (n, c)."""
        key = (expression, reduced)
        if key not in self._values:
            self._values[key] = self._evaluate(expression, reduced=reduced)
        return self._values[key]

    def _evaluate(self, expression: Expression, *, reduced: bool) -> Float:
        if self.learned.is_category(expression):
            matrix = coding_of(expression, self.learned, reduced=reduced).matrix
            return np.asarray(matrix[self.codes(expression.names[0])])
        if expression.kind != "basis":
            return self.numeric(expression)[:, None]
        call, state = self.basis(expression)
        columns = apply_basis(call, self.argument(expression, call), state).values
        return columns[:, 1:] if reduced else columns

    def basis(self, expression: Expression) -> tuple[Call, State]:
        """Return the call of a basis and its state."""
        return basis_call(expression), self.learned.states[state_key(expression.tree)]

    def argument(self, expression: Expression, call: Call) -> Float:
        """Return the values that a basis is built on, (n,)."""
        data = {name: self.numbers(name) for name in expression.names}
        return evaluate(call.argument, data, {})

    def pieces(self, column: Column) -> Pieces:
        """Return the factors of a column as they are stored: no copy of a plain number column."""
        return tuple(self.piece(piece) for piece in column.pieces)

    def piece(self, piece: Piece) -> Any:
        """Return one factor of a column as it is stored."""
        expression = piece.expression
        if expression.kind == "column" and not self.learned.is_category(expression):
            return self.stored(expression.names[0])
        return self.values(expression, reduced=piece.reduced)[:, piece.field]

    def matrix(self, columns: Sequence[Column]) -> Float:
        """Return the columns, (n, p), row by row in memory."""
        out = np.empty((self.n, len(columns)))
        for k, column in enumerate(columns):
            if not column.pieces:
                out[:, k] = 1.0
                continue
            first, *others = (
                self.values(p.expression, reduced=p.reduced)[:, p.field] for p in column.pieces
            )
            out[:, k] = first
            with np.errstate(all="ignore"):
                for values in others:
                    out[:, k] *= values
        return out
