"""Traits in long format, a row a measurement, laid out as rows by traits.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mixedflow.data.columns import to_text
from mixedflow.data.frames import FrameSource
from mixedflow.data.open import open_source
from mixedflow.data.source import Source
from mixedflow.design.arrow import numbers
from mixedflow.design.types import Int
from mixedflow.errors import ConfigError, DataError, did_you_mean
from mixedflow.sweeps.traits import MatrixTraits

PARTS = ("trait", "value", "row")


def widened(
    source: Source, long: Mapping[str, Any], read: Sequence[str], levels: Mapping[str, Any] | None
) -> tuple[Source, MatrixTraits]:
    """Return the rows of a long table, one each with what the models read, and its traits.

    Parameters
    ----------
    source : a row a measurement
    long : ``trait``, the column of names; ``value``, that of the measurements; ``row``, the columns
        that say together which row a measurement belongs to
    read : columns that the models read, which must be the same in all measurements of a row
    levels : declared levels

    Raises
    ------
    DataError
        where a column changes within a row, or a row has two measurements of a trait
    """
    trait, value, keys = _parts(long)
    source.check_names([trait, value, *keys, *read])
    for name in (trait, value):
        if name in read:
            raise DataError(f"long: '{name}' holds the traits, so no model can read it")
    columns = list(dict.fromkeys([trait, value, *keys, *read]))
    table = pa.concat_tables([_plain(source.read(i, columns)) for i in range(source.n_partitions)])
    if source.describe(value) == "text":
        raise DataError(f"long: the values in column '{value}' are text; they must be numbers")
    rows, first = _numbered([_codes(table.column(name)) for name in keys])
    names = to_text(table.column(trait)).fill_null("").dictionary_encode().combine_chunks()
    traits = names.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    _check_twice(table, rows, traits, (trait, keys))
    kept = table.take(pa.array(first)).select(list(dict.fromkeys([*keys, *read])))
    for name in read:
        _check_constant(table.column(name), rows, first, (name, keys))
    matrix = np.full((len(first), len(names.dictionary)), np.nan)
    matrix[rows, traits] = numbers(table.column(value))
    wide = open_source(kept, levels={k: v for k, v in (levels or {}).items() if k in read})
    assert isinstance(wide, FrameSource)  # noqa: S101 - a table in memory
    wide.name = source.name
    return wide, MatrixTraits(matrix, tuple(names.dictionary.to_pylist()), wide)


def _parts(long: Any) -> tuple[str, str, tuple[str, ...]]:
    for name in long if isinstance(long, Mapping) else ():
        if name not in PARTS:
            raise ConfigError(
                f"long: '{name}' is not known{did_you_mean(str(name), PARTS)}; it takes 'trait', "
                "'value' and 'row'"
            )
    given = dict(long) if isinstance(long, Mapping) else {}
    keys = given.get("row")
    keys = (keys,) if isinstance(keys, str) else tuple(keys or ())
    texts = (given.get("trait"), given.get("value"), *keys)
    if not keys or not all(isinstance(one, str) for one in texts):
        raise ConfigError(
            "long needs the columns of 'trait', 'value' and 'row', as {'trait': 'gene', 'value': "
            f"'expr', 'row': ['sample']}}; found {long!r}"
        )
    return str(given["trait"]), str(given["value"]), keys


def _plain(table: pa.Table) -> pa.Table:
    """Return a table with categories as text, so that tables of partitions can be joined."""
    arrays = [to_text(c) if pa.types.is_dictionary(c.type) else c for c in table.columns]
    return pa.table(arrays, names=table.column_names)


def _codes(column: pa.ChunkedArray) -> Int:
    """Return numbers that are equal where values are; missing values are equal."""
    coded = column.dictionary_encode().unify_dictionaries().combine_chunks()
    codes = coded.indices.fill_null(len(coded.dictionary))
    return np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int64)


def _numbered(keys: Sequence[Int]) -> tuple[Int, Int]:
    """Return the row of every measurement, numbered as they first come, and its first one."""
    code = keys[0]
    for other in keys[1:]:
        _, code = np.unique(code * (int(other.max()) + 1) + other, return_inverse=True)
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[which.ravel()], first[order]


def _check_twice(
    table: pa.Table, rows: Int, traits: Int, what: tuple[str, tuple[str, ...]]
) -> None:
    trait, keys = what
    place = rows * (int(traits.max(initial=0)) + 1) + traits
    _, first, count = np.unique(place, return_index=True, return_counts=True)
    twice = np.flatnonzero(count > 1)
    if len(twice):
        at = int(first[twice[0]])
        raise DataError(
            f"long: {_named(table, keys, at)} has {count[twice[0]]} values of "
            f"'{table.column(trait)[at].as_py()}'; a row has one"
        )


def _check_constant(
    column: pa.ChunkedArray, rows: Int, first: Int, what: tuple[str, tuple[str, ...]]
) -> None:
    name, keys = what
    codes = _codes(column)
    differs = np.flatnonzero(codes != codes[first[rows]])
    if len(differs):
        at = int(differs[0])
        a, b = column[int(first[rows[at]])].as_py(), column[at].as_py()
        raise DataError(
            f"long: column '{name}' changes within a row (data row {at + 1:,} has '{b}', an earlier "
            f"one of the same {' and '.join(keys)} '{a}'); what models read is the same in all "
            "measurements of a row"
        )


def _named(table: pa.Table, keys: tuple[str, ...], at: int) -> str:
    return " and ".join(f"{name} '{table.column(name)[at].as_py()}'" for name in keys)
