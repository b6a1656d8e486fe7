"""A search tells graphs that fall into small pieces from those that do not."""

from __future__ import annotations

import numpy as np
import pytest

from mixedflow.linalg.separators import front_estimate


def estimate(rows, columns, shape):
    keys = np.unique(np.asarray(rows, dtype=int) * shape[1] + np.asarray(columns, dtype=int))
    counts = np.bincount(keys // shape[1], minlength=shape[0])
    pointers = np.concatenate([[0], np.cumsum(counts)])
    return front_estimate(pointers, (keys % shape[1]).astype(np.int32), shape[1])


def test_nested_levels_need_no_front():
    assert estimate(np.arange(1000), np.arange(1000) // 10, (1000, 100)) == 0


def test_a_chain_needs_no_front():
    rows = np.repeat(np.arange(500), 2)
    columns = rows + np.tile([0, 1], 500)
    assert estimate(rows, columns, (500, 501)) == 0


def test_no_edges():
    assert estimate([], [], (5, 4)) == 0


def test_random_pairs_need_a_front_of_all():
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(0, 5000, 50_000), rng.integers(0, 500, 50_000)
    assert estimate(rows, columns, (5000, 500)) > 400


@pytest.mark.parametrize("reach", [3, 10])
def test_neighbours_on_a_line_need_a_narrow_front(reach):
    rng = np.random.default_rng(1)
    rows = np.repeat(np.arange(20_000), 8)
    columns = np.clip(rows // 10 + rng.integers(-reach, reach + 1, len(rows)), 0, 1999)
    assert estimate(rows, columns, (20_000, 2000)) <= 2 * (2 * reach + 1)


def test_the_largest_component_counts():
    rng = np.random.default_rng(1)
    pieces = [rng.integers(0, 40, (2, 400)) + 40 * piece for piece in range(20)]
    rows, columns = np.concatenate(pieces, axis=1)
    assert estimate(rows, columns, (800, 800)) <= 40
