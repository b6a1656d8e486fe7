"""The small interpreter of formula expressions: a syntax tree over numpy columns, nothing else.

Stands at "Rows become columns" in ``docs/algorithm.md``. Only trees that
:mod:`mixedflow.design.safety` has passed come here; everything is computed in float64, so
``I(x^2)`` cannot overflow an integer.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from mixedflow.design.functions import FUNCTIONS
from mixedflow.design.safety import Call, take_apart
from mixedflow.design.types import Float

State = dict[str, Any]

_BINARY: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
    ast.Mod: np.mod,
}
_COMPARE: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}


def evaluate(tree: ast.expr, columns: Mapping[str, Float], states: Mapping[str, State]) -> Float:
    """Compute the expression for every row; a value that does not exist (``log(-1)``) is NaN."""
    with np.errstate(all="ignore"):
        value = _value(tree, columns, states)
    n_rows = len(next(iter(columns.values())))
    return np.asarray(np.broadcast_to(value, (n_rows,)), dtype=np.float64)


def _value(node: ast.expr, columns: Mapping[str, Float], states: Mapping[str, State]) -> Any:
    match node:
        case ast.Name(id=name):
            return columns[name]
        case ast.Constant(value=value):
            return np.float64(value)  # type: ignore[arg-type]
        case ast.BinOp(left=left, op=op, right=right):
            sides = _value(left, columns, states), _value(right, columns, states)
            return _BINARY[type(op)](*sides)
        case ast.UnaryOp(op=op, operand=operand):
            value = _value(operand, columns, states)
            return np.negative(value) if isinstance(op, ast.USub) else value
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            sides = _value(left, columns, states), _value(right, columns, states)
            return _COMPARE[type(op)](*sides).astype(np.float64)
        case ast.Call():
            return _call(node, columns, states)
    raise TypeError(f"an unchecked node reached the interpreter: {ast.dump(node)}")


def _call(node: ast.Call, columns: Mapping[str, Float], states: Mapping[str, State]) -> Any:
    call = take_apart(node, "")
    argument = _value(call.argument, columns, states)
    function = FUNCTIONS[call.function]
    if function.kind == "moments":
        return apply_moments(argument, states[state_key(node)])
    compute = cast(Callable[..., Any], function.compute)
    return compute(argument, **call.parameters)


def apply_moments(values: Float, state: State) -> Float:
    """(x - center) / scale, the rule of scale(), center() and standardize()."""
    scaled = (values - state["center"]) / state["scale"]
    return np.asarray(scaled, dtype=np.float64)


def state_key(node: ast.expr) -> str:
    """Name under which a transform's state is kept."""
    return ast.unparse(node)


def stateful_calls(tree: ast.expr) -> list[tuple[str, Call]]:
    """Find the calls of a tree that learn from the data, with the keys of their states."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            function = FUNCTIONS.get(node.func.id)
            if function is not None and function.kind in ("moments", "basis"):
                found.append((state_key(node), take_apart(node, "")))
    return found
