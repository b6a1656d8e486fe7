"""What Slurm's commands print, as values: text in, values out, nothing is asked here.

Forms of 20.11 to 24.05 are read. Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

NO_LIMIT = frozenset({"", "UNLIMITED", "INFINITE", "NONE", "N/A", "(NULL)", "NOT_SET", "0"})
WORKING = frozenset({"idle", "mixed", "allocated", "completing", "planned", "mix", "alloc", "comp"})
"""States of nodes that run jobs, now or after others."""

NODES_FORMAT = "%P|%T|%D|%c|%m"
"""What ``sinfo --exact --noheader --format`` is asked for."""

JOBS_FORMAT = "%i|%F|%T|%j|%Z"
"""What ``squeue --noheader --array --format`` is asked for; folders may hold any character."""


class Controller(NamedTuple):
    """A controller and whether it answers."""

    role: str
    host: str
    up: bool


@dataclass(frozen=True, slots=True)
class Partition:
    """Limits of a partition; None where there is none.

    Attributes
    ----------
    name, default, state : as Slurm has them; state is "UP" where jobs are taken and started
    minutes : that a job may run
    mem_mb : of a node that a job may take
    cpus : of a node that a job may take
    accounts : that may use it, None for all
    """

    name: str
    default: bool
    state: str
    minutes: float | None
    mem_mb: int | None
    cpus: int | None
    accounts: tuple[str, ...] | None


class Nodes(NamedTuple):
    """Nodes of one kind in one partition."""

    partition: str
    state: str
    number: int
    cpus: int
    mem_mb: int

    @property
    def working(self) -> bool:
        """Whether they run jobs; a trailing ``*`` says that they do not answer."""
        return self.state.rstrip("~#@^%!$-+") in WORKING


class Job(NamedTuple):
    """A job of the queue; ``array`` is the job that a task of an array belongs to, else itself."""

    number: str
    array: str
    state: str
    name: str
    folder: str


def parse_ping(text: str) -> list[Controller]:
    """Return the controllers of ``scontrol ping``.

    Both ``Slurmctld(primary) at a is UP`` and the older ``Slurmctld(primary/backup) at a/b are UP/DOWN``.
    """
    found = []
    for roles, hosts, states in re.findall(r"Slurmctld\(([^)]*)\) at (\S+) (?:is|are) (\S+)", text):
        listed = zip(roles.split("/"), hosts.split("/"), states.split("/"), strict=False)
        found += [Controller(role, host, state == "UP") for role, host, state in listed]
    return found


def parse_config(text: str) -> dict[str, str]:
    """Return the keys of ``scontrol show config``; "(null)" and "N/A" are empty."""
    pairs = re.findall(r"^(\w[\w\[\]]*)\s*= ?(.*)$", text, flags=re.MULTILINE)
    return {key: "" if said.strip() in {"(null)", "N/A"} else said.strip() for key, said in pairs}


def parse_seconds(text: str) -> float | None:
    """Return a time of the configuration, as "300 sec", "1 min" or "300"."""
    found = re.match(r"(\d+)\s*(\w*)", text.strip())
    if found is None:
        return None
    unit = {"m": 60.0, "h": 3600.0, "d": 86400.0}.get(found[2][:1].lower(), 1.0)
    return float(found[1]) * unit


def parse_limit(text: str) -> float | None:
    """Return a limit of time in minutes, None for none: "30", "5:00", "2:00:00", "1-00:00:00"."""
    if text.upper() in NO_LIMIT:
        return None
    days, dash, clock = text.rpartition("-")
    parts = [float(part) for part in clock.split(":")]
    if dash:
        hours, minutes, seconds = [*parts, 0.0, 0.0][:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0.0, [*parts, 0.0][:2]
    return float(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def parse_partitions(text: str) -> list[Partition]:
    """Return the partitions of ``scontrol show partition``, in one line each or in several."""
    found = []
    for block in re.split(r"(?=\bPartitionName=)", text):
        keys = dict(re.findall(r"(\w+)=(\S*)", block))
        if "PartitionName" not in keys:
            continue
        accounts = keys.get("AllowAccounts", "ALL")
        found.append(
            Partition(
                name=keys["PartitionName"],
                default=keys.get("Default") == "YES",
                state=keys.get("State", "UP"),
                minutes=parse_limit(keys.get("MaxTime", "")),
                mem_mb=_whole(keys.get("MaxMemPerNode", "")),
                cpus=_whole(keys.get("MaxCPUsPerNode", "")),
                accounts=None if accounts == "ALL" else tuple(accounts.split(",")),
            )
        )
    return found


def parse_nodes(text: str) -> list[Nodes]:
    """Return the kinds of nodes that ``sinfo`` lists with :data:`NODES_FORMAT`."""
    found = []
    for line in text.splitlines():
        parts = line.strip().split("|")
        if len(parts) != 5:
            continue
        count, cpus, memory = (_whole(part) for part in parts[2:])
        if count is not None and cpus is not None and memory is not None:
            found.append(Nodes(parts[0].rstrip("*"), parts[1].lower(), count, cpus, memory))
    return found


def parse_jobs(text: str) -> list[Job]:
    """Return the jobs that ``squeue`` lists with :data:`JOBS_FORMAT`."""
    split = (line.split("|", 4) for line in text.splitlines())
    return [Job(*(part.strip() for part in parts)) for parts in split if len(parts) == 5]


def _whole(text: str) -> int | None:
    """Return the number that a text begins with ("4+", "6000M"), None for no limit."""
    found = re.match(r"(\d+)", text.strip())
    return None if found is None or text.upper() in NO_LIMIT else int(found[1])
