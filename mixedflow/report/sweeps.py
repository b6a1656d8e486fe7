"""A sweep becomes a page of its own: counts, charts, a table to search, the fit of every trait.

Stands outside the equations of ``docs/algorithm.md``: nothing is computed here, all is set out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from markupsafe import Markup

from mixedflow.data.atomic import atomic_write_text
from mixedflow.report import sweep_calls, sweep_charts, sweep_tables
from mixedflow.report.own_page import OwnPage
from mixedflow.report.sweep_data import packed_column, packed_table
from mixedflow.report.tables import Table
from mixedflow.report.theme import asset, environment
from mixedflow.report.vega import chart_library

SCRIPTS = ("sweep_data.js", "sweep_table.js", "sweep_charts.js", "sweep_panel.js", "sweep.js")
FIRST = ("trait", "model", "subset", "error")


class SweepOutcome(Protocol):
    """What a page needs to know of a sweep."""

    @property
    def table(self) -> pd.DataFrame:
        """A row a trait and model."""

    @property
    def tests(self) -> pd.DataFrame:
        """A row a trait and test between models."""

    @property
    def failures(self) -> pd.DataFrame:
        """The rows of the table that have a reason instead of a fit."""

    @property
    def spec(self) -> Mapping[str, Any]:
        """What was asked, as plain values."""


@dataclass(frozen=True, slots=True)
class SweepSection(OwnPage):
    """What the pages show of one sweep.

    Attributes
    ----------
    name : key of the sweep in the configuration
    result : its outcome
    title : how the page calls the sweep; its name when empty
    page : address of its page, relative to the report; ``<name>.html`` when empty
    formulas : model -> right-hand side, ``~ x + (1 | g)``; what the sweep was asked when empty
    data : the file of rows and traits, as Python writes it in a call: ``"cells.parquet"``; empty
        where there is no such file
    options : model -> what else a fit is told, ``reml=False``; what the sweep was asked when empty
    generated : when, as text; empty leaves it out
    """

    name: str
    result: SweepOutcome
    title: str = ""
    page: str = ""
    formulas: Mapping[str, str] = field(default_factory=dict)
    data: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    generated: str = ""

    @property
    def right_sides(self) -> Mapping[str, str]:
        """Formula of every model, without its response."""
        return self.formulas or sweep_calls.formulas_of(self.result.spec)


def write_sweep_page(path: str | Path, section: SweepSection) -> None:
    """Write the page of a sweep to a file, under a temporary name first.

    Raises
    ------
    OutputError
        when the place cannot be written
    """
    atomic_write_text(path, render_sweep_page(section))


def render_sweep_page(section: SweepSection) -> str:
    """Return the page of a sweep as HTML; style, data and the chart library are inside it."""
    table = arranged(section.result.table)
    variants, codes = sweep_tables.split_variants(table)
    calibrated = sweep_charts.calibration(variants)
    payload = {
        "table": packed_table(table),
        "tests": packed_table(section.result.tests.reset_index(drop=True)),
        "variants": [call_parts(section, label, rows) for label, rows in variants.items()],
        "variant": packed_column("variant", pd.Series(codes)),
        "coefficients": sweep_charts.coefficient_names(table),
        "components": sweep_charts.component_names(table),
        "calibration": calibrated,
        "bands": sweep_charts.bands(calibrated),
        "histograms": sweep_charts.histograms(variants),
        "specs": {
            "volcano": sweep_charts.volcano_spec(),
            "quantiles": sweep_charts.p_quantile_spec(),
            "histogram": sweep_charts.histogram_spec(),
        },
        "file": f"{section.name}.csv",
    }
    return environment().get_template("sweep.html.j2").render(
        section=section,
        facts=sweep_facts(section),
        tables=_tables(section, variants, calibrated),
        reasons=sweep_tables.failure_reasons(section.result.failures),
        payload=payload,
        style=asset("style.css") + asset("sweep.css"),
        script=Markup("\n").join(asset(name) for name in SCRIPTS),
        library=Markup(chart_library()),  # noqa: S704 - our own bundle
        version=version("mixedflow"),
    )  # fmt: skip


def arranged(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the reason of a failure in front and a coefficient's q behind its p."""
    first = [name for name in FIRST if name in table]
    rest = [str(name) for name in table.columns if name not in first]
    corrected = [name for name in rest if name.startswith("q:") and f"p:{name[2:]}" in rest]
    for name in corrected:
        rest.remove(name)
        rest.insert(rest.index(f"p:{name[2:]}") + 1, name)
    return table[[*first, *rest]].reset_index(drop=True)


def sweep_facts(section: SweepSection) -> list[tuple[str, str]]:
    """Return what the head of the page, and the report's list, say of a sweep."""
    table = section.result.table
    return [
        ("Traits", f"{table['trait'].nunique():,}"),
        ("Models", f"{table['model'].nunique():,}"),
        ("Fits", f"{len(table):,}"),
        ("Converged", f"{int(sweep_tables.flags(table, 'converged').sum()):,}"),
        ("Singular", f"{int(sweep_tables.flags(table, 'singular').sum()):,}"),
        ("Without a fit", f"{int(sweep_tables.failed_rows(table).sum()):,}"),
        ("Time of fits", sweep_tables.seconds_text(float(table["seconds"].sum()))),
    ]


def call_parts(section: SweepSection, label: str, rows: pd.DataFrame) -> dict[str, str]:
    """Return what stands before and after the trait's name in the call that fits it alone."""
    model = str(rows["model"].iloc[0])
    subset = str(rows["subset"].iloc[0]) if "subset" in rows else ""
    spec = section.result.spec
    formula = section.right_sides.get(model, "").strip()
    options = section.options.get(model, sweep_calls.options_of(spec, model))
    place = sweep_calls.rows_of(spec, subset, section.data)
    before, after = sweep_calls.call_around(formula, place, options)
    return {"label": label, "formula": formula, "before": before, "after": after}


def _tables(
    section: SweepSection,
    variants: dict[str, pd.DataFrame],
    calibrated: dict[str, dict[str, Any]],
) -> list[Table]:
    found = [
        sweep_tables.endings_table(variants, section.right_sides),
        sweep_tables.significance_table(variants, calibrated),
        sweep_tables.tests_table(section.result.tests),
    ]
    return [item for item in found if item is not None]
