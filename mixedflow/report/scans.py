"""A scan becomes a page of its own: counts, charts, the covariates with the smallest p.

Stands outside the equations of ``docs/algorithm.md``: nothing is computed here, all is set out.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from mixedflow.data.atomic import atomic_write_text
from mixedflow.report.inference_tables import df_value
from mixedflow.report.own_page import OwnPage
from mixedflow.report.scan_charts import scan_figures
from mixedflow.report.sweep_tables import LEVEL, FailureReason, failure_reasons
from mixedflow.report.tables import Cell, Table, count, fixed_table, number, numbers, random_table
from mixedflow.report.theme import asset, environment
from mixedflow.report.vega import chart_library
from mixedflow.sweeps.scan_result import ScanResult

LISTED = 500
"""Covariates in the table of the page; all of them are in ``scan.parquet``."""


@dataclass(frozen=True, slots=True)
class ScanSection(OwnPage):
    """What the pages show of one scan.

    Attributes
    ----------
    name : key of the scan in the configuration
    result : its outcome
    title : how the page calls the scan; its name when empty
    page : address of its page, relative to the report; ``<name>.html`` when empty
    generated : when, as text; empty leaves it out
    """

    name: str
    result: ScanResult
    title: str = ""
    page: str = ""
    generated: str = ""


def write_scan_page(path: str | Path, section: ScanSection) -> None:
    """Write the page of a scan to a file, under a temporary name first.

    Raises
    ------
    OutputError
        when the place cannot be written
    """
    atomic_write_text(path, render_scan_page(section))


def render_scan_page(section: ScanSection) -> str:
    """Return the page of a scan as HTML; style, data and the chart library are inside it."""
    result = section.result
    figures = scan_figures(result)
    null = [fixed_table(result.null, {}, "")]
    if result.null.n_levels:
        null.append(random_table(result.null))
    return environment().get_template("scan.html.j2").render(
        section=section,
        facts=scan_facts(section),
        formula=str(result.spec["formula"]),
        null=null,
        covariates=covariate_table(result.table),
        reasons=scan_failures(result),
        figures=figures,
        specs={figure.key: figure.spec for figure in figures},
        style=asset("style.css"),
        script=asset("charts.js"),
        library=Markup(chart_library()) if figures else "",  # noqa: S704 - our own bundle
        version=version("mixedflow"),
    )  # fmt: skip


def scan_facts(section: ScanSection) -> list[tuple[str, str]]:
    """Return what the head of the page, and the report's list, say of a scan."""
    table = section.result.table
    inflation = section.result.lambda_gc
    return [
        ("Covariates", f"{len(table):,}"),
        ("Rows", f"{int(section.result.null.nobs):,}"),
        ("Tested", f"{int(table['p'].notna().sum()):,}"),
        (f"q < {LEVEL}", f"{int((table['q'] < LEVEL).sum()):,}"),
        ("Smallest p", "–" if table["p"].isna().all() else f"{table['p'].min():.3g}"),
        ("λ", "–" if np.isnan(inflation) else f"{inflation:.3f}"),
        ("Without an estimate", f"{len(section.result.failures):,}"),
    ]


def covariate_table(table: pd.DataFrame) -> Table | None:
    """Return the covariates with the smallest p; None where there is no test."""
    found = table[table["p"].notna()]
    top = found.nsmallest(LISTED, "p")
    if not len(top):
        return None
    columns = [
        numbers(top["estimate"].tolist()),
        numbers(top["se"].tolist()),
        [number(v, f"{v:.3f}") for v in top["statistic"].tolist()],
        [df_value(v) for v in top["df"].tolist()],
        *([number(v, f"{v:.3g}") for v in top[name].tolist()] for name in ("p", "q")),
        [count(int(v)) for v in top["missing"].tolist()],
    ]
    names = [Cell(str(name)) for name in top["covariate"]]
    rows = tuple(zip(names, *columns, strict=True))
    head = ("Covariate", "Estimate", "Std. error", "t value", "df", "p", "q", "Missing")
    note = "q: Benjamini and Hochberg over all that were tested."
    if len(found) > LISTED:
        note = f"The {LISTED} smallest p of {len(found):,}; scan.parquet has all. {note}"
    return Table("Covariates", head, rows, note)


def scan_failures(result: ScanResult) -> tuple[FailureReason, ...]:
    """Return why covariates have no estimate, the most frequent reason first."""
    return failure_reasons(result.failures.rename(columns={"covariate": "trait"}))
