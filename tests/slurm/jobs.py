"""What the tests run in Slurm jobs: a sum whose last bits depend on its order."""

from __future__ import annotations

import subprocess
import sys
import time
from operator import add
from pathlib import Path

import numpy as np

ITEMS = 37
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL"}


def rough(index: int) -> np.ndarray:
    rng = np.random.default_rng(index)
    return rng.normal(size=50) * 10.0 ** rng.integers(-9, 9, 50)


def slow(index: int) -> np.ndarray:
    time.sleep(0.5)
    return rough(index)


def total(kind: str, function=rough, on_done=None, **options) -> np.ndarray:
    from mixedflow.parallel import map_reduce, open_runner

    with open_runner(kind, interface="lo", **options) as runner:
        return map_reduce(function, ITEMS, add, runner=runner, on_done=on_done)


def submitted(command: str, *options: str, cwd: Path) -> str:
    """Submit a batch job and return its number."""
    call = ["sbatch", "--parsable", "--output=job.out", *options, "--wrap", command]
    done = subprocess.run(call, cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def state(job: str) -> str:
    shown = subprocess.run(
        ["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout.strip().splitlines()[0]


def ended(job: str, seconds: float) -> str:
    """Wait until a job has ended and return how."""
    until = time.monotonic() + seconds
    while (now := state(job)) not in ENDED:
        assert time.monotonic() < until, f"job {job} is {now}"
        time.sleep(0.2)
    return now


if __name__ == "__main__":
    _, kind, name, result = sys.argv

    def begun(*_: int) -> None:
        Path("begun").touch()

    made = total(kind, globals()[name], begun, workers=2, memory_limit=1_600_000_000)
    np.save(result, made)
