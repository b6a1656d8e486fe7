"""Kenward and Roger's test at growing sizes, beside pbkrtest's: CPU time, memory, the same answer?

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/kenward_roger.py       # to the terminal
    ... python benchmarks/kenward_roger.py --largest 1e6 --out docs/kenward_roger.md

Ten coefficients, one factor or two crossed ones, 5 to 15 rows a group, so that no two groups need be
alike. pbkrtest (``Rscript``) gets a CPU time and an address space, and is not tried again beyond the
size at which it passed them. Every run is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from tables import short, table

COVARIATES = [f"x{k}" for k in range(1, 10)]
FIXED = f"y ~ {' + '.join(COVARIATES)}"
DESIGNS = {
    f"{FIXED} + (1 + x1 | g)": (100, 1_000, 10_000, 40_000, 100_000),
    f"{FIXED} + (1 | g) + (1 | h)": (100, 200, 400, 800, 3_200),
}
"""Models, and numbers of groups g to try; h has 20 levels and is crossed with g."""

PEER = """
suppressMessages({library(lme4); library(pbkrtest)})
a <- commandArgs(TRUE)
d <- read.csv(a[1]); d$g <- factor(d$g); d$h <- factor(d$h)
cpu <- function() sum(proc.time()[1:2])
start <- cpu()
m <- lmer(as.formula(a[2]), d, control = lmerControl(calc.derivs = FALSE))
fitted <- cpu()
V <- vcovAdj(m)
df <- Lb_ddf(c(0, 1, rep(0, 8)), vcov(m), V)
status <- grep("VmHWM", readLines("/proc/self/status"), value = TRUE)
peak <- as.numeric(sub("\\\\D*(\\\\d+).*", "\\\\1", status))
cat(sprintf('{"fit": %f, "adjust": %f, "df": %.10g, "se": %.10g, "peak": %f}', fitted - start,
            cpu() - fitted, df, sqrt(V[2, 2]), peak / 1e3))
"""


def written(groups: int, folder: Path) -> tuple[Path, int]:
    """Write the rows of a size, as Parquet and CSV; return the path without suffix, and rows."""
    rng = np.random.default_rng([3, groups])
    g = np.repeat(np.arange(groups), rng.integers(5, 16, groups))
    columns = {name: rng.normal(size=len(g)) for name in COVARIATES}
    columns["x9"] = rng.normal(size=groups)[g]
    u, v = rng.normal(size=(2, groups))
    y = 1.0 + 0.1 * columns["x1"] + u[g] + 0.5 * v[g] * columns["x1"] + rng.normal(size=len(g))
    h = rng.integers(0, 20, len(g))
    y += 0.7 * rng.normal(size=20)[h]
    rows = pa.table({"y": y, **columns, "g": g, "h": h})
    path = folder / f"groups-{groups}"
    pq.write_table(rows, path.with_suffix(".parquet"))
    pyarrow.csv.write_csv(rows, path.with_suffix(".csv"))
    return path, len(g)


def ours(path: str, formula: str) -> dict[str, float]:
    """Return what a fit and its test took and gave, in this process."""
    import mixedflow as mf

    began = time.process_time()
    fit = mf.fit(formula, path)
    fitted, wall = time.process_time(), time.perf_counter()
    found = fit.infer("kenward-roger").coef_table.loc["x1"]
    return {
        "fit": fitted - began,
        "adjust": time.process_time() - fitted,
        "wall": time.perf_counter() - wall,
        "df": float(found["df"]),
        "se": float(found["se"]),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def asked(command: Sequence[str], seconds: int = 0, gigabytes: int = 0) -> dict[str, Any]:
    """Return what a process printed, or why it printed nothing."""

    def limits() -> None:
        if seconds:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            resource.setrlimit(resource.RLIMIT_AS, (gigabytes * 2**30,) * 2)

    done = subprocess.run(command, check=False, capture_output=True, text=True, preexec_fn=limits)
    if done.returncode == 0:
        found: dict[str, Any] = json.loads(done.stdout)
        return found
    if not seconds:
        raise RuntimeError(done.stderr)
    if done.returncode == -signal.SIGXCPU or done.returncode == -signal.SIGKILL:
        return {"failure": f"over {seconds} s"}
    words = ("cannot allocate", "bad_alloc", "memory", "too large")
    memory = any(word in done.stderr for word in words)
    return {"failure": f"over {gigabytes} GB" if memory else "fails"}


def rows_of(formula: str, given: argparse.Namespace, folder: Path) -> list[list[str]]:
    """Return a row of a model's table a size."""
    script = folder / "peer.R"
    script.write_text(PEER, encoding="utf-8")
    out, stopped = [], "" if shutil.which("Rscript") else "no R"
    for groups in DESIGNS[formula]:
        path, n = written(groups, folder)
        if n > 1.2 * given.largest:
            break
        mine = asked([sys.executable, __file__, "--one", f"{path}.parquet", formula])
        peer: dict[str, Any] = {"failure": stopped if stopped == "no R" else "not tried"}
        if not stopped:
            command = ["Rscript", str(script), f"{path}.csv", formula]
            peer = asked(command, given.seconds, given.gigabytes)
            stopped = peer.get("failure", "")
        out.append([f"{n:,}", f"{groups:,}", *_cells(mine), *_peer_cells(peer, mine)])
        print(" | ".join(out[-1]), flush=True)
    return out


def _cells(found: dict[str, float]) -> list[str]:
    names = ("fit", "adjust", "peak")
    return [*(short(found[name]) for name in names), f"{found['df']:.2f}"]


def _peer_cells(peer: dict[str, Any], mine: dict[str, float]) -> list[str]:
    if "failure" in peer:
        return ["", peer["failure"], "", ""]
    apart = max(abs(peer[name] / mine[name] - 1.0) for name in ("df", "se"))
    return [short(peer["fit"]), short(peer["adjust"]), short(peer["peak"]), f"{apart:.0e}"]


PAGE = """# Kenward and Roger's test by size

Written by `python benchmarks/kenward_roger.py --largest {largest:.0f} --out docs/kenward_roger.md`. Ten
coefficients, 5 to 15 rows a group, no two groups alike; `h` has 20 levels. CPU seconds of the fit, and of
the adjusted covariance with the degrees of freedom (KR; the libraries that are loaded on first use
included); peak memory of the process in MB; df of `x1`. "apart" is the larger relative difference of
pbkrtest's df and standard error from ours. One thread each; pbkrtest may take {seconds} s of CPU time and
{gigabytes} GB of address space, and is not tried beyond the size at which it passed them.

{figures}"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--largest", type=float, default=1e4, help="rows")
    parser.add_argument("--seconds", type=int, default=120, help="CPU time of pbkrtest")
    parser.add_argument("--gigabytes", type=int, default=8, help="address space of pbkrtest")
    parser.add_argument("--out", type=Path, help="the page; the terminal otherwise")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(ours(*given.one)))
        return
    head = ("rows", "groups", "fit", "KR", "MB", "df", "lmer", "pbkrtest", "MB", "apart")
    parts = []
    with tempfile.TemporaryDirectory() as made:
        for formula in DESIGNS:
            rows = rows_of(formula, given, Path(made))
            parts.append(f"## `{formula}`\n\n{table(head, rows)}")
    asked_for = {name: getattr(given, name) for name in ("largest", "seconds", "gigabytes")}
    page = PAGE.format(figures="\n".join(parts), **asked_for)
    if given.out is None:
        print(page)
    else:
        given.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
