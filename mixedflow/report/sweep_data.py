"""The table of a sweep inside a page: columns as base64 of typed numbers, texts by their levels.

Stands outside the equations of ``docs/algorithm.md``. Twenty thousand rows of fifty columns take
six megabytes; ``sweep_data.js`` reads what is written here.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Packed = dict[str, Any]

EXACT = frozenset({"logLik", "deviance", "AIC", "BIC"})
"""Columns whose differences matter more than their size; they keep all digits."""

_WHOLE = ("u1", "u2", "u4")
_DIGITS = 1e-6


def packed_table(frame: pd.DataFrame) -> Packed:
    """Return the frame as what JSON can hold: its length and its columns in order.

    Numbers have seven digits, or all where seven cannot hold them (tiny p-values, :data:`EXACT`).
    A column of one value is that value.
    """
    columns = [packed_column(str(name), frame[name]) for name in frame.columns]
    return {"length": len(frame), "columns": columns}


def packed_column(name: str, column: pd.Series) -> Packed:
    """Return one column: ``kind`` is ``number``, ``flag``, ``text`` or ``names``."""
    if pd.api.types.is_bool_dtype(column.dtype):
        flags = column.fillna(value=False).to_numpy(dtype=np.uint8)
        return {"name": name, "kind": "flag", **_numbers(flags, "u1")}
    if pd.api.types.is_numeric_dtype(column.dtype):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return {"name": name, "kind": "number", **_numbers(values, _type_of(name, values))}
    texts = ["" if pd.isna(value) else str(value) for value in column]
    codes, levels = pd.factorize(np.asarray(texts, dtype=object))
    if len(levels) == len(texts):
        return {"name": name, "kind": "names", "values": texts}
    packed = _numbers(codes, _whole_type(len(levels)))
    return {"name": name, "kind": "text", "levels": [str(level) for level in levels], **packed}


def _numbers(values: npt.NDArray[Any], dtype: str) -> Packed:
    little = np.ascontiguousarray(values).astype(f"<{dtype}")
    if len(little) and np.isfinite(little[0]) and (little == little[0]).all():
        return {"constant": little[0].item()}
    return {"type": dtype, "data": base64.b64encode(little.tobytes()).decode("ascii")}


def _whole_type(largest: int) -> str:
    return next((t for t in _WHOLE if largest <= np.iinfo(t).max), "f8")


def _type_of(name: str, values: npt.NDArray[np.float64]) -> str:
    """Return the smallest type that holds a column's digits."""
    finite = values[np.isfinite(values)]
    if name in EXACT:
        return "f8"
    if len(finite) == len(values) and (finite >= 0).all() and (finite == np.floor(finite)).all():
        return _whole_type(int(min(finite.max(initial=0.0), 2.0**53)))
    with np.errstate(over="ignore", under="ignore"):
        narrow = finite.astype(np.float32).astype(np.float64)
    return "f4" if (np.abs(narrow - finite) <= _DIGITS * np.abs(finite)).all() else "f8"
