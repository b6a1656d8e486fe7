"""The same bits whatever runs the tasks."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from operator import add

import numpy as np
import psutil
import pytest

from mixedflow.errors import ConfigError, DataError
from mixedflow.parallel import (
    SYNCHRONOUS,
    Runner,
    WorkerError,
    aligned,
    map_each,
    map_reduce,
    open_runner,
    tree_plan,
)
from mixedflow.parallel.tree import WIDE, Addition, batches, fold


@dataclass(frozen=True, slots=True)
class Sums:
    values: np.ndarray
    count: int

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.values + other.values, self.count + other.count)


def rough(index: int) -> Sums:
    rng = np.random.default_rng(index)
    return Sums(rng.normal(size=50) * 10.0 ** rng.integers(-9, 9, 50), 1)


def refuse(index: int) -> Sums:
    if index == 11:
        raise DataError("data.csv, data row 12: column 'y' has the value 'abc'")
    return rough(index)


def walk(n: int, plan: list[tuple[int, int, int]]) -> str:
    nodes = {i: str(i) for i in range(n)}
    for left, right, made in plan:
        nodes[made] = f"({nodes.pop(left)}+{nodes.pop(right)})"
    (root,) = nodes.values()
    return root


@pytest.mark.parametrize("radix", [2, 3, 4, 32])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 7, 8, 11, 64, 100, 129])
def test_tree_is_the_streamed_one_whatever_the_batches(n: int, radix: int) -> None:
    text = walk(n, tree_plan(n, radix))
    pair = "({}+{})".format
    assert fold(map(str, range(n)), pair, radix) == text
    for tasks in (1, 2, 3, 7, 64):
        parts = [fold(map(str, range(a, b)), pair, radix) for a, b in batches(n, tasks, radix)]
        assert len(parts) <= tasks
        assert fold(parts, pair, radix) == text
        over = walk(len(parts), tree_plan(len(parts), radix))
        assert over.count("+") == len(parts) - 1


def test_nodes_are_added_from_the_left() -> None:
    assert walk(5, tree_plan(5)) == "(((0+1)+(2+3))+4)"
    assert walk(8, tree_plan(8, 3)) == "((((0+1)+2)+((3+4)+5))+(6+7))"
    assert walk(5, tree_plan(5, 32)) == "((((0+1)+2)+3)+4)"


@pytest.mark.parametrize("n", [32, 33, 1000, 1025])
def test_a_wide_tree_holds_one_sum_a_level(n: int) -> None:
    alive: set[int] = set()
    most = 0

    class Leaf:
        def __init__(self) -> None:
            nonlocal most
            alive.add(id(self))
            most = max(most, len(alive))

        def __del__(self) -> None:
            alive.discard(id(self))

    def into(left: Leaf, right: Leaf) -> Leaf:
        return left

    fold((Leaf() for _ in range(n)), into, WIDE)
    assert most <= 2 + int(np.log(n) / np.log(WIDE))


def test_tree_is_shallow() -> None:
    depth = dict.fromkeys(range(1000), 0)
    for left, right, made in tree_plan(1000):
        depth[made] = 1 + max(depth[left], depth[right])
    assert max(depth.values()) == 10


def test_threads_give_the_same_bits_and_count() -> None:
    seen: list[tuple[int, int]] = []
    one = map_reduce(rough, 37, add)
    with open_runner("threads", workers=3) as runner:
        other = map_reduce(rough, 37, add, runner=runner, on_done=lambda a, b: seen.append((a, b)))
        assert [s.values[0] for s in map_each(rough, 5, runner=runner)] == [
            rough(i).values[0] for i in range(5)
        ]
        with pytest.raises(DataError, match="data row 12"):
            map_reduce(refuse, 37, add, runner=runner)
    assert np.array_equal(one.values, other.values)
    assert seen == [(i, 37) for i in range(1, 38)]
    assert other.count == 37


def test_adding_in_place_gives_the_bits_of_the_tree_that_is_said(workers: Runner) -> None:
    wide = Addition(add, _into, _finished)
    one = map_reduce(rough, 100, wide)
    nodes = {i: rough(i) for i in range(100)}
    for left, right, made in tree_plan(100, WIDE):
        nodes[made] = nodes.pop(left) + nodes.pop(right)
    (said,) = nodes.values()
    assert np.array_equal(one.values, said.values)
    assert not np.array_equal(one.values, map_reduce(rough, 100, add).values)
    with open_runner("threads", workers=3) as runner:
        assert np.array_equal(one.values, map_reduce(rough, 100, wide, runner=runner).values)
    assert np.array_equal(one.values, map_reduce(rough, 100, wide, runner=workers).values)


def _into(total: Sums | list[Sums], other: Sums | list[Sums]) -> list[Sums]:
    (right,) = other if isinstance(other, list) else [other]
    if not isinstance(total, list):
        total = [Sums(total.values.copy(), total.count)]
    total[0].values[:] += right.values
    total[0] = Sums(total[0].values, total[0].count + right.count)
    return total


def _finished(total: Sums | list[Sums]) -> Sums:
    return total[0] if isinstance(total, list) else total


def test_order_matters_for_these_numbers() -> None:
    one = map_reduce(rough, 37, add)
    plain = rough(0)
    for i in range(1, 37):
        plain = plain + rough(i)
    assert not np.array_equal(one.values, plain.values)


def test_local_workers_give_the_same_bits(workers: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    one = map_reduce(rough, 37, add)
    seen: list[int] = []
    runner = workers
    assert runner.client.scheduler.address.startswith("tcp://127.0.0.1:")
    process = psutil.Process()
    family = [process, *process.children(recursive=True)]
    sockets = [s for p in family for s in p.net_connections("inet") if s.status == "LISTEN"]
    assert {s.laddr.ip for s in sockets} == {"127.0.0.1"}
    two = map_reduce(rough, 37, add, runner=runner, on_done=lambda a, _: seen.append(a))
    monkeypatch.setattr(
        "mixedflow.parallel.distributed_tasks.batches", lambda n, radix=2: batches(n, 5, radix)
    )
    few = map_reduce(rough, 37, add, runner=runner)
    each = map_each(rough, 6, runner=runner)
    with pytest.raises(DataError) as caught:
        map_reduce(refuse, 37, add, runner=runner)
    threads = runner.client.submit(_threads).result()
    with open_runner("address", address=runner.client.scheduler.address) as again:
        three = map_reduce(rough, 37, add, runner=again)
    assert np.array_equal(one.values, two.values)
    assert np.array_equal(one.values, few.values)
    assert np.array_equal(one.values, three.values)
    assert seen == list(range(1, 38))
    assert [s.count for s in each] == [1] * 6
    assert np.array_equal(each[5].values, rough(5).values)
    assert type(caught.value) is DataError
    assert str(caught.value) == "data.csv, data row 12: column 'y' has the value 'abc'"
    assert threads == ("1", "1")


def _threads() -> tuple[str | None, str | None]:
    import os

    return os.environ.get("OPENBLAS_NUM_THREADS"), os.environ.get("NUMBA_NUM_THREADS")


def test_unaligned_arrays_are_brought_into_line() -> None:
    raw = np.zeros(81, dtype=np.uint8)[1:].view(np.float64)
    assert not raw.flags.aligned
    made = aligned({"a": [Sums(raw, 1)], "b": (raw, 2)})
    assert made["a"][0].values.flags.aligned
    assert made["b"][0].flags.aligned
    fine = Sums(np.zeros(3), 1)
    assert aligned(fine) is fine


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "thread"}, "did you mean 'threads'"),
        ({"kind": "threads", "workers": 0}, "workers must be 1 or more"),
        ({"kind": "address"}, "address is needed"),
        ({"kind": "processes", "memory_limit": 0}, "memory limit must be positive"),
    ],
)
def test_bad_runners_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message), open_runner(**options):
        pass


def test_absent_scheduler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixedflow.parallel.connecting.CONNECT_TIMEOUT", "1s")
    with (
        pytest.raises(WorkerError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"),
        open_runner("address", address="tcp://127.0.0.1:9"),
    ):
        pass


def test_default_runner_never_imports_dask() -> None:
    code = (
        "import sys; from mixedflow.parallel import map_reduce, open_runner\n"
        "with open_runner() as r: assert map_reduce(float, 5, float.__add__, runner=r) == 10\n"
        "assert not {'dask', 'distributed'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert SYNCHRONOUS.kind == "synchronous"


def die(index: int) -> Sums:
    import os

    if index == 3:
        os._exit(1)
    return rough(index)


@pytest.mark.slow
def test_a_worker_that_dies_for_good_is_one_sentence() -> None:
    with (
        open_runner("processes", workers=2) as runner,
        pytest.raises(WorkerError, match="a worker died several times at the same work"),
    ):
        map_reduce(die, 6, add, runner=runner)


def test_threads_add_in_order_and_stop_at_the_first_failure() -> None:
    def slow_first(index: int) -> Sums:
        time.sleep(0.02 if index % 3 == 0 else 0.0)
        if index in (4, 9):
            raise DataError(f"partition {index}")
        return rough(index)

    def added(total: list[int], other: list[int]) -> list[int]:
        return total + other

    runner = Runner("threads", workers=3)
    assert map_reduce(lambda i: [i], 40, added, runner=runner) == list(range(40))
    for combine in (add, Addition(add, _into, _finished)):
        with pytest.raises(DataError, match="partition 4"):
            map_reduce(slow_first, 12, combine, runner=runner)
    seen: list[int] = []

    def interrupted(done: int, _: int) -> None:
        seen.append(done)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_reduce(rough, 500, add, runner=runner, on_done=interrupted)
    assert seen == [1, 2]
