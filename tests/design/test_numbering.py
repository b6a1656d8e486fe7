"""Levels keep the number that they got when they were first met."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mixedflow.design.levels import LevelSet, empty_levels
from mixedflow.design.numbering import LevelNumbers
from mixedflow.errors import DataError

ENDS = np.iinfo(np.int64)


def text(values: np.ndarray) -> LevelSet:
    return LevelSet("text", pa.array([f"g{v}" for v in values], pa.large_string()))


def whole(values: np.ndarray) -> LevelSet:
    return LevelSet("int", values)


SETS = {
    "narrow": lambda v: whole(v + 7),
    "negative": lambda v: whole(-v),
    "wide": lambda v: whole(v * 10**14 - 5 * 10**16),
    "extreme": lambda v: whole(np.where(v % 2, ENDS.max - v, v + ENDS.min)),
    "decimal": lambda v: LevelSet("float", v / 4),
    "text": text,
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("falling", [False, True])
def test_numbers_stand_for_their_levels(name: str, falling: bool) -> None:
    rng = np.random.default_rng(2)
    numbers = LevelNumbers("g")
    first: dict[str, int] = {}
    for step in range(8):
        values = rng.choice(400, 150, replace=False) + (8 - step if falling else step) * 100
        levels = SETS[name](values)
        found = numbers.numbers(levels)
        for label, number in zip(levels.labels(), found.tolist(), strict=True):
            assert first.setdefault(label, len(first)) == number
    assert numbers.levels().labels() == list(first)


def test_a_range_that_widens_is_searched_instead() -> None:
    numbers = LevelNumbers("g")
    for values, found in (
        ([5, 3], [0, 1]),
        ([10**15, 3], [2, 1]),
        ([-(2**63), 5, 10**15], [3, 0, 2]),
    ):
        assert numbers.numbers(whole(np.array(values))).tolist() == found
    assert numbers.levels().values.tolist() == [5, 3, 10**15, -(2**63)]


def test_kinds_meet_as_in_a_union() -> None:
    numbers = LevelNumbers("g")
    assert numbers.levels().kind == "int"
    assert numbers.numbers(empty_levels()).tolist() == []
    flags = LevelSet("bool", np.array([True, False]))
    assert numbers.numbers(flags).tolist() == [0, 1]
    assert (numbers.levels().kind, numbers.levels().labels()) == ("bool", ["True", "False"])
    assert numbers.numbers(whole(np.array([0, 1, 4]))).tolist() == [1, 0, 2]
    assert numbers.numbers(LevelSet("float", np.array([4.0, 0.5]))).tolist() == [2, 3]
    assert numbers.levels().values.tolist() == [1.0, 0.0, 4.0, 0.5]
    with pytest.raises(DataError, match="'g' holds text in one part of the data and numbers"):
        numbers.numbers(text(np.arange(2)))
