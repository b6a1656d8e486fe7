"""``mixedflow diagnose``: the second pass, its verdicts and plots' data, and their files.

Stands at "A second pass" in ``docs/algorithm.md``. A folder of diagnostics holds
``residuals.parquet`` (parts, one row a record) and ``summary.json`` (everything that a page needs).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr

from mixedflow.data.atomic import atomic_write_text
from mixedflow.data.manifest import ManifestKind, read_manifest
from mixedflow.data.source import Source
from mixedflow.design.encode import Encoder
from mixedflow.design.types import Int
from mixedflow.diagnostics.checks import Check, check_rows
from mixedflow.diagnostics.ranef import RandomColumn, normal_scores, random_columns
from mixedflow.diagnostics.residuals import MapReduce, residual_pass, run_in_order
from mixedflow.diagnostics.sketch import (
    RESIDUAL_LIMIT,
    RESIDUAL_STEP,
    FittedBins,
    ResidualSums,
    Rows,
)
from mixedflow.errors import StoredFileError
from mixedflow.results.fit_result import FitResult

SUMMARY = "summary.json"
KIND = ManifestKind("diagnostics", SUMMARY, 1, again="`mixedflow diagnose` writes it")
N_QUANTILES = 201

Columns = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """What the page shows of a fit beyond its estimates; plain lists, all of bounded size.

    Attributes
    ----------
    n : rows
    moments : mean, sd, skewness, kurtosis (excess) of the standardised residuals
    points : row, fitted, residual, standardised of every row, or empty columns for a large data set
    cells : x, x2, y, y2, count of the non-empty cells of standardised residual against fitted
    smooth : fitted, mean, sd, count by bin of the fitted value
    qq : theoretical and standardised quantiles of the residuals
    extremes : row, fitted, residual, standardised and the level of each grouping factor
    checks : see :func:`~mixedflow.diagnostics.checks.check_rows`
    random : see :func:`~mixedflow.diagnostics.ranef.random_columns`
    fit_digest : SHA-256 of the fit's ``fit.json``; empty for a fit that was not stored
    """

    n: int
    moments: dict[str, float]
    points: Columns
    cells: Columns
    smooth: Columns
    qq: Columns
    extremes: Columns
    checks: tuple[Check, ...]
    random: tuple[RandomColumn, ...]
    fit_digest: str = ""


def diagnose(
    fit: FitResult,
    source: Source,
    encoder: Encoder,
    folder: Path | None = None,
    map_reduce: MapReduce = run_in_order,
    fit_digest: str = "",
) -> Diagnostics:
    """Run the second pass over the rows of a fit and judge it.

    Parameters
    ----------
    fit : the finished fit
    source : the rows it was fitted to
    encoder : turns a partition into its design, from the fit's spec and schema
    folder : where ``residuals.parquet`` and ``summary.json`` go; None writes nothing
    map_reduce : ``map_reduce(fn, n_items, combine)``, how the partitions are worked through
    fit_digest : of the stored fit
    """
    sums = residual_pass(fit, source, encoder, folder, map_reduce)
    result = assemble(fit, sums, tuple(factor.name for factor in encoder.info.factors))
    result = dataclasses.replace(result, fit_digest=fit_digest)
    if folder is not None:
        save_diagnostics(result, folder)
    return result


def assemble(fit: FitResult, sums: ResidualSums, factors: tuple[str, ...]) -> Diagnostics:
    """Turn the sums of the pass into plots' data and verdicts."""
    names = ("mean", "sd", "skewness", "kurtosis")
    return Diagnostics(
        n=sums.n,
        moments=dict(zip(names, sums.moments(), strict=True)),
        points=_points(sums.points),
        cells=_cells(sums.bins),
        smooth=_smooth(sums.bins),
        qq=_qq(sums),
        extremes=_extremes(fit, sums.extremes, factors),
        checks=check_rows(fit, sums),
        random=random_columns(fit),
    )


def _points(rows: Rows | None) -> Columns:
    if rows is None:
        return {"row": [], "fitted": [], "residual": [], "standardised": []}
    ordered = rows.by_row()
    return {
        "row": ordered.row.tolist(),
        "fitted": ordered.fitted.tolist(),
        "residual": ordered.residual.tolist(),
        "standardised": ordered.standardised.tolist(),
    }


def _cells(bins: FittedBins | None) -> Columns:
    if bins is None:
        return {"x": [], "x2": [], "y": [], "y2": [], "count": []}
    i, j = np.nonzero(bins.counts)
    width = 2.0**bins.level
    x, y = (bins.first + i) * width, j * RESIDUAL_STEP - RESIDUAL_LIMIT
    return {
        "x": x.tolist(),
        "x2": (x + width).tolist(),
        "y": y.tolist(),
        "y2": (y + RESIDUAL_STEP).tolist(),
        "count": bins.counts[i, j].tolist(),
    }


def _smooth(bins: FittedBins | None) -> Columns:
    if bins is None:
        return {"fitted": [], "mean": [], "sd": [], "count": []}
    count = bins.counts.sum(axis=1)
    place = smooth_bins(count)
    n = np.bincount(place, weights=count)
    centre = (bins.first + np.arange(len(count)) + 0.5) * 2.0**bins.level
    mean = np.bincount(place, weights=bins.total) / 2.0**16 / n
    square = np.bincount(place, weights=bins.squares) / 2.0**16 / n
    return {
        "fitted": (np.bincount(place, weights=count * centre) / n).tolist(),
        "mean": mean.tolist(),
        "sd": np.sqrt(np.maximum(square - mean**2, 0)).tolist(),
        "count": n.astype(np.int64).tolist(),
    }


def smooth_bins(count: Int) -> Int:
    """Return for each fine bin its place in bins of enough rows for a steady mean.

    A bin is closed when it holds n / 24 rows, in small data 25 or a sixth of the rows;
    what is left at the end joins the last.
    """
    n = int(count.sum())
    enough = max(n / 24, min(25.0, n / 6))
    place, held, current = np.zeros(len(count), dtype=np.int64), 0, 0
    for i, rows in enumerate(count):
        place[i] = current
        held += int(rows)
        if held >= enough:
            current, held = current + 1, 0
    if 0 < held < enough and current:
        place[place == current] = current - 1
    return np.minimum(place, current - 1) if held == 0 and current else place


def _qq(sums: ResidualSums) -> Columns:
    if sums.quantiles is None:
        return {"theoretical": [], "standardised": []}
    if sums.points is not None:
        values = np.sort(sums.points.standardised)
        scores = normal_scores(sums.n, np.arange(1, sums.n + 1, dtype=np.int64))
        return {"theoretical": scores.tolist(), "standardised": values.tolist()}
    end = float(normal_scores(sums.n, np.array([sums.n]))[0])
    ranks = np.rint(sums.n * ndtr(np.linspace(-end, end, N_QUANTILES)) + 0.5).astype(np.int64)
    ranks = np.unique(np.clip(ranks, 1, sums.n))
    scores = normal_scores(sums.n, ranks)
    values = sums.quantiles.quantiles((ranks - 0.5) / sums.n)
    values[0], values[-1] = sums.low[1], sums.high[1]
    return {"theoretical": scores.tolist(), "standardised": values.tolist()}


def _extremes(fit: FitResult, rows: Rows | None, factors: tuple[str, ...]) -> Columns:
    out: Columns = {}
    if rows is None:
        return out
    out = {
        "row": rows.row.tolist(),
        "fitted": rows.fitted.tolist(),
        "residual": rows.residual.tolist(),
        "standardised": rows.standardised.tolist(),
    }
    for index, name in enumerate(factors):
        labels = fit.schema.level_labels(index)
        out[name] = [str(labels[code]) if code >= 0 else "" for code in rows.codes[:, index]]
    return out


def _plain(value: Any) -> Any:
    """Replace what JSON has no word for (NaN, infinities) by null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def save_diagnostics(result: Diagnostics, folder: Path) -> None:
    """Write ``summary.json`` into the folder."""
    document = _plain(dataclasses.asdict(result))
    atomic_write_text(folder / SUMMARY, KIND.text(document, indent=None, allow_nan=False))


def load_diagnostics(folder: Path) -> Diagnostics:
    """Read what :func:`diagnose` wrote."""
    path = folder / SUMMARY
    document = read_manifest(folder, KIND)
    del document["format_version"]
    try:
        checks = tuple(Check(**row) for row in document.pop("checks"))
        random = tuple(
            RandomColumn(**{**row, "sd": _number(row["sd"])}) for row in document.pop("random")
        )
        moments = {key: _number(value) for key, value in document.pop("moments").items()}
        return Diagnostics(checks=checks, random=random, moments=moments, **document)
    except (KeyError, TypeError, AttributeError) as error:
        raise StoredFileError(f"'{path}' is damaged: {error} is missing or unknown") from error


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
