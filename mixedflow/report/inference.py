"""Tests and intervals of a model as a section of the page: tables, each with its chart.

Stands outside the equations of ``docs/algorithm.md``: nothing is computed here, all is set out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mixedflow.report.drawing import ChartFigure
from mixedflow.report.inference_charts import (
    forest_figure,
    influence_figure,
    means_figure,
    zeta_figures,
)
from mixedflow.report.inference_tables import inferred_table, influence_table
from mixedflow.report.tables import Table
from mixedflow.results.inferred import Inferred, InferredTable


@dataclass(frozen=True, slots=True)
class InferencePart:
    """One table of the section.

    Attributes
    ----------
    title : of the table
    table : None where there is none, or where charts stand for it
    note : why there is none
    figures : its charts
    """

    title: str
    table: Table | None
    note: str
    figures: tuple[ChartFigure, ...]


@dataclass(frozen=True, slots=True)
class InferenceView:
    """The section: what must be read first, and its parts."""

    statement: str
    parts: tuple[InferencePart, ...]

    @property
    def figures(self) -> list[ChartFigure]:
        """All charts."""
        return [figure for part in self.parts for figure in part.figures]


def inference_view(key: str, found: Inferred | None, response: str) -> InferenceView | None:
    """Return the section, None where nothing was asked; coefficients stand with the estimates.

    Parameters
    ----------
    key : opens the identifiers of the charts
    found : what was answered
    response : title of an axis of means, the response with its unit
    """
    if found is None:
        return None
    kept = [one for one in found.tables if one.kind != "coefficients" or one.note]
    parts = [_part(f"{key}-{one.key}", one, found.level, response) for one in kept]
    return InferenceView(found.statement, tuple(parts))


def _part(key: str, one: InferredTable, level: float, response: str) -> InferencePart:
    if one.note or one.table.empty:
        return InferencePart(one.title, None, one.note, ())
    if one.kind == "influence":
        return InferencePart(one.title, influence_table(one), "", (influence_figure(key, one),))
    table = None if one.kind == "profiles" else inferred_table(one, level)
    return InferencePart(one.title, table, "", tuple(_figures(key, one, level, response)))


def _figures(key: str, one: InferredTable, level: float, response: str) -> Iterator[ChartFigure]:
    figure = None
    if one.kind == "contrasts":
        by = one.details.get("by", ())
        figure = forest_figure(key, f"{one.title}: intervals", one.table, level, by)
    if one.kind == "emmeans":
        names = [*one.details["specs"], *one.details["by"]]
        trend = one.details.get("trend")
        what = f"Slope of {trend}" if trend else response
        figure = means_figure(key, one.title, one.table, names, level, what)
    if figure is not None:
        yield figure
    if one.kind == "profiles":
        yield from zeta_figures(key, one.table, level)
