"""Charts of tests and intervals: contrasts with their intervals, profiles by zeta.

Stands outside the equations of ``docs/algorithm.md``: every number that is drawn was computed before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from mixedflow.report.drawing import (
    BLUE,
    ORANGE,
    ChartFigure,
    Drawing,
    amount,
    chart_spec,
    inline,
    rule_at_zero,
    tip,
)

MAX_NAMED = 60
"""Rows of a forest plot that can still be read."""

MAX_PROFILES = 12
"""Profiles that are drawn, one figure each."""

LINE_HEIGHT = 26


def forest_figure(key: str, title: str, frame: pd.DataFrame, level: float) -> ChartFigure | None:
    """Return estimates and intervals, one line each, beside zero; None where there are none to draw.

    Parameters
    ----------
    key, title : of the figure
    frame : name, estimate, lower, upper and p; the name is its first column
    level : of the intervals
    """
    frame = frame[frame[["estimate", "lower", "upper"]].notna().all(axis=1)]
    if not 0 < len(frame) <= MAX_NAMED:
        return None
    names = [str(name) for name in frame.iloc[:, 0]]
    columns: dict[str, Sequence[Any]] = {"name": names}
    columns |= {c: frame[c].tolist() for c in ("estimate", "lower", "upper", "p")}
    percent = f"{100 * level:g} %"
    base = alt.Chart(inline(columns)).encode(
        y=alt.Y("name", type="nominal", sort=names, title=None, axis=alt.Axis(labelLimit=260)),
        tooltip=[
            tip("name", "Contrast"),
            tip("estimate", "Estimate", ".5~g"),
            tip("lower", f"Lower {percent}", ".5~g"),
            tip("upper", f"Upper {percent}", ".5~g"),
            tip("p", "p", ".2~g"),
        ],
    )
    bars = base.mark_rule(color=BLUE, strokeWidth=2.5).encode(
        x=alt.X(**amount("lower", f"Estimate with {percent} interval")), x2="upper"
    )
    dots = base.mark_point(filled=True, color=BLUE, size=70, opacity=1).encode(
        x=alt.X("estimate", type="quantitative")
    )
    height = max(90, LINE_HEIGHT * len(names))
    chart = alt.layer(rule_at_zero("x"), bars, dots).properties(width="container", height=height)
    text = f"{len(names)} estimates with {percent} intervals; the dashed line is zero."
    return ChartFigure(key, title, text, chart_spec(chart, text))


def zeta_figures(key: str, frame: pd.DataFrame, level: float) -> Iterator[ChartFigure]:
    """Yield the profile of every parameter: zeta, the signed root of the likelihood ratio.

    Parameters
    ----------
    key : opens the keys of the figures
    frame : parameter, value, zeta
    level : of the intervals that are drawn, where zeta is +-z
    """
    groups = list(frame.groupby("parameter", sort=False))[:MAX_PROFILES]
    for i, (name, rows) in enumerate(groups, 1):
        kept = rows[rows[["value", "zeta"]].notna().all(axis=1)].sort_values("value")
        if len(kept) > 1:
            yield _zeta_figure(f"{key}-{i}", str(name), kept, level)


def _zeta_figure(key: str, name: str, rows: pd.DataFrame, level: float) -> ChartFigure:
    columns: Mapping[str, Sequence[Any]] = {c: rows[c].tolist() for c in ("value", "zeta")}
    base = alt.Chart(inline(columns)).encode(
        x=alt.X(**amount("value", name)),
        y=alt.Y(**amount("zeta", "ζ", zero=True)),
        tooltip=[tip("value", name, ".6~g"), tip("zeta", "ζ", ".3f")],
    )
    line = base.mark_line(color=BLUE, strokeWidth=2)
    dots = base.mark_point(filled=True, color=BLUE, size=40, opacity=1)
    chart = alt.layer(rule_at_zero("y"), _limits(level), line, dots)
    text = (
        f"Profile of {name}: the signed square root of the likelihood ratio by its value. A straight "
        f"line is a normal likelihood; the {100 * level:g} % interval ends where it meets the dashed "
        "lines above and below zero."
    )
    chart = chart.properties(width="container", height=200)
    return ChartFigure(key, f"Profile: {name}", text, chart_spec(chart, text))


def _limits(level: float) -> Drawing:
    """Return the lines zeta = +-z between which the interval lies."""
    from scipy.special import ndtri

    z = float(ndtri(0.5 + 0.5 * level))
    marks = alt.Chart(inline({"limit": [-z, z]})).mark_rule(color=ORANGE, strokeDash=[4, 3])
    return marks.encode(y=alt.Y("limit", type="quantitative"))
