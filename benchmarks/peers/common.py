"""What every peer's process has in common: read the case, fit, print one line of JSON.

A peer's module gives ``load(case)``, which brings the rows into the form that its package takes,
and ``fit(data, case)``, which returns a dict with ``minus2ll`` in lme4's convention (or None) and,
where the package cannot fit the case's own model, ``model`` (formula and reml of what was fitted)
and ``note``. User and system time, wall time and memory are taken from outside, by the process
that started this one.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

Case = dict[str, Any]


def versions(*names: str) -> dict[str, str]:
    """Return the versions of installed distributions."""
    return {name: version(name) for name in names}


def main(
    load: Callable[[Case], Any], fit: Callable[[Any, Case], dict[str, Any]], *packages: str
) -> None:
    """Run one case; with ``repeat``, fit again and tell the median time of a warm fit."""
    case = json.loads(sys.argv[1])
    data = load(case)
    answer = fit(data, case)
    if case.get("repeat"):
        answer["warm_ms"] = statistics.median(timed(fit, data, case) for _ in range(case["repeat"]))
    print(json.dumps({**answer, "versions": versions(*packages)}))


def timed(fit: Callable[[Any, Case], Any], data: Any, case: Case) -> float:
    """Return the CPU milliseconds of one fit."""
    began = time.process_time()
    fit(data, case)
    return 1e3 * (time.process_time() - began)


def columns_of(case: Case) -> list[str]:
    """Return the columns that the model needs."""
    names = [case["response"], *case["fixed"]]
    for columns, group in case["random"]:
        names += [name for name in (*columns, *group) if name != "1"]
    return list(dict.fromkeys(names))


def read_pandas(case: Case) -> Any:
    """Return the rows as pandas reads them."""
    import pandas as pd

    return pd.read_parquet(case["data"], columns=columns_of(case))


def design(frame: Any, names: Sequence[str]) -> Any:
    """Return the intercept and columns side by side."""
    import numpy as np

    X = np.ones((len(frame), 1 + len(names)))
    for position, name in enumerate(names, start=1):
        X[:, position] = frame[name]
    return X


def group_codes(frame: Any, group: Sequence[str]) -> Any:
    """Return a number a level; columns that cross are brought together."""
    import numpy as np

    codes = np.unique(frame[group[0]].to_numpy(), return_inverse=True)[1]
    for name in group[1:]:
        levels, more = np.unique(frame[name].to_numpy(), return_inverse=True)
        codes = codes * len(levels) + more
    return codes if len(group) == 1 else np.unique(codes, return_inverse=True)[1]


def independent(case: Case) -> str:
    """Return the case's formula with uncorrelated effects within every term."""
    return str(case["formula"]).replace(" | ", " || ") if has_slopes(case) else case["formula"]


def has_slopes(case: Case) -> bool:
    """Say whether a term has more than its intercept."""
    return any(len(columns) > 1 for columns, _ in case["random"])
