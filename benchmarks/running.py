"""Processes: start one, wait for it, take its CPU time and memory; runs of several interleaved."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cases import HERE, Case, Dataset, Peer

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS",
    "OMP_THREAD_LIMIT",
)  # fmt: skip

ONCE_ABOVE = 20.0
"""CPU seconds above which a peer is run in the first round only."""


@dataclass(frozen=True)
class Limits:
    """When a process is ended: CPU seconds, and bytes of resident memory."""

    seconds: float
    memory: float


@dataclass(frozen=True)
class Run:
    """One process: its answer, or what became of it instead."""

    cpu: float = 0.0
    wall: float = 0.0
    memory: float = 0.0
    answer: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


def environment() -> dict[str, str]:
    """Return this environment with one thread for every numerical library, and with bytecode.

    Installed packages come with their bytecode. Where this shell forbids writing any, a project that
    is run from its sources would be compiled again by every process.
    """
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **dict.fromkeys(THREAD_VARIABLES, "1"), "PYTHONWARNINGS": "ignore"}


def one_core() -> None:
    """Hold this process and those it starts to one core, whatever its libraries make of the variables."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def command(peer: Peer, case: Case, folder: Path) -> list[str]:
    """Return the command of a peer's process."""
    script = str(HERE / "peers" / peer.script)
    data = folder / case.data.name
    if not script.endswith(".R"):
        return [sys.executable, script, json.dumps(case.request(data))]
    grouping = [name for _, group in case.random for name in group]
    reml = "TRUE" if case.reml else "FALSE"
    raw = str(data.with_suffix(".raw"))
    given = [case.formula, reml, raw, ",".join(grouping), str(case.repeat), case.residual]
    return ["Rscript", script, *given]


def missing(peer: Peer) -> str:
    """Return why a peer cannot be started on this machine, or an empty string."""
    if peer.script.endswith(".R"):
        if shutil.which("Rscript") is None:
            return "not installed: no Rscript"
        package = {"gls": "nlme"}.get(peer.name, peer.name)
        found = subprocess.run(
            ["Rscript", "-e", f"library({package})"], capture_output=True, check=False
        )  # fmt: skip
        return "not installed" if found.returncode else ""
    modules = {"FLASH-MM": "flash_mm", "floor": "pyarrow"}
    module = modules.get(peer.name, peer.name.replace("-", "_"))
    return "" if importlib.util.find_spec(module) else "not installed"


def run(arguments: Sequence[str], limits: Limits) -> Run:
    """Run one process to its end and return what it took."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(
            arguments, stdout=out, stderr=err, env=environment(), start_new_session=True
        )
        status, usage, stopped = _wait(process, limits, began)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        cpu, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024.0
        if stopped:
            return Run(cpu, wall, memory, failure=stopped)
        lines = out.read().decode(errors="replace").strip().splitlines()
        if process.returncode or not lines:
            return Run(cpu, wall, memory, failure=_last_words(err.read(), process.returncode))
        return Run(cpu, wall, memory, json.loads(lines[-1]))


def _wait(
    process: subprocess.Popen[bytes], limits: Limits, began: float
) -> tuple[int, Any, str]:  # fmt: skip
    """Wait for a process; end it where it passes a limit."""
    stopped, pause = "", 0.001
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            return status, usage, stopped
        if not stopped:
            stopped = _beyond(process.pid, limits, time.perf_counter() - began)
            if stopped:
                os.killpg(process.pid, signal.SIGKILL)
        time.sleep(pause)
        pause = min(0.05, 1.2 * pause)


def _beyond(pid: int, limits: Limits, wall: float) -> str:
    """Return which limit a process has passed; on a busy machine it may take thrice the time."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        memory = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        cpu, memory = 0.0, 0
    if cpu > limits.seconds or wall > 3 * limits.seconds:
        return f"no answer in {limits.seconds:.0f} s"
    if memory > limits.memory:
        return f"more than {limits.memory / 1e9:.1f} GB"
    return ""


def _last_words(errors: bytes, code: int) -> str:
    """Return the last line that a failed process wrote."""
    lines = errors.decode(errors="replace").strip().splitlines()
    words = lines[-1].replace("|", "/") if lines else f"exit code {code}"
    return f"failed: {words[:120]}"


def make(data: Dataset, folder: Path, *, raw: bool) -> None:
    """Make a dataset where it is not there yet, and read it once so that it is in memory."""
    path = folder / data.name
    script, *arguments = data.make
    if not path.exists():
        subprocess.run(
            [sys.executable, str(HERE / script), *arguments, str(path)],
            check=True, stdout=sys.stderr,
        )  # fmt: skip
    binary = path.with_suffix(".raw")
    if raw and not binary.exists():
        subprocess.run(
            [sys.executable, str(HERE / "convert.py"), "raw", str(path), str(binary)], check=True
        )
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def interleaved(
    commands: dict[str, list[str]],
    rounds: int,
    limits: Limits,
    warm: Sequence[str] = (),
    tell: Callable[[str, Run], None] | None = None,
) -> dict[str, dict[int, Run]]:
    """Run every command once a round, forth and back; runs by name and round.

    Commands in ``warm`` are run once before; a command that fails or is slow is not run again.
    """
    for name in warm:
        run(commands[name], limits)
    found: dict[str, dict[int, Run]] = {name: {} for name in commands}
    for number in range(rounds):
        for name in _order(commands, number):
            if number and not _again(found[name][0]):
                continue
            found[name][number] = run(commands[name], limits)
            if tell is not None:
                tell(name, found[name][number])
    return found


def _order(commands: dict[str, list[str]], number: int) -> Iterator[str]:
    return iter(commands) if number % 2 == 0 else reversed(list(commands))


def _again(first: Run) -> bool:
    return not first.failure and first.cpu <= ONCE_ABOVE
