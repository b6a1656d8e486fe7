"""Tasks on Dask workers: batches of items, and the fixed tree over them.

Stands at "Sums are added in a fixed tree" in ``docs/algorithm.md``. A batch is a node of the
tree: adding it up inside a task gives the bits that this process gives.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from itertools import count
from typing import Any, Generic, TypeVar, cast
from uuid import uuid4

from mixedflow.errors import MixedflowError
from mixedflow.parallel.mapping import OnDone
from mixedflow.parallel.runner import Runner, WorkerError
from mixedflow.parallel.sent import Sent
from mixedflow.parallel.tree import Addition, aligned, batches, fold

T = TypeVar("T")

SUMS_FIRST = 1
"""Priority of adding over making more that waits to be added."""

TOGETHER = 4
"""Sums that a task adds, in the place of a copy of the first; so many wait in memory at a time."""


@dataclass(frozen=True, slots=True)
class _Job(Generic[T]):
    """What every task needs; sent to the workers once."""

    fn: Callable[..., T]
    adding: Addition[T] | None


def _hold(job: Sent[_Job[T]]) -> Sent[_Job[T]]:
    return job


def _run_batch(sent: Sent[_Job[T]], start: int, stop: int, *begun: Any) -> Any:
    job = sent.opened()
    begun = aligned(begun)
    items = (job.fn(index, *begun) if index == 0 else job.fn(index) for index in range(start, stop))
    if job.adding is None:
        return list(items)
    if stop - start == 1:
        return next(items)
    return job.adding.finish(fold(items, job.adding.absorb, job.adding.radix))


def _add(sent: Sent[_Job[T]], *parts: T) -> T:
    job = sent.opened()
    if job.adding is None:
        raise TypeError("this job only maps")
    return job.adding.finish(reduce(job.adding.absorb, map(aligned, parts)))


def reduce_on_workers(
    fn: Callable[..., T],
    n_items: int,
    adding: Addition[T],
    runner: Runner,
    on_done: OnDone | None,
    begun: list[Any],
) -> T:
    """Return the items' results combined in the fixed tree, on the runner's workers.

    ``begun`` is emptied of the future of what was made of item 0 before, if there is one.
    """
    ranges = batches(n_items, radix=adding.radix)
    with errors_as_ours():
        name, job, leaves = _submit_batches(_Job(fn, adding), ranges, runner, begun)
        root = _submit_sums(leaves, adding.radix, f"{name}-sum", job, runner)
        try:
            _watch(leaves, ranges, runner, on_done)
            (total,) = runner.client.gather([root], direct=direct(runner))
        except BaseException:
            if runner.client.status == "running":
                root.cancel()
            raise
        return cast(T, aligned(total))


def _submit_sums(leaves: list[Any], radix: int, name: str, job: Any, runner: Runner) -> Any:
    """Return the future of the leaves' sum in the fixed tree.

    A node on the way is a list of futures that are to be added from the left: what is added to one
    sum in turn is brought together in one task, which copies that sum once.
    """
    numbers = count()

    def summed(run: list[Any]) -> Any:
        if len(run) == 1:
            return run[0]
        key = f"{name}-{next(numbers)}"
        return runner.client.submit(_add, job, *run, key=key, priority=SUMS_FIRST)

    def combine(left: list[Any], right: list[Any]) -> list[Any]:
        joined = [*left, summed(right)]
        return joined if len(joined) < TOGETHER else [summed(joined)]

    return summed(fold(([leaf] for leaf in leaves), combine, radix))


def direct(runner: Runner) -> bool | None:
    """Say whether results come from the workers without passing through the scheduler.

    A scheduler in this process reaches no more than this process does; one elsewhere may.
    """
    return None if runner.kind == "address" else True


def map_on_workers(
    fn: Callable[[int], T], n_items: int, runner: Runner, on_done: OnDone | None
) -> list[T]:
    """Return the items' results in order, computed on the runner's workers."""
    ranges = batches(n_items)
    with errors_as_ours():
        _, _, leaves = _submit_batches(_Job(fn, None), ranges, runner, [])
        _watch(list(leaves), ranges, runner, on_done)
        gathered = runner.client.gather(leaves, direct=direct(runner))
        return [aligned(item) for batch in gathered for item in batch]


def _submit_batches(
    job: _Job[T], ranges: list[tuple[int, int]], runner: Runner, begun: list[Any]
) -> tuple[str, Any, list[Any]]:
    name = f"mixedflow-{uuid4().hex[:12]}"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")
        held = runner.client.submit(_hold, Sent(job), key=f"{name}-job")
    submit = runner.client.submit
    leaves = [
        submit(_run_batch, held, a, b, *(begun if a == 0 else ()), key=f"{name}-leaf-{a}")
        for a, b in ranges
    ]
    begun.clear()
    return name, held, leaves


def _watch(
    leaves: list[Any], ranges: list[tuple[int, int]], runner: Runner, on_done: OnDone | None
) -> None:
    """Report progress until all leaves are done; raise what the first failed one raised.

    ``leaves`` is emptied, so that workers keep only what the caller, or the tree, still needs.
    """
    from distributed import as_completed

    sizes = {leaf.key: stop - start for leaf, (start, stop) in zip(leaves, ranges, strict=True)}
    total, count = ranges[-1][1], 0
    done = as_completed(leaves, loop=runner.client.loop)  # type: ignore[no-untyped-call]
    leaves.clear()
    for future in done:
        if future.status != "finished":
            future.result()
        count += sizes[future.key]
        if on_done is not None:
            on_done(count, total)


@contextmanager
def errors_as_ours() -> Iterator[None]:
    """Let our own errors through as they are; say what lost workers mean."""
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError
    from distributed.comm.core import CommClosedError

    try:
        yield
    except MixedflowError:
        raise
    except KilledWorker as error:
        raise WorkerError(
            "a worker died several times at the same work, mostly for want of memory, or of time where "
            "workers are jobs; give workers more of it or prepare the data in smaller parts"
        ) from error
    except (FutureCancelledError, CommClosedError) as error:
        raise WorkerError(f"the Dask scheduler was lost while it computed: {error}") from error
