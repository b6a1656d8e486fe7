"""Charts of tests and intervals: contrasts and means with their intervals, profiles by zeta.

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
from mixedflow.results.inferred import InferredTable

MAX_NAMED = 60
"""Rows of a forest plot that can still be read."""

MAX_PROFILES = 12
"""Profiles that are drawn, one figure each."""

MAX_LEVELS = 30
"""Levels whose influence is drawn."""

LINE_HEIGHT = 26


def forest_figure(
    key: str, title: str, frame: pd.DataFrame, level: float, by: Sequence[str] = ()
) -> ChartFigure | None:
    """Return estimates and intervals, one line each, beside zero; None where there are none to draw.

    Parameters
    ----------
    key, title : of the figure
    frame : name, estimate, lower, upper and p; the name is its first column
    level : of the intervals
    by : columns of the frame that tell apart what has the same name
    """
    frame = _known(frame)
    if not 0 < len(frame) <= MAX_NAMED:
        return None
    names = _labels(frame, [str(frame.columns[0]), *by])
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
    single, n = f"One estimate with its {percent} interval", len(names)
    many = single if n == 1 else f"{n} estimates with {percent} intervals"
    text = f"{many}; the dashed line is zero."
    return ChartFigure(key, title, text, chart_spec(chart, text))


def _known(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that have an estimate and an interval."""
    return frame[frame[["estimate", "lower", "upper"]].notna().all(axis=1)]


def _labels(frame: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return a label a row: what stands in some columns."""
    if not columns:
        return [""] * len(frame)
    return [", ".join(map(str, row)) for row in zip(*(frame[c] for c in columns), strict=True)]


def means_figure(
    key: str,
    title: str,
    frame: pd.DataFrame,
    names: Sequence[str],
    level: float,
    y_title: str = "Estimate",
) -> ChartFigure | None:
    """Return means with their intervals, by the first variable; the others by colour.

    Parameters
    ----------
    key, title : of the figure
    frame : the variables, estimate, lower, upper
    names : of the variables; None is drawn for one mean alone
    level : of the intervals
    y_title : what the means are of
    """
    frame = _known(frame)
    if not names or not 0 < len(frame) <= MAX_NAMED:
        return None
    first, *others = names
    percent = f"{100 * level:g} %"
    columns: dict[str, Sequence[Any]] = {"x": frame[first].tolist()}
    columns |= {"group": _labels(frame, others)}
    columns |= {c: frame[c].tolist() for c in ("estimate", "lower", "upper")}
    line = frame[first].dtype.kind in "fiu"
    base = _by_level(inline(columns), first, line=line).encode(
        tooltip=[
            tip("x", first),
            *([tip("group", ", ".join(others))] if others else []),
            tip("estimate", "Estimate", ".5~g"),
            tip("lower", f"Lower {percent}", ".5~g"),
            tip("upper", f"Upper {percent}", ".5~g"),
        ]
    )
    chart = _means(base, y_title, ", ".join(others), line=line).properties(
        width="container", height=280
    )
    text = f"{len(frame)} means with {percent} intervals by {', '.join(names)}."
    return ChartFigure(key, title, text, chart_spec(chart, text))


def _by_level(data: alt.InlineData, title: str, *, line: bool) -> Drawing:
    """Return the base of a chart over the values of a variable: amounts, or names in their order."""
    if line:
        return alt.Chart(data).encode(x=alt.X(**amount("x", title)))
    axis = alt.Axis(labelAngle=0)
    return alt.Chart(data).encode(x=alt.X("x", type="nominal", sort=None, title=title, axis=axis))


def _means(base: Drawing, y_title: str, group: str, *, line: bool) -> Drawing:
    """Return dots and bars, side by side where they share a name, on a line where it is an amount."""
    colour: dict[str, Any] = {"color": alt.value(BLUE)}
    if group:
        colour = {"color": alt.Color("group", type="nominal", sort=None, title=group)}
        if not line:
            colour["xOffset"] = alt.XOffset("group", type="nominal", sort=None)
    y = alt.Y(**amount("lower", y_title))
    bars = base.mark_rule(strokeWidth=2, opacity=0.7).encode(y=y, y2="upper", **colour)
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(
        y=alt.Y("estimate", type="quantitative"), **colour
    )
    if not line:
        return alt.layer(bars, dots)
    joined = base.mark_line(strokeWidth=1.5).encode(
        y=alt.Y("estimate", type="quantitative"), **colour
    )
    return alt.layer(joined, bars, dots)


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


def influence_figure(key: str, one: InferredTable) -> ChartFigure:
    """Return Cook's distances, the largest first, while they can be told apart."""
    name = str(one.table.columns[0])
    most = one.table.nlargest(MAX_LEVELS, "cook")
    levels = [str(level) for level in most[name]]
    columns = {
        "level": levels,
        "cook": most["cook"].tolist(),
        "leverage": most["leverage"].tolist(),
    }
    base = alt.Chart(inline(columns)).encode(
        y=alt.Y("level", type="nominal", sort=levels, title=name),
        tooltip=[
            tip("level", name),
            tip("cook", "Cook's distance", ".3~g"),
            tip("leverage", "Leverage", ".3~g"),
        ],
    )
    bars = base.mark_rule(color=BLUE, strokeWidth=2, opacity=0.5).encode(
        x=alt.X(**amount("cook", "Cook's distance", zero=True))
    )
    dots = base.mark_point(filled=True, color=BLUE, size=60, opacity=1).encode(
        x=alt.X("cook", type="quantitative")
    )
    chart = alt.layer(bars, dots).properties(width="container", height=max(90, 18 * len(levels)))
    text = (
        f"Cook's distance of {len(levels)} of {len(one.table):,} levels of {name}: how far the fixed "
        "effects move when its rows are left out."
    )
    return ChartFigure(key, one.title, text, chart_spec(chart, text))
