"""A worker on every node of the Slurm job that this is in, and their scheduler, a process of its own.

``python -m mixedflow.plugins.allocation [INTERFACE]`` says the scheduler's address and the folder of
the certificates on standard output, and ends when its standard input does. Each worker has the
processors and the memory that the job has on its node, and the jobs of the workflow share them. All
connections are encrypted; the certificates are made for the run. Stands outside the equations of
``docs/algorithm.md``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from mixedflow.errors import ConfigError, MixedflowError
from mixedflow.parallel.runner import Runner
from mixedflow.parallel.srun import STEP, worker_command, workers_by_srun
from mixedflow.parallel.tls import Tls, own_tls, private_folder
from mixedflow.plugins.ledger import CPU, MEM_MB

WORKER_MB = 300
"""Memory of a worker itself, which no job gets."""

SNAKEMAKE_MB = 500
"""Memory of Snakemake and the scheduler, on the first node."""

FAULT = "error: "
"""What the line begins with that says why there are no workers."""


def nodes_of(environment: Mapping[str, str]) -> int:
    """Return the number of nodes of the Slurm job that this is in."""
    if not environment.get("SLURM_JOB_ID"):
        raise ConfigError(
            "--mixedflow-dask-srun starts workers on the nodes of a Slurm job, and this is none"
            " (SLURM_JOB_ID is not set); run Snakemake inside sbatch or salloc"
        )
    return int(environment.get("SLURM_JOB_NUM_NODES", "1"))


def on_each_node(runner: Runner, tls: Tls, address: str) -> list[str]:
    """Return the command that starts a worker on every node."""
    one_a_node = [f"--nodes={runner.workers}", f"--ntasks={runner.workers}", "--ntasks-per-node=1"]
    program = [sys.executable, "-P", "-m", "mixedflow.plugins.allocation", "--worker"]
    worker = worker_command(tls, address, runner.interface)
    return [*STEP, *one_a_node, "--cpu-bind=none", *program, *worker]


def of_this_node(environment: Mapping[str, str]) -> list[str]:
    """Return the options that tell a worker what the job has on its node."""
    cpus = int(environment.get("SLURM_CPUS_ON_NODE", "1"))
    per_cpu = int(environment.get("SLURM_MEM_PER_CPU") or 0) * cpus
    granted = int(environment.get("SLURM_MEM_PER_NODE") or 0) or per_cpu
    first = environment.get("SLURM_NODEID", "0") == "0"
    left = granted - WORKER_MB - (SNAKEMAKE_MB if first else 0)
    resources = f"{CPU}={cpus}" + (f" {MEM_MB}={max(0, left)}" if granted else "")
    # the jobs are processes of their own, so that Dask has no memory to watch
    return ["--nthreads", str(cpus), "--memory-limit", "0", "--resources", resources]


def serve(interface: str | None) -> None:
    """Start the workers, say where, and stop them when nobody listens any more."""
    import dask
    import distributed  # noqa: F401, its defaults must be there before they are overridden

    from mixedflow.parallel import connecting
    from mixedflow.plugins.local_workers import settings

    runner = Runner("srun", workers=nodes_of(os.environ), interface=interface)
    with (
        dask.config.set(connecting.settings(runner) | settings()),
        private_folder() as folder,
        workers_by_srun(runner, own_tls(folder), folder / "workers.log", on_each_node) as client,
    ):
        _say(f"{client.cluster.scheduler_address} {folder}")
        sys.stdin.read()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> None:
    """Be the scheduler's process, or on a node become its worker."""
    if arguments[:1] == ["--worker"]:
        os.execv(arguments[1], [*arguments[1:], *of_this_node(os.environ)])  # noqa: S606
    try:
        serve(arguments[0] if arguments else None)
    except MixedflowError as fault:
        _say(f"{FAULT}{fault}")


if __name__ == "__main__":
    main(sys.argv[1:])
