"""The jobs' logs: which of them stay.

As with Snakemake's executor for Slurm, the log of a job that succeeded goes with its end, and others
after some days. Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path

SECONDS_A_DAY = 86_400
_OWN = re.compile(r"-\d+-\d+-[0-9a-f]{8}-\d+(-\d+)?\.log$")


def drop_log(log: Path) -> None:
    """Delete a log, and its folder when that is empty then."""
    with suppress(OSError):
        log.unlink(missing_ok=True)
        log.parent.rmdir()


def drop_old_logs(folder: Path, days: float) -> None:
    """Delete the logs of jobs that are older than some days; nothing else in the folder is touched."""
    if days <= 0:
        return
    oldest = time.time() - days * SECONDS_A_DAY
    for log in folder.glob("*/*.log"):
        with suppress(OSError):
            if _OWN.search(log.name) and log.stat().st_mtime < oldest:
                drop_log(log)
