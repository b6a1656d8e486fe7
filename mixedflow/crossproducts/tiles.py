"""Stretches of rows as small matrices: columns less their shift, over their scale.

Stands at "Condensing" in ``docs/algorithm.md``. A tile stays in the cache while it is multiplied.
Columns of doubles are written into it by one compiled loop, the others by NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixedflow.crossproducts.work import StoredColumn
from mixedflow.design.types import Float, Int


class Tiles:
    """Tiles of at most ``step`` rows of some columns, all in the same room.

    A new array for each would cost more than filling it.
    """

    def __init__(self, columns: Sequence[StoredColumn], step: int, *, compiled: bool) -> None:
        self._room = np.empty((step, len(columns)))
        self._others: list[tuple[int, StoredColumn]] = []
        plain: list[tuple[int, StoredColumn]] = []
        for k, column in enumerate(columns):
            if not column[0]:
                self._room[:, k] = (1.0 - column[1]) / column[2]
            elif compiled and _is_plain(column):
                plain.append((k, column))
            else:
                self._others.append((k, column))
        self._plain = _Plain(plain) if plain else None

    def of(self, rows: slice) -> Float:
        """Return (product of the factors - shift) / scale of a stretch of rows, (rows, columns)."""
        tile = self._room[: rows.stop - rows.start]
        if self._plain is not None:
            self._plain.fill(rows.start, tile)
        for k, (pieces, shift, scale) in self._others:
            values = pieces[0][rows]
            for other in pieces[1:]:
                values = np.multiply(values, other[rows], dtype=np.float64)
            np.subtract(values, shift, out=tile[:, k])
            if scale != 1.0:
                tile[:, k] *= 1.0 / scale
        return tile


class _Plain:
    """Columns that stand in memory as doubles, one after the other."""

    def __init__(self, columns: Sequence[tuple[int, StoredColumn]]) -> None:
        from mixedflow.crossproducts.kernels import fill_tile

        self._fill = fill_tile
        self._held = [column[0][0] for _, column in columns]
        self._addresses: Int = np.array([v.ctypes.data for v in self._held], dtype=np.int64)
        self._places: Int = np.array([k for k, _ in columns], dtype=np.int64)
        self._shift = np.array([shift for _, (_, shift, _) in columns], dtype=float)
        self._factor = np.array([1.0 / scale for _, (_, _, scale) in columns])

    def fill(self, start: int, tile: Float) -> None:
        """Write the rows from ``start`` into a tile."""
        self._fill(self._addresses, start, self._shift, self._factor, self._places, tile)


def _is_plain(column: StoredColumn) -> bool:
    """Whether a column is one array of doubles without gaps."""
    values = column[0][0]
    flags = values.flags
    return (
        len(column[0]) == 1
        and values.dtype == np.float64
        and bool(flags.c_contiguous and flags.aligned)
    )
