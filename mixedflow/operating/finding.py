"""What a check found, in one sentence, and what to do about it.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Verdict = Literal["ok", "note", "warning", "error"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""From good to bad; only an error keeps a run from working."""

FORMAT = 1
"""Number of the form of the report for machines."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check.

    Attributes
    ----------
    area : "slurm", "files", "threads", "memory", "versions", "network" or "workers"
    check : its name within the area
    verdict : "ok", "note", "warning" or "error"
    said : what is so
    advice : what to do, empty where there is nothing
    """

    area: str
    check: str
    verdict: Verdict
    said: str
    advice: str = ""


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return the worst verdict, "ok" of nothing."""
    return max((found.verdict for found in findings), key=VERDICTS.index, default="ok")


def report(findings: Iterable[Finding]) -> dict[str, Any]:
    """Return the findings as a document for machines."""
    listed = list(findings)
    return {
        "format": FORMAT,
        "verdict": worst(listed),
        "findings": [asdict(found) for found in listed],
    }
