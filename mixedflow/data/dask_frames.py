"""Dask data frames as sources, used through their own methods; this room never imports Dask.

Stands before "Rows become columns" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from mixedflow.data.columns import Declarations, plan_columns
from mixedflow.data.fingerprint import sha256_of_table, sha256_of_text
from mixedflow.data.frames import frame_to_table
from mixedflow.data.source import BaseSource
from mixedflow.errors import DataError


class DaskFrameSource(BaseSource):
    """A Dask data frame, computed one partition at a time where it is read.

    Parameters
    ----------
    frame : the Dask data frame
    declarations : declared types and levels
    """

    def __init__(self, frame: Any, declarations: Declarations) -> None:
        self._frame = frame
        name = "the Dask data frame"
        lengths = frame.map_partitions(len).compute()
        rows = [int(n) for n in lengths]
        if not sum(rows):
            raise DataError(f"{name} has no rows")
        first = next(i for i, n in enumerate(rows) if n)
        table, categories = frame_to_table(_compute(frame, first))
        rules = plan_columns(table.schema, declarations, name, categories=categories)
        super().__init__(name, rules, rows)

    def _read_raw(self, index: int, columns: Sequence[str]) -> pa.Table:
        wanted = [c for c in self._frame.columns if str(c) in set(columns)]
        table, _ = frame_to_table(_compute(self._frame[wanted], index))
        return table.select(list(columns))

    def fingerprint(self) -> str:
        """Return one SHA-256 over those of the partitions."""
        return sha256_of_text("".join(map(self.partition_fingerprint, range(self.n_partitions))))

    def partition_fingerprint(self, index: int) -> str:
        """Return the SHA-256 of the values of one partition."""
        return sha256_of_table(self._read_raw(index, list(self.rules)))


def _compute(frame: Any, index: int) -> Any:
    return frame.partitions[index].compute(scheduler="synchronous")
