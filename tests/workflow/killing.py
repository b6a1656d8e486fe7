"""Kill a run with -9 at random moments and resume it: ``python tests/workflow/killing.py 10``.

The run is the shipped analysis (two models, inference, page) with a small sweep. ``tree`` kills
Snakemake and everything it started, ``controller`` Snakemake alone, whose steps go on and end by
themselves, ``step`` one of the steps. After each, ``snakemake --unlock`` and Snakemake again; at the
end the digests of all numbers are compared with those of a run that nobody touched.
"""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import psutil
import yaml

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from numbers_found import numbers_of  # noqa: E402
from snakes import copy_analysis, snakemake  # noqa: E402

Whom = Literal["tree", "controller", "step"]
WHOM: tuple[Whom, ...] = ("tree", "controller", "step")
TRAITS = 8
LONGEST = 240.0
"""Seconds after which a run that should be waited for has gone wrong."""


@dataclass(frozen=True)
class Killed:
    """What was killed, when, and what ran then."""

    whom: Whom
    seconds: float
    running: tuple[str, ...]
    finished: int


def analysis(place: Path) -> Path:
    """Return a folder with the shipped analysis and a sweep beside it."""
    copy_analysis(place)
    rng = np.random.default_rng(3)
    g = rng.integers(15, size=150)
    x = rng.normal(size=150)
    traits = {
        f"t{k}": x * (k % 2) + rng.normal(size=15)[g] + rng.normal(size=150) for k in range(TRAITS)
    }
    pd.DataFrame({"g": g, "x": x, **traits}).to_csv(place / "wide.csv", index=False)
    path = place / "config/config.yaml"
    content = yaml.safe_load(path.read_text("utf-8"))
    content["data"]["wide"] = {"path": "wide.csv", "types": {"g": "category"}}
    content["sweep"] = {
        "traits": {
            "data": "wide",
            "traits": "t*",
            "models": {"null": "~ 1 + (1 | g)", "full": "~ x + (1 | g)"},
            "tests": {"x": ["null", "full"]},
            "traits_per_job": TRAITS // 2,
        }
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return place


def numbers(place: Path) -> dict[str, str]:
    """Return the digests of what a run found, which must be all of it."""
    assert (place / "results/report.html").is_file()
    return numbers_of(place / "results")


def begun(place: Path) -> psutil.Popen:
    """Start Snakemake in a session of its own."""
    return psutil.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2"],
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=(place / "run.log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def kill(place: Path, whom: Whom, after: float) -> Killed | None:
    """Start a run and kill it some seconds later; None where it had ended."""
    started = time.monotonic()
    process = begun(place)
    steps: list[psutil.Process] = []
    while time.monotonic() - started < after or (whom == "step" and not steps):
        if process.poll() is not None:
            return None
        steps = _steps(process)
        time.sleep(0.02)
    victims = steps if whom != "controller" else []
    family = process.children(recursive=True)
    running = tuple(sorted({_verb(step) for step in steps}))
    seconds = time.monotonic() - started
    for one in {"tree": [process, *family], "controller": [process], "step": victims[:1]}[whom]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)
    process.wait(LONGEST)
    psutil.wait_procs(family, LONGEST)
    log = (place / "run.log").read_text("utf-8")
    return Killed(whom, seconds, running, len(re.findall(r"^Finished jobid", log, re.MULTILINE)))


def _steps(process: psutil.Process) -> list[psutil.Process]:
    """Return the steps of the workflow that run now."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if _verb(child):
                    found.append(child)
    return found


def _verb(process: psutil.Process) -> str:
    """Return the verb of a mixedflow command, empty for other processes."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return ""
    at = next((k for k, word in enumerate(words[:3]) if Path(word).name == "mixedflow"), None)
    if at is None or Path(words[0]).name in ("sh", "bash"):
        return ""
    return " ".join(words[at + 1 : at + 3 if words[at + 1] == "sweep" else at + 2])


def resumed(place: Path) -> None:
    """Unlock and run to the end."""
    assert snakemake("--unlock", cwd=place).code == 0
    run = snakemake(cwd=place)
    assert run.code == 0, run.text


def main(times: int, seed: int) -> None:
    """Kill so many runs, each once, and print what came of it."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = analysis(Path(folder) / "whole")
        started = time.monotonic()
        assert snakemake(cwd=whole).code == 0
        lasts = time.monotonic() - started
        wanted = numbers(whole)
        print(f"undisturbed: {lasts:.0f} s, {len(wanted)} files with numbers", flush=True)
        print(
            "| killed | after, s | jobs done | running | digests that differ |\n|---|---|---|---|---|"
        )
        for number in range(times):
            place = analysis(Path(folder) / f"run{number}")
            found = kill(place, WHOM[number % len(WHOM)], chance.uniform(0.05, 0.95) * lasts)
            resumed(place)
            again = numbers(place)
            differ = sorted(n for n in {*wanted, *again} if wanted.get(n) != again.get(n))
            told = "" if found is None else ", ".join(found.running)
            when = "at its end" if found is None else f"{found.seconds:.1f}"
            done = "all" if found is None else found.finished
            whom = WHOM[number % len(WHOM)]
            print(f"| {whom} | {when} | {done} | {told or '-'} | {differ or 'none'} |", flush=True)
            shutil.rmtree(place)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
