"""Orders of levels that the rows themselves tell.

Stands before "Rows become columns" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixedflow.data.columns import ColumnRule, Level, as_dictionary, nan_to_null


def category_levels(pieces: Iterable[pa.ChunkedArray], rule: ColumnRule) -> tuple[Level, ...]:
    """Return the levels that occur, in the order of the pieces' dictionaries."""
    order: dict[Level, None] = {}
    used: set[Level] = set()
    for piece in pieces:
        encoded = as_dictionary(piece, rule.target)
        for chunk in encoded.chunks:
            values = chunk.dictionary.to_pylist()
            order.update(dict.fromkeys(values))
            used.update(values[i] for i in pc.unique(chunk.indices.drop_null()).to_pylist())
    return tuple(value for value in order if value in used)


def number_levels(pieces: Iterable[pa.ChunkedArray]) -> tuple[Level, ...]:
    """Return the values that occur as labels, ordered by value."""
    found = np.empty(0)
    for piece in pieces:
        values = nan_to_null(piece.cast(pa.float64())).drop_null()
        found = np.union1d(found, pc.unique(values).to_numpy())
    labels = pa.array(found).cast(pa.string()).to_pylist()
    return tuple(dict.fromkeys(str(label) for label in labels))
