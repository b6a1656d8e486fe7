"""A fit as plain text, and the numbers of a table as text.

Stands after the last equation of ``docs/algorithm.md``: nothing is estimated here. The lay-out is
the one that users of lme4 know, so that two print-outs can be laid side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixedflow.covariance.registry import get_residual
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult


def format_number(value: float | None, digits: int = 5) -> str:
    """Return the value with so many significant digits, scientific only where it must be."""
    if value is None or math.isnan(value):
        return ""
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if exponent < -5 or exponent >= 9:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(digits - 1 - exponent, 0)}f}"


def format_column(values: Sequence[float | None], digits: int = 6) -> list[str]:
    """Return a column with one number of decimals, so that the points stand below each other.

    The largest value shows ``digits`` significant digits and the smallest at least two; a column
    whose values are too far apart for that falls back to each value by itself.
    """
    finite = [abs(v) for v in values if v is not None and math.isfinite(v) and v != 0]
    if not finite:
        return [format_number(v, digits) for v in values]
    top = math.floor(math.log10(max(finite)))
    low = math.floor(math.log10(min(finite)))
    decimals = max(digits - 1 - top, 1 - low, 0)
    if decimals > 8 or top >= 9:
        return [format_number(v, digits) for v in values]
    return [
        f"{v:.{decimals}f}" if v is not None and math.isfinite(v) else format_number(v)
        for v in values
    ]


def is_blank(value: object) -> bool:
    """Say whether a cell of ``varcorr`` is empty (missing or an empty string)."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def correlation_of(vcov: pd.DataFrame) -> pd.DataFrame:
    """R = D^-1/2 V D^-1/2 of the fixed effects, with the same names."""
    V = vcov.to_numpy(dtype=float)
    sd = np.sqrt(np.diag(V))
    safe = np.where(sd > 0, sd, np.nan)
    return pd.DataFrame(V / np.outer(safe, safe), index=vcov.index, columns=vcov.columns)


def has_residual_table(fit: FitResult) -> bool:
    """Say whether the residuals have correlations, or more variances than one."""
    return int((fit.varcorr["group"] == "Residual").sum()) > 1


def residual_rows(fit: FitResult) -> list[tuple[str, float, float]]:
    """Return (name, variance or covariance, SD or correlation) of residuals with a structure."""
    frame = fit.varcorr[fit.varcorr["group"] == "Residual"]
    return [
        (", ".join(str(name) for name in (a, b) if not is_blank(name)), float(vcov), float(sdcor))
        for a, b, vcov, sdcor in zip(
            frame["term1"], frame["term2"], frame["vcov"], frame["sdcor"], strict=True
        )
    ]


def random_rows(fit: FitResult) -> list[tuple[str, str, float, float, list[float]]]:
    """Return (group, name, variance, sd, correlations with the names above it), Residual last.

    Residuals that have correlations, or more variances than one, are left to a table of their own.
    """
    frame = fit.varcorr
    if has_residual_table(fit):
        frame = frame[frame["group"] != "Residual"]
    variance = np.array([is_blank(v) for v in frame["term2"]], dtype=bool)
    single, pairs = frame[variance], frame[~variance]
    corr = {
        (str(group), str(a), str(b)): float(r)
        for group, a, b, r in zip(
            pairs["group"], pairs["term1"], pairs["term2"], pairs["sdcor"], strict=True
        )
    }
    rows: list[tuple[str, str, float, float, list[float]]] = []
    above: dict[str, list[str]] = {}
    for group, term, vcov, sd in zip(
        single["group"], single["term1"], single["vcov"], single["sdcor"], strict=True
    ):
        name = "" if is_blank(term) else str(term)
        earlier = above.setdefault(str(group), [])
        found = [
            corr.get((str(group), other, name), corr.get((str(group), name, other), math.nan))
            for other in earlier
        ]
        # A term without any correlation ("||") shows none.
        rows.append(
            (str(group), name, float(vcov), float(sd), found if pairs_of(corr, group) else [])
        )
        earlier.append(name)
    return rows


def pairs_of(corr: Mapping[tuple[str, str, str], float], group: object) -> bool:
    """Say whether any pair of columns of this group has a correlation."""
    return any(key[0] == str(group) for key in corr)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return lines of a table; the first ``left`` columns lean left, the others right."""
    body = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[j]) for row in body) for j in range(len(header))]
    lines = []
    for row in body:
        cells = [
            cell.ljust(width) if j < left else cell.rjust(width)
            for j, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(" " + "  ".join(cells).rstrip())
    return lines


def _criterion_lines(fit: FitResult) -> list[str]:
    labels = ["AIC", "BIC", "logLik", "-2 logLik", "npar"]
    values = [f"{v:.4f}" for v in (fit.aic, fit.bic, fit.loglik, -2 * fit.loglik)]
    return text_table(labels, [[*values, str(fit.df_model)]], left=0)


def _random_lines(fit: FitResult) -> list[str]:
    rows = random_rows(fit)
    if not rows:
        return [f"Number of obs: {fit.nobs:,}"]
    variances = format_column([row[2] for row in rows])
    sds = format_column([row[3] for row in rows])
    depth = max((len(row[4]) for row in rows), default=0)
    body = []
    last = None
    for (group, name, _, _, corr), variance, sd in zip(rows, variances, sds, strict=True):
        cells = [f"{r:.3f}" if math.isfinite(r) else "" for r in corr]
        body.append(["" if group == last else group, name, variance, sd, *cells])
        body[-1] += [""] * (4 + depth - len(body[-1]))
        last = group
    head = ["Groups", "Name", "Variance", "Std.Dev.", *(["Corr"] + [""] * (depth - 1))[:depth]]
    levels = "; ".join(f"{name}, {count:,}" for name, count in fit.n_levels.items())
    counts = f"Number of obs: {fit.nobs:,}" + (f"; groups: {levels}" if levels else "")
    return ["Random effects:", *text_table(head, body, left=2), counts]


WIDEST_RESIDUAL = 12
"""Positions whose covariance matrix is printed."""


def _residual_lines(fit: FitResult) -> list[str]:
    """Return the parameters of R, and its matrices over positions where they are small."""
    if not has_residual_table(fit):
        return []
    table = fit.residual_params
    several = table["stratum"].astype(bool).any()
    columns = ["stratum", "parameter"] if several else ["parameter"]
    shown = table[[not str(name).startswith("corr(") for name in table["parameter"]]]
    names = [[str(v) for v in shown[c]] for c in columns]
    values = format_column(shown["estimate"].to_list())
    body = [list(cells) for cells in zip(*names, values, strict=True)]
    blank = [""] * (len(columns) + 1)
    lines = [f"Residuals: {residual_title(fit)}", *text_table(blank, body, len(columns))[1:]]
    for label, frame in residual_matrices(fit).items():
        if len(frame) <= WIDEST_RESIDUAL:
            lines += ["", "Covariance of residuals" + (f", {label}:" if label else ":")]
            body = [[str(a), *format_column(frame.loc[a].to_list())] for a in frame.index]
            lines += text_table(["", *map(str, frame.columns)], body)
    return ["", *lines]


def residual_title(fit: FitResult) -> str:
    """Return the structure of R in words."""
    return get_residual(fit.spec.parsed_residual.structure).title


def residual_matrices(fit: FitResult) -> dict[str, pd.DataFrame]:
    """Return the covariance of the residuals over named positions, by stratum; none without, or of points."""
    design = fit.crossproducts.info.residual
    points = bool(fit.spec.parsed_residual.coordinates)
    if design is None or not design.positions or points:
        return {}
    found = fit.residual_cov
    return found if isinstance(found, dict) else {"": found}


TESTED_BY = {
    "t": "t tests with Satterthwaite's degrees of freedom",
    "z": "asymptotic tests",
}
"""How the coefficients of a summary are tested."""


def format_p(value: float) -> str:
    """Return a p-value with three digits; what is below 1e-16 is rounding."""
    if not math.isfinite(value):
        return ""
    if value < SMALLEST_P:
        return f"<{SMALLEST_P:.0e}"
    return f"{value:.4f}" if value >= 0.001 else f"{value:.2e}"


SMALLEST_P = 1e-16


def _fixed_lines(fit: FitResult) -> list[str]:
    table = fit.coef_table
    columns = [format_column(table[c].to_list()) for c in ("estimate", "se")]
    letter = "z" if table.attrs["ddf"] == "asymptotic" else "t"
    head = ["", "Estimate", "Std. Error", f"{letter} value", f"Pr(>|{letter}|)"]
    if letter == "t":
        head.insert(3, "df")
        columns.append([f"{v:.2f}" for v in table["df"]])
    columns.append([f"{v:.3f}" if math.isfinite(v) else "" for v in table["statistic"]])
    columns.append([format_p(v) for v in table["p"]])
    rows = [list(row) for row in zip(map(str, table.index), *columns, strict=True)]
    note = table.attrs["note"]
    said = [f"No degrees of freedom: {note}."] if note else []
    return [f"Fixed effects, {TESTED_BY[letter]}:", *text_table(head, rows), *said]


def _correlation_lines(fit: FitResult, widest: int = 12) -> list[str]:
    p = len(fit.fixef)
    if p < 2:
        return []
    if p > widest:
        note = f"Correlation of fixed effects: {p} x {p}, not shown; see fit.vcov."
        return ["", note]
    corr = correlation_of(fit.vcov)
    names = [str(name) for name in corr.index]
    short = [name if len(name) <= 8 else name[:7] + "." for name in names]
    values = corr.to_numpy()
    rows = [
        [names[i], *[f"{values[i, j]:.3f}" if j < i else "" for j in range(p - 1)]]
        for i in range(1, p)
    ]
    return ["", "Correlation of fixed effects:", *text_table(["", *short[:-1]], rows)]


def _state_lines(fit: FitResult) -> list[str]:
    state = "converged" if fit.converged else "NOT CONVERGED: do not use these estimates"
    lines = ["", f"Convergence: {state} ({fit.method}, {fit.n_iter} iterations)"]
    if fit.singular:
        lines.append("Singular fit: a variance or a correlation lies on its boundary.")
    return [*lines, *[f"Note: {message}" for message in fit.messages]]


def render_summary(fit: FitResult) -> str:
    """Return the fit as text, in the order that lme4 prints it."""
    how = "REML" if fit.reml else "maximum likelihood"
    data = fit.data_summary
    source = data.get("source", "the data")
    dropped = int(data.get("rows_dropped", 0))
    rows = f"{int(data.get('rows_in', fit.nobs)):,} rows"
    if dropped:
        rows += f", {dropped:,} dropped for missing values"
    kind = "Linear mixed model" if fit.n_levels else "Linear model with correlated residuals"
    lines = [
        f"{kind} fit by {how}",
        f"Formula: {fit.spec.formula}",
        f"Data:    {source} ({rows})",
    ]
    if fit.spec.weights:
        lines.append(f"Weights: {fit.spec.weights}")
    if has_residual_table(fit):
        lines.append(f"R:       {fit.spec.residual}")
    sections = [
        ["", *_criterion_lines(fit), ""],
        _random_lines(fit),
        _residual_lines(fit),
        [""],
        _fixed_lines(fit),
    ]
    for section in sections:
        lines += section
    lines += _correlation_lines(fit) + _state_lines(fit)
    return "\n".join(lines)
