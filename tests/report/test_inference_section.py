"""Tests and intervals on the page: numbers as a reader needs them, charts that can be drawn."""

from __future__ import annotations

import dataclasses
import json
import re
from itertools import product

import fake_fit
import helpers
import numpy as np
import pandas as pd
import pytest
import vl_convert
from page_reader import Page

from mixedflow.diagnostics import Comparison, RatioTest, compare_models
from mixedflow.report import ModelSection, ReportInput, render_report
from mixedflow.report.inference_charts import forest_figure, means_figure, zeta_figures
from mixedflow.report.inference_tables import inferred_table
from mixedflow.results.inferred import Inferred, InferredTable

EVIL = '</script><script>alert("x")</script><b>&'


def rows_of(names, label="contrast"):
    n = len(names)
    return pd.DataFrame(
        {
            label: names,
            "estimate": np.linspace(-1, 2, n),
            "se": np.full(n, 0.25),
            "df": [17.0, np.inf, 4.25][:n],
            "statistic": np.linspace(-4, 8, n),
            "p": [0.0004, 0.2512, 0.0491][:n],
            "lower": np.linspace(-1.5, 1.5, n),
            "upper": np.linspace(-0.5, 2.5, n),
        }
    )


def some_tables(name="rise"):
    names = ["(Intercept)", "Days", name]
    anova = pd.DataFrame(
        {"term": [name], "num_df": [1], "den_df": [17.0], "F": [45.8], "p": [3e-6]}
    )
    means = rows_of([0.0, 3.0, 9.0], "Days").drop(columns=["statistic", "p"])
    zeta = np.linspace(-2.5, 2.5, 7)
    profiles = pd.DataFrame({"parameter": name, "value": 20 + 5 * zeta, "zeta": zeta})
    ratio = pd.DataFrame(
        {
            "dropped": ["<none>", name],
            "npar": [6, 4],
            "chisq": [np.nan, 42.8],
            "df": [np.nan, 2.0],
            "p": [np.nan, 1e-10],
            "p_mixture": [np.nan, 1e-10],
            "note": ["", ""],
        }
    )
    pulls = pd.DataFrame(
        {
            name: [f"s{i}" for i in range(40)],
            "leverage": 0.1,
            "dfbetas_x": 0.12345,
            "cook": np.arange(40) / 40,
        }
    )
    by = {"specs": ["Days"], "by": []}
    return (
        InferredTable(
            "coefficients", "coefficients", "Fixed", "by df.", rows_of(names, "coefficient")
        ),
        InferredTable("anova", "anova", "Terms", "by F.", anova),
        InferredTable("contrasts", "contrasts", "Contrasts", "by t.", rows_of(names)),
        InferredTable("emmeans_1", "emmeans", "Means", "grid.", means, details=by),
        InferredTable("profiles", "profiles", "Profiles", "", profiles),
        InferredTable("random_tests", "random", "Random", "ratios.", ratio),
        InferredTable("influence_1", "influence", "Influence", "left out.", pulls),
        InferredTable("robust", "robust", "Robust", "", pd.DataFrame({"reason": []}), f"no {name}"),
    )


def section(name="rise", **changes):
    data = helpers.data_frame("sleepstudy")
    found = Inferred("y ~ x", {}, "by hand", 0.9, "", some_tables(name))
    fit = fake_fit.sleepstudy_fit(data)
    return ModelSection("m", fit, inference=dataclasses.replace(found, **changes))


@pytest.fixture(scope="module")
def html():
    return render_report(ReportInput(models=(section(),)))


def specs_of(html):
    return json.loads(re.search(r'id="chart-specs">(.*?)</script>', html, re.DOTALL)[1])


def test_the_section_has_its_link_and_its_tables(html):
    page = Page(html)
    assert '<a href="#model-1-inference">' in html
    captions = {"Terms", "Contrasts", "Means", "Random", "Influence"}
    text = {part.strip() for part in page.text}
    assert captions <= text
    assert "Robust: not to be had." in text
    assert "no rise" in text
    assert "Lower 90 %" in text
    assert len({a["id"] for _, a in page.tags if "id" in a}) == html.count(' id="')


def test_numbers_are_as_a_reader_needs_them(html):
    page = Page(html)
    text = [part.strip() for part in page.text]
    assert "< 0.001" in text
    assert "0.251" in text
    assert "∞" in text
    assert "0.0004" in {a.get("data-value") for a in page.having("td")}


def test_the_fixed_effects_are_shown_once_with_their_tests(html):
    start = html.index('id="model-1-estimates"')
    estimates = html[start : html.index('id="model-1-inference"')]
    assert "by df." in estimates
    assert html.count("<caption>Fixed</caption>") == 1
    assert "by t with Satterthwaite" not in html


def test_every_chart_can_be_drawn(html):
    specs = specs_of(html)
    keys = [key for key in specs if "trace" not in key and "criteria" not in key]
    assert set(keys) == {
        *("chart-model-1-contrasts", "chart-model-1-emmeans_1"),
        *("chart-model-1-profiles-1", "chart-model-1-influence_1"),
    }
    for key in keys:
        drawing = vl_convert.vegalite_to_svg(specs[key])
        assert "NaN" not in drawing, key
        assert drawing.count("<path") > 5, key
        assert specs[key]["width"] == "container"


def test_many_levels_leave_a_short_table(html):
    table = html[html.index("<caption>Influence</caption>") :]
    table = table[: table.index("</table>")]
    assert table.count("<tr>") == 11
    assert "s39" in table
    assert "DFBETAS x" in table
    assert ">0.123<" in table
    assert "30 more in the table" in html


def test_hostile_names_stay_text():
    model = section(EVIL, statement=EVIL)
    tests = (
        RatioTest("m", 4, -1.0, *[np.nan] * 4, EVIL),
        RatioTest(EVIL, 5, 0.0, 2.0, 1, 0.1, 0.05, ""),
    )
    compared = dataclasses.replace(
        compare_models([("m", model.fit), (EVIL, model.fit)]), tests=tests, by_ml=True
    )
    html = render_report(ReportInput(models=(model,), comparisons=(compared,)))
    page = Page(html)
    assert len(page.having("script")) == 3
    assert not page.having("b")
    assert json.dumps(specs_of(html)).count("alert") > 3
    assert "All by maximum likelihood (ML)." in html


def test_a_statement_comes_before_anything_else():
    html = render_report(ReportInput(models=(section(statement="Not so.", tables=()),)))
    assert '<div class="alert warning">Not so.</div>' in html
    assert "by t with Satterthwaite" in html


def test_without_an_inference_there_is_no_section():
    bare = dataclasses.replace(section(), inference=None)
    assert "model-1-inference" not in render_report(ReportInput(models=(bare,)))


def test_ratio_tests_stand_beside_the_criteria():
    model = section()
    rows = compare_models([("m", model.fit), ("n", model.fit)])
    tests = (
        RatioTest("m", 4, -893.2, *[np.nan] * 4, ""),
        RatioTest("n", 6, -871.8, 42.8, 2, 5e-10, np.nan, ""),
    )
    compared = Comparison(rows.rows, (), tests)
    text = Page(render_report(ReportInput(models=(model,), comparisons=(compared,)))).text
    shown = [part.strip() for part in text if part.strip()]
    assert "Likelihood-ratio tests" in shown
    assert "42.800" in shown
    assert "p, mixture" not in shown[: shown.index("m")]


def test_columns_without_a_value_are_left_out():
    (table,) = [one for one in some_tables() if one.kind == "random"]
    assert "Note" not in inferred_table(table, 0.9).head
    assert "p, mixture" in inferred_table(table, 0.9).head


def test_nothing_to_draw_is_no_figure():
    rows = rows_of(["a", "b", "c"])
    assert forest_figure("k", "t", rows.assign(lower=np.nan), 0.9) is None
    assert forest_figure("k", "t", pd.concat([rows] * 30), 0.9) is None
    assert means_figure("k", "t", rows, [], 0.9) is None
    one = pd.DataFrame({"parameter": ["a"], "value": [1.0], "zeta": [0.0]})
    assert not list(zeta_figures("k", one, 0.9))


def test_means_of_two_factors_are_told_apart_by_colour():
    frame = pd.DataFrame(
        [(a, b, 1.0 + i, 0.5 + i, 1.5 + i) for i, (a, b) in enumerate(product("pq", "uv"))],
        columns=["a", "b", "estimate", "lower", "upper"],
    )
    spec = means_figure("k", "t", frame, ["a", "b"], 0.95).spec
    assert spec["layer"][0]["encoding"]["xOffset"]["field"] == "group"
    assert "NaN" not in vl_convert.vegalite_to_svg(spec)
