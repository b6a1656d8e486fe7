"""Workers of a Dask scheduler, and a node of Slurm, are asked whether they fit this machine.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixedflow.errors import MixedflowError
from mixedflow.operating.asked import Asked
from mixedflow.operating.asking import ask
from mixedflow.operating.facts import facts_of_worker, versions
from mixedflow.operating.finding import Finding
from mixedflow.operating.places import judge_clock, trial_folder
from mixedflow.steps.opening import runner_of

if TYPE_CHECKING:
    from mixedflow.config import DaskConfig

AREA = "workers"
SEEN_SECONDS = 5.0
"""Time for a file that was made here to show up elsewhere."""

SAME = ("mixedflow", "python", "dask", "distributed")
"""Versions that matter elsewhere, the first two to be the same."""


def check_workers(dask: DaskConfig, directory: Path) -> Iterator[Finding]:
    """Ask every worker of a running scheduler."""
    try:
        with runner_of(dask, ask=False) as runner, trial_folder(directory) as folder:
            address = str(runner.address)
            before = time.time()
            look: Callable[..., Any] = facts_of_worker
            answers = runner.client.run(look, str(folder), SEEN_SECONDS, on_error="return")
            after = time.time()
    except MixedflowError as fault:
        how = "start it (dask scheduler), or name another with --address or --scheduler-file"
        yield Finding(AREA, "scheduler", "error", str(fault), how)
        return
    except OSError as fault:
        yield Finding(AREA, "scheduler", "error", f"the workers do not answer: {fault}")
        return
    yield count_finding(address, len(answers))
    for worker, answer in sorted(answers.items()):
        if isinstance(answer, Mapping):
            yield from judge(f"the worker {worker}", answer, before, after)
        else:
            said = f"the worker {worker} cannot run mixedflow: {answer!r}"
            yield Finding(AREA, "mixedflow", "error", said, "install mixedflow there")


def count_finding(address: str, number: int) -> Finding:
    """Say how many workers a scheduler has."""
    said = f"the scheduler at {address} has {number} worker{'' if number == 1 else 's'}"
    if number == 0:
        return Finding(AREA, "scheduler", "warning", said, "start some (dask worker)")
    return Finding(AREA, "scheduler", "ok", said)


def judge(who: str, told: Mapping[str, Any], before: float, after: float) -> Iterator[Finding]:
    """Give what the facts of a worker mean; the looks at the clock here are from before and after."""
    here, there = versions(), told["versions"]
    differing = [name for name in SAME if here[name] != there.get(name)]
    if differing:
        said = "; ".join(f"{n} {there.get(n) or 'missing'}, here {here[n]}" for n in differing)
        bad = there.get("mixedflow") != here["mixedflow"] or _minor(there) != _minor(here)
        how = "install the same versions there"
        yield Finding(AREA, "versions", "error" if bad else "warning", f"{who} has {said}", how)
    else:
        shown = ", ".join(f"{name} {here[name]}" for name in SAME)
        yield Finding(AREA, "versions", "ok", f"{who} on {told['host']} has {shown}")
    if told["seen"]:
        yield Finding(AREA, "folder", "ok", f"{who} sees the working directory")
    else:
        said = f"{who} on {told['host']} does not see the working directory"
        yield Finding(AREA, "folder", "error", said, "work on a file system that all nodes share")
    yield judge_clock(who, told["time"], before, after, AREA)


def _minor(versions_there: Mapping[str, str]) -> list[str]:
    return versions_there.get("python", "").split(".")[:2]


def check_node(asked: Asked, directory: Path, seconds: float) -> Iterator[Finding]:
    """Submit a tiny job and ask the node that it runs on."""
    partition = asked.resources.get("slurm_partition")
    account = asked.resources.get("slurm_account")
    command = ["srun", "--ntasks=1", "--cpus-per-task=1", "--mem=400", "--time=2", "--input=none"]
    command += ["--job-name=mixedflow-doctor", f"--chdir={directory.absolute()}", "--quiet"]
    command += [] if partition is None else [f"--partition={partition}"]
    command += [] if account is None else [f"--account={account}"]
    with trial_folder(directory) as folder:
        program = ["-m", "mixedflow.operating.facts", str(folder), str(SEEN_SECONDS)]
        before = time.time()
        answer = ask([*command, sys.executable, *program], seconds=seconds)
        after = time.time()
    if not answer.good:
        said = f"a tiny job did not run: {answer.reason}"
        how = "more patience (--patience) where the queue is long; else squeue and sinfo say why"
        yield Finding("slurm", "job", "error", said, how)
        return
    try:
        told = json.loads(answer.text.strip().splitlines()[-1])
    except (ValueError, IndexError):
        said = f"a tiny job ran and said nothing that can be read: {answer.text[-200:]!r}"
        yield Finding(
            "slurm", "job", "error", said, "look at the start-up files of the shell there"
        )
        return
    said = f"a tiny job ran on {told['host']} after {after - before:.1f} s"
    yield Finding("slurm", "job", "ok", said)
    yield from judge(f"the node {told['host']}", told, before, after)
