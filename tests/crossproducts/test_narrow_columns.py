"""Columns narrower than float64 are condensed as they are stored, a tile at a time."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from dense_problems import arrays

from mixedflow.crossproducts.condense import condense_block, condense_columns
from mixedflow.design import Encoder, finish_schema, make_spec, summarize_partition

WIDE = 24
TYPES = ("float16", "float32", "int8", "uint8", "int16", "int32", "uint64")


def table_of(kind: str, n: int, columns: int = 2) -> pa.Table:
    """Return rows whose products of two columns leave the range of a narrow integer."""
    rng = np.random.default_rng(4)
    values = {f"x{k}": rng.integers(60, 120, size=n).astype(kind) for k in range(columns)}
    if kind.startswith("float"):
        values = {name: (v / 7).astype(kind) for name, v in values.items()}
    y = rng.normal(size=n).astype(kind if kind == "float32" else "float64")
    return pa.table({**values, "y": y, "g": rng.integers(0, 20, size=n).astype("int64")})


def encoder_of(formula: str, table: pa.Table) -> Encoder:
    spec = make_spec(formula)
    return Encoder(spec, finish_schema(spec, summarize_partition(spec, table)))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("kernel", ["numpy", "numba"])
def test_products_of_narrow_numbers_are_those_of_float64(kind, kernel):
    table = table_of(kind, 500)
    encoder = encoder_of("y ~ x0 * x1 + (x0 | g)", table)
    found = arrays(condense_columns(encoder.columns(table), encoder.info, kernel=kernel))
    wanted = arrays(condense_block(encoder.encode(table), encoder.info, kernel=kernel))
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_columns_are_views_of_what_was_read():
    table = table_of("float32", 1000)
    columns = encoder_of("y ~ x0 * x1 + (1 | g)", table).columns(table)
    for pieces in (*columns.x[1:], columns.y):
        for values in pieces if isinstance(pieces, tuple) else (pieces,):
            assert values.dtype == np.float32
            assert not values.flags.owndata


def test_no_partition_is_copied_to_float64():
    """Reading a schema and condensing hold less than a quarter of the columns as float64 would."""
    n = 200_000
    table = table_of("float32", n, WIDE)
    formula = "y ~ " + " + ".join(f"x{k}" for k in range(WIDE)) + " + (1 | g)"
    encoder = encoder_of(formula, table)

    def condense() -> None:
        condense_columns(encoder.columns(table), encoder.info, kernel="numba")

    condense()
    whole = 8 * n * WIDE
    assert peak_of(lambda: summarize_partition(encoder.spec, table)) < whole / 4
    assert peak_of(condense) < whole / 4


def peak_of(work) -> int:
    """Return the most memory that arrays made by some work held at a time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
