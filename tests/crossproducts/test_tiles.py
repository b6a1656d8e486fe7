"""Tiles: the compiled loop and NumPy write the same bits, however a column is stored."""

from __future__ import annotations

import numpy as np
import pytest

from mixedflow.crossproducts.tiles import Tiles

N, STEP = 700, 256


@pytest.fixture
def columns() -> list[tuple[tuple[np.ndarray, ...], float, float]]:
    rng = np.random.default_rng(3)
    plain = rng.normal(5.0, 2.0, size=N)
    wide = rng.normal(size=(N, 2))
    return [
        ((plain,), 5.0, 2.0),
        ((), 0.0, 1.0),
        ((plain[::-1],), 4.5, 0.25),
        ((wide[:, 1],), 0.0, 1.0),
        ((rng.normal(size=N).astype(np.float32),), 0.125, 1.0),
        ((rng.integers(0, 9, size=N),), 4.0, 2.0),
        ((plain, wide[:, 0]), 1.0, 0.5),
        ((plain[1:],), 5.0, 3.0),
    ]


def test_every_sort_of_column_is_written_alike(columns):
    loop, plain = (Tiles(columns, STEP, compiled=choice) for choice in (True, False))
    for start in range(0, N - 1, STEP):
        rows = slice(start, min(N - 1, start + STEP))
        expected = plain.of(rows).copy()
        np.testing.assert_array_equal(loop.of(rows), expected)
        pieces, shift, scale = columns[0]
        np.testing.assert_array_equal(expected[:, 0], (pieces[0][rows] - shift) / scale)
        np.testing.assert_array_equal(expected[:, 1], 1.0)


def test_no_columns_make_an_empty_tile():
    assert Tiles([], STEP, compiled=True).of(slice(0, 10)).shape == (10, 0)
