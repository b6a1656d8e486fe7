"""R on the page: its parameters by stratum, and its matrices over positions.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import pandas as pd

from mixedflow.report.tables import Cell, Table, number, numbers
from mixedflow.results.fit_result import FitResult
from mixedflow.results.summary import (
    correlation_of,
    has_residual_table,
    residual_matrices,
    residual_title,
)

MAX_POSITIONS = 25


def residual_tables(fit: FitResult) -> list[Table]:
    """Return the parameters of R, then covariance and correlation of every stratum; none for iid."""
    if not has_residual_table(fit):
        return []
    out = [_parameter_table(fit)]
    for label, frame in residual_matrices(fit).items():
        if len(frame) <= MAX_POSITIONS:
            out.append(_matrix_table(frame, label))
    return out


def _parameter_table(fit: FitResult) -> Table:
    """Return sigma, ratios of standard deviations, rho and range."""
    found = fit.residual_params
    found = found[[not str(name).startswith("corr(") for name in found["parameter"]]]
    values = [number(float(value)) for value in found["estimate"]]
    names = [[Cell(str(value)) for value in found[c]] for c in ("stratum", "parameter")]
    several = found["stratum"].astype(bool).any()
    columns = [*(names if several else names[1:]), values]
    head = ("Stratum", "Parameter", "Estimate") if several else ("Parameter", "Estimate")
    note = "sd ratio: over the first stratum's; in brackets, over the first position's."
    shown = note if any("ratio" in str(name) for name in found["parameter"]) else ""
    caption = f"Residuals: {residual_title(fit)}"
    return Table(caption, head, tuple(zip(*columns, strict=True)), shown)


def _matrix_table(frame: pd.DataFrame, label: str) -> Table:
    """Return variances on the diagonal, covariances above it and correlations below."""
    R, C = frame.to_numpy(dtype=float), correlation_of(frame).to_numpy()
    upper = [numbers(line) for line in R.tolist()]
    rows = []
    for i, name in enumerate(frame.index):
        cells = [number(C[i, j], f"{C[i, j]:.3f}") if j < i else upper[i][j] for j in range(len(R))]
        rows.append((Cell(str(name)), *cells))
    of = f", {label}" if label else ""
    place = "Position" if frame.index.name is None else str(frame.index.name)
    head = (place, *(str(name) for name in frame.columns))
    note = "Variances on the diagonal, covariances above it, correlations below."
    return Table(f"Covariance of residuals{of}", head, tuple(rows), note)
