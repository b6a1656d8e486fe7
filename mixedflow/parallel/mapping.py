"""The same function on every partition, and the results added up in the fixed tree.

Stands at "Sums are added in a fixed tree" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from mixedflow.parallel.runner import SYNCHRONOUS, Runner
from mixedflow.parallel.tree import Addition, Fold, as_addition, fold

T = TypeVar("T")
OnDone = Callable[[int, int], None]


def map_reduce(
    fn: Callable[..., T],
    n_items: int,
    combine: Callable[[T, T], T] | Addition[T],
    *,
    runner: Runner = SYNCHRONOUS,
    on_done: OnDone | None = None,
    begun: list[Any] | None = None,
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
    begun : handle in a room (:func:`mixedflow.parallel.rooms.open_room`) of what was made of item 0
        before: that item is then ``fn(0, made)``. The list is emptied, so that no name keeps it

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
    begun = [] if begun is None else begun
    if runner.client is not None:
        from mixedflow.parallel.distributed_tasks import reduce_on_workers

        return reduce_on_workers(fn, n_items, adding, runner, on_done, begun)

    def item(index: int) -> T:
        return fn(0, begun.pop()) if index == 0 and begun else fn(index)

    if runner.kind == "threads" and runner.workers > 1:
        total = _fold_on_threads(item, n_items, adding, runner.workers, on_done)
    else:
        total = fold(
            _counted(map(item, range(n_items)), n_items, on_done), adding.absorb, adding.radix
        )
    return adding.finish(total)


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
    """Yield results in order; no more than two a thread are under way or waiting."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(workers, "mixedflow"))
        waiting: deque[Future[T]] = deque()
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        for index in range(n_items):
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
            waiting.append(pool.submit(fn, index))
        while waiting:
            yield waiting.popleft().result()


class _LeftOut(Exception):  # noqa: N818 - it tells that an earlier item failed, and reaches nobody
    """An item was not added because an earlier one failed."""


class _Turns:
    """Lets threads go on in the order of their items, up to the first that failed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next = 0
        self._failed = math.inf

    @contextmanager
    def of(self, index: int) -> Iterator[None]:
        """Wait until all earlier items are through."""
        with self._changed:
            self._changed.wait_for(lambda: self._next == index or self._failed < index)
            if self._failed < index:
                raise _LeftOut
        yield
        with self._changed:
            self._next = index + 1
            self._changed.notify_all()

    def fail(self, index: int) -> None:
        """Let no later item wait."""
        with self._changed:
            self._failed = min(self._failed, index)
            self._changed.notify_all()


def _fold_on_threads(
    fn: Callable[[int], T], n_items: int, adding: Addition[T], workers: int, on_done: OnDone | None
) -> Any:
    """Return the items' total; a thread adds what it made itself, so that nothing large waits."""
    folding: Fold[Any] = Fold(adding.absorb, adding.radix)
    turns = _Turns()

    def work(index: int) -> None:
        try:
            made = fn(index)
            with turns.of(index):
                folding.add(made)
        except BaseException:
            turns.fail(index)
            raise

    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(workers, "mixedflow"))
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        stack.callback(turns.fail, -1)
        for done, future in enumerate([pool.submit(work, i) for i in range(n_items)], start=1):
            future.result()
            if on_done is not None:
                on_done(done, n_items)
    return folding.total()
