"""Fit ten million ratings of a million users and a hundred thousand items, and say what it took.

    python benchmarks/crossed_large.py                          # 10^7 rows, the whole thing
    python benchmarks/crossed_large.py --rows 300_000 --users 20_000 --items 2_000 --exact

The data are y = b0 + b1 x1 + u[user] + v[item] + e, items by a Zipf law and users alike, written as one
Parquet file in bounded memory. The model is ``y ~ x1 + (1 | user) + (1 | item)``. Printed are wall
time and peak memory by stage, and for every variance component: the truth, the estimate, the standard
error that the truth should lie within, and the Monte-Carlo error. ``--exact`` fits by an exact solver
too, from which the estimates should differ by the Monte-Carlo error.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from make_data import TRUTH, generator, in_chunks, write, zipf

import mixedflow as mf
from mixedflow.estimation.control import FitControl

FORMULA = "y ~ x1 + (1 | user) + (1 | item)"


def ratings(users: int, items: int, exponent: float, seed: int) -> Callable[[int, int], pa.Table]:
    """Return a function that makes one chunk of ratings."""
    u = generator(seed, 0).normal(scale=TRUTH["sd_user"], size=users)
    v = generator(seed, 1).normal(scale=TRUTH["sd_item"], size=items)
    share = zipf(items, exponent)

    def make(number: int, size: int) -> pa.Table:
        rng = generator(seed, 2, number)
        user = rng.integers(0, users, size, dtype=np.int32)
        item = np.minimum(np.searchsorted(share, rng.random(size)), items - 1).astype(np.int32)
        x = rng.normal(size=size)
        noise = rng.normal(scale=TRUTH["sigma"], size=size)
        y = TRUTH["beta"][0] + TRUTH["beta"][1] * x + u[user] + v[item] + noise
        return pa.table([y, x, user, item], names=["y", "x1", "user", "item"])

    return make


def peak() -> float:
    """Return the largest resident size so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def report(fit: mf.FitResult, seed: int) -> None:
    """Print components against the truth."""
    truth = [TRUTH["sd_user"] ** 2, TRUTH["sd_item"] ** 2, TRUTH["sigma"] ** 2]
    print(f"{'component':12s}{'truth':>10s}{'estimate':>12s}{'std. error':>12s}{'MC error':>12s}")
    chance = fit.monte_carlo
    rows = zip(fit.varcorr["group"], fit.varcorr["vcov"], strict=True)
    for at, (group, value) in enumerate(rows):
        own = noise = float("nan")
        if chance is not None:
            noise = chance.se[at]
            own = noise / chance.relative[at] if chance.relative[at] > 0 else float("nan")
        print(f"{group:12s}{truth[at]:10.4f}{value:12.6f}{own:12.2e}{noise:12.2e}")
    probes = "" if chance is None else f", {chance.probes} probes, seed {seed}"
    print(f"solver {fit.estimates.solver}{probes}; {fit.n_iter} iterations; {fit.loglik:,.3f}")


def run(path: Path, options: argparse.Namespace) -> None:
    """Fit, and print what it took."""
    settings = FitControl(solver=options.solver, mc_seed=options.mc_seed, threads=options.threads)
    began = time.perf_counter()
    fit = mf.fit(FORMULA, path, control=settings, types={"user": "category", "item": "category"})
    took = time.perf_counter() - began
    condense = fit.timings["condense"]
    print(f"{fit.nobs:,} rows; levels {fit.n_levels}")
    print(f"condense {condense:.1f} s, fit {took - condense:.1f} s, peak {peak():.2f} GB")
    print(fit.trace[["step", "minus2ll", "decrement", "halvings", "seconds"]].to_string())
    report(fit, options.mc_seed)
    if options.exact:
        exact = mf.fit(FORMULA, path, types={"user": "category", "item": "category"})
        gap = fit.varcorr["vcov"] - exact.varcorr["vcov"]
        report(exact, options.mc_seed)
        print("difference / MC error:", (gap / fit.monte_carlo_se).round(2).tolist())


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--exponent", type=float, default=1.0, help="of the items' Zipf law")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mc-seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--solver", default="pcg")
    parser.add_argument("--exact", action="store_true", help="compare with an exact solver")
    parser.add_argument(
        "--data", type=Path, help="keep the Parquet file here, or take it from here"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the data where they are not there, and fit."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = options.data or Path(folder) / "ratings.parquet"
        if not path.exists():
            began = time.perf_counter()
            make = ratings(options.users, options.items, options.exponent, options.seed)
            write(in_chunks(make, options.rows), path)
            print(f"made {path.name} in {time.perf_counter() - began:.1f} s, peak {peak():.2f} GB")
        run(path, options)


if __name__ == "__main__":
    main()
