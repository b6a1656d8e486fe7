"""Make data of any size for benchmarks, in bounded memory.

Two kinds, both written as one Parquet file with row groups of about a million rows:

``grouped``
    y = b0 + b1 x1 + ... + b8 x8 + u0[g] + u1[g] x1 + e, the columns ``y x1 ... x8 g t``; ``t`` counts
    the rows of a chunk. The model is ``y ~ x1 + ... + x8 + (1 + x1 | g)``.
``crossed``
    y = b0 + b1 x1 + u[user] + v[item] + e, the columns ``y x1 user item``; users and items are drawn
    with Zipf probabilities, as ratings are. The model is ``y ~ x1 + (1 | user) + (1 | item)``.

The same arguments give the same file. True values stand in :data:`TRUTH`.

    python benchmarks/make_data.py grouped --rows 10_000_000 --groups 100_000 --out grouped.parquet
    python benchmarks/make_data.py crossed --rows 1_000_000 --users 50_000 --items 5_000 --out c.parquet
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP = 1_000_000
N_COVARIATES = 8

TRUTH = {
    "beta": (1.0, 0.5, -0.25, 0.125, 0.0, 1.5, -1.0, 0.75, 0.3),
    "G": ((1.0, 0.2), (0.2, 0.25)),
    "sd_user": 0.8,
    "sd_item": 0.5,
    "sigma": 1.0,
}


def chunks(rows: int) -> Iterator[tuple[int, int]]:
    """Yield number and size of the chunks of at most a million rows."""
    for number, start in enumerate(range(0, rows, ROW_GROUP)):
        yield number, min(ROW_GROUP, rows - start)


def generator(seed: int, *place: int) -> np.random.Generator:
    """Return the random numbers of one place, the same whatever is drawn elsewhere."""
    return np.random.default_rng([seed, *place])


def grouped(groups: int, seed: int) -> Callable[[int, int], pa.Table]:
    """Return a function that makes one chunk of grouped data."""
    root = np.linalg.cholesky(np.array(TRUTH["G"]))
    u = generator(seed, 0).normal(size=(groups, 2)) @ root.T
    beta = np.array(TRUTH["beta"])

    def make(number: int, size: int) -> pa.Table:
        rng = generator(seed, 1, number)
        g = rng.integers(0, groups, size)
        x = rng.normal(size=(N_COVARIATES, size))
        x[1] += 3.0
        y = beta[0] + beta[1:] @ x + u[g, 0] + u[g, 1] * x[0] + rng.normal(size=size)
        names = [f"x{k + 1}" for k in range(N_COVARIATES)]
        columns = [y, *x, g, np.arange(size, dtype=np.int32)]
        return pa.table(columns, names=["y", *names, "g", "t"])

    return make


def zipf(levels: int, exponent: float) -> np.ndarray:
    """Return the cumulated Zipf probabilities of so many levels."""
    weights = np.arange(1, levels + 1, dtype=np.float64) ** -exponent
    return np.cumsum(weights) / weights.sum()


def crossed(users: int, items: int, exponent: float, seed: int) -> Callable[[int, int], pa.Table]:
    """Return a function that makes one chunk of crossed data."""
    u = generator(seed, 0).normal(scale=TRUTH["sd_user"], size=users)
    v = generator(seed, 1).normal(scale=TRUTH["sd_item"], size=items)
    user_share, item_share = zipf(users, exponent), zipf(items, exponent)

    def make(number: int, size: int) -> pa.Table:
        rng = generator(seed, 2, number)
        user = np.minimum(np.searchsorted(user_share, rng.random(size)), users - 1)
        item = np.minimum(np.searchsorted(item_share, rng.random(size)), items - 1)
        x = rng.normal(size=size)
        y = TRUTH["beta"][0] + TRUTH["beta"][1] * x + u[user] + v[item] + rng.normal(size=size)
        return pa.table([y, x, user, item], names=["y", "x1", "user", "item"])

    return make


def write(make: Callable[[int, int], pa.Table], rows: int, out: Path) -> None:
    """Write chunk after chunk; memory holds one."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.new")
    writer = None
    try:
        for number, size in chunks(rows):
            table = make(number, size)
            writer = writer or pq.ParquetWriter(
                temporary, table.schema, compression="zstd", use_dictionary=False
            )
            writer.write_table(table, row_group_size=ROW_GROUP)
    finally:
        if writer is not None:
            writer.close()
    temporary.replace(out)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind in ("grouped", "crossed"):
        one = kinds.add_parser(kind)
        one.add_argument("--rows", type=int, default=10_000_000)
        one.add_argument("--seed", type=int, default=1)
        one.add_argument("--out", type=Path, required=True, help="Parquet file to write")
        if kind == "grouped":
            one.add_argument("--groups", type=int, default=100_000)
        else:
            one.add_argument("--users", type=int, default=50_000)
            one.add_argument("--items", type=int, default=5_000)
            one.add_argument("--exponent", type=float, default=1.0, help="of the Zipf law")
    chosen = parser.parse_args(arguments)
    sizes = [v for k, v in vars(chosen).items() if k in {"rows", "groups", "users", "items"}]
    if min(sizes) < 1:
        parser.error("rows, groups, users and items must be 1 or more")
    return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    """Make one file and say what it took."""
    options = parse(arguments)
    began = time.perf_counter()
    if options.kind == "grouped":
        make = grouped(options.groups, options.seed)
    else:
        make = crossed(options.users, options.items, options.exponent, options.seed)
    write(make, options.rows, options.out)
    size = options.out.stat().st_size / 1e6
    took = time.perf_counter() - began
    print(f"{options.out}: {options.rows:,} rows, {size:,.0f} MB in {took:.1f} s")


if __name__ == "__main__":
    main()
