"""Traits of a sweep beside fits of one response each: the same optimum?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SAME = 1e-6
"""Difference of log L, and share of an estimate's standard error, that counts as the same."""


def beside_values(theirs: dict[str, float], ours: dict[str, float]) -> tuple[float, float]:
    """Return how far other values of -2 log L are above ours, and below: largest and smallest."""
    apart = [theirs[t] - ours[t] for t in theirs if np.isfinite(ours[t])]
    return max(apart), min(apart)


def beside_fits(formula: str, data: Path, found: Any, sample: int, *, every_singular: bool) -> str:
    """Return sentences on the differences from ``mixedflow.fit``, trait by trait."""
    import pandas as pd

    converged = found.loc[found["converged"]]
    some = converged.sample(min(sample, len(converged)), random_state=1)
    said = f"{len(some):,} traits at random"
    if every_singular:
        chosen = converged["trait"].isin(some["trait"]) | converged["singular"]
        said += f" and all {int(converged['singular'].sum()):,} that are singular"
        some = converged.loc[chosen]
    rows = pd.read_parquet(data, columns=["g", "h", *(f"x{k}" for k in range(5)), *some["trait"]])
    apart = np.array([_apart(formula, rows, row) for _, row in some.iterrows()])
    value, estimate, component = apart.max(axis=0)
    beyond = int((apart[:, 0] > SAME).sum())
    return (
        f"{len(found):,} traits, {len(converged):,} converged, {int(found['singular'].sum()):,} singular. "
        f"Beside `mixedflow.fit`, {said} ({len(some):,}): log L differs by at most {value:.1e} "
        f"({beyond} by more than {SAME:g}), estimates by at most {estimate:.1e} standard errors, SDs of "
        f"random effects and residuals by at most {component:.1e} of the residual's.\n"
    )


def _apart(formula: str, rows: Any, row: Any) -> tuple[float, float, float]:
    """Return the differences of log L, of estimates in standard errors, and of SDs in sigma."""
    import mixedflow as mf

    shared = rows[[name for name in rows.columns if not name.startswith("trait")]]
    fit = mf.fit(f"y {formula}", shared.assign(y=rows[row["trait"]]))
    table = fit.coef_table
    estimates = np.array([row[f"estimate:{name}"] for name in table.index])
    errors = np.array([row[f"se:{name}"] for name in table.index])
    at_estimates = np.abs(estimates - table["estimate"].to_numpy()) / errors
    sds = [name for name in row.index if name.startswith("sd:")]
    roots = np.concatenate([np.sqrt(np.diag(G)) for G in fit.estimates.G])
    ours = np.array([row[name] for name in sds])
    sigma = np.sqrt(fit.estimates.sigma2)
    at_sds = [*np.abs(ours - roots) / sigma, abs(row["sigma"] - sigma) / sigma]
    return abs(fit.loglik - row["logLik"]), float(at_estimates.max()), float(max(at_sds))
