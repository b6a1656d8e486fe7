"""What a factorisation may cost on this machine before an iterative route is the better one.

Stands at "Solving" in ``docs/algorithm.md`` (DESIGN 3.5): 5e11 operations a core, half of the memory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

FLOPS_A_CORE = 5e11
"""Operations an iteration that one core is allowed: ten seconds to half a minute."""

MEMORY_SHARE = 0.5
"""Share of the memory that a factor may fill."""

_GROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one factorisation.

    Attributes
    ----------
    flops : floating-point operations
    bytes : memory of the factor and its work space
    """

    flops: float
    bytes: float


def machine_budget(*, cores: int | None = None, memory: float | None = None) -> Budget:
    """Return the budget of a machine.

    Parameters
    ----------
    cores : to count on; those that this process may use unless given
    memory : bytes in all; the machine's, or the control group's if that is less, unless given
    """
    cores = usable_cores() if cores is None else cores
    memory = machine_memory() if memory is None else memory
    return Budget(FLOPS_A_CORE * cores, MEMORY_SHARE * memory)


def usable_cores() -> int:
    """Return the cores that this process may use: its affinity, not the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine_memory() -> float:
    """Return the bytes of this machine, or of its control group if that has less."""
    try:
        total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # no such call on this system
        total = 8e9
    return min([total, *_group_limits()])


def _group_limits() -> list[float]:
    found = []
    for name in _GROUP_LIMITS:
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit() and int(text) > 0:
            found.append(float(text))
    return found
