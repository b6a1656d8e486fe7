"""Small frames with every sort of column, and the whole way through the design room."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mixedflow.design import (
    Encoder,
    ModelSpec,
    PartitionPlace,
    Schema,
    finish_schema,
    make_spec,
    merge_summaries,
    summarize_partition,
)


def frame(n: int = 210, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "y": 50 + rng.normal(size=n),
            "x": 1000 + 3 * rng.normal(size=n),
            "z": rng.uniform(0.5, 9.5, size=n).round(1),
            "count": rng.integers(1, 40, size=n),
            "flag": rng.integers(0, 2, size=n).astype(bool),
            "w": rng.uniform(0.5, 2, size=n),
            "f": rng.choice(["low", "mid", "top"], size=n),
            "h": rng.choice(["b", "a"], size=n),
            "g": rng.integers(0, 12, size=n) * 7 + 100,
            "k": rng.choice([f"s{i}" for i in range(9)], size=n),
        }
    )


def arrow(data: pd.DataFrame | dict[str, Any] | pa.Table) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    data = pd.DataFrame(data) if isinstance(data, dict) else data
    return pa.Table.from_pandas(data, preserve_index=False)


def cuts(n: int, parts: int) -> list[tuple[int, int]]:
    edges = np.linspace(0, n, parts + 1).astype(int)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def learn(
    spec: ModelSpec | str, data: Any, parts: int = 1, order: list[int] | None = None, **options: Any
) -> Schema:
    spec = make_spec(spec, **options) if isinstance(spec, str) else spec
    table = arrow(data)
    summaries = [
        summarize_partition(spec, table.slice(a, b - a), PartitionPlace("data.csv", k, a))
        for k, (a, b) in enumerate(cuts(table.num_rows, parts))
    ]
    summaries = [summaries[k] for k in order] if order else summaries
    total = summaries[0]
    for summary in summaries[1:]:
        total = merge_summaries(total, summary)
    return finish_schema(spec, total)


def encoder(formula: str, data: Any, parts: int = 1, **options: Any) -> Encoder:
    spec = make_spec(formula, **options)
    return Encoder(spec, learn(spec, data, parts))
