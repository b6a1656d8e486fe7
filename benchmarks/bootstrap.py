"""What a draw of a bootstrap costs on many groups: CPU time of group and parametric draws.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/bootstrap.py
    ... python benchmarks/bootstrap.py --groups 1000000 --draws 20

Two coefficients and an intercept, 2 to 8 rows a group or five each. Sums are condensed by group before
the clock starts; a few draws are made before it, so that nothing is compiled in between. The figures are
the smallest of ``--rounds`` interleaved rounds, for all threads together.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
from tables import table

import mixedflow as mf

CASES = {
    "random intercept, 2 to 8 rows": ("y ~ x + z + (1 | g)", False),
    "random slope, 2 to 8 rows": ("y ~ x + z + (x | g)", False),
    "random slope, balanced": ("y ~ x + z + (x | g)", True),
}


def rows(groups: int, *, balanced: bool) -> pd.DataFrame:
    """Return simulated rows."""
    rng = np.random.default_rng(0)
    sizes = np.full(groups, 5) if balanced else rng.integers(2, 9, groups)
    g = np.repeat(np.arange(groups), sizes)
    x = np.tile(np.arange(5.0) - 2.0, groups) if balanced else rng.standard_normal(len(g))
    z, (u, v) = rng.standard_normal(len(g)), rng.standard_normal((2, groups))
    y = 1.0 + 0.5 * x + 0.2 * z + u[g] + 0.5 * v[g] * x + rng.standard_normal(len(g))
    return pd.DataFrame({"g": g, "x": x, "z": z, "y": y})


def fitted(groups: int, name: str) -> mf.FitResult:
    """Return the fit of a case from sums that know their groups."""
    formula, balanced = CASES[name]
    return mf.fit(formula, mf.condense(formula, rows(groups, balanced=balanced), by_group="g"))


def cost(fit: mf.FitResult, kind: str, draws: int) -> float:
    """Return CPU seconds a draw."""
    start = time.process_time()
    fit.bootstrap(draws, kind=kind)
    return (time.process_time() - start) / draws


def main() -> None:
    """Measure every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=100_000)
    parser.add_argument("--draws", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    fits = {name: fitted(options.groups, name) for name in CASES}
    best: dict[tuple[str, str], float] = {}
    for _ in range(options.rounds):
        for name, fit in fits.items():
            for kind in ("group", "parametric"):
                fit.bootstrap(2, kind=kind)
                found = cost(fit, kind, options.draws)
                best[name, kind] = min(found, best.get((name, kind), found))
    head = ["groups", "model", "a group draw", "a parametric draw"]
    body = [
        [
            f"{options.groups:,}",
            name,
            *(f"{1e3 * best[name, k]:.0f} ms" for k in ("group", "parametric")),
        ]
        for name in CASES
    ]
    print(table(head, body))


if __name__ == "__main__":
    main()
