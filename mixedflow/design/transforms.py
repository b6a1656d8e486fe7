"""Transforms that learn from the data: their states from merged sums, their columns from the states.

Stands at "The schema pass" in ``docs/algorithm.md``. scale() and center() come from mean and sum
of squares, poly() from power sums, splines from the sketch of distinct values (exact up to 65,536
of them). States are plain numbers and lists. The spline bases themselves are formulaic's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixedflow.design.evaluate import State
from mixedflow.design.moments import Moments, PowerSums, recurrence
from mixedflow.design.safety import Call
from mixedflow.design.sketch import DistinctSketch
from mixedflow.design.types import Float
from mixedflow.errors import DataError, FormulaError, did_you_mean, listing

MAX_DEGREE = 10
MAX_DF = 200
EXTRAPOLATIONS = ("raise", "clip", "zero", "extend")


@dataclass(frozen=True, slots=True)
class Basis:
    """Columns of a basis: their field names and values, (n, c)."""

    fields: tuple[str, ...]
    values: Float


def check_parameters(call: Call, text: str) -> None:
    """Refuse parameters of a transform that no data could carry."""
    parameters = call.parameters
    for key in ("center", "scale", "rescale", "lower_bound", "upper_bound", "ddof"):
        value = parameters.get(key)
        if value is not None and not isinstance(value, int | float):
            raise FormulaError(f"'{text}': {key} must be a number, TRUE or FALSE; it is {value!r}.")
    if call.function == "poly":
        _whole(parameters["degree"], 1, MAX_DEGREE, "degree", text)
    elif call.function in ("bs", "cr", "cs", "cc"):
        _check_spline(call, text)


def _check_spline(call: Call, text: str) -> None:
    parameters = call.parameters
    df, knots, reach = parameters["df"], parameters["knots"], parameters["extrapolation"]
    both, none = df is not None and knots is not None, df is None and knots is None
    if both or (none and call.function != "bs"):
        raise FormulaError(f"'{text}' needs one of df and knots.")
    if df is not None:
        _whole(df, 1, MAX_DF, "df", text)
    if knots is not None and not (isinstance(knots, list) and all(map(_is_number, knots))):
        raise FormulaError(f"'{text}': knots must be a list of numbers.")
    if "degree" in parameters:
        _whole(parameters["degree"], 0, MAX_DEGREE, "degree", text)
    if reach not in EXTRAPOLATIONS:
        near = did_you_mean(str(reach), EXTRAPOLATIONS)
        allowed = listing(EXTRAPOLATIONS)
        raise FormulaError(f"'{text}': extrapolation must be one of {allowed}{near}.")
    if parameters.get("constraints") not in (None, "center"):
        raise FormulaError(f"'{text}': constraints must be 'center' or left out.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: object, low: int, high: int, name: str, text: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise FormulaError(f"'{text}': {name} must be a whole number from {low} to {high}.")


def moments_state(call: Call, moments: Moments, text: str) -> State:
    """Centre and divisor of scale(), center() or standardize()."""
    center = call.parameters.get("center", True)
    scale = call.parameters.get("scale", call.parameters.get("rescale", False))
    shift = float(moments.mean if center is True else center)
    divisor = float(scale)
    if isinstance(scale, bool):
        gap = moments.mean - shift
        squares = moments.m2 + moments.n * gap * gap
        rows = moments.n - call.parameters.get("ddof", 1)
        divisor = math.sqrt(squares / rows) if scale and rows > 0 else 1.0
    if not math.isfinite(shift) or not math.isfinite(divisor):
        raise DataError(f"'{text}' cannot be scaled: the values of its column are too large.")
    if divisor == 0:
        raise DataError(f"'{text}' cannot be scaled: its column is constant ({moments.low:g}).")
    return {"center": shift, "scale": divisor}


def poly_state(
    call: Call, sums: PowerSums | None, distinct: DistinctSketch | None, text: str
) -> State:
    """alpha_k and norm^2_k of the orthogonal polynomials over the rows."""
    if sums is None or distinct is None:
        return {}
    degree = call.parameters["degree"]
    if len(distinct.values) <= degree:
        raise DataError(
            f"'{text}' needs more than {degree} distinct values in its column for its degree."
        )
    alphas, norms = recurrence(sums, degree)
    if not all(0 < norm < math.inf for norm in norms):
        raise DataError(
            f"'{text}' cannot be computed: the values of its column are too large, or too unevenly "
            "spread, for its degree."
        )
    return {"alpha": alphas, "norms2": norms}


def spline_state(call: Call, sketch: DistinctSketch, moments: Moments, text: str) -> State:
    """Bounds, knots and constraints of a spline; inner knots are quantiles where df is given."""
    p = call.parameters
    low = float(moments.low if p["lower_bound"] is None else p["lower_bound"])
    high = float(moments.high if p["upper_bound"] is None else p["upper_bound"])
    if not low < high:
        raise DataError(f"'{text}' needs a column that is not constant; it is {low:g} in all rows.")
    if p["extrapolation"] == "raise" and (moments.low < low or moments.high > high):
        raise DataError(
            f"'{text}' is bounded by {low:g} and {high:g}, but the data reach from "
            f"{moments.low:g} to {moments.high:g}; give extrapolation='extend' (or 'clip')."
        )
    inside = _within(sketch, low, high, p["extrapolation"] if call.function == "bs" else "clip")
    inner = p["knots"]
    if inner is None and p["df"] is not None:
        inner = _inner_knots(call, inside, text)
    state: State = {"lower_bound": low, "upper_bound": high}
    options = {**p, "df": None, "knots": sorted(float(k) for k in inner or [])}
    options |= {"lower_bound": low, "upper_bound": high, "constraints": None}
    try:
        free = _spline(call.function, options, np.array([low, high]), state)
        if p.get("constraints") == "center":
            state["constraints"] = _centering(call.function, options, sketch)
    except ValueError as error:
        raise FormulaError(f"'{text}': {error}") from None
    if not free.fields:
        raise FormulaError(f"'{text}' has no columns; give a larger df.")
    state["knots"] = [float(k) for k in state["knots"]]
    return state


def _within(sketch: DistinctSketch, low: float, high: float, extrapolation: str) -> DistinctSketch:
    if extrapolation in ("raise", "extend"):
        return sketch
    keep = (sketch.values >= low) & (sketch.values <= high)
    return DistinctSketch(sketch.values[keep], sketch.counts[keep], sketch.complete)


def _inner_knots(call: Call, sketch: DistinctSketch, text: str) -> list[float]:
    df = call.parameters["df"]
    if call.function == "bs":
        used = call.parameters["degree"] + bool(call.parameters["include_intercept"])
        n_inner = df - used
    else:
        used = 1 if call.function == "cc" else 2
        used -= call.parameters["constraints"] == "center"
        n_inner = df - used
    if n_inner < 0:
        raise FormulaError(f"'{text}': df must be at least {used}.")
    if not n_inner:
        return []
    probabilities = np.linspace(0, 1, n_inner + 2)[1:-1]
    if not len(sketch.values):
        raise DataError(f"'{text}': no value of its column lies within its bounds.")
    knots = sketch.quantiles(probabilities, distinct=call.function != "bs")
    return [float(k) for k in knots]


def _centering(function: str, options: dict[str, Any], sketch: DistinctSketch) -> list[list[float]]:
    """Mean of each spline column over the rows, which the constrained basis is orthogonal to."""
    free = _spline(function, options, sketch.values, {}).values
    if not np.isfinite(free).all():
        raise ValueError("the values of its column are too large")
    return [[float(v) for v in np.average(free, axis=0, weights=sketch.counts)]]


def _spline(function: str, options: dict[str, Any], values: Float, state: State) -> Basis:
    """Evaluate formulaic's spline with a state, which it fills where it is empty."""
    from formulaic.transforms import TRANSFORMS

    given = dict(state)
    if given.get("constraints") is not None:
        given["constraints"] = np.asarray(given["constraints"])
    if function == "bs":
        options = {k: v for k, v in options.items() if k != "constraints"}
    transform: Callable[..., Any] = TRANSFORMS[function]
    with np.errstate(all="ignore"):
        columns = transform(values, **options, _state=given)
    if "knots" not in state:
        state.update({k: v for k, v in given.items() if k in ("knots", "constraints", "cyclic")})
    fields = tuple(str(k) for k in columns)
    stacked = np.column_stack(list(columns.values())) if fields else np.empty((len(values), 0))
    return Basis(fields, np.asarray(stacked, dtype=np.float64))


def apply_basis(call: Call, values: Float, state: State) -> Basis:
    """Columns of poly() or a spline for any rows."""
    with np.errstate(all="ignore"):
        return _apply_basis(call, values, state)


def _apply_basis(call: Call, values: Float, state: State) -> Basis:
    if call.function != "poly":
        p = call.parameters
        options = {**p, "df": None, "knots": None} | {"constraints": None}
        return _spline(call.function, options, values, state)
    degree = call.parameters["degree"]
    fields = tuple(str(k) for k in range(1, degree + 1))
    if call.parameters["raw"]:
        return Basis(fields, values[:, None] ** np.arange(1, degree + 1))
    alpha, norms = state["alpha"], state["norms2"]
    columns = [np.ones_like(values), values - alpha[0]]
    for k in range(1, degree):
        beta = norms[k] / norms[k - 1]
        columns.append((values - alpha[k]) * columns[k] - beta * columns[k - 1])
    scaled = [columns[k] / math.sqrt(norms[k]) for k in range(1, degree + 1)]
    return Basis(fields, np.column_stack(scaled))


def basis_fields(call: Call, state: State) -> tuple[str, ...]:
    """Names of a basis's columns, as :func:`apply_basis` will give them."""
    if call.function == "poly":
        return tuple(str(k) for k in range(1, call.parameters["degree"] + 1))
    middle = (state["lower_bound"] + state["upper_bound"]) / 2
    return apply_basis(call, np.array([middle, middle]), state).fields
