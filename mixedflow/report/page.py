"""Fits, their diagnostics and the question that was asked become one page that works offline.

Stands outside the equations of ``docs/algorithm.md``: nothing is computed here, all is set out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mixedflow.data.atomic import atomic_write_text
from mixedflow.diagnostics import Comparison, Diagnostics
from mixedflow.recording import RunLog
from mixedflow.report import tables
from mixedflow.report.charts import (
    caterpillar_figure,
    random_qq_figure,
    residual_figure,
    residual_qq_figure,
    trace_figures,
)
from mixedflow.report.drawing import ChartFigure
from mixedflow.report.inference import inference_view
from mixedflow.report.inference_tables import ratio_table, tested_coefficients
from mixedflow.report.residual_tables import residual_tables
from mixedflow.report.running import running_view
from mixedflow.report.scans import ScanSection, scan_facts
from mixedflow.report.sweeps import SweepSection, sweep_facts
from mixedflow.report.theme import asset, environment
from mixedflow.report.vega import chart_library
from mixedflow.results.fit_result import FitResult
from mixedflow.results.inferred import Inferred
from mixedflow.results.sharded import ShardedFit
from mixedflow.results.summary import has_residual_table


@dataclass(frozen=True, slots=True)
class ModelSection:
    """What the page shows of one model.

    Attributes
    ----------
    name : key of the model in the configuration
    fit : the finished fit, converged or not
    diagnostics : what ``diagnose`` made of it; None leaves those sections out and says so
    manifest : manifest of the prepared data; ``{}`` when there is none
    units : column -> unit, for the axes
    title : how the page calls the model; its name when empty
    inference : what ``infer`` answered; None leaves that section out
    """

    name: str
    fit: FitResult
    diagnostics: Diagnostics | None = None
    manifest: dict[str, Any] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    title: str = ""
    inference: Inferred | None = None


@dataclass(frozen=True, slots=True)
class ReportInput:
    """Everything on the page.

    Attributes
    ----------
    models : one section each, in this order
    comparisons : tables of models side by side
    config_text : the configuration as it was written, YAML
    title, author : head of the page
    log : how the run went; None leaves that section out
    generated : when, as text; empty leaves it out, so that equal input gives an equal page
    sweeps, scans : listed with a link to the page of each
    """

    models: tuple[ModelSection, ...]
    comparisons: tuple[Comparison, ...] = ()
    config_text: str = ""
    title: str = "Mixed models"
    author: str = ""
    generated: str = ""
    sweeps: tuple[SweepSection, ...] = ()
    log: RunLog | None = None
    scans: tuple[ScanSection, ...] = ()


def write_report(path: str | Path, content: ReportInput) -> None:
    """Write the page to a file, under a temporary name first.

    Raises
    ------
    OutputError
        when the place cannot be written
    """
    atomic_write_text(path, render_report(content))


def render_report(content: ReportInput) -> str:
    """Return the page as HTML; style, data and the chart library are inside it."""
    models = [_model_view(f"model-{i}", model) for i, model in enumerate(content.models, 1)]
    titles = {model.name: model.title or model.name for model in content.models}
    comparisons = [
        {
            "table": tables.comparison_table(item, titles),
            "tests": ratio_table(item, titles),
            "notes": item.notes,
        }
        for item in content.comparisons
    ]
    running = running_view(content.log)
    figures = [figure for model in models for figure in model["figures"]]
    figures += running.figures if running else ()
    specs = {figure.key: figure.spec for figure in figures}
    template = environment().get_template("page.html.j2")
    return template.render(
        content=content,
        models=models,
        comparisons=comparisons,
        sweeps=[(sweep, sweep_facts(sweep)) for sweep in content.sweeps],
        scans=[(scan, scan_facts(scan)) for scan in content.scans],
        running=running,
        specs=specs,
        style=asset("style.css"),
        script=asset("charts.js"),
        library=Markup(chart_library()) if specs else "",  # noqa: S704 - our own bundle
        version=version("mixedflow"),
    )


def _model_view(key: str, model: ModelSection) -> dict[str, Any]:
    """Return what the template shows of one model: text, tables and figures."""
    fit, units = model.fit, model.units
    response = str(fit.spec.formula).split("~", 1)[0].strip()
    unit = units.get(response, "")
    chart = f"chart-{key}"
    trace = trace_figures(chart, fit.trace) if len(fit.trace) else []
    residual = _residual_figures(chart, model.diagnostics, with_unit(f"Fitted {response}", unit))
    blups = _random_figures(chart, model.diagnostics, units, unit)
    correlation = tables.fixed_correlation_table(fit)
    inference = inference_view(chart, model.inference, with_unit(response, unit))
    return {
        "key": key,
        "title": model.title or model.name,
        "name": model.name,
        "formula": str(fit.spec.formula),
        "weights": fit.spec.weights,
        "criterion": "REML" if fit.reml else "maximum likelihood (ML)",
        "method": fit.method,
        "state": fit_state(fit),
        "n_iter": fit.n_iter,
        "nobs": f"{fit.nobs:,}",
        "alerts": _alerts(fit),
        "data": tables.data_tables(fit, model.manifest, units),
        "fit": tables.criterion_table(fit),
        "fixed": _fixed_table(model, unit),
        "fixed_correlation": correlation,
        "residual": fit.spec.residual if has_residual_table(fit) else "",
        "variances": [*_variance_tables(fit), *residual_tables(fit)],
        "checks": tables.check_table(_checks(model)),
        "trace": tables.trace_table(fit) if len(fit.trace) else None,
        "trace_figures": trace,
        "residual_figures": residual,
        "extremes": tables.extremes_table(model.diagnostics) if model.diagnostics else None,
        "moments": _moments(model.diagnostics),
        "random_figures": blups,
        "inference": inference,
        "figures": [*trace, *residual, *blups, *(inference.figures if inference else ())],
        "diagnosed": model.diagnostics is not None,
        "sharded": isinstance(fit, ShardedFit),
        "versions": tables.versions_table(fit),
        "timings": tables.timings_table(fit),
    }


def _fixed_table(model: ModelSection, unit: str) -> tables.Table:
    """Return the fixed effects, with the df and p that were asked for where they were."""
    asked = model.inference
    tested = None if asked is None else tested_coefficients(asked, model.units, unit)
    return tested or tables.fixed_table(model.fit, model.units, unit)


def _variance_tables(fit: FitResult) -> list[tables.Table]:
    """Return what is known of the random effects; nothing where a model has none."""
    if not fit.n_levels:
        return []
    found = [tables.random_table(fit), tables.levels_table(fit)]
    return [*found, *tables.random_correlation_tables(fit)]


def _checks(model: ModelSection) -> tuple[Any, ...]:
    from mixedflow.diagnostics import check_rows

    return model.diagnostics.checks if model.diagnostics else check_rows(model.fit)


def with_unit(text: str, unit: str) -> str:
    """Return ``text (unit)``, or the text alone."""
    return f"{text} ({unit})" if unit else text


def fit_state(fit: FitResult) -> tuple[str, str]:
    """Return how a fit ended, in words, and the style of its badge."""
    if not fit.converged:
        return ("not converged, singular" if fit.singular else "not converged"), "warning"
    return ("converged, singular", "note") if fit.singular else ("converged", "ok")


def _alerts(fit: FitResult) -> list[tuple[str, str, str]]:
    """Return (style, heading, text) of what must be seen before any number is read."""
    out = []
    if not fit.converged:
        text = (
            f"It stopped after {fit.n_iter} iterations ({fit.method}) before the convergence "
            "criteria were met. Its estimates are not a maximum of the likelihood."
        )
        out.append(("warning", "This fit did not converge.", text))
    if fit.singular:
        text = (
            "A variance is zero, or a correlation is one: the random part asks for more than the "
            "data hold. The estimates are valid; a simpler random part gives the same fit."
        )
        out.append(("note", "This fit is singular.", text))
    out += [("note", "Note.", str(message)) for message in fit.messages]
    return out


def _moments(result: Diagnostics | None) -> str:
    if result is None or not result.n:
        return ""
    values = {
        name: f"{value + 0.0:.3f}".replace("-0.000", "0.000")
        for name, value in result.moments.items()
    }
    return (
        f"Standardised residuals: mean {values['mean']}, SD {values['sd']}, "
        f"skewness {values['skewness']}, excess kurtosis {values['kurtosis']}."
    )


def _residual_figures(key: str, result: Diagnostics | None, x_title: str) -> list[ChartFigure]:
    if result is None or not result.n:
        return []
    return [residual_figure(key, result, x_title), residual_qq_figure(key, result)]


def _random_figures(
    key: str, result: Diagnostics | None, units: dict[str, str], unit: str
) -> list[ChartFigure]:
    figures = []
    for i, column in enumerate(result.random if result else (), 1):
        own = tables.coefficient_unit(column.column, units, unit)
        blups = caterpillar_figure(f"{key}-random-{i}", column, with_unit(column.column, own))
        figures += [blups, random_qq_figure(f"{key}-random-{i}", column)]
    return [figure for figure in figures if figure is not None]
