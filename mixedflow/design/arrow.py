"""Arrow columns as numpy: numbers, missing values, and text that should have been numbers.

Stands at "Rows become columns" in ``docs/algorithm.md``. A null and a NaN are missing; numbers of
any width become float64 without a copy where they already are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixedflow.design.types import Float
from mixedflow.errors import DataError

Mask = NDArray[np.bool_]
StorageKind = Literal["numeric", "text", "category", "unknown", "mixed"]

_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


@dataclass(frozen=True, slots=True)
class PartitionPlace:
    """Where a partition's rows stand, for messages.

    Attributes
    ----------
    source : name of the file, or "the data frame"
    index : number of the partition
    row_offset : rows of the source before this partition
    """

    source: str = "the data"
    index: int = 0
    row_offset: int = 0

    def row(self, position: int) -> str:
        """Name a row of this partition: ``row 5 of a.csv (line 6)``."""
        return row_name(self.source, self.row_offset + int(position))


def row_name(source: str, number: int) -> str:
    """Name a row (0-based ``number``) of the source; text files get the line too."""
    name = source.removesuffix(".gz")
    line = f" (line {number + 2})" if name.endswith((".csv", ".tsv", ".txt")) else ""
    return f"row {number + 1} of {source}{line}"


def storage_kind(kind: pa.DataType, column: str, source: str) -> StorageKind:
    """Say how a column is stored; types that no model can use are a :class:`DataError`."""
    types = pa.types
    if types.is_dictionary(kind):
        return "category"
    if is_text(kind):
        return "text"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return "numeric"
    if types.is_decimal(kind):
        return "numeric"
    if types.is_null(kind):
        return "unknown"
    raise DataError(
        f"The column '{column}' of {source} holds values of type {kind}, which a model cannot use; "
        "add a numeric column to the data, or declare it as a category."
    )


def is_text(kind: pa.DataType) -> bool:
    """Whether the type is a string type of any width."""
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def joined(column: pa.ChunkedArray) -> pa.Array:
    """One contiguous array; text that is too long for 32-bit offsets is widened."""
    if is_text(column.type) and not pa.types.is_large_string(column.type):
        column = column.cast(pa.large_string())
    if column.num_chunks == 1:
        return column.chunk(0)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    array = column.combine_chunks()
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Undo dictionaries and narrow types: int64, float64, bool or large_string."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        column = column.cast(kind)
    if is_text(kind):
        return column.cast(pa.large_string())
    if pa.types.is_integer(kind) and not pa.types.is_uint64(kind):
        return column.cast(pa.int64())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    return column


def as_numpy(array: pa.Array) -> Any:
    """Return an array as numpy, without a copy where it is of numbers and holds no null.

    Arrow's own ``to_numpy`` imports pandas at its first call, which takes longer than a small fit.
    """
    kind = array.type
    if array.null_count or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return array.to_numpy(zero_copy_only=False)
    return np.from_dlpack(array) if len(array) else np.empty(0, kind.to_pandas_dtype())


def as_arrow(values: Any) -> pa.Array:
    """Return numbers or flags as Arrow holds them; without ``pa.array``, which imports pandas too."""
    kind = values.dtype.kind if isinstance(values, np.ndarray) else ""
    if kind not in ("i", "u", "f", "b"):
        return values if isinstance(values, pa.Array) else pa.array(values)
    held = np.packbits(values, bitorder="little") if kind == "b" else np.ascontiguousarray(values)
    arrow = pa.bool_() if kind == "b" else pa.from_numpy_dtype(held.dtype)
    return pa.Array.from_buffers(arrow, len(values), [None, pa.py_buffer(held)])


def missing_in(column: pa.ChunkedArray) -> Mask | None:
    """Which rows are null or NaN; None when none is."""
    if pa.types.is_floating(column.type):
        mask = np.isnan(stored_numbers(column))
    elif column.null_count:
        mask = np.asarray(pc.is_null(column).to_numpy())
    else:
        return None
    return mask if mask.any() else None


def numbers(column: pa.ChunkedArray) -> Float:
    """Return the column as float64, nulls as NaN."""
    array = joined(column)
    if pa.types.is_decimal(array.type) or pa.types.is_null(array.type):
        array = array.cast(pa.float64())
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    return np.asarray(as_numpy(array), dtype=np.float64)


def stored_numbers(column: pa.ChunkedArray) -> Any:
    """Return the column as numpy of its own number type, without a copy where it has no nulls."""
    kind = column.type
    if column.null_count or not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        return numbers(column)
    return as_numpy(joined(column))


def not_numbers(column: pa.ChunkedArray) -> tuple[int, int, int, str]:
    """Count a text column's values, those that are no numbers, and find the first of these."""
    coded: Any = joined(column)
    if not pa.types.is_dictionary(coded.type):
        coded = coded.dictionary_encode()
    words = coded.dictionary
    if not is_text(words.type):
        return len(coded) - coded.null_count, 0, -1, ""
    bad = np.asarray(pc.invert(pc.match_substring_regex(words, _NUMBER)).fill_null(False))
    index = np.asarray(as_numpy(coded.indices.fill_null(-1)), dtype=np.int64)
    present = index >= 0
    flags = np.zeros(len(index), dtype=bool)
    if len(bad):
        flags[present] = bad[index[present]]
    first = int(flags.argmax()) if flags.any() else -1
    text = str(words[int(index[first])].as_py()) if first >= 0 else ""
    return int(present.sum()), int(flags.sum()), first, text
