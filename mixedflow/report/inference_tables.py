"""Tests and intervals as tables of the page: estimates with df and p, F tests, likelihood ratios.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from mixedflow.diagnostics import Comparison
from mixedflow.report.tables import Cell, Table, coefficient_unit, number, numbers
from mixedflow.results.inferred import Inferred, InferredTable

SMALLEST_P = 0.001
DFBETAS = "dfbetas_"
MOST_INFLUENTIAL = 10
"""Levels that the table of influence shows."""

Cells = list[Cell]


def p_value(value: float) -> Cell:
    """Return a p-value with three decimals, or ``< 0.001``."""
    return number(value, "< 0.001" if value < SMALLEST_P else f"{value:.3f}")


def df_value(value: float) -> Cell:
    """Return degrees of freedom with one decimal; an infinity sign where they have no bound."""
    return number(value, f"{value:,.1f}" if math.isfinite(value) else "∞")


def _statistic(value: float) -> Cell:
    return number(value, f"{value:,.3f}")


def _estimates(values: list[float]) -> Cells:
    return numbers(values)


def _each(cell: Callable[[float], Cell]) -> Callable[[list[Any]], Cells]:
    return lambda values: [cell(value) for value in values]


def _texts(values: list[Any]) -> Cells:
    return [Cell(str(value)) for value in values]


def _counts(values: list[Any]) -> Cells:
    return [number(v, f"{v:,.0f}") for v in map(float, values)]


_COLUMNS: Mapping[str, tuple[str, Callable[[list[Any]], Cells]]] = {
    "coefficient": ("Coefficient", _texts),
    "contrast": ("Contrast", _texts),
    "term": ("Term", _texts),
    "parameter": ("Parameter", _texts),
    "dropped": ("Dropped", _texts),
    "measure": ("Measure", _texts),
    "value": ("Value", _each(_statistic)),
    "estimate": ("Estimate", _estimates),
    "se": ("Std. error", _estimates),
    "df": ("df", _each(df_value)),
    "statistic": ("t", _each(_statistic)),
    "num_df": ("df", _counts),
    "den_df": ("Denominator df", _each(df_value)),
    "F": ("F", _each(_statistic)),
    "npar": ("Param.", _counts),
    "logLik": ("log-lik.", _each(_statistic)),
    "AIC": ("AIC", _each(_statistic)),
    "AICc": ("AICc", _each(_statistic)),
    "BIC": ("BIC", _each(_statistic)),
    "chisq": ("χ²", _each(_statistic)),
    "p": ("p", _each(p_value)),
    "p_chi2": ("p, χ²", _each(p_value)),
    "weights": ("Weights of χ²", _texts),
    "method": ("Distribution", _texts),
    "bias": ("Bias", _estimates),
    "draws": ("Draws", _counts),
    "p_mixture": ("p, mixture", _each(p_value)),
    "lower": ("Lower", _estimates),
    "upper": ("Upper", _estimates),
    "leverage": ("Leverage", _each(_statistic)),
    "max_leverage": ("Largest", _each(_statistic)),
    "cook": ("Cook's D", _each(_statistic)),
    "mdffits": ("MDFFITS", _each(_statistic)),
    "covratio": ("COVRATIO", _each(_statistic)),
    "covtrace": ("COVTRACE", _each(_statistic)),
    "note": ("Note", _texts),
}
"""Column of a table -> its heading and how its values are shown."""

MIXTURE = (
    "p, mixture: where exactly one variance is tested at zero, by the 50:50 mixture of the two χ² "
    "distributions; p by itself is too large there."
)


def inferred_table(one: InferredTable, level: float) -> Table:
    """Return a table as it was stored, columns without any value left out."""
    frame = one.table
    whole_df = one.kind in ("random", "variances")
    head, columns = [], []
    for name in frame.columns:
        title, cells = _shown(str(name), level, whole_df=whole_df)
        values = frame[name].tolist()
        if name in ("note", "p_mixture", "weights") and not any(_there(value) for value in values):
            continue
        head.append(title)
        columns.append(cells(values))
    rows = tuple(zip(*columns, strict=True))
    mixture = "p_mixture" in frame.columns and _shown("p_mixture", level)[0] in head
    note = f"{one.method} {MIXTURE}" if mixture else one.method
    return Table(one.title, tuple(head), rows, note)


def influence_table(one: InferredTable) -> Table:
    """Return the levels that pull most, by Cook's distance."""
    most = one.table.nlargest(MOST_INFLUENTIAL, "cook")
    shown = InferredTable(one.key, one.kind, one.title, one.method, most)
    table = inferred_table(shown, 0.0)
    left = len(one.table) - len(most)
    note = (
        f"{one.method} By Cook's distance; {left:,} more in the table's file."
        if left
        else one.method
    )
    return Table(table.caption, table.head, table.rows, note)


def _shown(
    name: str, level: float, *, whole_df: bool = False
) -> tuple[str, Callable[[list[Any]], Cells]]:
    title, cells = _COLUMNS.get(name, (name, _any))
    if name.startswith(DFBETAS):
        title, cells = f"DFBETAS {name.removeprefix(DFBETAS)}", _each(_statistic)
    if name in ("lower", "upper"):
        title = f"{title} {100 * level:g} %"
    return title, _counts if whole_df and name == "df" else cells


def _any(values: list[Any]) -> Cells:
    """Return cells of a column that has no form of its own: text, or numbers."""
    plain = all(isinstance(value, int | float) for value in values)
    return [number(float(value), f"{value:g}") for value in values] if plain else _texts(values)


def _there(value: Any) -> bool:
    return bool(value) and not (isinstance(value, float) and math.isnan(value))


def tested_coefficients(found: Inferred, units: Mapping[str, str], unit: str) -> Table | None:
    """Return the fixed effects with df and p, with their units where they are plain."""
    tables = found.of_kind("coefficients")
    if not tables or tables[0].note:
        return None
    shown = inferred_table(tables[0], found.level)
    if not unit:
        return shown
    names = [str(name) for name in tables[0].table.iloc[:, 0]]
    rows = [
        (row[0], Cell(coefficient_unit(name, units, unit)), *row[1:])
        for name, row in zip(names, shown.rows, strict=True)
    ]
    head = (shown.head[0], "Unit", *shown.head[1:])
    return Table(shown.caption, head, tuple(rows), shown.note)


def ratio_table(comparison: Comparison, titles: Mapping[str, str]) -> Table | None:
    """Return the likelihood-ratio tests of a comparison, None where there are none."""
    tests = comparison.tests
    if not tests:
        return None
    names = ("npar", "loglik", "chisq", "df", "p", "p_mixture", "note")
    frame = pd.DataFrame([{name: getattr(test, name) for name in names} for test in tests])
    frame = frame.rename(columns={"loglik": "logLik"})
    frame.insert(0, "Model", [titles.get(test.name, test.name) for test in tests])
    method = "Each model against the one above it, which has fewer parameters."
    if comparison.by_ml:
        method += " All by maximum likelihood (ML)."
    one = InferredTable("", "random", "Likelihood-ratio tests", method, frame)
    return inferred_table(one, 0.0)
