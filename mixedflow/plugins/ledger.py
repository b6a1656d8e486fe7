"""Which worker has room for which job.

A job is sent only when a worker has the threads and memory free, and then to that worker. Were all
sent at once, Dask would keep the waiting ones on workers and count these as full, and the tasks of a
job that itself uses Dask could wait for ever behind them. Stands outside the equations of
``docs/algorithm.md``.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CPU = "CPU"
MEM_MB = "MEM_MB"
BYTES_PER_MB = 1_000_000
OPEN = frozenset({"running", "paused"})


@dataclass(frozen=True, slots=True)
class Need:
    """What a job takes while it runs."""

    cpu: float
    mem_mb: float = 0.0

    def __str__(self) -> str:
        """Say it in Snakemake's words."""
        memory = f" and {self.mem_mb:g} MB" if self.mem_mb else ""
        return f"{self.cpu:g} thread{'' if self.cpu == 1 else 's'}{memory}"


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a worker has, and which of it Dask counts as a resource."""

    cpu: float
    mem_mb: float = math.inf
    counted: frozenset[str] = frozenset()

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Capacity:
        """Read what a worker says of itself; its threads and limit where it declares no resource.

        A worker that is closing has nothing to give.
        """
        if info.get("status", "running") not in OPEN:
            return cls(0.0, 0.0)
        declared = info["resources"]
        limit = info.get("memory_limit") or math.inf
        return cls(
            cpu=float(declared.get(CPU, info["nthreads"])),
            mem_mb=float(declared.get(MEM_MB, limit / BYTES_PER_MB)),
            counted=frozenset({CPU, MEM_MB} & set(declared)),
        )

    def holds(self, need: Need) -> bool:
        """Say whether a job could ever run here."""
        return need.cpu <= self.cpu and need.mem_mb <= self.mem_mb

    def resources(self, need: Need) -> dict[str, float]:
        """Return the need as Dask resources."""
        wanted = {CPU: need.cpu, MEM_MB: need.mem_mb}
        return {name: amount for name, amount in wanted.items() if name in self.counted and amount}

    def __str__(self) -> str:
        """Say it in Snakemake's words."""
        return str(Need(self.cpu, 0.0 if math.isinf(self.mem_mb) else self.mem_mb))


@dataclass(slots=True)
class Ledger:
    """Workers, the jobs on them, and the jobs that wait, most urgent first."""

    workers: dict[str, Capacity] = field(default_factory=dict)
    placed: dict[str, tuple[str, Need]] = field(default_factory=dict)
    _waiting: list[tuple[int, int, str, Need]] = field(default_factory=list)
    _number: int = 0

    def add(self, key: str, need: Need, priority: int) -> None:
        """Let a job wait: before those less urgent, behind those as urgent."""
        self._number += 1
        bisect.insort(self._waiting, (-priority, self._number, key, need))

    def forget(self, key: str) -> None:
        """Take a job out, wherever it is; its room is free again."""
        self.placed.pop(key, None)
        self._waiting = [entry for entry in self._waiting if entry[2] != key]

    def possible(self, need: Need) -> bool:
        """Say whether some worker could ever run a job."""
        return any(worker.holds(need) for worker in self.workers.values())

    def refusal(self, name: str, need: Need) -> str:
        """Say why no worker can ever run a job; nothing if one can, or if none is there yet."""
        staying = [worker for worker in self.workers.values() if worker.cpu]
        if not staying or self.possible(need):
            return ""
        largest = max(staying, key=lambda worker: (worker.cpu, worker.mem_mb))
        return (
            f"no Dask worker can ever run {name}: it asks for {need}, "
            f"and the largest worker has {largest}"
        )

    def free(self, address: str) -> Need:
        """Return what a worker has left."""
        worker = self.workers[address]
        taken = [need for place, need in self.placed.values() if place == address]
        return Need(
            worker.cpu - sum(need.cpu for need in taken),
            worker.mem_mb - sum(need.mem_mb for need in taken),
        )

    def place(self) -> list[tuple[str, str, Need]]:
        """Give waiting jobs to workers with room; return (job, worker, need) of those that go.

        A job that finds no room keeps the worker where it will run from the less urgent ones, so
        that small jobs cannot hold up a large one for ever.
        """
        going: list[tuple[str, str, Need]] = []
        left: list[tuple[int, int, str, Need]] = []
        kept: set[str] = set()
        for entry in self._waiting:
            _, _, key, need = entry
            able = [a for a, worker in self.workers.items() if worker.holds(need) and a not in kept]
            room = {a: self.free(a) for a in able}
            fits = [a for a in able if need.cpu <= room[a].cpu and need.mem_mb <= room[a].mem_mb]
            best = max(fits or able, key=lambda a: (room[a].cpu, room[a].mem_mb), default=None)
            if best is not None and fits:
                self.placed[key] = (best, need)
                going.append((key, best, need))
                continue
            left.append(entry)
            if best is not None:
                kept.add(best)
        self._waiting = left
        return going
