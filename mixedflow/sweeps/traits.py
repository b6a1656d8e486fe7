"""Where the responses of a sweep are: columns of the data, or a matrix beside them.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mixedflow.data.source import Source
from mixedflow.design.arrow import numbers
from mixedflow.design.types import Float
from mixedflow.errors import DataError, SourceError, did_you_mean, listing

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


@dataclass(frozen=True)
class ColumnTraits:
    """Responses that are columns of the data."""

    source: Source

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that hold numbers."""
        return tuple(n for n, kind in self.source.columns().items() if kind == "numeric")

    def read(self, index: int, names: Sequence[str]) -> Float:
        """Return columns, (T, n)."""
        table = self.source.read(index, names)
        out = np.empty((len(names), table.num_rows))
        for row, name in zip(out, names, strict=True):
            row[:] = numbers(table.column(name))
        return out


@dataclass(frozen=True)
class MatrixTraits:
    """Responses in a matrix on disk whose rows are those of the data, in their order.

    Attributes
    ----------
    path : an ``.npy`` file, (rows, responses)
    names : of its columns
    source : the data, for their partitions
    """

    path: Path
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
        rows = open_matrix(self.path)[first:last]
        together = len(at) > 0 and bool((np.diff(at) == 1).all())
        found = rows[:, at[0] : at[-1] + 1] if together else rows[:, at]
        return np.ascontiguousarray(found.T, dtype=float)


def open_matrix(path: Path) -> Float:
    """Return a matrix of numbers as it lies on disk, never read as a pickle."""
    try:
        matrix: Float = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SourceError(
            f"'{path}' is no .npy file of numbers that can be read: {error}"
        ) from None
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiub":
        raise DataError(
            f"'{path}' must hold a matrix of numbers, rows by responses; found {matrix.dtype} of "
            f"shape {matrix.shape}"
        )
    return matrix


def chosen_traits(wanted: str | Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the responses that names, patterns and regular expressions choose, each once.

    Parameters
    ----------
    wanted : a name, a pattern like ``gene*``, ``re:^gene[0-9]+$``, or several of them
    known : the names that are there

    Raises
    ------
    DataError
        for a name that is not there, and a pattern that no name fits.
    """
    there = dict.fromkeys(known)
    out: dict[str, None] = {}
    for one in [wanted] if isinstance(wanted, str) else list(wanted):
        found = [one] if one in there else _matching(one, known)
        if not found:
            kind = "response" if one.startswith(REGEX) or set(one) & set(WILD) else "column"
            raise DataError(
                f"no {kind} of numbers is '{one}'{did_you_mean(one, known[:10_000])} "
                f"(there are {listing(known)})"
            )
        out.update(dict.fromkeys(found))
    if not out:
        raise DataError("a sweep needs at least one trait")
    return tuple(out)


def _matching(pattern: str, known: Sequence[str]) -> list[str]:
    if pattern.startswith(REGEX):
        try:
            fits = re.compile(pattern[len(REGEX) :])
        except re.error as error:
            raise DataError(f"'{pattern}' is no regular expression: {error}") from None
        return [name for name in known if fits.search(name)]
    if set(pattern) & set(WILD):
        return fnmatch.filter(known, pattern)
    return []
