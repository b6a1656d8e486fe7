"""Charts of a scan: p-values by place, their quantiles, estimates against them; a million is thinned.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from mixedflow.design.types import Float, Int
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
    tip,
)
from mixedflow.report.sweep_charts import MINUS_LOG
from mixedflow.report.sweep_tables import LEVEL
from mixedflow.sweeps.calibration import uniform_band
from mixedflow.sweeps.scan_result import ScanResult

SMALLEST = 1000
"""Smallest p-values that are all drawn."""
BINS = 400
"""Stretches of covariates of each of which the smallest p is drawn."""
HEIGHT = 300


def scan_figures(result: ScanResult) -> list[ChartFigure]:
    """Return the charts of a scan; none where nothing was tested."""
    found = result.table[result.table["p"].notna()]
    if not len(found):
        return []
    p = np.maximum(found["p"].to_numpy(dtype=float), np.finfo(float).tiny)
    order = np.argsort(p, kind="stable")
    places = found.index.to_numpy()
    smallest = order[:SMALLEST]
    shown = np.unique(np.concatenate([smallest, _peaks(p)]))
    return [
        _by_place(found, p, places, shown, len(result.table)),
        _quantiles(found, p, order),
        _volcano(found, p, smallest),
    ]


def _peaks(p: Float) -> Int:
    """Return where p is smallest in each of equal stretches."""
    edges = np.unique(np.linspace(0, len(p), BINS + 1).astype(int))
    pairs = itertools.pairwise(edges)
    return np.array([first + int(p[first:last].argmin()) for first, last in pairs])


def _by_place(found: pd.DataFrame, p: Float, places: Int, shown: Int, total: int) -> ChartFigure:
    """Return p-values in the order of the covariates."""
    columns = {
        "x": (places[shown] + 1).tolist(),
        **_points(found, p, shown),
    }
    x = alt.X(**amount("x", "Covariate, in the order given", format=",d", tickMinStep=1))
    text = f"p-values of {total:,} covariates in their order."
    if len(shown) < len(found):
        text = (
            f"p-values of {total:,} covariates in their order: the {SMALLEST:,} smallest, and the"
            f" smallest of each of {BINS} stretches."
        )
    chart = _circles(columns, x)
    return _figure("scan-places", "p-values by covariate", text, chart)


def _quantiles(found: pd.DataFrame, p: Float, order: Int) -> ChartFigure:
    """Return sorted p-values against those of a null hypothesis that holds."""
    n = len(p)
    ranks = np.unique(
        np.concatenate(
            [np.arange(min(n, SMALLEST)), np.round(np.geomspace(1, n, BINS)).astype(int) - 1]
        )
    )
    at = order[ranks]
    columns = {"x": (-np.log10((ranks + 0.5) / n)).tolist(), **_points(found, p, at)}
    expected, lower, upper = (-np.log10(values) for values in uniform_band(n))
    band = inline({"x": expected.tolist(), "low": upper.tolist(), "high": lower.tolist()})
    x = alt.X("x", type="quantitative")
    area = (
        alt.Chart(band)
        .mark_area(color=GREY, opacity=0.25)
        .encode(x=x, y=alt.Y("low", type="quantitative"), y2="high")
    )
    line = (
        alt.Chart(band)
        .mark_line(color=DARK, strokeDash=[4, 3])
        .encode(x=x, y=alt.Y("x", type="quantitative"))
    )
    points = _circles(columns, alt.X(**amount("x", f"Expected {MINUS_LOG}", zero=True)))
    text = "Sorted p-values against those expected where nothing is there, with 95 % of each rank."
    return _figure("scan-quantiles", "Quantiles of p-values", text, area + line + points)


def _volcano(found: pd.DataFrame, p: Float, shown: Int) -> ChartFigure:
    """Return estimates against p-values."""
    estimates = found["estimate"].to_numpy(dtype=float)[shown]
    columns = {"x": estimates.tolist(), **_points(found, p, shown)}
    chart = _circles(columns, alt.X(**amount("x", "Estimate", labelOverlap=True)))
    whose = f"the {len(shown):,} smallest p" if len(shown) < len(p) else "all covariates"
    return _figure("scan-volcano", "Volcano", f"Estimates against p-values of {whose}.", chart)


def _points(found: pd.DataFrame, p: Float, shown: Int) -> dict[str, Sequence[Any]]:
    """Return what every chart draws of some covariates."""
    q = found["q"].to_numpy(dtype=float)[shown]
    return {
        "y": (-np.log10(p[shown])).tolist(),
        "p": p[shown].tolist(),
        "q": q.tolist(),
        "name": [str(name) for name in found["covariate"].to_numpy()[shown]],
        "set": np.where(q < LEVEL, f"q < {LEVEL}", f"q ≥ {LEVEL}").tolist(),
    }


def _circles(columns: dict[str, Any], x: alt.X) -> Drawing:
    colours = alt.Scale(domain=[f"q < {LEVEL}", f"q ≥ {LEVEL}"], range=[ORANGE, BLUE])
    return (
        alt.Chart(inline(columns))
        .mark_circle(size=26, opacity=0.6)
        .encode(
            x=x,
            y=alt.Y(**amount("y", MINUS_LOG, zero=True)),
            color=alt.Color("set", type="nominal", title=None, scale=colours),
            tooltip=[tip("name", "Covariate"), tip("p", "p", ".3~g"), tip("q", "q", ".3~g")],
        )
    )


def _figure(key: str, title: str, text: str, chart: Drawing) -> ChartFigure:
    sized = chart.properties(width="container", height=HEIGHT)
    return ChartFigure(key, title, text, chart_spec(sized, text))
