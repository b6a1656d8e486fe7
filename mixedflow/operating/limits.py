"""What this process may really use: its control groups against the machine.

Stands outside the equations of ``docs/algorithm.md``. Files of Linux are read; elsewhere there is no limit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
GROUPS = Path("/sys/fs/cgroup")


def machine_cores() -> int:
    """Return the cores of the machine."""
    return os.cpu_count() or 1


def group_cores(proc: Path = PROC, groups: Path = GROUPS) -> float | None:
    """Return the share of cores that the control groups give, None for no limit."""
    found = []
    for folder in _own_groups("cpu", proc, groups):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            found.append(int(quota) / int(period))
    return min(found, default=None)


def machine_bytes(proc: Path = PROC) -> tuple[float, float] | None:
    """Return memory of the machine, and what of it is free now, in bytes; None if it is not told."""
    lines = (line.split() for line in _text(proc / "meminfo").splitlines())
    found = {words[0].rstrip(":"): float(words[1]) * 1024 for words in lines if len(words) > 1}
    if "MemTotal" not in found:
        return None
    return found["MemTotal"], found.get("MemAvailable", found["MemTotal"])


def group_bytes(proc: Path = PROC, groups: Path = GROUPS) -> float | None:
    """Return the bytes that the control groups give, None for no limit."""
    found = []
    for folder in _own_groups("memory", proc, groups):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _text(folder / name)
            if text.isdigit() and int(text) < 1 << 60:  # no limit is a number as well
                found.append(float(text))
    return min(found, default=None)


def _own_groups(controller: str, proc: Path, groups: Path) -> Iterator[Path]:
    """Give the folders of this process's groups and of all above them."""
    for line in _text(proc / "self/cgroup").splitlines() or ["0::/"]:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        top = groups / controllers if controllers else groups
        place = top / path.lstrip("/")
        yield place
        yield from (above for above in place.parents if above.is_relative_to(top))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
