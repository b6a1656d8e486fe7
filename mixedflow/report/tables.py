"""Numbers become cells of tables: sensible digits to read, full precision one hover away.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixedflow.diagnostics import Check, Comparison, Diagnostics
from mixedflow.results.fit_result import FitResult
from mixedflow.results.summary import (
    correlation_of,
    format_column,
    format_number,
    is_blank,
    random_rows,
)

MAX_CORRELATION = 25
MAX_LEVELS_LISTED = 12


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: what is read, what is exact, and how it is set."""

    text: str
    exact: str = ""
    style: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """One table; the first cell of every row is its heading.

    A table that ``stacks`` shows a row as a paragraph where the screen is narrow.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    stacks: bool = False


def number(value: float | None, text: str | None = None) -> Cell:
    """Return a number that keeps its full precision beside what is shown."""
    if value is None or math.isnan(value):
        return Cell("–", style="number")
    return Cell(format_number(value) if text is None else text, repr(float(value)), "number")


def numbers(values: Sequence[float], digits: int = 6) -> list[Cell]:
    """Return a column of numbers with one number of decimals."""
    return [number(v, t) for v, t in zip(values, format_column(values, digits), strict=True)]


def count(value: int) -> Cell:
    """Return a whole number."""
    return Cell(f"{value:,}", str(value), "number")


def fixed_table(fit: FitResult, units: Mapping[str, str], response_unit: str) -> Table:
    """Return estimates, standard errors, tests and intervals of the fixed effects."""
    from mixedflow.report.inference_tables import df_value, p_value

    table = fit.coef_table
    names = [str(name) for name in table.index]
    columns = [numbers(table[c].tolist()) for c in ("estimate", "se", "lower", "upper")]
    columns.append([number(v, f"{v:.3f}") for v in table["statistic"].tolist()])
    asymptotic = table.attrs["ddf"] == "asymptotic"
    head = ["Coefficient", "Estimate", "Std. error", "Lower 95 %", "Upper 95 %"]
    head += ["z value", "p"] if asymptotic else ["t value", "df", "p"]
    if not asymptotic:
        columns.append([df_value(v) for v in table["df"].tolist()])
    columns.append([p_value(v) for v in table["p"].tolist()])
    rows: list[tuple[Cell, ...]] = [
        (Cell(name), *(column[i] for column in columns)) for i, name in enumerate(names)
    ]
    if response_unit:
        head.insert(1, "Unit")
        rows = [
            (row[0], Cell(coefficient_unit(name, units, response_unit)), *row[1:])
            for name, row in zip(names, rows, strict=True)
        ]
    note = "Tests and intervals by t with Satterthwaite's degrees of freedom."
    if asymptotic:
        why = table.attrs["note"]
        note = "Tests and intervals by the normal distribution" + (f": {why}." if why else ".")
    return Table("Fixed effects", tuple(head), tuple(rows), note)


def coefficient_unit(name: str, units: Mapping[str, str], response_unit: str) -> str:
    """Return the unit of a coefficient where it is plain: the intercept, or one known column."""
    if not response_unit:
        return ""
    if name == "(Intercept)":
        return response_unit
    return f"{response_unit} / {units[name]}" if name in units else ""


def random_table(fit: FitResult) -> Table:
    """Return variance components, with the correlations inside each term."""
    found = random_rows(fit)
    variances = numbers([row[2] for row in found])
    sds = numbers([row[3] for row in found])
    depth = max((len(row[4]) for row in found), default=0)
    rows = []
    for (group, name, _, _, corr), variance, sd in zip(found, variances, sds, strict=True):
        cells = [number(r, f"{r:.3f}") for r in corr]
        cells += [Cell("")] * (depth - len(cells))
        rows.append((Cell(group), Cell(name), variance, sd, *cells))
    head = ("Group", "Column", "Variance", "Std. dev.", *_correlation_heads(depth))
    return Table("Variances and standard deviations", head, tuple(rows))


def _correlation_heads(depth: int) -> tuple[str, ...]:
    return tuple("Correlation" if depth == 1 else f"Corr. with {k + 1}" for k in range(depth))


def random_correlation_tables(fit: FitResult) -> list[Table]:
    """Return the correlation matrix of every term with more than one column."""
    frame = fit.varcorr
    pairs = [
        (str(group), str(a), str(b), float(r))
        for group, a, b, r in zip(
            frame["group"], frame["term1"], frame["term2"], frame["sdcor"], strict=True
        )
        if not is_blank(b) and group != "Residual"
    ]
    tables = []
    for label in dict.fromkeys(pair[0] for pair in pairs):
        values = {(a, b): r for group, a, b, r in pairs if group == label}
        values |= {(b, a): r for (a, b), r in values.items()}
        names = list(dict.fromkeys(name for pair in values for name in pair))
        rows = [
            (
                Cell(a),
                *(Cell("1", "1", "number") if a == b else _corr(values.get((a, b))) for b in names),
            )
            for a in names
        ]
        caption = f"Correlation of random effects: {label}"
        tables.append(Table(caption, ("Column", *names), tuple(rows)))
    return tables


def _corr(value: float | None) -> Cell:
    return number(value, None if value is None else f"{value:.3f}")


def fixed_correlation_table(fit: FitResult) -> Table | None:
    """Return the correlation matrix of the fixed effects, None when there is one or very many."""
    if not 2 <= len(fit.fixef) <= MAX_CORRELATION:
        return None
    corr = correlation_of(fit.vcov)
    names = [str(name) for name in corr.index]
    rows = [
        (Cell(name), *(_corr(float(v)) for v in values))
        for name, values in zip(names, corr.to_numpy(), strict=True)
    ]
    return Table("Correlation of fixed effects", ("Coefficient", *names), tuple(rows))


def criterion_table(fit: FitResult) -> Table:
    """Return the size of the model and its likelihood."""
    values = [fit.loglik, -2 * fit.loglik, fit.aic, fit.bic]
    label = "REML" if fit.reml else "ML"
    head = ("Criterion", "Rows", "Parameters", "log-likelihood", "−2 log-lik.", "AIC", "BIC")
    row = (
        Cell(label),
        count(fit.nobs),
        count(fit.df_model),
        *(number(v, f"{v:,.3f}") for v in values),
    )
    return Table("Fit", head, (row,))


def levels_table(fit: FitResult) -> Table:
    """Return the number of levels of every grouping factor."""
    rows = tuple((Cell(name), count(levels)) for name, levels in fit.n_levels.items())
    return Table("Groups", ("Factor", "Levels"), rows)


def check_table(checks: Sequence[Check]) -> Table:
    """Return the verdicts: the convergence certificate and the state of the residuals."""
    rows = tuple(
        (
            Cell(check.name),
            Cell(check.verdict, style=f"badge {check.verdict}"),
            Cell(check.value, style="short"),
            Cell(check.sentence, style="prose"),
        )
        for check in checks
    )
    head = ("Check", "Verdict", "Found", "What it means")
    return Table("Checks", head, rows, stacks=True)


def trace_table(fit: FitResult) -> Table:
    """Return the iterations."""
    trace = fit.trace
    minus2ll = [f"{v:.6f}" for v in trace["minus2ll"]]
    rows = []
    for i in range(len(trace)):
        row = trace.iloc[i]
        small = [
            number(float(row[name]), f"{row[name]:.2e}") for name in ("decrement", "rel_change")
        ]
        rows.append(
            (
                Cell(str(int(row["iteration"])), style="number"),
                Cell(str(row["step"])),
                number(float(row["minus2ll"]), minus2ll[i]),
                *[c if "nan" not in c.text else Cell("–", style="number") for c in small],
                count(int(row["halvings"])),
            )
        )
    head = ("Iteration", "Step", "−2 log-likelihood", "Decrement", "Relative change", "Halvings")
    return Table("Iterations", head, tuple(rows))


def extremes_table(result: Diagnostics) -> Table | None:
    """Return the rows with the largest standardised residuals."""
    found = result.extremes
    if not found or not found["row"]:
        return None
    factors = [name for name in found if name not in ("row", "fitted", "residual", "standardised")]
    columns = [
        [count(row) for row in found["row"]],
        *[[Cell(str(label)) for label in found[name]] for name in factors],
        numbers(found["fitted"]),
        numbers(found["residual"]),
        [number(v, f"{v:.3f}") for v in found["standardised"]],
    ]
    head = ("Row", *factors, "Fitted", "Residual", "Standardised")
    return Table("Most extreme residuals", head, tuple(zip(*columns, strict=True)))


def comparison_table(comparison: Comparison, titles: Mapping[str, str]) -> Table:
    """Return the models side by side."""
    several = len({row.comparable_with for row in comparison.rows}) > 1
    rows = []
    for row in comparison.rows:
        name = titles.get(row.name, row.name) + ("" if row.usable else " (not converged)")
        cells = [
            Cell(name),
            Cell(row.criterion),
            count(row.nobs),
            count(row.npar),
            *(
                number(v, f"{v:,.3f}")
                for v in (row.loglik, row.aic, row.bic, row.delta_aic, row.delta_bic)
            ),
        ]
        if several:
            cells.append(Cell(f"set {row.comparable_with}"))
        rows.append(tuple(cells))
    head = ["Model", "Criterion", "Rows", "Param.", "log-lik.", "AIC", "BIC"]
    head += ["ΔAIC", "ΔBIC", *(["Comparable in"] if several else [])]
    note = "Δ: distance from the best of the models that may be compared; smaller is better."
    caption = "Compared: " + ", ".join(titles.get(row.name, row.name) for row in comparison.rows)
    return Table(caption, tuple(head), tuple(rows), note)


def data_tables(
    fit: FitResult, manifest: Mapping[str, Any], units: Mapping[str, str]
) -> list[Table]:
    """Return where the rows came from, what was dropped and why, and the columns."""
    tables = [_origin_table(fit, manifest), _dropped_table(fit)]
    columns = _column_table(manifest, units)
    return [table for table in (*tables, columns) if table is not None]


def _origin_table(fit: FitResult, manifest: Mapping[str, Any]) -> Table:
    data = fit.data_summary
    facts = [("Source", str(manifest.get("source") or data.get("source", "")))]
    digest = manifest.get("source_sha256") or data.get("fingerprint")
    if digest:
        facts.append(("SHA-256", str(digest)))
    exact = len(facts)
    facts += [
        ("Rows read", f"{int(data.get('rows_in', fit.nobs)):,}"),
        ("Rows used", f"{int(data.get('rows_used', fit.nobs)):,}"),
        ("Rows dropped", f"{int(data.get('rows_dropped', 0)):,}"),
    ]
    facts += [
        (label, str(manifest[key]))
        for key, label in (("group", "Kept together by"), ("order", "Sorted by"))
        if manifest.get(key)
    ]
    if "parts" in manifest:
        facts.append(("Partitions", f"{len(manifest['parts']):,}"))
    plain = tuple((Cell(name), Cell(value)) for name, value in facts)
    rows = (*((n, Cell(v.text, style="code")) for n, v in plain[:exact]), *plain[exact:])
    return Table("Data", ("What", "Value"), rows)


def _dropped_table(fit: FitResult) -> Table | None:
    missing = {str(k): int(v) for k, v in dict(fit.data_summary.get("missing", {})).items() if v}
    if not missing:
        return None
    rows = tuple((Cell(name), count(n)) for name, n in missing.items())
    note = "A row that lacks several columns is counted in each."
    return Table("Rows dropped, by missing column", ("Column", "Rows"), rows, note)


def _column_table(manifest: Mapping[str, Any], units: Mapping[str, str]) -> Table | None:
    columns = manifest.get("columns")
    if not isinstance(columns, Mapping) or not columns:
        return None
    levels = manifest.get("levels") or {}
    rows = []
    for name, kind in columns.items():
        text = kind if isinstance(kind, str) else json.dumps(kind, default=str)
        found = [str(level) for level in levels.get(name, ())]
        listed = ", ".join(found[:MAX_LEVELS_LISTED])
        if len(found) > MAX_LEVELS_LISTED:
            listed += f" and {len(found) - MAX_LEVELS_LISTED:,} more"
        rows.append((Cell(str(name)), Cell(text), Cell(units.get(name, "")), Cell(listed)))
    head = ("Column", "Type", "Unit", "Declared levels")
    shown = [j for j in range(len(head)) if j < 2 or any(row[j].text for row in rows)]
    body = tuple(tuple(row[j] for j in shown) for row in rows)
    return Table("Columns", tuple(head[j] for j in shown), body)


def versions_table(fit: FitResult) -> Table:
    """Return the software that made the numbers."""
    rows = tuple((Cell(str(k)), Cell(str(v))) for k, v in fit.versions.items())
    return Table("Versions", ("Software", "Version"), rows)


def timings_table(fit: FitResult) -> Table:
    """Return how long each step took."""
    rows = tuple((Cell(str(k)), number(float(v), f"{v:.3f}")) for k, v in fit.timings.items())
    return Table("Timings", ("Step", "Seconds"), rows)
