"""Charts of a sweep: volcano, quantiles of p-values, histograms of variance components.

Stands outside the equations of ``docs/algorithm.md``. The specifications name their data; the page
fills them from its table for the model and coefficient that the reader chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from mixedflow.report.drawing import (
    BLUE,
    DARK,
    GREY,
    ORANGE,
    Drawing,
    Spec,
    amount,
    chart_spec,
    short,
    tip,
)
from mixedflow.sweeps.calibration import uniform_band
from mixedflow.sweeps.scan_result import genomic_control

BINS = 50
UPPER_TAIL = 0.995
"""Share of the values below the last bin, which is open to the right."""

MINUS_LOG = "−log₁₀ p"


def coefficient_names(table: pd.DataFrame) -> list[str]:
    """Return the coefficients that the table has p-values of."""
    prefix = "p:"
    names = [str(name) for name in table.columns]
    return [name[len(prefix) :] for name in names if name.startswith(prefix)]


def component_names(table: pd.DataFrame) -> list[str]:
    """Return the columns of the table that are shares and standard deviations."""
    names = [str(name) for name in table.columns]
    first = [name for name in names if name == "icc"]
    return first + [name for name in names if name.startswith("sd:") or name == "sigma"]


def volcano_spec() -> Spec:
    """Return estimates against p-values; what q calls significant stands out."""
    points = (
        alt.Chart(alt.NamedData(name="points"))
        .mark_circle(size=26, opacity=0.55)
        .encode(
            x=alt.X(**amount("x", "Estimate", labelOverlap=True)),
            y=alt.Y(**amount("y", MINUS_LOG)),
            color=alt.Color(
                "set",
                type="nominal",
                title=None,
                scale=alt.Scale(
                    domain=["q < 0.05", "q ≥ 0.05", "no q"], range=[ORANGE, BLUE, GREY]
                ),
            ),
            tooltip=[
                tip("trait", "Trait"),
                tip("x", "Estimate", ".4~g"),
                tip("p", "p", ".3~g"),
                tip("q", "q", ".3~g"),
            ],
        )
    )
    chart = alt.layer(points, _chosen()).properties(width="container", height=340)
    return chart_spec(chart, "Estimates of a coefficient against their p-values, a point a trait.")


def p_quantile_spec() -> Spec:
    """Return sorted p-values against those of a null hypothesis that holds."""
    band = (
        alt.Chart(alt.NamedData(name="band"))
        .mark_area(color=GREY, opacity=0.25)
        .encode(
            x=alt.X("x", type="quantitative"),
            y=alt.Y("low", type="quantitative"),
            y2="high",
        )
    )
    line = (
        alt.Chart(alt.NamedData(name="band"))
        .mark_line(color=DARK, strokeDash=[4, 3])
        .encode(x=alt.X("x", type="quantitative"), y=alt.Y("x", type="quantitative"))
    )
    points = (
        alt.Chart(alt.NamedData(name="points"))
        .mark_circle(size=26, color=BLUE, opacity=0.7)
        .encode(
            x=alt.X(**amount("x", f"Expected {MINUS_LOG}", zero=True, labelOverlap=True)),
            y=alt.Y(**amount("y", f"Observed {MINUS_LOG}", zero=True)),
            tooltip=[tip("trait", "Trait"), tip("p", "p", ".3~g")],
        )
    )
    chart = alt.layer(band, line, points, _chosen()).properties(width="container", height=340)
    return chart_spec(chart, "Sorted p-values against those expected where nothing is there.")


def _chosen() -> Drawing:
    """Return the ring around the trait whose fit is shown."""
    return (
        alt.Chart(alt.NamedData(name="chosen"))
        .mark_point(size=150, color=DARK, strokeWidth=2.5, filled=False, opacity=1)
        .encode(x=alt.X("x", type="quantitative"), y=alt.Y("y", type="quantitative"))
    )


def histogram_spec() -> Spec:
    """Return how often a variance component lies where."""
    chart = (
        alt.Chart(alt.NamedData(name="bins"))
        .mark_bar(color=BLUE, stroke="white", strokeWidth=0.5)
        .encode(
            x=alt.X(**amount("low", "Value"), bin="binned"),
            x2="high",
            y=alt.Y(**amount("count", "Traits", zero=True)),
            tooltip=[
                tip("low", "From", ".4~g"),
                tip("high", "To", ".4~g"),
                tip("count", "Traits", ",d"),
            ],
        )
        .properties(width="container", height=340)
    )
    return chart_spec(chart, "Histogram of a variance component over traits.")


def histogram_rows(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    """Return counts by equal bins; the last one holds all that lies above it."""
    known = values[np.isfinite(values)]
    if not len(known):
        return {"low": [], "high": [], "count": [], "above": 0}
    low, high = float(known.min()), float(np.quantile(known, UPPER_TAIL))
    if low >= 0:
        low = 0.0
    if high <= low:
        high = max(float(known.max()), low + 1.0)
    edges = np.linspace(low, high, BINS + 1)
    counts, _ = np.histogram(np.minimum(known, high), edges)
    return {
        "low": [short(float(v)) for v in edges[:-1]],
        "high": [short(float(v)) for v in edges[1:]],
        "count": counts.tolist(),
        "above": int((known > high).sum()),
    }


def histograms(variants: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, Any]]:
    """Return variant -> component -> bins, for components that its model has."""
    out: dict[str, dict[str, Any]] = {}
    for label, rows in variants.items():
        found = {name: histogram_rows(_column(rows, name)) for name in component_names(rows)}
        out[label] = {name: bins for name, bins in found.items() if bins["count"]}
    return out


def calibration(variants: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, Any]]:
    """Return variant -> coefficient -> number of p-values and lambda."""
    out: dict[str, dict[str, Any]] = {}
    for label, rows in variants.items():
        found = {}
        for name in coefficient_names(rows):
            p = _column(rows, f"p:{name}")
            if np.isfinite(p).any():
                found[name] = {
                    "n": int(np.isfinite(p).sum()),
                    "lambda": short(genomic_control(p), 4),
                }
        out[label] = found
    return out


def bands(calibrated: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, float]]]:
    """Return number of p-values -> where they lie, on the scale of the plot."""
    sizes = {entry["n"] for entries in calibrated.values() for entry in entries.values()}
    out = {}
    for n in sorted(sizes):
        expected, lower, upper = (-np.log10(values) for values in uniform_band(n))
        out[str(n)] = [
            {"x": short(float(x), 5), "low": short(float(a), 5), "high": short(float(b), 5)}
            for x, a, b in zip(expected, upper, lower, strict=True)
        ]
    return out


def _column(rows: pd.DataFrame, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
