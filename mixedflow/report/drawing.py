"""What all charts of the page are made of.

Stands outside the equations of ``docs/algorithm.md``. Fields have fixed names; what the user named
appears in titles and values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

BLUE, ORANGE, GREY, DARK = "#1f5f99", "#b5500b", "#8a94a0", "#3b4651"
Spec = dict[str, Any]
Drawing = Any
"""A chart of Altair, single or layered; its own types do not survive layering."""


@dataclass(frozen=True, slots=True)
class ChartFigure:
    """One figure of the page.

    Attributes
    ----------
    key : identifier on the page
    title, description : heading and what a reader who cannot see it is told
    spec : Vega-Lite specification, without configuration
    """

    key: str
    title: str
    description: str
    spec: Spec


def short(value: Any, digits: int = 6) -> Any:
    """Round a float to significant digits, for a small page."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def inline(columns: Mapping[str, Sequence[Any]]) -> alt.InlineData:
    """Return the columns as rows of a chart."""
    names = list(columns)
    rows = zip(*columns.values(), strict=True)
    return alt.InlineData(values=[dict(zip(names, map(short, row), strict=True)) for row in rows])


def chart_spec(chart: Drawing, description: str) -> Spec:
    """Return the specification, without what the page adds, of the width of its place."""
    spec: Spec = chart.to_dict()
    for key in ("config", "$schema"):
        spec.pop(key, None)
    spec["description"] = description
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec


def amount(field: str, title: str, *, zero: bool = False, **axis: Any) -> dict[str, Any]:
    """Return a channel that shows an amount."""
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": alt.Scale(zero=zero, nice=True),
        "axis": alt.Axis(**axis) if axis else alt.Axis(),
    }


def tip(field: str, title: str, format_: str | None = None) -> alt.Tooltip:
    """Return a line of a tooltip: text, or a number by its format."""
    if format_ is None:
        return alt.Tooltip(field, type="nominal", title=title)
    return alt.Tooltip(field, type="quantitative", title=title, format=format_)


def rule_at_zero(axis: str) -> Drawing:
    """Return a dashed line at zero of an axis, ``x`` or ``y``."""
    chart = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color=DARK, strokeDash=[4, 3])
    place: dict[str, Any] = {axis: (alt.X if axis == "x" else alt.Y)("zero", type="quantitative")}
    return chart.encode(**place)
