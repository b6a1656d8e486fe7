"""Slurm is asked whether it would take and run the jobs.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from mixedflow.operating import slurm_checks as checks
from mixedflow.operating.asked import Asked
from mixedflow.operating.asking import Answer, ask
from mixedflow.operating.finding import Finding, Verdict
from mixedflow.operating.slurm_text import (
    NODES_FORMAT,
    parse_config,
    parse_nodes,
    parse_partitions,
    parse_ping,
)

COMMANDS = ("sbatch", "squeue", "sinfo", "scontrol", "scancel", "srun")
AREA = checks.AREA


def check_slurm(asked: Asked) -> Iterator[Finding]:
    """Give the findings about Slurm; where there is none, one line that says so."""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        yield _commands_missing(missing, asked)
    if len(missing) == len(COMMANDS):
        return
    answer = ask(["scontrol", "ping"])
    controllers = parse_ping(answer.text)
    controller = checks.check_controller(controllers, answer)
    if controller.verdict == "error" and not asked.on_slurm:
        yield Finding(AREA, "controller", "note", controller.said, "none is needed to run here")
        return
    yield controller
    if controller.verdict != "error":
        yield from _check_cluster(asked)


def _commands_missing(missing: list[str], asked: Asked) -> Finding:
    verdict: Verdict = "error" if asked.on_slurm else "note"
    if len(missing) == len(COMMANDS):
        said = "there is no Slurm on this machine (no sbatch)"
        how = "run on a login node of the cluster, or by another profile" if asked.on_slurm else ""
        return Finding(AREA, "commands", verdict, said, how)
    said = f"of Slurm's commands {', '.join(missing)} cannot be found"
    return Finding(AREA, "commands", verdict, said, "put their folder on PATH")


def _check_cluster(asked: Asked) -> Iterator[Finding]:
    shown = ask(["scontrol", "show", "config"])
    config = parse_config(shown.text)
    if not config:
        yield Finding(AREA, "configuration", "warning", f"scontrol tells nothing: {shown.reason}")
    given = os.environ.get("SLURM_CONF", "")
    without = ask(["scontrol", "show", "config"], without=["SLURM_CONF"]) if given else shown
    name = config.get("ClusterName", "")
    there = parse_config(without.text).get("ClusterName", "")
    yield checks.check_place(given, name, without, there)
    listed = parse_partitions(ask(["scontrol", "show", "partition", "--oneliner"]).text)
    nodes = ask(["sinfo", "--exact", "--noheader", f"--format={NODES_FORMAT}"])
    yield from checks.check_partitions(listed, parse_nodes(nodes.text), asked)
    accounting = _sacct()
    yield checks.check_accounting(config, accounting, asked)
    by_squeue = asked.status == "squeue" or not accounting.good
    yield checks.check_memory_of_jobs(config, by_squeue=by_squeue)
    yield checks.check_limits_kept(config)
    yield checks.check_memory_kept(config)


def _sacct() -> Answer:
    if shutil.which("sacct") is None:
        return Answer(None, complaint="sacct cannot be found")
    return ask(
        ["sacct", "--noheader", "--allocations", "--format=JobID", "--starttime=now-1minutes"]
    )
