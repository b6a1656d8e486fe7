"""Make data of any size for benchmarks, in bounded memory.

Four kinds, each written as one Parquet file with row groups of about a million rows:

``grouped``
    y = b0 + b1 x1 + ... + b8 x8 + u0[g] + u1[g] x1 + e, the columns ``y x1 ... x8 g t``; ``t`` counts
    the rows of a chunk. The model is ``y ~ x1 + ... + x8 + (1 + x1 | g)``.
``crossed``
    y = b0 + b1 x1 + u[user] + v[item] + e, the columns ``y x1 user item``; users and items are drawn
    with Zipf probabilities, as ratings are. The model is ``y ~ x1 + (1 | user) + (1 | item)``.
``mmrm``
    Repeated measures without random effects, the columns ``y base sex arm visit week subject``: means
    by arm and visit, an unstructured covariance over the visits (:func:`visit_covariance`), and 10 to 30 %
    of the visits missing, more of the later ones. A subject's rows stand together, or (``--shuffled``,
    held in memory at once) anywhere. The model is ``y ~ base + sex + arm * visit`` (18 columns at
    8 visits) with ``us(visit | subject)``.
``wide``
    Many responses over the same rows, held in memory at once: the columns ``g h x0 ... x4`` and a
    response a trait, ``trait00000 ...``, = x'b + u[g] + s[g] x1 + v[h] + e; every fifth is the exponential
    of that, heavily skewed, and a share of each may be missing at random. A sixth of the traits has no
    variance between groups. Models are ``~ x0 + ... + x4 + (1 | g)`` and ``(1 + x1 | g) + (1 | h)``.

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
N_WIDE = 5

WIDE_SD = (
    (0.5, 0.2, 0.3), (0.0, 0.0, 0.3), (1.0, 0.0, 0.2),
    (0.1, 0.1, 0.0), (0.3, 0.3, 0.5), (0.2, 0.1, 0.1),
)  # fmt: skip
"""SDs of group, slope and item, from one trait to the next."""

TRUTH = {
    "beta": (1.0, 0.5, -0.25, 0.125, 0.0, 1.5, -1.0, 0.75, 0.3),
    "G": ((1.0, 0.2), (0.2, 0.25)),
    "sd_user": 0.8,
    "sd_item": 0.5,
    "sigma": 1.0,
    "mmrm": {
        "base": 0.4,
        "sex[male]": -0.5,
        "arm[placebo]": 0.25,
        "week": 0.02,
        "placebo week": -0.05,
    },
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


def visit_covariance(visits: int) -> np.ndarray:
    """Return R over the visits: standard deviations from 2 to 3, correlations 0.3 + 0.6 * 0.8^|i-j|."""
    sd = np.linspace(2.0, 3.0, visits)
    apart = np.abs(np.subtract.outer(np.arange(visits), np.arange(visits)))
    correlation = np.where(apart, 0.3 + 0.6 * 0.8**apart, 1.0)
    return sd[:, None] * correlation * sd


def mmrm(visits: int, seed: int) -> Callable[[int, int], pa.Table]:
    """Return a function that makes the visits of one chunk of subjects, some of them missing."""
    root = np.linalg.cholesky(visit_covariance(visits))
    labels = pa.array([f"v{k + 1}" for k in range(visits)])
    weeks = 4.0 * np.arange(visits)
    lost = np.linspace(0.1, 0.3, visits)
    truth = TRUTH["mmrm"]
    a_chunk = subjects_of_chunk(visits)

    def make(number: int, size: int) -> pa.Table:
        rng = generator(seed, 3, number)
        base, sex, arm = (
            rng.normal(10.0, 2.0, size),
            rng.integers(0, 2, size),
            rng.integers(0, 2, size),
        )
        e = rng.normal(size=(size, visits)) @ root.T
        slope = truth["week"] + truth["placebo week"] * arm
        level = truth["base"] * base + truth["sex[male]"] * sex + truth["arm[placebo]"] * arm
        y = 20.0 + level[:, None] + slope[:, None] * weeks + e
        who, when = np.nonzero(rng.random((size, visits)) >= lost)
        columns = {
            "y": y[who, when],
            "base": base[who],
            "sex": pa.array(["female", "male"]).take(pa.array(sex[who])),
            "arm": pa.array(["active", "placebo"]).take(pa.array(arm[who])),
            "visit": labels.take(pa.array(when)),
            "week": weeks[when],
            "subject": number * a_chunk + who,
        }
        return pa.table(columns)

    return make


def wide(
    rows: int, groups: int, items: int, traits: int, missing: float, seed: int
) -> Iterator[pa.Table]:
    """Yield one table of covariates and many responses."""
    rng = generator(seed, 5)
    g, h = rng.integers(0, groups, rows), rng.integers(0, items, rows)
    x = rng.normal(size=(N_WIDE, rows))
    x[0] = x[0] > 0
    columns = {"g": names_of("s", groups).take(pa.array(g))}
    columns |= {"h": names_of("b", items).take(pa.array(h))}
    columns |= {f"x{k}": values for k, values in enumerate(x)}
    for t in range(traits):
        rng = generator(seed, 6, t)
        sd_g, sd_slope, sd_h = WIDE_SD[t % len(WIDE_SD)]
        u, slope = rng.normal(0.0, sd_g, groups), rng.normal(0.0, sd_slope, groups)
        y = rng.normal(0.0, 0.3, N_WIDE) @ x + u[g] + slope[g] * x[1]
        y += rng.normal(0.0, sd_h, items)[h] + rng.normal(size=rows)
        y = np.exp(y) if t % 5 == 0 else y
        columns[f"trait{t:05d}"] = pa.array(y, mask=rng.random(rows) < missing)
    yield pa.table(columns)


def names_of(letter: str, count: int) -> pa.Array:
    """Return names of so many levels."""
    return pa.array([f"{letter}{k:05d}" for k in range(count)])


def subjects_of_chunk(visits: int) -> int:
    """Return how many subjects make about a million rows."""
    return max(1, ROW_GROUP // visits)


def in_chunks(make: Callable[[int, int], pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield so many rows, chunk after chunk."""
    return (make(number, size) for number, size in chunks(rows))


def by_subject(
    make: Callable[[int, int], pa.Table], subjects: int, visits: int
) -> Iterator[pa.Table]:
    """Yield the chunks of repeated measures, subject after subject."""
    step = subjects_of_chunk(visits)
    for number, start in enumerate(range(0, subjects, step)):
        yield make(number, min(step, subjects - start))


def shuffled(tables: Iterator[pa.Table], seed: int) -> Iterator[pa.Table]:
    """Yield the rows of all the tables in an order of chance."""
    whole = pa.concat_tables(tables)
    order = generator(seed, 4).permutation(whole.num_rows)
    for number, size in chunks(whole.num_rows):
        yield whole.take(order[number * ROW_GROUP :][:size])


def write(tables: Iterator[pa.Table], out: Path) -> int:
    """Write table after table, memory holds one; return the number of rows."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.new")
    writer, rows = None, 0
    try:
        for table in tables:
            writer = writer or pq.ParquetWriter(
                temporary, table.schema, compression="zstd", use_dictionary=texts(table.schema)
            )
            writer.write_table(table, row_group_size=ROW_GROUP)
            rows += table.num_rows
    finally:
        if writer is not None:
            writer.close()
    temporary.replace(out)
    return rows


def texts(schema: pa.Schema) -> list[str] | bool:
    """Return the columns of text, whose values are worth a dictionary."""
    return [field.name for field in schema if pa.types.is_string(field.type)] or False


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
    repeated = kinds.add_parser("mmrm")
    repeated.add_argument("--subjects", type=int, default=1_000_000)
    repeated.add_argument("--visits", type=int, default=8)
    repeated.add_argument("--shuffled", action="store_true", help="subjects' rows anywhere")
    repeated.add_argument("--seed", type=int, default=1)
    repeated.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    many = kinds.add_parser("wide")
    many.add_argument("--rows", type=int, default=5_000)
    many.add_argument("--groups", type=int, default=100)
    many.add_argument("--items", type=int, default=40)
    many.add_argument("--traits", type=int, default=20_000)
    many.add_argument("--missing", type=float, default=0.0, help="share of every trait")
    many.add_argument("--seed", type=int, default=1)
    many.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    chosen = parser.parse_args(arguments)
    counts = {"rows", "groups", "users", "items", "subjects", "visits", "traits"}
    if min(v for k, v in vars(chosen).items() if k in counts) < 1:
        parser.error(
            "numbers of rows, groups, users, items, subjects, visits and traits must be 1 or more"
        )
    return chosen


def tables_of(options: argparse.Namespace) -> Iterator[pa.Table]:
    """Return the chunks that were asked for."""
    if options.kind == "mmrm":
        visits, seed = options.visits, options.seed
        tables = by_subject(mmrm(visits, seed), options.subjects, visits)
        return shuffled(tables, seed) if options.shuffled else tables
    if options.kind == "wide":
        counts = options.rows, options.groups, options.items, options.traits
        return wide(*counts, options.missing, options.seed)
    if options.kind == "grouped":
        make = grouped(options.groups, options.seed)
    else:
        make = crossed(options.users, options.items, options.exponent, options.seed)
    return in_chunks(make, options.rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make one file and say what it took."""
    options = parse(arguments)
    began = time.perf_counter()
    rows = write(tables_of(options), options.out)
    size = options.out.stat().st_size / 1e6
    took = time.perf_counter() - began
    print(f"{options.out}: {rows:,} rows, {size:,.0f} MB in {took:.1f} s")


if __name__ == "__main__":
    main()
