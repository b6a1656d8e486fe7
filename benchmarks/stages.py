"""Where the time of a grouped fit goes, stage by stage, with the floor of each beside it.

    python benchmarks/stages.py '{"data": "grouped.parquet", "formula": "...", ...}'

One thread, CPU seconds. mixedflow's own functions are timed where they are called; the floors, in a
process of their own (memory is as new to them), do the like with pyarrow and NumPy alone: read the
same columns, count the groups, stack the columns, multiply them, add two sums, factorise every
group's matrix as often as the fit evaluates.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from common import columns_of

STAGES = ("start", "read", "summary", "encode", "condense", "merge", "fit", "rest")


class Clock:
    """CPU time by stage; time inside an inner stage is not counted to the outer one."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def watch(self, owner: Any, name: str, stage: str) -> None:
        """Count a function's time to a stage from now on."""
        function = getattr(owner, name)

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            return self.count(stage, lambda: function(*args, **kwargs))

        setattr(owner, name, timed)

    def count(self, stage: str, work: Callable[[], Any]) -> Any:
        """Do some work and count it to a stage."""
        self._inner.append(0.0)
        before = time.process_time()
        try:
            return work()
        finally:
            taken = time.process_time() - before
            self.spent[stage] += taken - self._inner.pop()
            self._inner[-1] += taken


def profile(case: dict[str, Any]) -> dict[str, Any]:
    """Return CPU seconds of mixedflow by stage."""
    import mixedflow.api as mf
    from mixedflow.data import parquet
    from mixedflow.parallel import condensing, tree
    from mixedflow.results import build

    clock = Clock()
    clock.spent["start"] = time.process_time()
    clock.watch(parquet.ParquetSource, "read", "read")
    clock.watch(condensing, "summarize_partition", "summary")
    clock.watch(condensing, "local_encoder", "encode")
    clock.watch(condensing.Encoder, "columns", "encode")
    clock.watch(condensing, "condense_columns", "condense")
    clock.watch(condensing, "reading", "merge")
    clock.watch(tree.Fold, "add", "merge")
    clock.watch(tree.Fold, "total", "merge")
    clock.watch(condensing, "ordered_reading", "merge")
    clock.watch(condensing, "finish_schema", "summary")
    clock.watch(build, "estimate", "fit")
    fit = clock.count("rest", lambda: mf.fit(case["formula"], case["data"], reml=case["reml"]))
    return {"stages": {name: clock.spent[name] for name in STAGES}, "trace": len(fit.trace)}


def floors(case: dict[str, Any], evaluations: int) -> dict[str, float]:
    """Return CPU seconds of what NumPy and pyarrow need for the like."""
    clock = Clock()
    clock.spent["start"] = time.process_time()
    file = pq.ParquetFile(case["data"])
    names = [*case["fixed"], case["response"]]
    (columns, (group,)) = case["random"][0]
    levels = 1 + max(
        file.metadata.row_group(i).column(file.schema_arrow.get_field_index(group)).statistics.max
        for i in range(file.num_row_groups)
    )
    total = np.zeros((len(names) + 1,) * 2)
    counts = np.zeros(levels)
    for number in range(file.num_row_groups):
        table = clock.count(
            "read", lambda n=number: file.read_row_group(n, columns=columns_of(case))
        )
        codes = np.from_dlpack(table[group].combine_chunks())
        counts += clock.count("summary", lambda c=codes: np.bincount(c, minlength=levels))
        X = clock.count("encode", lambda t=table: stacked(t, names))
        total += clock.count("condense", lambda X=X: X.T @ X)
    q, p = len(columns), len(names)
    blocks = np.random.default_rng(1).normal(size=(levels, q * (q + p + 1)))
    clock.count("merge", lambda: blocks + blocks)
    for _ in range(evaluations):
        clock.count("fit", lambda: evaluate(counts, q, p))
    return {name: clock.spent.get(name, 0.0) for name in STAGES}


def stacked(table: Any, names: list[str]) -> np.ndarray:
    """Return the columns and an intercept as one matrix."""
    X = np.ones((table.num_rows, len(names) + 1), order="F")
    for position, name in enumerate(names, start=1):
        X[:, position] = np.from_dlpack(table[name].combine_chunks())
    return X


def evaluate(counts: np.ndarray, q: int, p: int) -> float:
    """Factorise every group's q x q matrix and solve it for p columns, with NumPy's batches."""
    M = np.eye(q) * (1.0 + counts)[:, None, None]
    L = np.linalg.cholesky(M)
    solved = np.linalg.solve(L, np.ones((len(counts), q, p)))
    return float(np.einsum("gqp,gqp->", solved, solved))


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    if "evaluations" in request:
        print(json.dumps(floors(request, request["evaluations"])))
    else:
        answer = profile(request)
        asked = json.dumps({**request, "evaluations": answer["trace"]})
        found = subprocess.run(
            [sys.executable, __file__, asked], capture_output=True, check=True, text=True
        )
        print(json.dumps({**answer, "floors": json.loads(found.stdout)}))
