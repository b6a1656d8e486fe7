"""Ways of the workflow through Slurm, and Snakemake on them."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from jobs import ended, submitted

SECONDS = 900
"""A run's limit: it takes a minute on two quiet cores."""

PARTITION = ("--default-resources", "slurm_partition=main", "mem_mb=400", "runtime=10")


def profile(name: str) -> list[str]:
    return ["--workflow-profile", f"workflow/profiles/{name}"]


JOB_A_RULE = [*profile("slurm-noacct"), *PARTITION]
ON_SEVERAL_NODES = [
    *profile("slurm-multinode"),
    *PARTITION,
    "--config",
    "dask={kind: srun, interface: lo}",
]
WORKERS_AS_JOBS = [
    "--cores=2",
    "--config",
    "dask={kind: jobqueue, interface: lo, memory: 1600 MB, jobqueue: {queue: main}}",
]
ONE_MACHINE = ["--cores=2"]


IN_ONE_JOB = [*profile("slurm-allocation"), "--mixedflow-dask-interface=lo", "--jobs=8"]
SHAPE = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=4", "--mem=3500", "--time=20"]


def command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "snakemake", *arguments, "--latency-wait=10"]


class OnThisMachine:
    """A run of the workflow on its way."""

    def __init__(self, place: Path, arguments: list[str]) -> None:
        self.place, self._said = place, place / "run.out"
        self._until = time.monotonic() + SECONDS
        with self._said.open("wb") as out:
            self._process = subprocess.Popen(
                command(arguments),
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def finish(self) -> str:
        """Wait for the end and return what was said."""
        code = self._process.wait(max(1.0, self._until - time.monotonic()))
        assert code == 0, self._said.read_text()
        return self._said.read_text()

    def stop(self) -> None:
        """End it if it has not ended."""
        for end in (self._process.terminate, self._process.kill):
            if self._process.poll() is None:
                end()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(20)


class InOneJob:
    """A run of the workflow inside a job of two nodes."""

    def __init__(self, place: Path, arguments: list[str]) -> None:
        self.place, self._until = place, time.monotonic() + SECONDS
        self._job = submitted(shlex.join(command(arguments)), *SHAPE, cwd=place)

    def finish(self) -> str:
        state = ended(self._job, self._until - time.monotonic())
        said = (self.place / "job.out").read_text()
        assert state == "COMPLETED", said
        return said

    def stop(self) -> None:
        subprocess.run(["scancel", self._job], timeout=60, check=False)


Running = OnThisMachine | InOneJob


def begin(place: Path, arguments: list[str]) -> Running:
    inside = "--mixedflow-dask-interface=lo" in arguments
    return (InOneJob if inside else OnThisMachine)(place, arguments)


def run(place: Path, arguments: list[str]) -> str:
    """Run the workflow to its end and return what it said."""
    running = begin(place, arguments)
    try:
        return running.finish()
    finally:
        running.stop()
