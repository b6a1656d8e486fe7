"""Arrays that lie anywhere in a message give the bits of arrays that lie well, whatever holds them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from operator import add
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import mixedflow
from mixedflow.parallel import Runner, map_each, map_reduce
from mixedflow.parallel.distributed_tasks import _add, _Job, _run_batch
from mixedflow.parallel.rooms import _applied, _called, _combined, open_room
from mixedflow.parallel.sent import ALIGNMENT, Sent, aligned_buffer
from mixedflow.parallel.tree import as_addition


def unaligned(values: np.ndarray) -> np.ndarray:
    """Return the same numbers one byte off."""
    raw = np.empty(values.nbytes + 1, dtype=np.uint8)
    made = raw[1:].view(values.dtype).reshape(values.shape)
    made[...] = values
    assert not made.flags.aligned
    return made


def moved(sent: Sent[Any]) -> Any:
    """Return what comes of a thing when every buffer of the message begins one byte off."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(sent, protocol=5, buffer_callback=buffers.append)
    off = [memoryview(bytes(1) + buffer.raw())[1:] for buffer in buffers]
    return pickle.loads(body, buffers=off)


@dataclass(frozen=True)
class Holder:
    """A task that holds an array; ``product`` depends on how the array lies."""

    values: np.ndarray

    def __call__(self, index: int) -> np.ndarray:
        assert self.values.flags.aligned
        return self.values[index::3] @ self.values[index::3].T


class Plain:
    """As a source is: no dataclass."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def read(self, index: int) -> np.ndarray:
        assert self.values.flags.aligned
        return self.values[index]


VALUES = np.random.default_rng(4).normal(size=(42, 30)) * 1e3


def tasks() -> dict[str, Any]:
    values, plain = VALUES.copy(), Plain(VALUES.copy())

    def closed_over(index: int) -> np.ndarray:
        assert values.flags.aligned
        return values[index] * values.sum()

    def with_table(index: int) -> np.ndarray:
        column = table.column("x").chunk(0)
        assert column.buffers()[1].address % 8 == 0
        return column.to_numpy()[index:] * 1.1

    table = pa.table({"x": VALUES[0].copy()})
    return {
        "dataclass": Holder(values),
        "closure": closed_over,
        "partial": partial(np.take, values, axis=0),
        "method": plain.read,
        "table": with_table,
    }


@pytest.mark.parametrize("name", list(tasks()))
def test_what_a_task_holds_is_aligned_where_it_arrives(name):
    task = tasks()[name]
    arrived = moved(Sent(task)).opened()
    for index in range(3):
        assert np.array_equal(arrived(index), task(index))


def test_what_is_sent_on_before_it_is_opened_stays_whole():
    task = tasks()["closure"]
    twice = moved(moved(Sent(task)))
    assert np.array_equal(twice.opened()(2), task(2))
    assert twice.opened() is twice.opened()


def test_buffers_that_lie_well_are_not_copied():
    good = np.arange(9.0)
    assert good.ctypes.data % ALIGNMENT == 0
    assert aligned_buffer(good) is good
    bad = memoryview(bytes(9))[1:]
    assert aligned_buffer(bad).ctypes.data % ALIGNMENT == 0
    assert not aligned_buffer(bad).flags.writeable
    assert aligned_buffer(memoryview(bytearray(9))[1:]).flags.writeable


def every_array(value: Any, met: set[int]) -> Iterator[np.ndarray]:
    """Yield the arrays that anything holds."""
    if id(value) in met:
        return
    met.add(id(value))
    if isinstance(value, np.ndarray):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from every_array(getattr(value, field.name, None), met)
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from every_array(item, met)


def test_draws_of_a_bootstrap_hold_aligned_arrays():
    rng = np.random.default_rng(6)
    g = np.repeat(np.arange(30), 7)
    x = rng.normal(size=len(g))
    y = x + rng.normal(size=30)[g] + rng.normal(size=len(g))
    fit = mixedflow.fit("y ~ x + (1 + x | g)", {"y": y, "x": x, "g": g})
    made: list[Any] = []

    class Remembering(Runner):
        def each(self, fn: Any, n_items: int) -> list[Any]:
            made.append(moved(Sent(fn)).opened())
            return [made[0](index) for index in range(n_items)]

    there = fit.bootstrap(8, seed=3, runner=Remembering("address", client="there"))
    arrays = list(every_array(made[0], set()))
    assert len(arrays) > 10
    assert all(array.flags.aligned for array in arrays)
    assert there.draws.equals(fit.bootstrap(8, seed=3).draws)


@dataclass(frozen=True)
class Sums:
    """A result whose addition depends on how its arrays lie."""

    a: np.ndarray
    parts: tuple[np.ndarray, ...]

    def __add__(self, other: Sums) -> Sums:
        for array in (self.a, other.a, *self.parts, *other.parts):
            assert array.flags.aligned
            assert array.flags.c_contiguous
        return Sums(self.a + other.a, tuple(map(add, self.parts, other.parts)))


def lying_badly(sums: Sums) -> Sums:
    return replace(sums, a=unaligned(sums.a), parts=tuple(map(unaligned, sums.parts)))


def sums_of(index: int) -> Sums:
    rng = np.random.default_rng(index)
    return Sums(rng.normal(size=50), tuple(rng.normal(size=(2, 7, 3))))


def same(a: Sums, b: Sums) -> bool:
    return np.array_equal(a.a, b.a) and all(map(np.array_equal, a.parts, b.parts))


def test_every_task_puts_what_it_is_given_right():
    one, two = sums_of(1), sums_of(2)
    job = Sent(_Job(sums_of, as_addition(add)))
    assert same(_add(job, lying_badly(one), lying_badly(two)), one + two)
    assert same(_combined(Sent(add), lying_badly(one), lying_badly(two)), one + two)
    assert same(_applied(Sent(partial(add, one)), lying_badly(two)), one + two)
    begun = Sent(_Job(lambda index, made: made + two, None))
    assert same(_run_batch(begun, 0, 1, lying_badly(one))[0], one + two)
    assert same(_called(moved(Sent(sums_of)), 3), sums_of(3))


def test_workers_give_the_bits_of_this_process(workers: Runner):
    """The arrays of a task travel to workers, whose messages put them anywhere."""
    odd = np.arange(3, dtype=np.uint8)

    for name, task in tasks().items():

        def reached(index: int, task: Any = task, odd: np.ndarray = odd) -> np.ndarray:
            return task(index) * odd[1]

        for a, b in zip(map_each(reached, 3, runner=workers), map_each(reached, 3), strict=True):
            assert np.array_equal(a, b), name
        if name in {"dataclass", "method"}:
            assert np.array_equal(
                map_reduce(reached, 3, add, runner=workers), map_reduce(reached, 3, add)
            )
    room = open_room(workers)
    made = room.made(sums_of, 3)
    assert same(room.folded(partial(add, sums_of(9)), made, add), folded_here())


def folded_here() -> Sums:
    a, b, c = (sums_of(9) + sums_of(k) for k in range(3))
    return (a + b) + c
