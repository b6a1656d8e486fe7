"""Where the covariates of a scan are: a matrix beside the data, or columns of the data.

Stands at "Scans" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mixedflow.data.source import Source
from mixedflow.design.types import Float
from mixedflow.errors import DataError
from mixedflow.sweeps.traits import ColumnTraits, chosen_traits, open_matrix


class Covariates(Protocol):
    """Covariates by number."""

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""

    @property
    def bytes_each(self) -> int:
        """Bytes that one takes when it is read."""

    def read(self, first: int, last: int, rows: NDArray[np.bool_]) -> Float:
        """Return some neighbours in the rows that are kept, (n, last - first)."""


@dataclass(frozen=True, eq=False)
class MatrixCovariates:
    """Columns of a matrix whose rows are those of the data, in their order.

    Attributes
    ----------
    place : an ``.npy`` file, opened anew for every block so that it leaves memory again, or an array
    names : of the columns
    rows : of the data
    """

    place: Path | Float
    names: tuple[str, ...]
    rows: int

    @property
    def bytes_each(self) -> int:
        """Bytes of a column."""
        return self.rows * self._matrix().dtype.itemsize

    def read(self, first: int, last: int, rows: NDArray[np.bool_]) -> Float:
        """Return columns of the matrix; those on disk are copied."""
        some = self._matrix()[:, first:last]
        if not rows.all():
            return some[rows]
        return np.array(some) if isinstance(self.place, Path) else some

    def _matrix(self) -> Float:
        return open_matrix(self.place) if isinstance(self.place, Path) else self.place


@dataclass(frozen=True, eq=False)
class ColumnCovariates:
    """Columns of the data."""

    source: Source
    names: tuple[str, ...]

    @property
    def bytes_each(self) -> int:
        """Bytes of a column as numbers."""
        return 8 * self.source.n_rows

    def read(self, first: int, last: int, rows: NDArray[np.bool_]) -> Float:
        """Return columns of the data, NaN where values are missing."""
        columns, names = ColumnTraits(self.source), self.names[first:last]
        parts = [columns.read(i, names) for i in range(self.source.n_partitions)]
        return np.concatenate(parts, axis=1)[:, rows].T


def open_covariates(wanted: Any, source: Source) -> Covariates:
    """Return the covariates that names, patterns or a matrix say.

    Parameters
    ----------
    wanted : names and patterns of columns; an ``.npy`` file or a two-dimensional array; such a
        matrix together with the names of its columns
    source : the data

    Raises
    ------
    DataError
        for columns that are not there, and matrices that do not fit the data.
    """
    pair = (
        isinstance(wanted, tuple)
        and len(wanted) == 2
        and (isinstance(wanted[0], (Path, np.ndarray)) or _is_file(wanted[0]))
    )
    place, names = wanted if pair else (wanted, None)
    if _is_file(place) or isinstance(place, (Path, np.ndarray)):
        return _matrix(place, names, source)
    return ColumnCovariates(source, chosen_traits(place, ColumnTraits(source).names))


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and value.endswith(".npy")


def _matrix(place: Any, names: Sequence[str] | None, source: Source) -> MatrixCovariates:
    if isinstance(place, np.ndarray):
        where: Path | Float = place
        matrix, said = place, "the covariates"
        if matrix.ndim != 2 or matrix.dtype.kind not in "fiub":
            raise DataError(
                "the covariates must be a matrix of numbers, rows by covariates; found "
                f"{matrix.dtype} of shape {matrix.shape}"
            )
    else:
        where, said = Path(place), f"'{place}'"
        matrix = open_matrix(where)
    if len(matrix) != source.n_rows:
        raise DataError(
            f"{said} must have a row for each of the {source.n_rows} rows of the data, in their "
            f"order; found {len(matrix)} rows"
        )
    count = matrix.shape[1]
    named = [str(k + 1) for k in range(count)] if names is None else [str(n) for n in names]
    _check_names(named, count, said)
    return MatrixCovariates(where, tuple(named), source.n_rows)


def _check_names(names: list[str], count: int, said: str) -> None:
    if not count:
        raise DataError(f"{said} must have at least one column; found none")
    if len(names) != count:
        raise DataError(f"{said} must have a name for each of {count} columns; found {len(names)}")
    if len(set(names)) < count:
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DataError(f"{said} must have names that differ; found '{twice}' twice")
