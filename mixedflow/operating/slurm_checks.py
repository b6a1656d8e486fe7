"""What Slurm's own words mean for a run: values in, findings out, nothing is asked here.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mixedflow.errors import did_you_mean, listing
from mixedflow.operating.asked import Asked, Need
from mixedflow.operating.asking import Answer
from mixedflow.operating.finding import Finding, Verdict
from mixedflow.operating.slurm_text import Controller, Nodes, Partition, parse_seconds

AREA = "slurm"
LOOK_SECONDS = 180
"""Seconds between two looks of Snakemake's executor at its jobs, at most."""


def check_controller(controllers: Sequence[Controller], answer: Answer) -> Finding:
    """Say whether a controller answers."""
    up = [each for each in controllers if each.up]
    down = [each for each in controllers if not each.up]
    if not up:
        return Finding(
            AREA, "controller", "error", f"no controller of Slurm answers: {_why(down, answer)}",
            "start slurmctld, or name the cluster's configuration (SLURM_CONF, /etc/slurm/slurm.conf)",
        )  # fmt: skip
    said = f"the controller at {up[0].host} answers"
    if down:
        silent = ", ".join(each.host for each in down)
        return Finding(AREA, "controller", "note", f"{said}; that at {silent} does not")
    return Finding(AREA, "controller", "ok", said)


def _why(down: Sequence[Controller], answer: Answer) -> str:
    if down:
        return ", ".join(f"that at {each.host} is down" for each in down)
    return answer.reason


def check_place(given: str, seen: str, without: Answer, there: str) -> Finding:
    """Say whether Slurm is found without ``SLURM_CONF``, as job steps of the workflow look for it.

    Parameters
    ----------
    given : the variable, empty if it is not set
    seen : name of the cluster that it leads to
    without : the answer when the variable is taken away
    there : name of the cluster in that answer
    """
    if not given:
        return Finding(AREA, "configuration", "ok", "the configuration stands at the default place")
    link = f"link {given} to /etc/slurm/slurm.conf on every node"
    if not without.good:
        said = "the configuration is known from SLURM_CONF alone, which job steps of Snakemake lose"
        return Finding(AREA, "configuration", "error", said, link)
    if there != seen:
        said = f"SLURM_CONF leads to the cluster '{seen}', and without it job steps find '{there}'"
        return Finding(AREA, "configuration", "error", said, link)
    return Finding(AREA, "configuration", "ok", "the configuration is found without SLURM_CONF too")


def check_accounting(config: Mapping[str, str], answer: Answer, asked: Asked) -> Finding:
    """Say whether ``sacct`` tells of jobs, and so which profile fits."""
    kind = config.get("AccountingStorageType", "").removeprefix("accounting_storage/")
    if not answer.good:
        why = answer.reason if kind not in {"", "none"} else "the cluster keeps none"
        watched = asked.executor == "slurm" and asked.status != "squeue"
        return Finding(
            AREA, "accounting", "error" if watched else "note", f"accounting does not work: {why}",
            "take the profile slurm-noacct, and name no slurm_account",
        )  # fmt: skip
    enforced = "associations" in config.get("AccountingStorageEnforce", "")
    if enforced and asked.executor == "slurm" and "slurm_account" not in asked.resources:
        return Finding(
            AREA, "accounting", "note", "accounting works, and jobs are charged to an account",
            "name one if yours is not the default: --default-resources slurm_account=...",
        )  # fmt: skip
    return Finding(AREA, "accounting", "ok", f"accounting works ({kind}); the profile slurm fits")


def check_memory_of_jobs(config: Mapping[str, str], *, by_squeue: bool) -> Finding:
    """Say whether ``squeue`` remembers ended jobs until Snakemake has looked."""
    seconds = parse_seconds(config.get("MinJobAge", ""))
    if seconds is None:
        return Finding(AREA, "MinJobAge", "note", "the cluster does not say how long it keeps jobs")
    said = f"ended jobs stay in squeue for {seconds:g} s (MinJobAge)"
    if not by_squeue:
        return Finding(AREA, "MinJobAge", "ok", f"{said}; jobs are watched by sacct")
    if 0 < seconds <= LOOK_SECONDS:
        return Finding(
            AREA, "MinJobAge", "warning", f"{said}, and Snakemake may look {LOOK_SECONDS} s apart",
            "have it raised to 300, or take the profile slurm if accounting works",
        )  # fmt: skip
    return Finding(AREA, "MinJobAge", "ok", f"{said}, long enough to see how they ended")


def check_limits_kept(config: Mapping[str, str]) -> Finding:
    """Say whether requests that no partition can give are refused."""
    value = config.get("EnforcePartLimits", "NO")
    if value in {"ALL", "ANY", "YES"}:
        said = f"what a partition cannot give is refused (EnforcePartLimits={value})"
        return Finding(AREA, "EnforcePartLimits", "ok", said)
    return Finding(
        AREA, "EnforcePartLimits", "warning",
        "a job that asks for more than its partition gives pends for ever (EnforcePartLimits=NO)",
        "look at the reason in squeue where a job does not start",
    )  # fmt: skip


def check_memory_kept(config: Mapping[str, str]) -> Finding:
    """Say what happens to a job that takes more memory than it asked for."""
    if "cgroup" in config.get("TaskPlugin", ""):
        said = "jobs are held to their memory by control groups"
        return Finding(AREA, "memory", "ok", said)
    if "OverMemoryKill" in config.get("JobAcctGatherParams", ""):
        said = "a job over its memory is killed and ends as FAILED, not as OUT_OF_MEMORY"
        return Finding(AREA, "memory", "note", said)
    return Finding(
        AREA, "memory", "note", "nothing holds jobs to the memory that they ask for",
        "keep mem_mb honest: a node may run short of memory for all its jobs",
    )  # fmt: skip


def check_partitions(
    partitions: Sequence[Partition], nodes: Sequence[Nodes], asked: Asked
) -> Iterator[Finding]:
    """Say which partitions there are, and whether the one that is asked for has what the jobs need."""
    name = asked.resources.get("slurm_partition", "")
    chosen = next((p for p in partitions if (p.name == name if name else p.default)), None)
    for partition in partitions:
        if partition is not chosen:
            said = describe(partition, nodes)
            yield Finding(AREA, f"partition {partition.name}", "note", said)
    if chosen is not None:
        yield from _check_chosen(chosen, nodes, asked)
    elif asked.executor != "slurm":
        return
    elif name:
        known = [partition.name for partition in partitions]
        yield Finding(
            AREA, f"partition {name}", "error",
            f"there is no partition '{name}'{did_you_mean(name, known)}", f"there is {listing(known)}",
        )  # fmt: skip
    else:
        yield Finding(
            AREA, "partition", "error", "no partition is the default, and the profile names none",
            "add --default-resources slurm_partition=...",
        )  # fmt: skip


def _check_chosen(partition: Partition, nodes: Sequence[Nodes], asked: Asked) -> Iterator[Finding]:
    check = f"partition {partition.name}"
    bad: Verdict = "error" if asked.on_slurm else "warning"
    kinds = [each for each in nodes if each.partition == partition.name and each.working]
    said = describe(partition, nodes)
    if partition.state != "UP" or not kinds:
        yield Finding(AREA, check, bad, said, "no job starts there: name another partition")
        return
    yield Finding(AREA, check, "ok", said)
    for need in asked.needs:
        for attempt in sorted({1, asked.attempts}):
            lacking = lacks(partition, kinds, need, attempt)
            if lacking:
                first = attempt == 1
                when = "" if first else f" at attempt {attempt}"
                yield Finding(
                    AREA, f"rule {need.rule}", bad if first else "warning",
                    f"it asks for {lacking}{when}, more than the partition {partition.name} gives",
                    f"name another partition, or --set-resources {need.rule}:... (docs/hpc.md)",
                )  # fmt: skip
                break


def lacks(partition: Partition, kinds: Sequence[Nodes], need: Need, attempt: int = 1) -> str:
    """Return what of a need no kind of nodes of the partition can give, empty if all."""
    minutes, mem_mb = need.minutes * attempt, need.mem_mb * attempt
    if partition.minutes is not None and minutes > partition.minutes:
        return f"{minutes} minutes"
    if partition.cpus is not None and need.cpus > partition.cpus:
        return f"{need.cpus} CPUs"
    if partition.mem_mb is not None and mem_mb > partition.mem_mb:
        return f"{mem_mb} MB"
    if any(kind.cpus >= need.cpus and kind.mem_mb >= mem_mb for kind in kinds):
        return ""
    return f"{need.cpus} CPUs and {mem_mb} MB of one node"


def describe(partition: Partition, nodes: Sequence[Nodes]) -> str:
    """Return state, nodes and limits of a partition in a line."""
    own = [each for each in nodes if each.partition == partition.name]
    kinds: dict[tuple[int, int], list[int]] = {}
    for each in own:
        counts = kinds.setdefault((each.cpus, each.mem_mb), [0, 0])
        counts[0] += each.number if each.working else 0
        counts[1] += each.number
    shown = ", ".join(
        f"{working} of {count} nodes with {cpus} CPUs and {mem_mb} MB work"
        for (cpus, mem_mb), (working, count) in sorted(kinds.items())
    )
    limits = [] if partition.minutes is None else [f"{partition.minutes:g} minutes"]
    limits += [] if partition.mem_mb is None else [f"{partition.mem_mb} MB of a node"]
    limits += [] if partition.cpus is None else [f"{partition.cpus} CPUs of a node"]
    most = f"; a job takes at most {', '.join(limits)}" if limits else "; no limits"
    first = "the default, " if partition.default else ""
    return f"{first}{partition.state.lower()}, {shown or 'no nodes'}{most}"
