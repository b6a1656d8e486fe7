"""Where the covariates of a scan are: a matrix beside the data, or columns of the data.

Stands at "Scans" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mixedflow.data.source import Source
from mixedflow.design.types import Float
from mixedflow.errors import ConfigError, DataError, did_you_mean, listing
from mixedflow.sweeps.traits import REGEX, ColumnTraits, chosen_traits, open_matrix, read_names


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
        """Return columns of the matrix as they lie there."""
        some = self._matrix()[:, first:last]
        return some if rows.all() else some[rows]

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


def open_covariates(wanted: Any, source: Source, taken: Collection[str]) -> Covariates:
    """Return the covariates that names, patterns or a matrix say.

    Parameters
    ----------
    wanted : names and patterns of columns; an ``.npy`` file or a two-dimensional array; a data
        frame of numbers; such a matrix together with the names of its columns, or the file that holds them
    source : the data
    taken : columns that the null model reads, which no pattern chooses

    Raises
    ------
    ConfigError
        for what is neither names nor a matrix
    DataError
        for columns that are not there, and matrices that do not fit the data.
    """
    if hasattr(wanted, "columns") and hasattr(wanted, "to_numpy"):
        wanted = wanted.to_numpy(), list(wanted.columns)
    pair = isinstance(wanted, tuple) and len(wanted) == 2 and _is_matrix(wanted[0])
    place, names = wanted if pair else (wanted, None)
    if _is_matrix(place):
        return _matrix(place, names, source)
    return ColumnCovariates(source, chosen_columns(place, ColumnTraits(source).names, taken))


def chosen_columns(wanted: Any, known: Sequence[str], taken: Collection[str]) -> tuple[str, ...]:
    """Return the columns that names and patterns choose, each once."""
    listed = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(listed, Iterable) or not all(isinstance(one, str) for one in listed):
        raise ConfigError(
            "covariates must be names or patterns of columns, an .npy file, a matrix or a data frame, "
            f"or a matrix with names, not {type(wanted).__name__}"
        )
    out: dict[str, None] = {}
    for one in listed:
        if one in taken:
            raise DataError(f"'{one}' cannot be a covariate of the scan: the null model reads it")
        if one.startswith(REGEX):
            _check_expression(one)
        try:
            out.update(dict.fromkeys(chosen_traits(one, known, taken)))
        except DataError:
            free = [name for name in known if name not in taken]
            raise DataError(
                f"no column of numbers is called '{one}' or fits it{did_you_mean(one, free[:10_000])} "
                f"(there are {listing(free)})"
            ) from None
    if not out:
        raise DataError("a scan needs at least one covariate")
    return tuple(out)


def _check_expression(pattern: str) -> None:
    try:
        re.compile(pattern[len(REGEX) :])
    except re.error as error:
        raise DataError(f"'{pattern}' is no regular expression: {error}") from None


def _is_matrix(value: Any) -> bool:
    return isinstance(value, (Path, np.ndarray)) or (
        isinstance(value, str) and value.endswith(".npy")
    )


def _matrix(place: Any, names: Any, source: Source) -> MatrixCovariates:
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
    if isinstance(names, (str, Path)):
        names = read_names(Path(names))
    named = [str(k) for k in (range(1, count + 1) if names is None else names)]
    _check_names(named, count, said)
    return MatrixCovariates(where, tuple(named), source.n_rows)


def _check_names(names: list[str], count: int, said: str) -> None:
    if not count:
        raise DataError(f"{said} must have at least one column; found none")
    if len(names) != count:
        raise DataError(f"{said} must have a name for each of {count} columns; found {len(names)}")
    if len(set(names)) < count:
        twice = next(name for name, often in Counter(names).items() if often > 1)
        raise DataError(f"{said} must have names that differ; found '{twice}' twice")
