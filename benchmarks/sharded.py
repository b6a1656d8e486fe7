"""Fit ten million groups whose sums stay on the workers, and say what it took.

    python benchmarks/sharded.py                                  # 10^7 groups of 4 rows, 2 workers
    python benchmarks/sharded.py --groups 200_000 --exact         # and compare with one place
    python benchmarks/sharded.py --folder shards                  # sums memory-mapped on disk

Rows are y = b0 + b1 x1 + b2 x2 + u[g] + v[g] x1 + e, one Parquet file a shard, every group wholly in
one. The model is ``y ~ x1 + x2 + (1 + x1 | g)``. Printed are wall time, peak memory and CPU time by
process (this one, and every worker), the estimates beside the truth, and with ``--exact`` the largest
difference from the fit in one place.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import mixedflow as mf
from mixedflow.parallel import Runner, map_each, open_runner
from mixedflow.results.sharded import ShardedFit

FORMULA = "y ~ x1 + x2 + (1 + x1 | g)"
TRUTH = {"(Intercept)": 1.0, "x1": 2.0, "x2": -1.0, "sd": (1.0, 0.5), "sigma": 1.0}


def write_shard(folder: Path, groups: int, rows: int, shards: int, number: int) -> int:
    """Write the rows of one shard's groups."""
    first, last = (groups * k // shards for k in (number, number + 1))
    rng = np.random.default_rng([7, number])
    g = np.repeat(np.arange(first, last), rows)
    u, v = rng.normal(size=(2, last - first))
    x1, x2, e = rng.normal(size=(3, len(g)))
    at = g - first
    y = 1.0 + 2.0 * x1 - x2 + u[at] + 0.5 * v[at] * x1 + e
    table = pa.table({"g": g, "x1": x1, "x2": x2, "y": y})
    pq.write_table(table, folder / f"part-{number:04d}.parquet", compression="zstd")
    return len(g)


def used() -> str:
    """Return the largest resident memory and the CPU time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return f"{usage.ru_maxrss / 1e6:.2f} GB, {usage.ru_utime + usage.ru_stime:.0f} s CPU"


def report_use(runner: Runner) -> None:
    """Print peak memory and CPU time by process."""
    workers = {} if runner.client is None else runner.client.run(used)
    both = [f"here {used()}", *(f"a worker {value}" for value in workers.values())]
    print("  peak " + "; ".join(both), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the rows, fit them in shards, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=10_000_000)
    parser.add_argument("--rows", type=int, default=4, help="of a group")
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2, help="0 for this process alone")
    parser.add_argument("--folder", help="where the sums are kept instead of in memory")
    parser.add_argument("--exact", action="store_true", help="fit in one place too")
    given = parser.parse_args(arguments)
    kind = "processes" if given.workers else "synchronous"
    with (
        tempfile.TemporaryDirectory() as made,
        open_runner(kind, workers=max(given.workers, 1)) as runner,
    ):
        folder = Path(made) / "rows"
        folder.mkdir()
        write = partial(write_shard, folder, given.groups, given.rows, given.shards)
        rows = sum(map_each(write, given.shards, runner=runner))
        print(f"{rows:,} rows of {given.groups:,} groups in {given.shards} shards", flush=True)
        report_use(runner)
        fit = fitted(folder, runner, given.folder or True)
        report_use(runner)
        began = time.perf_counter()
        written = fit.ranef_parts(Path(made) / "ranef")
        print(f"ranef_parts: {written:,} rows in {time.perf_counter() - began:.1f} s", flush=True)
        report_use(runner)
        if given.exact:
            compare(fit, mf.fit(FORMULA, folder, runner=Runner()))


def fitted(folder: Path, runner: Runner, sharded: bool | str) -> ShardedFit:
    """Return the fit in shards; print what it took and gave."""
    began = time.perf_counter()
    fit = mf.fit(FORMULA, folder, runner=runner, sharded=sharded)
    if not isinstance(fit, ShardedFit):
        raise TypeError("the fit is not sharded")
    stages = ", ".join(f"{name} {value:.1f} s" for name, value in fit.timings.items())
    state = "converged" if fit.converged else "not converged"
    print(f"fit: {time.perf_counter() - began:.1f} s ({stages}), {fit.n_iter} iterations, {state}")
    print(fit.coef_table.to_string())
    print(fit.varcorr.to_string(index=False))
    print(f"truth: {TRUTH}")
    return fit


def compare(parts: mf.FitResult, whole: mf.FitResult) -> None:
    """Print how far the estimates in shards are from those in one place."""
    gaps = {
        "logLik": abs(parts.loglik - whole.loglik) / abs(whole.loglik),
        "fixef": float(np.abs(parts.fixef - whole.fixef).max()),
        "vcov": float(np.abs(parts.vcov - whole.vcov).to_numpy().max()),
        "varcorr": float(np.abs(parts.varcorr["vcov"] - whole.varcorr["vcov"]).max()),
    }
    print("apart:", ", ".join(f"{name} {value:.1e}" for name, value in gaps.items()))


if __name__ == "__main__":
    main()
