"""Faults of the steps: ``mixedflow ... VERB ...`` runs ``VERB.py`` of a folder when it has begun.

Python loads this file by itself where its folder is on the search path, also in jobs of Slurm.
"""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

FOLDER = os.environ.get("MIXEDFLOW_TEST_FAULTS")


def attempt_at(folder: Path, verb: str) -> int:
    """Return which start of this verb this is, over all jobs."""
    number = 1
    while True:
        try:
            with (folder / f"{verb}.{number}").open("x") as file:
                file.write(f"{os.getpid()} {os.environ.get('SLURM_JOB_ID', '')}")
        except FileExistsError:
            number += 1
        else:
            return number


def make_faulty(folder: Path, verb: str, script: str) -> None:
    """Have the script run when the step has claimed what it writes."""
    from mixedflow import claims

    claimed, outlast, starts = claims.claimed, claims.outlast, []

    @contextmanager
    def faulty(out):
        with claimed(out):
            starts.append(attempt_at(folder, verb))
            exec(script, {"FOLDER": folder, "ATTEMPT": starts[0]})
            yield

    def noted(out):
        (folder / f"{verb}.{starts[0]}.waits").touch()
        return outlast(out)

    claims.claimed, claims.outlast = faulty, noted


if FOLDER and len(sys.orig_argv) > 2 and Path(sys.orig_argv[1]).name == "mixedflow":
    for word in filter(str.isalpha, sys.orig_argv[2:]):
        if (Path(FOLDER) / f"{word}.py").is_file():
            make_faulty(Path(FOLDER), word, (Path(FOLDER) / f"{word}.py").read_text())
            break
