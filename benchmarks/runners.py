"""What Dask workers cost beside this process: CPU time of condensing the same file, by runner.

    python benchmarks/runners.py rows.parquet                 # one core, then two
    python benchmarks/runners.py rows.parquet --rounds 5

Every run is a process of its own. CPU time is that of the process and of its workers together (user and
system), of two condensings after a first one that loads and compiles; ``whole`` is everything from the
start of the process to the end of the workers. Runs are interleaved; printed is the least of the rounds,
and the ratio of workers (``processes``) to this process (``synchronous``, or ``threads``) on as many
cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence

from running import environment
from tables import table

FORMULA = "y ~ x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 + (1 + x1 | g)"
RUNNERS = (("synchronous", 1), ("processes", 1), ("threads", 2), ("processes", 2))
PASSES = 2


def used() -> float:
    """Return the CPU time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def one(path: str, kind: str, workers: int) -> None:
    """Condense in this process and print the CPU time of a pass, here and on workers."""
    import mixedflow as mf
    from mixedflow.parallel import open_runner

    with open_runner(kind, workers=workers) as runner:

        def everywhere() -> float:
            return used() + (sum(runner.client.run(used).values()) if runner.client else 0.0)

        for _ in range(2):
            mf.condense(FORMULA, path, runner=runner)
        before = everywhere()
        for _ in range(PASSES):
            mf.condense(FORMULA, path, runner=runner)
        print(json.dumps((everywhere() - before) / PASSES))


def all_cores() -> None:
    """Let a process have every core, whatever the one that started it was held to."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))


def measured(path: str, kind: str, workers: int) -> tuple[float, float]:
    """Return the CPU seconds of a pass, and of a process with all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, __file__, path, "--one", kind, str(workers)],
        env=environment(), preexec_fn=all_cores, check=True, capture_output=True, text=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = sum(getattr(after, k) - getattr(before, k) for k in ("ru_utime", "ru_stime"))
    return float(json.loads(done.stdout.splitlines()[-1])), whole


def compared(path: str, rounds: int) -> str:
    """Return the table of all runners, interleaved, after a run of each that is not counted."""
    for key in RUNNERS:
        measured(path, *key)
    found: dict[tuple[str, int], list[tuple[float, float]]] = {key: [] for key in RUNNERS}
    for number in range(rounds):
        for key in RUNNERS if number % 2 == 0 else RUNNERS[::-1]:
            found[key].append(measured(path, *key))
    head = ("cores", "runner", "CPU s a pass", "ratio", "whole process", "ratio")
    lines, least = [], {}
    for (kind, cores), values in found.items():
        best = (min(a for a, _ in values), min(b for _, b in values))
        first = least.setdefault(cores, best)
        figures = [f"{x:.2f}" for x in (best[0], best[0] / first[0], best[1], best[1] / first[1])]
        lines.append([str(cores), kind, *figures])
    return table(head, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every runner, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="a Parquet file with y, x1 to x8 and g")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("KIND", "WORKERS"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        one(given.path, given.one[0], int(given.one[1]))
        return
    print(compared(given.path, given.rounds))


if __name__ == "__main__":
    main()
