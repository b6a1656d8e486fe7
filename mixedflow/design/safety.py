"""A formula is data, not code: read an expression, and refuse whatever is not on the list.

Stands at "Rows become columns" in ``docs/algorithm.md``. The text is parsed to Python's syntax
tree and every node is checked; no expression is ever compiled or handed to ``eval``. What passes
is computed by the small interpreter of :mod:`mixedflow.design.evaluate`.
"""

from __future__ import annotations

import ast
import keyword
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

from mixedflow.design.functions import CONSTANTS, CONTRASTS, FUNCTIONS, HINTS
from mixedflow.design.tokens import Token, column_name, is_operator, join, tokenize
from mixedflow.errors import FormulaError, did_you_mean, listing

ExpressionKind = Literal["column", "numeric", "basis", "contrast"]
Literals = int | float | str | bool | list[Any] | None

ALLOWED = (
    "allowed are column names, numbers, + - * / ** ^ %, comparisons, parentheses and the functions "
    + ", ".join(FUNCTIONS)
)
_BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.Mod)
_UNARY = (ast.UAdd, ast.USub)
_COMPARE = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
_WORDS = {"TRUE": True, "FALSE": False, "NULL": None}


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression of a formula.

    Attributes
    ----------
    text : canonical spelling; names the coefficient
    kind : ``column`` (a bare name), ``numeric`` (one column), ``basis`` (several) or ``contrast``
    names : data columns it reads, in order of mention
    tree : its syntax tree, whose names are column names
    """

    text: str
    kind: ExpressionKind
    names: tuple[str, ...]
    tree: ast.expr = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A call taken apart: function, first argument, and the literals that follow by name."""

    function: str
    argument: ast.expr
    parameters: dict[str, Any]


def parse_expression(source: str | Sequence[Token]) -> Expression:
    """Read and check one expression; raise :class:`FormulaError` for anything not on the list."""
    tokens = tokenize(source) if isinstance(source, str) else list(source)
    shown = join(tokens)
    if not tokens:
        raise FormulaError("An expression of the formula is empty.")
    if any(is_operator(t, "//", "|", "||", "~", ":") for t in tokens):
        raise FormulaError(f"'{shown}' is not an expression that a formula can hold; {ALLOWED}.")
    code, columns = _to_python(tokens)
    try:
        tree = ast.parse(code, mode="eval").body
        tree = _Names(columns).visit(tree)
        _check(tree, shown, top=True)
        text = _spelling(tree, caret=any(is_operator(t, "^") for t in tokens))
    except (SyntaxError, ValueError) as error:
        raise FormulaError(f"'{shown}' cannot be read: {_reason(error)}.") from None
    except (RecursionError, MemoryError):
        raise FormulaError("An expression of the formula is nested too deeply.") from None
    names = dict.fromkeys(n.id for n in _value_nodes(tree) if isinstance(n, ast.Name))
    kind = _kind(tree)
    if not names:
        raise FormulaError(f"'{shown}' reads no column of the data.")
    return Expression(text, kind, tuple(names), tree)


def _reason(error: Exception) -> str:
    return str(getattr(error, "msg", None) or error).rstrip(".")


def _to_python(tokens: Sequence[Token]) -> tuple[str, dict[str, str]]:
    """Spell tokens in Python: ``^`` is a power, and columns with unusual names get plain ones."""
    columns: dict[str, str] = {}
    parts = []
    for index, token in enumerate(tokens):
        called = index + 1 < len(tokens) and is_operator(tokens[index + 1], "(")
        is_keyword = index + 1 < len(tokens) and is_operator(tokens[index + 1], "=")
        if token.kind == "backtick" or (token.kind == "name" and not called and not is_keyword):
            name = column_name(token)
            check_column_name(name, backtick=token.kind == "backtick")
            stand_in = f"c{len(columns)}"
            columns[stand_in] = name if token.kind == "name" else f"`{name}"
            parts.append(stand_in)
        elif is_operator(token, "^"):
            parts.append("**")
        elif token.kind == "name":
            parts.append(token.text.replace(".", "__dot__"))
        else:
            parts.append(token.text)
    return " ".join(parts), columns


def check_column_name(name: str, *, backtick: bool = False) -> None:
    """Refuse names that no data column should have in a formula: empty, or with two underscores first."""
    if not name or any(part.startswith("__") for part in name.split(".")):
        raise FormulaError(
            f"'{name}' cannot be used in a formula: names that begin with two underscores are "
            "refused."
        )
    if not backtick and keyword.iskeyword(name) and name not in ("None", "True", "False"):
        raise FormulaError(
            f"'{name}' has a meaning of its own in a formula; write `{name}` in backticks if it "
            "is a column."
        )


class _Names(ast.NodeTransformer):
    """Give columns their own names back, and turn constants into numbers."""

    def __init__(self, columns: dict[str, str]) -> None:
        self.columns = columns

    def visit_Name(self, node: ast.Name) -> ast.expr:
        name = self.columns.get(node.id, node.id)
        if name in _WORDS:
            return ast.copy_location(ast.Constant(_WORDS[name]), node)
        if name in ("True", "False", "None"):
            words = {"True": True, "False": False, "None": None}
            return ast.copy_location(ast.Constant(words[name]), node)
        if name in CONSTANTS:
            return ast.copy_location(ast.Constant(CONSTANTS[name], kind=name), node)
        return ast.copy_location(ast.Name(name.removeprefix("`").replace("__dot__", ".")), node)


def _spelling(tree: ast.expr, *, caret: bool) -> str:
    """Write the canonical text, with ``^`` where the user wrote it."""
    text = ast.unparse(_Masked().visit(deepcopy(tree)))
    for mask, name in _Masked.table(tree).items():
        text = text.replace(mask, name)
    return text.replace(" ** ", "^") if caret else text


class _Masked(ast.NodeTransformer):
    """Replace names by identifiers that Python can print."""

    @staticmethod
    def mask(name: str) -> str:
        return "n" + "".join(f"{ord(c):06x}" for c in name) + "n"

    @staticmethod
    def table(tree: ast.expr) -> dict[str, str]:
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        table = {_Masked.mask(n): n if _is_plain(n) else f"`{n}`" for n in names}
        constants = {n.kind for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.kind}
        return table | {_Masked.mask(str(n)): str(n) for n in constants}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Name(self.mask(node.id), ast.Load())

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.Name(self.mask(node.kind), ast.Load()) if node.kind else node


def _is_plain(name: str) -> bool:
    return all(part.isidentifier() for part in name.split(".") if part) and not keyword.iskeyword(
        name
    )


def _value_nodes(tree: ast.expr) -> list[ast.expr]:
    """Walk the nodes that are values: function names and contrast arguments are left out."""
    if isinstance(tree, ast.Call):
        if _function_name(tree) == "C":
            return _value_nodes(tree.args[0])
        return [n for argument in tree.args for n in _value_nodes(argument)]
    children = [n for n in ast.iter_child_nodes(tree) if isinstance(n, ast.expr)]
    return [tree, *(n for child in children for n in _value_nodes(child))]


def _kind(tree: ast.expr) -> ExpressionKind:
    if isinstance(tree, ast.Name):
        return "column"
    if isinstance(tree, ast.Call):
        kind = FUNCTIONS[_function_name(tree)].kind
        if kind == "basis":
            return "basis"
        if kind == "contrast":
            return "contrast"
    return "numeric"


def _function_name(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _check(node: ast.expr, shown: str, *, top: bool = False, state: str | None = None) -> None:
    """Check one node and what is under it; ``state`` names the stateful call it stands in."""
    match node:
        case ast.Name():
            return
        case ast.Constant(value=bool() | int() | float() as value):
            if abs(value) > sys.float_info.max:
                raise FormulaError(f"'{shown}' holds a number that is too large.")
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _BINARY):
            _check(left, shown, state=state)
            _check(right, shown, state=state)
        case ast.UnaryOp(op=op, operand=operand) if isinstance(op, _UNARY):
            _check(operand, shown, state=state)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if isinstance(op, _COMPARE):
            _check(left, shown, state=state)
            _check(right, shown, state=state)
        case ast.Call():
            _check_call(node, shown, top=top, state=state)
        case _:
            raise FormulaError(_refusal(node, shown))


_NODE_WORDS = {
    ast.Attribute: "attribute access",
    ast.Subscript: "indexing with [ ]",
    ast.Lambda: "a lambda",
    ast.List: "a list",
    ast.Tuple: "a tuple",
    ast.Dict: "a dictionary",
    ast.Set: "a set",
    ast.ListComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.IfExp: "a condition",
    ast.BoolOp: "'and'/'or'",
    ast.JoinedStr: "an f-string",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a star",
    ast.Constant: "a piece of text",
    ast.Compare: "a chain of comparisons",
}


def _refusal(node: ast.AST, shown: str) -> str:
    what = _NODE_WORDS.get(type(node), "this kind of expression")
    return f"'{shown}' holds {what}, which a formula may not; {ALLOWED}."


def _check_call(node: ast.Call, shown: str, *, top: bool, state: str | None) -> None:
    if not isinstance(node.func, ast.Name):
        raise FormulaError(_refusal(node.func, shown))
    name = node.func.id
    function = FUNCTIONS.get(name)
    if function is None:
        raise FormulaError(_unknown_function(name, shown))
    if function.kind == "offset":
        raise FormulaError(f"'{shown}': offset() must be a term by itself, `y ~ x + offset(z)`.")
    if function.kind in ("basis", "contrast") and not top:
        raise FormulaError(
            f"'{shown}': {name}() makes several columns and cannot stand inside another expression."
        )
    if function.kind in ("moments", "basis") and state is not None:
        raise FormulaError(
            f"'{shown}': {name}() stands inside {state}(); a transform that learns from the data "
            "cannot be put into another."
        )
    call = take_apart(node, shown)
    if function.kind == "contrast":
        if not isinstance(call.argument, ast.Name):
            raise FormulaError(
                f"'{shown}': C() takes the name of a column; add others to the data."
            )
        return
    inside = name if function.kind in ("moments", "basis") else state
    _check(call.argument, shown, state=inside)


def _unknown_function(name: str, shown: str) -> str:
    if name in HINTS:
        return f"'{shown}': the function {name}() is not offered in formulas: {HINTS[name]}."
    near = did_you_mean(name, FUNCTIONS)
    offered = ", ".join(FUNCTIONS)
    return (
        f"'{shown}': the function {name}() is not offered in formulas{near}; allowed are {offered}."
    )


def take_apart(node: ast.Call, shown: str) -> Call:
    """Bind a call's arguments to the parameters of its function; all but the first are literals."""
    name = _function_name(node)
    function = FUNCTIONS[name]
    if not node.args or isinstance(node.args[0], ast.Starred):
        raise FormulaError(
            f"'{shown}': {name}() needs the column it works on as its first argument."
        )
    allowed = list(function.parameters)
    given: dict[str, ast.expr] = {}
    if len(node.args) - 1 > len(allowed):
        raise FormulaError(f"'{shown}': {name}() takes at most {len(allowed) + 1} arguments.")
    given.update(zip(allowed, node.args[1:], strict=False))
    for word in node.keywords:
        if word.arg is None or word.arg not in allowed:
            raise FormulaError(_unknown_argument(name, str(word.arg), allowed, shown))
        if word.arg in given:
            raise FormulaError(f"'{shown}': the argument '{word.arg}' is given twice.")
        given[word.arg] = word.value
    values = {
        key: _contrast(value, shown) if key == "contrasts" else _literal(value, shown)
        for key, value in given.items()
    }
    return Call(name, node.args[0], dict(function.parameters) | values)


def _unknown_argument(name: str, word: str, allowed: list[str], shown: str) -> str:
    word = word.replace("__dot__", ".")
    has = f"it takes {listing(allowed)}" if allowed else "it takes the column alone"
    return f"'{shown}': {name}() has no argument '{word}'{did_you_mean(word, allowed)}; {has}."


def _literal(node: ast.expr, shown: str) -> Literals:
    """Return the value of a number, text, True/False or list of them."""
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_literal(item, shown) for item in items]
        case ast.Call(func=ast.Name(id="c"), args=items, keywords=[]):
            return [_literal(item, shown) for item in items]
    raise FormulaError(
        f"'{shown}': '{_spelling(node, caret=False)}' must be a number, a text in quotes, TRUE or "
        "FALSE, or a list of them."
    )


def _contrast(node: ast.expr, shown: str) -> dict[str, Any]:
    """Return a contrast as ``{"name": "sum", ...arguments}``."""
    call = node if isinstance(node, ast.Call) else None
    target = call.func if call else node
    name = target.id.replace("__dot__", ".") if isinstance(target, ast.Name) else ""
    prefix, _, kind = name.partition(".")
    if prefix != "contr" or kind not in CONTRASTS:
        offered = [f"contr.{c}" for c in CONTRASTS]
        text = _spelling(node, caret=False).replace("__dot__", ".")
        near = did_you_mean(name, offered) if name else ""
        raise FormulaError(
            f"'{shown}': '{text}' is not a contrast{near}; offered are {listing(offered)}."
        )
    arguments: dict[str, Any] = {"name": kind}
    if call is not None:
        if len(call.args) > len(CONTRASTS[kind]):
            raise FormulaError(
                f"'{shown}': contr.{kind} takes at most {len(CONTRASTS[kind])} arguments."
            )
        given = dict(zip(CONTRASTS[kind], call.args, strict=False))
        for word in call.keywords:
            if word.arg not in CONTRASTS[kind]:
                raise FormulaError(
                    _unknown_argument(f"contr.{kind}", str(word.arg), list(CONTRASTS[kind]), shown)
                )
            given[str(word.arg)] = word.value
        arguments |= {key: _literal(value, shown) for key, value in given.items()}
    return arguments
