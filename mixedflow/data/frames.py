"""Frames in memory as sources: pandas, polars, pyarrow, anything that speaks Arrow's C stream.

Stands before "Rows become columns" in ``docs/algorithm.md``. A partition is a slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mixedflow.data.columns import Declarations, check_unique, plan_columns
from mixedflow.data.fingerprint import sha256_of_table
from mixedflow.data.source import BaseSource, default_partition_rows
from mixedflow.errors import DataError


class FrameSource(BaseSource):
    """A table in memory, cut into slices.

    Parameters
    ----------
    table : the columns as they are held
    declarations : declared types and levels
    name : for messages
    categories : dictionary columns whose order of levels is meant
    partition_rows : rows a slice; about 128 MB when not given
    header_lines : 1 when the table came from a CSV file
    """

    def __init__(  # noqa: PLR0913, options by keyword
        self,
        table: pa.Table,
        declarations: Declarations,
        *,
        name: str = "the data frame",
        categories: Sequence[str] = (),
        partition_rows: int | None = None,
        header_lines: int = 0,
        schema: pa.Schema | None = None,
    ) -> None:
        rules = plan_columns(schema or table.schema, declarations, name, categories=categories)
        step = partition_rows or default_partition_rows(table.num_columns)
        starts = range(0, max(table.num_rows, 1), step)
        rows = [min(step, table.num_rows - start) for start in starts]
        super().__init__(name, rules, rows, header_lines=header_lines)
        self._table = table

    def _read_raw(self, index: int, columns: Sequence[str]) -> pa.Table:
        start = self._offsets[index]
        return self._table.select(list(columns)).slice(start, self._offsets[index + 1] - start)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the values, however they are chunked."""
        return sha256_of_table(self._table)

    def partition_fingerprint(self, index: int) -> str:
        """Return the SHA-256 of the values of one slice."""
        return sha256_of_table(self._read_raw(index, self._table.column_names))


def frame_to_table(data: Any) -> tuple[pa.Table, list[str]]:
    """Return an Arrow table and the columns whose category order is meant.

    Raises
    ------
    DataError
        when the columns differ in length, are not one-dimensional, or share a name
    """
    if isinstance(data, pa.Table):
        return data, []
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data]), []
    if isinstance(data, Mapping):
        return _columns_to_table([(str(key), values) for key, values in data.items()])
    if hasattr(data, "iloc") and hasattr(data, "columns"):
        pairs = [(str(name), data.iloc[:, k]) for k, name in enumerate(data.columns)]
        return _columns_to_table(pairs)
    return pa.table(data), []


def is_frame(data: Any) -> bool:
    """Return whether ``data`` is something that :func:`frame_to_table` takes."""
    if isinstance(data, pa.Table | pa.RecordBatch | Mapping):
        return True
    pandas_like = hasattr(data, "iloc") and hasattr(data, "columns") and not is_dask_frame(data)
    return pandas_like or hasattr(data, "__arrow_c_stream__")


def is_dask_frame(data: Any) -> bool:
    """Return whether ``data`` is a Dask data frame, without importing Dask."""
    return all(hasattr(data, name) for name in ("npartitions", "dask", "columns", "partitions"))


def _columns_to_table(pairs: list[tuple[str, Any]]) -> tuple[pa.Table, list[str]]:
    names = [name for name, _ in pairs]
    check_unique(names, "the data frame")
    arrays = [column_to_arrow(name, values) for name, values in pairs]
    for name, array in zip(names, arrays, strict=True):
        if len(array) != len(arrays[0]):
            raise DataError(
                f"the data frame's columns differ in length: '{names[0]}' has {len(arrays[0]):,} "
                f"values, '{name}' has {len(array):,}"
            )
    table = pa.table(arrays, names=names)
    categories = [f.name for f in table.schema if pa.types.is_dictionary(f.type)]
    return table, categories


def column_to_arrow(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    """Return one column as Arrow data; NaN of a frame counts as missing.

    Numbers and text mixed in one column become text, so that the check of a numeric column can
    name the row. Objects that have no text of their own become nothing, of a nested type that no
    model can use.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if hasattr(values, "__arrow_c_stream__") and not hasattr(values, "iloc"):
        return pa.chunked_array(values)
    if np.ndim(values) != 1:
        raise DataError(
            f"the data frame: column '{name}' has {np.ndim(values)} dimensions; a column has one"
        )
    try:
        return pa.array(_native(values), from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        if any(_has_no_text(value) for value in values):
            return pa.nulls(len(values), pa.list_(pa.null()))
        return _as_text(values)


def _native(values: Any) -> Any:
    """Return numpy data in the machine's byte order and a width that Arrow knows."""
    held = values.to_numpy() if _foreign_dtype(getattr(values, "dtype", None), values) else values
    if isinstance(held, np.ma.MaskedArray):
        return pa.array(_native(np.asarray(held.data)), mask=np.ma.getmaskarray(held))
    if isinstance(held, np.ndarray):
        if held.dtype.kind == "f" and held.dtype.itemsize > 8:
            held = held.astype(np.float64)
        if not held.dtype.isnative:
            held = held.astype(held.dtype.newbyteorder("="))
    return held


def _foreign_dtype(dtype: Any, values: Any) -> bool:
    odd = isinstance(dtype, np.dtype) and (not dtype.isnative or dtype.itemsize > 8)
    return bool(odd and dtype.kind in "fiu" and hasattr(values, "to_numpy"))


def _has_no_text(value: Any) -> bool:
    """Tell complex numbers, containers and objects that print as an address: no category either."""
    kind: Any = type(value)
    bare = kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__
    return bare or isinstance(value, complex | Mapping | list | tuple | set | np.ndarray)


def _as_text(values: Any) -> pa.Array:
    return pa.array(list(_texts(values)), type=pa.string())


def _texts(values: Any) -> Iterator[str | None]:
    for value in values:
        missing = value is None or value != value or type(value).__name__ == "NAType"  # noqa: PLR0124
        yield None if missing else str(value)
