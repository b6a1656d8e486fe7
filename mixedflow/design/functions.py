"""What a formula may call: the whole list, with the arguments each function takes.

Stands at "Rows become columns" in ``docs/algorithm.md``. Names outside this table are an error
before anything is computed; nothing here can reach a file, a module or an attribute of an object.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

FunctionKind = Literal["plain", "moments", "basis", "contrast", "offset"]


@dataclass(frozen=True, slots=True)
class FormulaFunction:
    """A function of the formula language.

    Attributes
    ----------
    kind : ``plain`` maps rows to rows; ``moments`` needs mean and sum of squares of its argument;
        ``basis`` makes several columns and needs the data; ``contrast`` codes a factor
    parameters : names of what may follow the first argument, in positional order, with defaults
    compute : for ``plain`` functions, what is applied
    """

    kind: FunctionKind
    parameters: Mapping[str, Any]
    compute: Callable[..., Any] | None = None


def _round_half_even(values: Any, digits: int = 0) -> Any:
    return np.round(values, int(digits))


_PLAIN: dict[str, Callable[..., Any]] = {
    "I": np.positive,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sign": np.sign,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "arcsin": np.arcsin,
    "arccos": np.arccos,
    "arctan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "floor": np.floor,
    "ceil": np.ceil,
    "ceiling": np.ceil,
}

_CUBIC = {
    "df": None,
    "knots": None,
    "lower_bound": None,
    "upper_bound": None,
    "constraints": None,
    "extrapolation": "extend",
}

FUNCTIONS: dict[str, FormulaFunction] = {
    **{name: FormulaFunction("plain", {}, compute) for name, compute in _PLAIN.items()},
    "round": FormulaFunction("plain", {"digits": 0}, _round_half_even),
    "center": FormulaFunction("moments", {}),
    "scale": FormulaFunction("moments", {"center": True, "scale": True, "ddof": 1}),
    "standardize": FormulaFunction("moments", {"center": True, "rescale": True, "ddof": 0}),
    "poly": FormulaFunction("basis", {"degree": 1, "raw": False}),
    "bs": FormulaFunction(
        "basis",
        {
            "df": None,
            "knots": None,
            "degree": 3,
            "include_intercept": False,
            "lower_bound": None,
            "upper_bound": None,
            "extrapolation": "raise",
        },
    ),
    "cr": FormulaFunction("basis", _CUBIC),
    "cs": FormulaFunction("basis", _CUBIC),
    "cc": FormulaFunction("basis", _CUBIC),
    "C": FormulaFunction("contrast", {"contrasts": None, "levels": None}),
    "offset": FormulaFunction("offset", {}),
}

# contr.<name>: the arguments that each coding takes, in positional order.
CONTRASTS: dict[str, tuple[str, ...]] = {
    "treatment": ("base",),
    "sum": (),
    "helmert": ("reverse", "scale"),
    "poly": ("scores",),
    "diff": ("backward",),
    "SAS": ("base",),
}

CONSTANTS = {"pi": math.pi}

# R's or Python's names for something that the table calls otherwise.
HINTS = {
    "factor": "C(x) codes a column as a factor, or declare `types: {x: category}`",
    "as.factor": "C(x) codes a column as a factor, or declare `types: {x: category}`",
    "ns": "cr(x, df=...) is the natural cubic spline",
    "s": "cr(x, df=...) is a cubic regression spline",
    "relevel": "declare the order of levels with `levels: {x: [...]}`",
    "lag": "a lag needs neighbouring rows; add it to the data as a column of its own",
    "diff": "a difference needs neighbouring rows; add it to the data as a column of its own",
    "weights": "the column of weights is named beside the formula, weights='w'",
    "hashed": "declare the column as a category instead",
    "Q": "write a column's unusual name in backticks",
    "ifelse": "I(x > 3) gives 0 and 1",
}
