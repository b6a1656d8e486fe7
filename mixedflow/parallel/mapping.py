"""The same function on every partition, and the results added up in the fixed tree.

Stands at "Sums are added in a fixed tree" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

from mixedflow.parallel.runner import SYNCHRONOUS, Runner
from mixedflow.parallel.tree import Addition, as_addition, fold

T = TypeVar("T")
OnDone = Callable[[int, int], None]


def map_reduce(
    fn: Callable[[int], T],
    n_items: int,
    combine: Callable[[T, T], T] | Addition[T],
    *,
    runner: Runner = SYNCHRONOUS,
    on_done: OnDone | None = None,
) -> T:
    """Return ``fn(0) + fn(1) + ...`` with ``combine`` for +, in a fixed tree.

    The tree depends on ``n_items`` alone (:func:`mixedflow.parallel.tree.tree_plan`), so every
    runner gives the same bits. In this process no more sums are held than the tree has levels.

    Parameters
    ----------
    fn : what is done with item i
    n_items : number of items, one or more
    combine : associative up to rounding; must not change its arguments. An :class:`Addition` says
        besides how to add in place
    runner : where tasks run
    on_done : called with the number of items done and their total

    Raises
    ------
    MixedflowError
        as ``fn`` raised it, whatever process it ran in
    WorkerError
        when a worker died for good
    """
    if n_items < 1:
        raise ValueError("map_reduce needs at least one item")
    adding = as_addition(combine)
    if runner.client is not None:
        from mixedflow.parallel.distributed_tasks import reduce_on_workers

        return reduce_on_workers(fn, n_items, adding, runner, on_done)
    results = _counted(_results(fn, n_items, runner), n_items, on_done)
    return adding.finish(fold(results, adding.absorb, adding.radix))


def map_each(
    fn: Callable[[int], T],
    n_items: int,
    *,
    runner: Runner = SYNCHRONOUS,
    on_done: OnDone | None = None,
) -> list[T]:
    """Return ``[fn(0), fn(1), ...]`` in this order, wherever they were computed."""
    if runner.client is not None and n_items:
        from mixedflow.parallel.distributed_tasks import map_on_workers

        return map_on_workers(fn, n_items, runner, on_done)
    return list(_counted(_results(fn, n_items, runner), n_items, on_done))


def _counted(results: Iterator[T], total: int, on_done: OnDone | None) -> Iterator[T]:
    count = 0
    for result in results:
        count += 1  # noqa: SIM113 - enumerate would keep the result while the next one is made
        if on_done is not None:
            on_done(count, total)
        yield result
        del result


def _results(fn: Callable[[int], T], n_items: int, runner: Runner) -> Iterator[T]:
    """Yield the results in the order of the items."""
    if runner.kind == "threads" and runner.workers > 1:
        return _on_threads(fn, n_items, runner.workers)
    return map(fn, range(n_items))


def _on_threads(fn: Callable[[int], T], n_items: int, workers: int) -> Iterator[T]:
    """Yield results in order; one more than there are threads is under way or waiting."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(workers, "mixedflow"))
        waiting: deque[Future[T]] = deque()
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        for index in range(n_items):
            if len(waiting) > workers:
                yield waiting.popleft().result()
            waiting.append(pool.submit(fn, index))
        while waiting:
            yield waiting.popleft().result()
