"""Other programs are asked, for a limited time.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

SECONDS = 15.0
"""Time for an answer: longer than Slurm's own ten seconds for a controller that is silent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program answered.

    Attributes
    ----------
    code : its exit code, None if it did not answer in time or could not be started
    text : its standard output
    complaint : its standard error, or why it has none
    """

    code: int | None
    text: str = ""
    complaint: str = ""

    @property
    def good(self) -> bool:
        """Whether it ended as it should."""
        return self.code == 0

    @property
    def reason(self) -> str:
        """The last line that it said of its failure."""
        lines = [line.strip() for line in self.complaint.splitlines() if line.strip()]
        return lines[-1] if lines else f"it ended with {self.code} and said nothing"


def ask(command: Sequence[str], *, seconds: float = SECONDS, without: Sequence[str] = ()) -> Answer:
    """Run a program and return its answer; never raises.

    Parameters
    ----------
    command : the program and its arguments
    seconds : that it may take
    without : variables of the environment that it is not shown
    """
    environment = {name: value for name, value in os.environ.items() if name not in without}
    try:
        done = subprocess.run(  # noqa: S603 - our own command lines
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment | {"LC_ALL": "C"},
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer(None, complaint=f"{command[0]} did not answer within {seconds:g} s")
    except OSError as fault:
        return Answer(None, complaint=f"{command[0]} cannot be started: {fault.strerror}")
    return Answer(done.returncode, done.stdout, done.stderr)
