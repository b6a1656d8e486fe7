"""A small workflow whose jobs wait for a word and notice if one runs twice at once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
NAMES = ("a", "b")
ON_THE_LOOPBACK = {
    "host": "127.0.0.1",
    "dashboard_address": None,
    "worker_dashboard_address": None,
    "scheduler_kwargs": {"dashboard": False, "dashboard_address": "127.0.0.1:0"},
}
"""Arguments of a LocalCluster, of which several may run on this machine."""
SNAKEFILE = """
# a workflow for the tests of mixedflow
rule all:
    input: expand("{name}.txt", name=["a", "b"])

rule slow:
    output: "{name}.txt"
    resources: mem_mb=300, runtime=5
    shell:
        "exec 9> {wildcards.name}.lock; flock -n 9 || echo {wildcards.name} >> twice; "
        "echo $$ > {wildcards.name}.pid; echo half > {output}; "
        "while [ ! -e go ]; do sleep 0.1; done; echo done > {output}"
"""


def make_place(place: Path) -> Path:
    """Make a folder with the workflow and a configuration that is valid."""
    (place / "config").mkdir(parents=True)
    (place / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    shipped = (ROOT / "config/config.yaml").read_text(encoding="utf-8")
    data = re.sub(r"config/data/", f"{ROOT}/config/data/", shipped)
    (place / "config/config.yaml").write_text(data, encoding="utf-8")
    return place


def wait_for(look: Callable[[], Any], seconds: float = 250) -> Any:
    """Look until there is something to see."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def jobs(place: Path) -> list[int]:
    """Wait until both jobs run, and return their processes."""
    files = [place / f"{name}.pid" for name in NAMES]
    wait_for(lambda: all(file.exists() and file.read_text().strip() for file in files))
    return [int(file.read_text()) for file in files]


@contextmanager
def started(place: Path, *command: str) -> Iterator[subprocess.Popen]:
    """Start a run; whatever happens, nothing of it is left at the end."""
    with (place / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        (place / "go").touch()
        for pid in family(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def family(pid: int) -> list[int]:
    """Return a process and all that it has started, the children first."""
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [*reversed([child.pid for child in children]), pid]


def kill_controller(process: subprocess.Popen) -> None:
    """End ``mixedflow run`` and its Snakemake as a machine that runs out of memory does."""
    controller = psutil.Process(process.pid)
    pids = [process.pid, *(c.pid for c in controller.children() if "snakemake" in c.cmdline())]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(alive(pid) for pid in pids))


def resume(place: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "mixedflow", "resume", *arguments],
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout + done.stderr


def outputs(place: Path) -> list[str]:
    return [(place / f"{name}.txt").read_text() for name in NAMES]
