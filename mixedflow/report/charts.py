"""Vega-Lite specifications of a model's charts, drawn by Altair.

Stands outside the equations of ``docs/algorithm.md``: every number that is drawn was computed in
the diagnostics room. Fields have fixed names; what the user named appears in titles and values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from mixedflow.diagnostics import Diagnostics, RandomColumn
from mixedflow.report.drawing import (
    BLUE,
    DARK,
    GREY,
    ORANGE,
    ChartFigure,
    Drawing,
    amount,
    chart_spec,
    inline,
    rule_at_zero,
    tip,
)

NAMED_LEVELS = 60


def trace_figures(key: str, trace: pd.DataFrame) -> list[ChartFigure]:
    """Return the course of -2 log-likelihood and of the convergence criteria."""
    columns = {name: trace[name].tolist() for name in ("iteration", "step", "minus2ll")}
    x = alt.X(**amount("iteration", "Iteration", tickMinStep=1, format="d"))
    base = alt.Chart(inline(columns)).encode(
        x=x, y=alt.Y(**amount("minus2ll", "−2 log-likelihood")), tooltip=[
            tip("iteration", "Iteration", "d"),
            tip("step", "Step"),
            tip("minus2ll", "−2 log-likelihood", ".8~g"),
        ],
    )  # fmt: skip
    points = base.mark_point(filled=True, size=55, opacity=1).encode(
        shape=alt.Shape("step", type="nominal", title="Step"),
        color=alt.Color("step", type="nominal", title="Step"),
    )
    text = f"−2 log-likelihood by iteration, {int(trace['iteration'].max())} iterations."
    chart = (base.mark_line(color=GREY) + points).properties(width="container", height=240)
    out = [ChartFigure(f"{key}-trace", "Likelihood by iteration", text, chart_spec(chart, text))]
    criteria = _criteria_chart(trace)
    if criteria is not None:
        text = "Convergence criteria by iteration on a logarithmic axis; both must fall."
        title = "Convergence criteria by iteration"
        out.append(ChartFigure(f"{key}-criteria", title, text, chart_spec(criteria, text)))
    return out


def _criteria_chart(trace: pd.DataFrame) -> Drawing:
    rows: dict[str, list[Any]] = {"iteration": [], "criterion": [], "value": []}
    names = {"decrement": "decrement", "rel_change": "relative change"}
    for name, title in names.items():
        for iteration, value in zip(trace["iteration"], trace[name], strict=True):
            if math.isfinite(value) and value > 0:
                rows["iteration"].append(int(iteration))
                rows["criterion"].append(title)
                rows["value"].append(float(value))
    if not rows["value"]:
        return None
    y = amount("value", "Value (log scale)", format=".0e", tickCount=6)
    y["scale"] = alt.Scale(type="log")
    chart = alt.Chart(inline(rows)).mark_line(point=alt.OverlayMarkDef(filled=True, size=55))
    return chart.encode(
        x=alt.X(**amount("iteration", "Iteration", tickMinStep=1, format="d")),
        y=alt.Y(**y),
        color=alt.Color("criterion", type="nominal", title="Criterion"),
        tooltip=[
            tip("iteration", "Iteration", "d"),
            tip("criterion", "Criterion"),
            tip("value", "Value", ".3~g"),
        ],
    ).properties(width="container", height=240)


def _residual_points(points: Mapping[str, Sequence[Any]], x_title: str) -> Drawing:
    opacity = 0.75 if len(points["row"]) < 1000 else 0.35
    columns = {name: points[name] for name in ("row", "fitted", "standardised")}
    return (
        alt.Chart(inline(columns))
        .mark_circle(size=34, color=BLUE, opacity=opacity)
        .encode(
            x=alt.X(**amount("fitted", x_title)),
            y=alt.Y(**amount("standardised", "Standardised residual")),
            tooltip=[
                tip("row", "Row", ",d"),
                tip("fitted", "Fitted", ".5~g"),
                tip("standardised", "Standardised residual", ".3f"),
            ],
        )
    )


def _residual_cells(cells: Mapping[str, Sequence[Any]], x_title: str) -> Drawing:
    colour = alt.Color(
        "count",
        type="quantitative",
        title="Rows",
        scale=alt.Scale(type="log", scheme="blues"),
        legend=alt.Legend(tickCount=3, format="~s"),
    )
    return (
        alt.Chart(inline(cells))
        .mark_rect()
        .encode(
            x=alt.X(**amount("x", x_title)),
            x2="x2",
            y=alt.Y(**amount("y", "Standardised residual")),
            y2="y2",
            color=colour,
            tooltip=[
                tip("count", "Rows", ",d"),
                tip("x", "Fitted from", ".5~g"),
                tip("y", "Residual from", ".2f"),
            ],
        )
    )


def residual_figure(key: str, result: Diagnostics, x_title: str) -> ChartFigure:
    """Return standardised residuals against fitted values: points, or counts when they are many."""
    small = bool(result.points["row"])
    body = _residual_points(result.points, x_title) if small else _residual_cells(
        result.cells, x_title
    )  # fmt: skip
    smooth = {name: result.smooth[name] for name in ("fitted", "mean", "sd", "count")}
    line = (
        alt.Chart(inline(smooth))
        .mark_line(color=ORANGE, strokeWidth=2.5, interpolate="monotone", clip=True)
        .encode(x=alt.X("fitted", type="quantitative"), y=alt.Y("mean", type="quantitative"))
    )
    text = (
        f"Standardised conditional residuals of {result.n:,} rows against fitted values"
        f"{'' if small else ', counted in cells'}; the line is the mean by bin of the fitted value."
    )
    chart = alt.layer(body, rule_at_zero("y"), line).properties(width="container", height=320)
    return ChartFigure(
        f"{key}-residuals", "Residuals against fitted values", text, chart_spec(chart, text)
    )


def _qq_chart(
    columns: Mapping[str, Sequence[Any]], tips: list[alt.Tooltip], y_title: str
) -> Drawing:
    ends = [min(columns["theoretical"]), max(columns["theoretical"])]
    identity = (
        alt.Chart(inline({"a": ends, "b": ends}))
        .mark_line(color=DARK, strokeDash=[4, 3])
        .encode(x=alt.X("a", type="quantitative"), y=alt.Y("b", type="quantitative"))
    )
    points = (
        alt.Chart(inline(columns))
        .mark_circle(size=34, color=BLUE, opacity=0.75)
        .encode(
            x=alt.X(**amount("theoretical", "Normal quantile")),
            y=alt.Y(**amount("standardised", y_title)),
            tooltip=[
                *tips,
                tip("theoretical", "Normal quantile", ".3f"),
                tip("standardised", "Standardised", ".3f"),
            ],
        )
    )
    return alt.layer(identity, points).properties(width="container", height=320)


def residual_qq_figure(key: str, result: Diagnostics) -> ChartFigure:
    """Return the quantiles of the residuals against those of the normal distribution."""
    chart = _qq_chart(result.qq, [], "Standardised residual")
    text = (
        f"Quantiles of {result.n:,} standardised residuals against normal quantiles; "
        "on the dashed line they agree."
    )
    return ChartFigure(
        f"{key}-qq", "Normal quantiles of the residuals", text, chart_spec(chart, text)
    )


def random_qq_figure(key: str, column: RandomColumn) -> ChartFigure | None:
    """Return the QQ plot of a column of random effects, None where its variance is zero."""
    if not column.qq["level"]:
        return None
    chart = _qq_chart(column.qq, [tip("level", column.factor)], "Standardised random effect")
    text = (
        f"Standardised random effects of {column.column} by {column.factor} against normal "
        f"quantiles, {column.n_levels:,} levels."
    )
    title = f"Normal quantiles: {column.column} by {column.factor}"
    return ChartFigure(f"{key}-qq", title, text, chart_spec(chart, text))


def caterpillar_figure(key: str, column: RandomColumn, unit_title: str) -> ChartFigure:
    """Return the sorted BLUPs with their 95 % intervals; named levels while they can be read."""
    named = column.n_levels <= NAMED_LEVELS
    data = inline(column.caterpillar)
    tips = [
        tip("level", column.factor),
        tip("blup", "Random effect", ".5~g"),
        tip("lower", "Lower 95 %", ".5~g"),
        tip("upper", "Upper 95 %", ".5~g"),
    ]
    shown = len(column.caterpillar["level"])
    thinned = "" if shown == column.n_levels else f", {shown} of them drawn with both ends in full"
    text = (
        f"Random effects of {column.column} for {column.n_levels:,} levels of {column.factor}"
        f"{thinned}, sorted, with 95 % intervals."
    )
    draw = _by_name if named else _by_rank
    chart = draw(data, tips, column, unit_title)
    title = f"Random effects: {column.column} by {column.factor}"
    return ChartFigure(f"{key}-blups", title, text, chart_spec(chart, text))


def _by_name(
    data: alt.InlineData, tips: list[alt.Tooltip], column: RandomColumn, title: str
) -> Drawing:
    levels = [str(level) for level in column.caterpillar["level"]][::-1]
    y = alt.Y("level", type="nominal", sort=levels, title=column.factor)
    base = alt.Chart(data).encode(y=y, tooltip=tips)
    bars = base.mark_rule(color=BLUE, strokeWidth=2, opacity=0.6).encode(
        x=alt.X(**amount("lower", title)), x2="upper"
    )
    dots = base.mark_point(filled=True, color=BLUE, size=50, opacity=1).encode(
        x=alt.X("blup", type="quantitative")
    )
    height = max(120, 17 * len(levels))
    return alt.layer(rule_at_zero("x"), bars, dots).properties(width="container", height=height)


def _by_rank(
    data: alt.InlineData, tips: list[alt.Tooltip], column: RandomColumn, title: str
) -> Drawing:
    base = alt.Chart(data).encode(
        x=alt.X(**amount("rank", f"{column.factor}, by rank", format="~s")), tooltip=tips
    )
    bars = base.mark_rule(color=BLUE, opacity=0.35).encode(
        y=alt.Y(**amount("lower", title)), y2="upper"
    )
    dots = base.mark_circle(color=BLUE, size=16, opacity=1).encode(
        y=alt.Y("blup", type="quantitative")
    )
    return alt.layer(bars, dots, rule_at_zero("y")).properties(width="container", height=320)
