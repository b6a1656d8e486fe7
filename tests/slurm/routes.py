"""Ways of the workflow through Slurm, and Snakemake on them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
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


IN_ONE_JOB = [
    *profile("slurm-allocation"),
    "--mixedflow-dask-interface=lo",
    "--jobs=8",
]
Run = Callable[[Path, list[str]], None]


def snakemake(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "snakemake", *arguments, "--latency-wait=10"]


def run(place: Path, arguments: list[str]) -> None:
    """Run the workflow to its end, or say what it said."""
    done = subprocess.run(
        snakemake(arguments),
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout


def run_in_one_job(place: Path, arguments: list[str]) -> None:
    """Run the workflow inside a job of two nodes."""
    shape = ("--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=2", "--mem=5000")
    job = submitted(shlex.join(snakemake(arguments)), *shape, cwd=place)
    state = ended(job, SECONDS)
    assert state == "COMPLETED", (place / "job.out").read_text()
