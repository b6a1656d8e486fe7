"""What the tests of faults share: steps that wait or need much, a run beside the test, the daemons."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
from snakes import copy_analysis, edit, python_module

PATIENCE = 150
"""Seconds for what takes a few on an idle machine."""

FAULTY = Path(__file__).parent / "faulty"
KEPT = ("parameters", "loglik", "sigma", "fixef", "se", "vcov", "varcorr", "n_iter")
FIT = "results/models/slope/fit/fit.json"
HERE = ("slurm_partition=main", "mem_mb=400", "runtime=5")

WAIT_ONCE = """
import time
while ATTEMPT == 1 and not (FOLDER / "go").exists():
    time.sleep(0.1)
"""
"""The first start of a step waits until it is let go; a retry does not."""

WAIT_EACH = """
import time
while not (FOLDER / f"go.{ATTEMPT}").exists():
    time.sleep(0.1)
"""
"""Each start of a step waits until that one is let go."""

NEED_MEMORY = """
import time
held = bytearray({mb} * 2**20)
held[::4096] = b"1" * len(held[::4096])
time.sleep(600 if ATTEMPT == 1 else 3)
del held
"""
"""A step that needs memory; the first start holds it until Slurm notices."""


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> object:
    """Wait for a state and return it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.2)
    return found


def finished_analysis(place: Path) -> Path:
    """Fit the shipped models, in several partitions, on this machine."""
    copy_analysis(place)
    edit(place / "config/config.yaml", "    units:\n", "    partition_rows: 40\n    units:\n")
    run = python_module("snakemake", "--cores=2", FIT, cwd=place)
    assert run.code == 0, run.text
    return place


def without(done: Path, place: Path, *results: str) -> Path:
    """Copy a finished analysis and delete results that are to be made again."""
    shutil.copytree(done, place, symlinks=True)
    for name in results:
        shutil.rmtree(place / "results" / name)
    shutil.rmtree(place / "results/logs")
    return place


def digits(place: Path) -> dict[str, str]:
    """Return what was found, every digit: the fit, and the sums and rows that it came from."""
    fit = json.loads((place / FIT).read_text())
    found = {name: repr(fit[name]) for name in KEPT}
    for sums in sorted(
        (place / "results/sleepstudy/designs").glob("*/crossproducts/manifest.json")
    ):
        found[sums.parts[-3]] = json.loads(sums.read_text())["arrays_sha256"]
    prepared = json.loads((place / "results/sleepstudy/prepared/manifest.json").read_text())
    return found | {part["file"]: part["sha256"] for part in prepared["parts"]}


class Faults:
    """Faults of steps, told to every process through its environment."""

    def __init__(self, folder: Path, environment) -> None:
        self.folder = folder
        folder.mkdir()
        environment.setenv("MIXEDFLOW_TEST_FAULTS", str(folder))
        paths = [str(FAULTY), os.environ.get("PYTHONPATH", "")]
        environment.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))

    def in_step(self, verb: str, script: str) -> None:
        (self.folder / f"{verb}.py").write_text(script)

    def started(self, verb: str, attempt: int = 1) -> tuple[int, str] | None:
        """Return process and job of a start of a step, if there has been that start."""
        file = self.folder / f"{verb}.{attempt}"
        said = file.read_text().split() if file.exists() else []
        return (int(said[0]), said[1]) if len(said) == 2 else None

    def waits(self, verb: str, attempt: int = 1) -> bool:
        """Say whether a start of a step has left its result to a later one."""
        return (self.folder / f"{verb}.{attempt}.waits").exists()

    def let_go(self, attempt: int | None = None) -> None:
        (self.folder / ("go" if attempt is None else f"go.{attempt}")).touch()


class Controller:
    """Snakemake with a shipped profile, beside the test."""

    def __init__(
        self,
        place: Path,
        *options: str,
        profile: str = "slurm-noacct",
        resources: Sequence[str] = (),
    ) -> None:
        self.log = place / "snakemake.log"
        command = [sys.executable, "-m", "snakemake"]
        command += ["--workflow-profile", f"workflow/profiles/{profile}", "--latency-wait=5"]
        command += ["--default-resources", *HERE, *resources, "--jobs=20", *options]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=place, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    def ended(self, seconds: float = PATIENCE) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGINT)
            raise AssertionError(f"Snakemake runs on after {seconds} s:\n{self.text}") from None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def jobs(*states: str) -> list[dict[str, str]]:
    """Return the jobs in some states, or all that Slurm remembers."""
    wanted = ",".join(states) or "all"
    lines = said("squeue", "--noheader", f"--states={wanted}", "--format=%i|%T|%N|%m|%l|%k|%r")
    names = ("id", "state", "node", "memory", "time", "comment", "reason")
    return [dict(zip(names, line.split("|"), strict=True)) for line in lines.splitlines()]


def job(number: str) -> dict[str, str]:
    (found,) = [one for one in jobs() if one["id"] == number]
    return found


def of_rule(rule: str, *states: str) -> list[dict[str, str]]:
    return [one for one in jobs(*states) if one["comment"].startswith(f"rule_{rule}")]


def control(*words: str) -> None:
    subprocess.run(["scontrol", *words], check=True, timeout=60)


def run_now(number: str) -> None:
    """Let a job that Slurm put back begin without the two minutes that it waits."""
    control("update", f"jobid={number}", "starttime=now")


def node_states() -> dict[str, str]:
    lines = said("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %T")
    return dict(line.split() for line in lines.splitlines())


def cancel(number: str) -> None:
    subprocess.run(["scancel", number], check=True, timeout=60)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


class Daemon:
    """A daemon of the test's Slurm, by the process that is recorded for it."""

    def __init__(self, name: str) -> None:
        configuration = Path(os.environ["SLURM_CONF"])
        self.file = configuration.parent / "pid" / f"{name}.pid"
        program, _, node = name.partition(".")
        self.command = [program, "-f", str(configuration), *(["-N", node] if node else [])]

    def runs(self) -> bool:
        return self.file.exists() and not gone(int(self.file.read_text()))

    def stop(self, how: int = signal.SIGKILL) -> None:
        pid = int(self.file.read_text())
        os.kill(pid, how)
        until(lambda: gone(pid), f"{self.command[0]} has ended")

    def start(self) -> None:
        subprocess.run(self.command, check=True, timeout=60)
