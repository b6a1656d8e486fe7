"""Where shards are: in this process, or on the workers that made them.

Stands at "Shards" in ``docs/algorithm.md``. A handle is the thing itself in this process and a Dask
future on workers. What is done with a thing is done where it is; only results travel.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from mixedflow.parallel.mapping import map_each, map_reduce
from mixedflow.parallel.runner import Runner, WorkerError
from mixedflow.parallel.sent import Sent
from mixedflow.parallel.tree import aligned, fold, tree_plan

T = TypeVar("T")

FOLDED_HERE = 64
"""Results that are combined in this process; more are combined on the workers, to the same bits."""


class Room(Protocol):
    """Where things are that are too large to be moved."""

    def made(self, fn: Callable[[int], Any], n: int) -> list[Any]:
        """Return handles of ``fn(0), fn(1), ...``."""

    def turned(self, fn: Callable[[Any], Any], handles: list[Any]) -> list[Any]:
        """Return handles of what ``fn`` makes of things; the old handles are given up."""

    def each(self, fn: Callable[[Any, int], T], handles: Sequence[Any]) -> list[T]:
        """Return ``fn`` of every thing and its number, in order."""

    def folded(
        self, fn: Callable[[Any], T], handles: Sequence[Any], combine: Callable[[T, T], T]
    ) -> T:
        """Return ``fn`` of every thing, combined in the fixed tree."""


def open_room(runner: Runner) -> Room:
    """Return the runner's workers, or this process where it has none."""
    return Here(runner) if runner.client is None else OnWorkers(runner.client)


@dataclass(frozen=True, slots=True, eq=False)
class Here:
    """In this process, with the runner's threads."""

    runner: Runner

    def made(self, fn: Callable[[int], Any], n: int) -> list[Any]:
        """Return ``fn(0), fn(1), ...``."""
        return map_each(fn, n, runner=self.runner)

    def turned(self, fn: Callable[[Any], Any], handles: list[Any]) -> list[Any]:
        """Return what ``fn`` makes of things, one after the other, so that few are there twice."""
        for at, thing in enumerate(handles):
            handles[at] = fn(thing)
        return handles

    def each(self, fn: Callable[[Any, int], T], handles: Sequence[Any]) -> list[T]:
        """Return ``fn`` of every thing and its number, in order."""
        return map_each(lambda i: fn(handles[i], i), len(handles), runner=self.runner)

    def folded(
        self, fn: Callable[[Any], T], handles: Sequence[Any], combine: Callable[[T, T], T]
    ) -> T:
        """Return ``fn`` of every thing, combined in the fixed tree."""
        return map_reduce(lambda i: fn(handles[i]), len(handles), combine, runner=self.runner)


@dataclass(frozen=True, slots=True, eq=False)
class OnWorkers:
    """The workers of a Dask client, which must stay connected as long as the handles are used."""

    client: Any

    def made(self, fn: Callable[[int], Any], n: int) -> list[Any]:
        """Return futures of ``fn(0), fn(1), ...``; what all tasks need is sent once."""
        name, submit = _key("made"), self.client.submit
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sending large graph")
            held = submit(_held, Sent(fn), key=f"{name}-fn")
        return [submit(_called, held, i, key=f"{name}-{i}") for i in range(n)]

    def turned(self, fn: Callable[[Any], Any], handles: list[Any]) -> list[Any]:
        """Return futures of what ``fn`` makes of things."""
        turned = self._mapped(fn, handles)
        handles.clear()
        return turned

    def each(self, fn: Callable[[Any, int], T], handles: Sequence[Any]) -> list[T]:
        """Return ``fn`` of every thing and its number, in order."""
        from mixedflow.parallel.distributed_tasks import errors_as_ours

        with errors_as_ours():
            gathered: list[T] = self.client.gather(self._mapped(fn, handles, numbered=True))
            return [aligned(item) for item in gathered]

    def folded(
        self, fn: Callable[[Any], T], handles: Sequence[Any], combine: Callable[[T, T], T]
    ) -> T:
        """Return ``fn`` of every thing, combined in the fixed tree: on the workers, if many."""
        from mixedflow.parallel.distributed_tasks import errors_as_ours

        with errors_as_ours():
            leaves = self._mapped(fn, handles)
            if len(leaves) <= FOLDED_HERE:
                here: T = fold(map(aligned, self.client.gather(leaves)), combine)
                return here
            nodes = dict(enumerate(leaves))
            leaves.clear()
            for left, right, at in tree_plan(len(nodes)):
                pair = nodes.pop(left), nodes.pop(right)
                nodes[at] = self.client.submit(_combined, Sent(combine), *pair, key=_key("sum"))
            (root,) = nodes.values()
            total: T = aligned(root.result())
            return total

    def _mapped(
        self, fn: Callable[..., Any], things: Sequence[Any], *, numbered: bool = False
    ) -> list[Any]:
        """Return futures; a shard's tasks run on the worker that holds it."""
        if self.client.status != "running":
            raise WorkerError(
                "the workers that keep the shards are gone; use the fit while its runner is open"
            )
        name, submit = _key("shard"), self.client.submit
        return [
            submit(_applied, Sent(fn), thing, *([i] if numbered else []), key=f"{name}-{i}")
            for i, thing in enumerate(things)
        ]


def _held(fn: Sent[Callable[[int], T]]) -> Sent[Callable[[int], T]]:
    return fn


def _called(fn: Sent[Callable[[int], T]], index: int) -> T:
    return fn.opened()(index)


def _applied(fn: Sent[Callable[..., T]], thing: Any, *number: int) -> T:
    return fn.opened()(aligned(thing), *number)


def _combined(combine: Sent[Callable[[T, T], T]], left: T, right: T) -> T:
    return combine.opened()(aligned(left), aligned(right))


def _key(what: str) -> str:
    return f"mixedflow-{what}-{uuid4().hex[:12]}"
