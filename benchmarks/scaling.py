"""Condense the same rows by every back end and by 1, 2 and 4 workers: same bits? time, CPU, memory.

    python benchmarks/scaling.py                              # 10^7 rows of 10^5 groups
    python benchmarks/scaling.py --rows 200_000 --rounds 1
    python benchmarks/scaling.py --data grouped.parquet --only synchronous --only processes

The model is ``y ~ x1 + ... + x8 + (1 + x1 | g)``. Every run is a process of its own: it opens the workers,
condenses the file, condenses it again (a pass whose workers are warm), fits, and closes them. Runs are
interleaved; printed is the least of the rounds. CPU is that of all processes together, scheduler, nannies
and workers included, and so is ``whole``, from the start of Python to the end of the last worker; memory is
the peak of resident memory of this process and of the largest worker. ``address`` is a scheduler with two
workers that were started by hand (their start is in the CPU and not in the wall time). ``srun`` and
``jobqueue`` run where a Slurm answers, the first in a job of its own. The digests are those of all sums and
of the estimates: one of each, or the program fails.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGAN = time.perf_counter()
HERE = Path(__file__).parent
FORMULA = "y ~ x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 + (1 + x1 | g)"
MEMORY = 2_000_000_000
"""Bytes that a worker is given."""


@dataclass(frozen=True)
class Way:
    """One back end with a number of workers."""

    name: str
    kind: str
    workers: int


WAYS = (
    Way("synchronous", "synchronous", 1),
    *(Way("threads", "threads", n) for n in (1, 2, 4)),
    *(Way("processes", "processes", n) for n in (1, 2, 4)),
    Way("address", "address", 2),
    Way("address, TLS", "address", 2),
    *(Way("srun", "srun", n) for n in (1, 2, 4)),
    *(Way("jobqueue", "jobqueue", n) for n in (1, 2)),
)
ON_SLURM = ("srun", "jobqueue")


def cpu(*who: int) -> float:
    """Return user and system time of this process, and of children that it waited for."""
    used = [resource.getrusage(one) for one in who]
    return sum(one.ru_utime + one.ru_stime for one in used)


def state() -> tuple[float, float]:
    """Return CPU seconds and the peak of resident memory in MB; runs on workers too."""
    status = Path("/proc/self/status")
    if status.exists():
        peak = int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1e3
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return cpu(resource.RUSAGE_SELF), peak


def digest(arrays: Iterator[Any]) -> str:
    """Return the SHA-256 of numbers, to the last bit."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(memoryview(array).cast("B"))
    return found.hexdigest()[:16]


def arrays_of(value: Any) -> Iterator[Any]:
    """Yield every array in dataclasses, tuples and mappings, in a fixed order."""
    import dataclasses

    import numpy as np

    if isinstance(value, np.ndarray):
        if value.dtype != object:
            yield np.ascontiguousarray(value)
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from arrays_of(value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from arrays_of(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from arrays_of(getattr(value, field.name))


def one(path: str, kind: str, options: dict[str, Any]) -> None:
    """Condense, fit, and print what it took and what came out."""
    import mixedflow as mf
    from mixedflow.parallel import JobQueue, Tls, open_runner

    if tls := options.pop("tls", None):
        options["tls"] = Tls(**tls)
    if kind == "jobqueue":
        options["jobs"] = JobQueue(minimum=options["workers"], walltime=10)
    told: dict[str, Any] = {}
    with open_runner(kind, **options) as runner:
        client = runner.client
        if client is not None:
            client.wait_for_workers(runner.workers, timeout=300)

        def everywhere() -> float:
            there = client.run(state) if client else {}
            return state()[0] + sum(used for used, _ in there.values())

        began = time.perf_counter()
        made = mf.condense(FORMULA, path, runner=runner)
        told["first"] = time.perf_counter() - began
        del made
        before, began = everywhere(), time.perf_counter()
        made = mf.condense(FORMULA, path, runner=runner)
        told["wall"], told["cpu"] = time.perf_counter() - began, everywhere() - before
        workers = client.run(state) if client else {}
        told["memory there"] = max((peak for _, peak in workers.values()), default=0.0)
        told["elsewhere"] = 0.0
        if kind in ON_SLURM:
            nannies = client.run(state, nanny=True)
            told["elsewhere"] = sum(used for used, _ in (*workers.values(), *nannies.values()))
    fit = mf.fit(FORMULA, made)
    told["sums"] = digest(arrays_of(made.sums.keyed))
    told["fit"] = (
        digest(arrays_of([fit.fixef.to_numpy(), fit.varcorr["vcov"].to_numpy()]))
        + f" {fit.loglik.hex()}"
    )
    told["memory here"] = state()[1]
    told["whole wall"] = time.perf_counter() - BEGAN
    told["whole"] = cpu(resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    print(json.dumps(told))


@contextmanager
def by_hand(workers: int, folder: Path, *, encrypted: bool) -> Iterator[dict[str, Any]]:
    """Start a scheduler and workers with Dask's own commands; give what a client needs."""
    from running import environment

    private = ["--dashboard-address", "127.0.0.1:0", "--no-dashboard", "--host", "127.0.0.1"]
    tls: dict[str, str] = {}
    if encrypted:
        from mixedflow.parallel.tls import own_tls

        made = own_tls(folder)
        tls = {"ca": made.ca, "cert": made.cert, "key": made.key}
        private += ["--protocol", "tls", "--tls-ca-file", made.ca]
        private += ["--tls-cert", made.cert, "--tls-key", made.key]
    place = folder / "scheduler.json"
    calls = [["dask_scheduler", "--port", "0", "--scheduler-file", str(place)]]
    worker = ["dask_worker", "--scheduler-file", str(place), "--nthreads", "1"]
    calls += [[*worker, "--memory-limit", str(MEMORY)]] * workers
    with (folder / "log").open("wb") as log:
        started = [
            subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{name}", *rest, *private],
                env=environment(), stdout=log, stderr=log,
            )
            for name, *rest in calls
        ]  # fmt: skip
        try:
            while not place.exists():
                if started[0].poll() is not None:
                    raise SystemExit((folder / "log").read_text())
                time.sleep(0.05)
            yield {"address": json.loads(place.read_text())["address"], "tls": tls}
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait()


def answer(path: str, way: Way, folder: Path) -> dict[str, Any]:
    """Run one way and return what it told, with the CPU time of what was started by hand."""
    options: dict[str, Any] = {"workers": way.workers}
    if way.kind != "synchronous" and way.kind != "threads":
        options["memory_limit"] = way.workers * MEMORY
    if way.kind in ON_SLURM:
        options["interface"] = "lo"
    before = cpu(resource.RUSAGE_CHILDREN)
    if way.kind == "address":
        with by_hand(way.workers, folder, encrypted="TLS" in way.name) as place:
            told = told_by(path, way, {**options, **place}, folder)
        told["whole"] = cpu(resource.RUSAGE_CHILDREN) - before
        return told
    told = told_by(path, way, options, folder)
    told["whole"] += told["elsewhere"]
    return told


def told_by(path: str, way: Way, options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Start the process of one run, in a Slurm job where its kind wants that, and return its answer."""
    from running import environment

    given = [path, "--one", way.kind, json.dumps(options)]
    command = [sys.executable, str(HERE / "scaling.py"), *given]
    if way.kind == "srun":
        mb = way.workers * MEMORY // 1_000_000 // min(way.workers, 2) + 1000
        nodes = min(way.workers, 2)
        place = folder / "run.sh"
        place.write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n")
        command = ["sbatch", "--quiet", "--wait", f"--nodes={nodes}", f"--ntasks={way.workers}"]
        command += [f"--mem={mb}", f"--output={folder / 'out'}", str(place)]
    with (folder / "err").open("w+") as errors:
        done = subprocess.run(  # noqa: PLW1510 - what it said is raised
            command, env=environment(), cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        said = (folder / "out").read_text() if way.kind == "srun" else done.stdout
        if done.returncode:
            errors.seek(0)
            raise SystemExit(f"{way.name}, {way.workers} workers: {errors.read() or said}")
    told: dict[str, Any] = json.loads(said.splitlines()[-1])
    return told


def slurm_answers() -> bool:
    """Say whether there is a Slurm."""
    if shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo", "-h"], capture_output=True, check=False).returncode == 0


def all_runs(path: str, ways: Sequence[Way], rounds: int) -> dict[Way, list[dict[str, Any]]]:
    """Run every way once a round, forth and back."""
    found: dict[Way, list[dict[str, Any]]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in ways if number % 2 == 0 else ways[::-1]:
            with tempfile.TemporaryDirectory() as folder:
                told = answer(path, way, Path(folder))
            found[way].append(told)
            print(f"{way.name} {way.workers}: {json.dumps(told)}", file=sys.stderr, flush=True)
    return found


def report(found: dict[Way, list[dict[str, Any]]]) -> str:
    """Return the table, the least of the rounds; fail where the bits differ."""
    from tables import table

    runs = [told for told_of in found.values() for told in told_of]
    digests = {(told["sums"], told["fit"]) for told in runs}
    if len(digests) != 1:
        lines = [
            f"{way.name} {way.workers}: {t['sums']} {t['fit']}" for way in found for t in found[way]
        ]
        raise SystemExit("different bits:\n" + "\n".join(lines))

    def least(way: Way, what: str) -> float:
        return float(min(told[what] for told in found[way]))

    base = next(iter(found))
    rows = []
    for way in found:
        cells = [f"{least(way, what):.1f}" for what in ("wall", "cpu")]
        ratio = f"{least(way, 'cpu') / least(base, 'cpu'):.2f}"
        whole = [f"{least(way, what):.1f}" for what in ("whole wall", "whole")]
        more = f"{least(way, 'whole') - least(base, 'whole'):+.1f}"
        memory = [f"{least(way, f'memory {at}'):,.0f}" for at in ("here", "there")]
        rows.append([way.name, str(way.workers), *cells, ratio, *whole, more, memory[0], memory[1]])
    head = (
        "back end", "workers", "pass, wall s", "CPU s", "ratio", "whole, wall s", "CPU s",
        "against one process", "MB here", "MB, largest worker",
    )  # fmt: skip
    ((sums, fit),) = digests
    same = f"Sums {sums}, fit {fit}: the same in all {len(runs)} runs.\n\n"
    return same + table(head, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every way, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=10_000_000, help="a hundred a group")
    parser.add_argument("--data", help="a Parquet file with y, x1 to x8 and g, instead of --rows")
    parser.add_argument("--only", action="append", help="a back end; may be repeated")
    parser.add_argument("--workers", action="append", type=int, help="a number; may be repeated")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    if given.one:
        one(given.path, given.one[0], json.loads(given.one[1]))
        return
    sys.path.insert(0, str(HERE))
    wanted = [way for way in WAYS if not given.only or way.name in given.only]
    wanted = [way for way in wanted if not given.workers or way.workers in given.workers]
    if not slurm_answers():
        wanted = [way for way in wanted if way.kind not in ON_SLURM]
    with tempfile.TemporaryDirectory() as made:
        path = given.data or str(Path(made) / "grouped.parquet")
        if not given.data:
            groups = max(1, given.rows // 100)
            script = [
                sys.executable,
                str(HERE / "make_data.py"),
                "grouped",
                "--rows",
                str(given.rows),
            ]
            subprocess.run(
                [*script, "--groups", str(groups), "--out", path], check=True, stdout=sys.stderr
            )
        print(report(all_runs(str(Path(path).absolute()), wanted, given.rounds)))
    print(f"Load {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores.")


if __name__ == "__main__":
    main()
