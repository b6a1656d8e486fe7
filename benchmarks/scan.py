"""Scan a million genotypes on ten thousand people in families, and say what it took and found.

    python benchmarks/scan.py                                 # 10^6 covariates x 10^4 rows, 10 GB on disk
    python benchmarks/scan.py --covariates 20_000 --out -     # smaller, and the table on the screen

Families are full siblings whose parents' alleles are drawn anew for every covariate, so relatives
share half of theirs; the response has a family effect, a covariate that is always in the model, and
planted genotypes. The model is ``y ~ x + (1 | family)``. Measured: the scan from the ``.npy`` file on
disk, and its floor, which reads the same blocks and multiplies them with as many columns by BLAS
after conversion to float32 or float64: no model. Reported: CPU time a covariate, covariates a second,
peak memory, lambda, planted covariates found, and lambda of least squares that ignores families.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numba
import numpy as np
import pandas as pd
from numpy.lib.format import open_memmap
from scipy import special

import mixedflow as mf
from mixedflow.parallel import Runner
from mixedflow.scanning import blocked
from mixedflow.sweeps.scan_result import genomic_control

FORMULA = "y ~ x + (1 | family)"
SIBLINGS = 4
CHUNK = 2_000
SHARES = (0.002, 0.004, 0.008)
"""Parts of the response's variance that planted genotypes explain."""


@dataclass(frozen=True)
class Problem:
    """A scan's data: rows, the file of genotypes, and the planted ones: which, effect, share."""

    rows: pd.DataFrame
    genotypes: Path
    planted: pd.DataFrame


@numba.njit(nogil=True, cache=True)
def mixed(state):  # type: ignore[no-untyped-def]
    """Return 64 random bits of a counter (splitmix64; Steele et al. 2014)."""
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(nogil=True, cache=True)
def draw(first, seed, shares, out):  # type: ignore[no-untyped-def]
    """Fill out, (covariates, rows): both parents' alleles, and which of them each sibling has."""
    step = np.uint64(0x9E3779B97F4A7C15)
    for j in range(len(out)):
        state = mixed(np.uint64(seed) * step + np.uint64(first + j) * np.uint64(0xD1342543DE82EF95))
        limit = np.uint64(shares[j] * 65536.0)
        for family in range(out.shape[1] // SIBLINGS):
            state += step
            bits = mixed(state)
            alleles = 0
            for h in range(4):
                if ((bits >> np.uint64(16 * h)) & np.uint64(65535)) < limit:
                    alleles |= 1 << h
            state += step
            bits = mixed(state)
            for s in range(SIBLINGS):
                mother = int((bits >> np.uint64(2 * s)) & np.uint64(1))
                father = 2 + int((bits >> np.uint64(2 * s + 1)) & np.uint64(1))
                out[j, SIBLINGS * family + s] = ((alleles >> mother) & 1) + (
                    (alleles >> father) & 1
                )


def make_problem(families: int, count: int, planted: int, folder: Path) -> Problem:
    """Write the genotypes, a covariate after the other, and draw the response."""
    n = families * SIBLINGS
    rng = np.random.default_rng(20)
    where = rng.choice(count, planted * len(SHARES), replace=False)
    shares = np.repeat(SHARES, planted)
    path = folder / "genotypes.npy"
    genotypes = open_memmap(path, "w+", np.int8, (n, count), fortran_order=True)
    for first in range(0, count, CHUNK):
        last = min(first + CHUNK, count)
        chunk = np.empty((last - first, n), dtype=np.int8)
        draw(first, 7, np.random.default_rng([1, first]).uniform(0.05, 0.5, last - first), chunk)
        genotypes[:, first:last] = chunk.T
    family = np.repeat(np.arange(families), SIBLINGS)
    x = rng.normal(size=n)
    y = 1.0 + 0.5 * x + rng.normal(scale=0.7, size=families)[family] + rng.normal(size=n)
    effects = np.empty(len(where))
    variance = 0.7**2 + 1.0
    for k, (j, share) in enumerate(zip(where, shares, strict=True)):
        c = genotypes[:, j].astype(float)
        effects[k] = rng.choice([-1.0, 1.0]) * np.sqrt(share * variance) / c.std()
        y += effects[k] * (c - c.mean())
    genotypes.flush()
    rows = pd.DataFrame({"y": y, "x": x, "family": family})
    return Problem(rows, path, pd.DataFrame({"at": where, "effect": effects, "share": shares}))


@dataclass(frozen=True)
class Cost:
    """What one run took."""

    cpu: float
    wall: float


def timed(run: Callable[[], object]) -> Cost:
    """Run once."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def floor(problem: Problem, count: int, kind: str) -> None:
    """Read the first covariates in blocks, convert them, and multiply them with three columns."""
    n = len(problem.rows)
    W = np.column_stack([np.ones(n), problem.rows[["x", "y"]]]).astype(kind)
    for first, last in blocked(count, n):
        block = np.load(problem.genotypes, mmap_mode="r")[:, first:last]
        W.T @ block.astype(kind)


def scan(problem: Problem, count: int, workers: int, **asked: object) -> mf.ScanResult:
    """Scan the first covariates."""
    genotypes: object = problem.genotypes
    if count < np.load(problem.genotypes, mmap_mode="r").shape[1]:
        genotypes = np.load(problem.genotypes, mmap_mode="r")[:, :count]
    runner = Runner("threads", workers) if workers > 1 else Runner()
    return mf.scan(FORMULA, problem.rows, genotypes, runner=runner, **asked)  # type: ignore[arg-type]


def ratios(problem: Problem, count: int, rounds: int) -> dict[str, Cost]:
    """Return the cheapest of several interleaved runs, in one thread."""
    runs: dict[str, Callable[[], object]] = {
        "`mf.scan`": lambda: scan(problem, count, 1),
        "floor, float32": lambda: floor(problem, count, "f4"),
        "floor, float64": lambda: floor(problem, count, "f8"),
    }
    found: dict[str, list[Cost]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            found[name].append(timed(run))
    return {name: min(costs, key=lambda cost: cost.cpu) for name, costs in found.items()}


def naive_lambda(problem: Problem, count: int) -> float:
    """Return lambda of least squares on the first covariates, as if nobody had siblings."""
    n = len(problem.rows)
    X = np.column_stack([np.ones(n), problem.rows["x"]])
    Q = np.linalg.qr(X)[0]
    y = problem.rows["y"].to_numpy()
    y = y - Q @ (Q.T @ y)
    C = np.load(problem.genotypes, mmap_mode="r")[:, :count].astype(float)
    d = np.einsum("nm,nm->m", C, C) - np.sum((Q.T @ C) ** 2, axis=0)
    a = C.T @ y
    t = a / np.sqrt(d * (y @ y - a**2 / d) / (n - 3))
    return genomic_control(2 * special.stdtr(n - 3, -np.abs(t)))


def cost_lines(costs: dict[str, Cost], count: int) -> list[str]:
    """Return the table of costs."""
    own = costs["`mf.scan`"].cpu
    lines = [
        "|  | CPU µs a covariate | x scan | covariates a CPU second |",
        "| --- | ---: | ---: | ---: |",
    ]
    return lines + [
        f"| {name} | {cost.cpu / count * 1e6:.1f} | {cost.cpu / own:.2f} | {count / cost.cpu:,.0f} |"
        for name, cost in costs.items()
    ]


def null_lines(problem: Problem, result: mf.ScanResult, naive: float) -> list[str]:
    """Return what the scan says of genotypes that were not planted."""
    p = result.table["p"].drop(problem.planted["at"]).to_numpy()
    rows = [("lambda", f"{genomic_control(p):.4f}")]
    rows += [
        (f"p below {limit:g}, over {limit:g}", f"{(p < limit).mean() / limit:.3f}")
        for limit in (0.05, 0.01, 1e-3, 1e-4)
    ]
    rows.append(("lambda of least squares without families", f"{naive:.3f}"))
    return ["|  |  |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows)]


def power_lines(problem: Problem, result: mf.ScanResult) -> list[str]:
    """Return planted genotypes found, beside the power that their effects and standard errors have."""
    limit = 0.05 / len(result.table)
    z = special.ndtri(1 - limit / 2)
    lines = [
        f"| variance explained | planted | found at p < {limit:.0e} | expected | found at q < 0.05 |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for share, own in problem.planted.groupby("share"):
        rows = result.table.iloc[own["at"]]
        size = np.abs(own["effect"].to_numpy()) / rows["se"].to_numpy()
        expected = np.sum(special.ndtr(size - z) + special.ndtr(-size - z))
        found = (rows["p"] < limit).sum(), (rows["q"] < 0.05).sum()
        lines.append(f"| {share:.1%} | {len(own)} | {found[0]} | {expected:.1f} | {found[1]} |")
    others = result.table.drop(problem.planted["at"])
    false = (others["p"] < limit).sum(), (others["q"] < 0.05).sum()
    lines.append(f"| none | {len(others):,} | {false[0]} |  | {false[1]} |")
    return lines


def report(problem: Problem, args: argparse.Namespace) -> str:
    """Measure, and return the text."""
    n, count = len(problem.rows), args.covariates
    some = min(args.compared, count)
    scan(problem, min(1_000, count), 1)  # compiles
    kept: list[mf.ScanResult] = []
    whole = timed(lambda: kept.append(scan(problem, count, args.workers)))
    result = kept[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    costs = ratios(problem, some, args.rounds)
    few = min(args.again, count)
    again = timed(lambda: scan(problem, few, 1, variances="reestimate"))
    most = timed(lambda: scan(problem, some, 1, variances="reestimate", reestimate_below=1e-4))
    lines = [
        "# Benchmarks of scans",
        "",
        "Written by `python benchmarks/scan.py`; what is asked stands at the head of that file.",
        (f"Load {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores while it was measured: where that is "
        "more than the cores, wall times are those of a busy machine, and CPU times what to trust."),
        "",
        (f"`{FORMULA}`, {n:,} rows, {n // SIBLINGS:,} families of {SIBLINGS} siblings, "
        f"{count:,} genotypes as int8 in one `.npy` file of {problem.genotypes.stat().st_size / 1e9:.1f} GB, "
        "a covariate after the other (`fortran_order`)."),
        "",
        "## A covariate beside the floor",
        "",
        (f"CPU time of the first {some:,} covariates on one thread, the least of {args.rounds} interleaved "
        "runs; null fit and table included."),
        "",
        *cost_lines(costs, some),
        "",
        (f"Exact fits (`variances=\"reestimate\"`): {again.cpu / few * 1e3:.2f} ms a covariate over {few:,}; "
        f"only where p is below 10⁻⁴ (`reestimate_below`), {most.cpu / some * 1e6:.1f} µs over {some:,}."),
        "",
        "## All of them",
        "",
        (f"{args.workers} threads: {whole.wall:.1f} s, {whole.cpu:.1f} s CPU, "
        f"{count / whole.wall:,.0f} covariates a second, {peak:.2f} GB at most "
        "(pages of the file that are mapped counted)."),
        "",
        *null_lines(problem, result, naive_lambda(problem, min(some, 10_000))),
        "",
        *power_lines(problem, result),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Make the data, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--families", type=int, default=2_500)
    parser.add_argument("--covariates", type=int, default=1_000_000)
    parser.add_argument("--planted", type=int, default=20, help="genotypes of each effect")
    parser.add_argument("--compared", type=int, default=50_000)
    parser.add_argument("--again", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--folder", type=Path, help="where the genotypes go; a temporary one without"
    )
    parser.add_argument("--out", default="docs/scan_benchmarks.md", help="file to write, or -")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        began = time.perf_counter()
        asked = args.families, args.covariates, args.planted, Path(folder)
        with ProcessPoolExecutor(1, get_context("spawn")) as apart:  # its memory is not the scan's
            problem = apart.submit(make_problem, *asked).result()
        print(f"genotypes made in {time.perf_counter() - began:.0f} s", flush=True)
        text = report(problem, args)
    if args.out == "-":
        print(text)
    else:
        Path(args.out).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
