"""What the executor's tests share: small workflows, Snakemake on Dask workers, who still runs."""

from __future__ import annotations

import json
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

LIMIT = 240
LOCAL = ("--mixedflow-dask-local-workers", "1", "--mixedflow-dask-worker-threads", "2")

LOOPBACK = ("--host", "127.0.0.1", "--no-dashboard")


def arguments(*more: str, place: tuple[str, ...] = LOCAL) -> list[str]:
    """Return the command line of a run on Dask workers."""
    command = [sys.executable, "-m", "snakemake", "--executor", "mixedflow-dask", "--jobs", "8"]
    return [*command, "--nocolor", *place, *more]


@contextmanager
def running(folder: Path, snakefile: str, *more: str, **kept: Any) -> Iterator[Flow]:
    """Start a workflow; whatever happens, nothing of it is left at the end."""
    (folder / "Snakefile").write_text(snakefile, encoding="utf-8")
    said = folder / "said.txt"
    with said.open("wb") as out:
        process = subprocess.Popen(
            arguments(*more, **kept),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    flow = Flow(folder, process, said)
    try:
        yield flow
    finally:
        flow.tidy()


class Flow:
    """A workflow on its way."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], said: Path) -> None:
        self.folder, self.process, self._said = folder, process, said
        self._host: int | None = None

    def finish(self) -> tuple[int, str]:
        """Wait for the end; return exit code and text."""
        code = self.process.wait(LIMIT)
        return code, self.text

    @property
    def text(self) -> str:
        """What Snakemake has said so far."""
        return self._said.read_text(encoding="utf-8")

    @property
    def pool(self) -> dict[str, Any]:
        """Address and process of the local scheduler."""
        path = self.folder / ".snakemake/mixedflow-dask/scheduler.json"
        found: dict[str, Any] = json.loads(wait_for(lambda: path.exists() and path.read_text()))
        self._host = found["pid"]
        return found

    def number(self, name: str) -> int:
        """Wait for a file with a process's number."""
        path = self.folder / name
        return int(wait_for(lambda: path.exists() and path.read_text().strip()))

    def logs(self) -> list[Path]:
        """Return the jobs' logs."""
        return sorted((self.folder / ".snakemake/mixedflow-dask").glob("*/*.log"))

    def tidy(self) -> None:
        """End Snakemake and the local workers, by their recorded numbers."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        if self._host is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._host, signal.SIGKILL)


class Machines:
    """A scheduler and workers that declare their threads, all on the loopback."""

    def __init__(self, folder: Path, workers: int = 2, threads: int = 1) -> None:
        self.folder = folder
        self.file, self.log = folder / "scheduler.json", folder / "dask.txt"
        self.scheduler = self._start("scheduler", "--port", "0", *LOOPBACK)
        wait_for(lambda: self.file.exists() and self.file.read_text().endswith("}"))
        # bare ones, so that nothing brings a dead worker back
        worker = ("worker", "--no-nanny", "--nthreads", str(threads), *LOOPBACK)
        declared = ("--resources", f"CPU={threads}")
        self.workers = [self._start(*worker, *declared) for _ in range(workers)]

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *arguments, "--scheduler-file", str(self.file)]
        with self.log.open("ab") as said:
            return subprocess.Popen(
                command, cwd=self.folder, stdout=said, stderr=said, stdin=subprocess.DEVNULL
            )

    @property
    def place(self) -> tuple[str, ...]:
        return ("--mixedflow-dask-scheduler-file", str(self.file))

    def wait_for_workers(self, count: int) -> None:
        """Wait until the scheduler knows that there are so many."""
        from distributed import Client

        with Client(scheduler_file=str(self.file), set_as_default=False) as client:
            assert wait_for(lambda: len(client.nthreads()) == count, 60)

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


def wait_for(look: Callable[[], Any], seconds: float = 60) -> Any:
    """Look until there is something to see."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def alive(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def reasons(text: str) -> list[str]:
    """Return why jobs failed, in Snakemake's words."""
    return re.findall(r"^\s+message: (.+)$", text, flags=re.MULTILINE)
