"""Where the responses of a sweep are: columns of the data, or a matrix beside them.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixedflow.data.columns import check_unique
from mixedflow.data.source import Source
from mixedflow.design.arrow import numbers
from mixedflow.design.types import Float
from mixedflow.errors import ConfigError, DataError, SourceError, did_you_mean, listing

WILD = "*?["
"""Characters that make a name a pattern."""

REGEX = "re:"
"""What a regular expression begins with."""


class TraitRows(Protocol):
    """Responses by partition of the rows."""

    @property
    def names(self) -> tuple[str, ...]:
        """All responses that are there."""

    def read(self, index: int, names: Sequence[str]) -> Float:
        """Return some responses in the rows of a partition, (T, n), NaN where missing."""


def _texts_of(wanted: Any) -> list[str]:
    listed = wanted if isinstance(wanted, Iterable) else ()
    return [one for one in listed if isinstance(one, str)]


@dataclass(frozen=True)
class ColumnTraits:
    """Responses that are columns of the data."""

    source: Source

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that hold numbers."""
        return tuple(n for n, kind in self.source.columns().items() if kind == "numeric")

    def check_numbers(self, wanted: Any) -> None:
        """Raise where a trait that was named is a column of something else."""
        kinds = self.source.columns()
        for name in [wanted] if isinstance(wanted, str) else _texts_of(wanted):
            if kinds.get(name, "numeric") != "numeric":
                raise DataError(
                    f"{self.source.name}: column '{name}' holds {self.source.describe(name)}; a "
                    "trait holds numbers"
                )

    def read(self, index: int, names: Sequence[str]) -> Float:
        """Return columns, (T, n)."""
        table = self.source.read(index, names)
        out = np.empty((len(names), table.num_rows))
        for row, name in zip(out, names, strict=True):
            row[:] = numbers(table.column(name))
        return out


@dataclass(frozen=True)
class MatrixTraits:
    """Responses in a matrix whose rows are those of the data, in their order.

    Attributes
    ----------
    matrix : (rows, responses), or the ``.npy`` file that holds it
    names : of its columns
    source : the data, for their partitions
    """

    matrix: Path | Float
    names: tuple[str, ...]
    source: Source

    def read(self, index: int, names: Sequence[str]) -> Float:
        """Return columns of the matrix, (T, n)."""
        first = self.source.row_offset(index)
        last = (
            self.source.row_offset(index + 1)
            if index + 1 < self.source.n_partitions
            else self.source.n_rows
        )
        where = {name: k for k, name in enumerate(self.names)}
        at = np.array([where[name] for name in names], dtype=np.int64)
        rows = open_matrix(self.matrix)[first:last]
        together = len(at) > 0 and bool((np.diff(at) == 1).all())
        found = rows[:, at[0] : at[-1] + 1] if together else rows[:, at]
        return np.array(found.T, dtype=float, order="C")


def make_matrix(matrix: Path | Float, names: Any, source: Source) -> MatrixTraits:
    """Return the responses of a matrix beside the data.

    Parameters
    ----------
    matrix : (rows, responses), or the ``.npy`` file that holds it
    names : of its columns: a list, a text file with one a line, or a Parquet file with one column
    source : the data

    Raises
    ------
    DataError
        where rows or names are not as many as the matrix has, or a name occurs twice
    """
    held = open_matrix(matrix)
    what = "the matrix" if isinstance(matrix, np.ndarray) else f"'{matrix}'"
    if held.shape[0] != source.n_rows:
        turned = "; its columns are as many, turn it round" * (held.shape[1] == source.n_rows)
        raise DataError(
            f"{what} has {held.shape[0]:,} rows and {source.name} {source.n_rows:,}: a row of the "
            f"matrix belongs to each row of the data{turned}"
        )
    listed = read_names(Path(names)) if isinstance(names, str | Path) else tuple(map(str, names))
    if len(listed) != held.shape[1]:
        raise DataError(f"{what} has {held.shape[1]:,} columns and {len(listed):,} names")
    check_unique(listed, what)
    return MatrixTraits(matrix, listed, source)


def read_names(path: Path) -> tuple[str, ...]:
    """Return the names in a text file, one a line, or in the one column of a Parquet file."""
    try:
        if path.name.lower().endswith((".parquet", ".pq", ".parq")):
            table = pq.read_table(path)
            if table.num_columns != 1:
                raise DataError(
                    f"'{path}' must hold one column of names; it has {listing(table.column_names)}"
                )
            return tuple(str(value) for value in table.column(0).to_pylist())
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"the names in '{path}' cannot be read: {reason}") from None
    return tuple(line.strip() for line in lines if line.strip())


def open_matrix(path: Path | Float) -> Float:
    """Return a matrix of numbers as it lies on disk, never read as a pickle."""
    try:
        if isinstance(path, np.ndarray):
            matrix: Any = path
        else:
            matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SourceError(
            f"'{path}' is no .npy file of numbers that can be read: {error}"
        ) from None
    if getattr(matrix, "ndim", 0) != 2 or matrix.dtype.kind not in "fiub":
        what = "the matrix" if isinstance(path, np.ndarray) else f"'{path}'"
        kind = f"{getattr(matrix, 'dtype', type(matrix).__name__)}"
        raise DataError(
            f"{what} must hold numbers, rows by responses; found {kind} of shape "
            f"{getattr(matrix, 'shape', 'unknown')}"
        )
    found: Float = matrix
    return found


def chosen_traits(
    wanted: str | Iterable[str] | None, known: Sequence[str], taken: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the responses that names, patterns and regular expressions choose, each once.

    Parameters
    ----------
    wanted : a name, a pattern like ``gene*``, ``re:^gene[0-9]+$``, or several of them; None for all
    known : the names that are there
    taken : columns that the models read, which no pattern chooses

    Raises
    ------
    ConfigError
        for what is neither text nor a list of it
    DataError
        for a name that is not there, or that a model reads, and a pattern that no name fits.
    """
    free = tuple(name for name in known if name not in taken)
    there = dict.fromkeys(known)
    out: dict[str, None] = {}
    for one in _listed(wanted, free):
        if one in taken and one in there:
            raise DataError(f"'{one}' cannot be a trait: a model of the sweep reads it")
        found = [one] if one in there else _matching(one, free)
        if not found:
            what = "trait fits" if _is_pattern(one) else "trait is called"
            raise DataError(
                f"no {what} '{one}'{did_you_mean(one, free[:10_000])} (there are {listing(free)})"
            )
        out.update(dict.fromkeys(found))
    if not out:
        raise DataError("a sweep needs at least one trait")
    return tuple(out)


def _listed(wanted: Any, free: Sequence[str]) -> list[str]:
    if wanted is None:
        return list(free)
    listed = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(listed, Iterable) or not all(isinstance(one, str) for one in listed):
        raise ConfigError(
            f"traits must be a name, a pattern like 'gene*' or 're:^gene', or a list of them; found "
            f"{wanted!r}"
        )
    return list(listed)


def _is_pattern(text: str) -> bool:
    return text.startswith(REGEX) or bool(set(text) & set(WILD))


def _matching(pattern: str, known: Sequence[str]) -> list[str]:
    if pattern.startswith(REGEX):
        try:
            fits = re.compile(pattern[len(REGEX) :])
        except re.error as error:
            raise ConfigError(f"traits: '{pattern}' is no regular expression: {error}") from None
        return [name for name in known if fits.search(name)]
    if set(pattern) & set(WILD):
        return fnmatch.filter(known, pattern)
    return []
