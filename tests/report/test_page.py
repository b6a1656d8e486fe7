"""The page: complete, self-contained, safe against hostile names, small."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import fake_fit
import helpers
import numpy as np
import pytest
import vl_convert
from page_reader import Page

from mixedflow.diagnostics import compare_models, diagnose
from mixedflow.errors import OutputError
from mixedflow.report import ModelSection, ReportInput, render_report, write_report
from mixedflow.report.vega import chart_library

CONFIG = "data:\n  sleep:\n    path: sleepstudy.csv # </script><script>alert(1)</script>\n"
UNITS = {"Reaction": "ms", "Days": "d"}
MANIFEST = {
    "source": "config/data/sleepstudy.csv",
    "source_sha256": "ab" * 32,
    "columns": {"Reaction": "numeric", "Days": "numeric", "Subject": "categorical"},
    "levels": {"Subject": [str(i) for i in range(30)]},
    "group": None,
    "parts": [{}],
}


@pytest.fixture(scope="module")
def data():
    return helpers.data_frame("sleepstudy")


@pytest.fixture(scope="module")
def content(data):
    source = fake_fit.FrameSource(data, (0, 180))
    full = fake_fit.sleepstudy_fit(
        data,
        data_summary={
            "source": "sleepstudy.csv",
            "rows_in": 183,
            "rows_used": 180,
            "rows_dropped": 3,
            "missing": {"Reaction": 3},
        },
    )
    names = ["(Intercept)", "Days"]
    encoder = fake_fit.sleepstudy_encoder(data)
    small = fake_fit.dense_fit(
        data, "Reaction", names, "Subject", names[:1], (np.array([[1378.18]]), 960.46)
    )
    small = dataclasses.replace(small, converged=False, singular=True, messages=("mind the <gap>",))
    one = dataclasses.replace(encoder, z=("(Intercept)",))
    return ReportInput(
        models=(
            ModelSection("slope", full, diagnose(full, source, encoder), MANIFEST, UNITS, "Slope"),
            ModelSection("icept", small, diagnose(small, source, one), MANIFEST, UNITS),
        ),
        comparisons=(compare_models([("slope", full), ("icept", small)]),),
        config_text=CONFIG,
        title="Sleep & reaction",
        author="A. Author",
    )


@pytest.fixture(scope="module")
def html(content):
    return render_report(content)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


@pytest.fixture(scope="module")
def specs(html):
    found = re.search(r'<script type="application/json" id="chart-specs">(.*?)</script>', html)
    return json.loads(found[1])


def test_every_section_is_there(page):
    ids = [a["id"] for _, a in page.tags if "id" in a]
    parts = ("asked", "estimates", "variances", "convergence", "residuals", "random", "versions")
    for key in ("model-1", "model-2"):
        assert {key, *(f"{key}-{part}" for part in parts)} <= set(ids)
    assert {"overview", "comparison", "configuration"} <= set(ids)
    assert len(ids) == len(set(ids))


def test_every_link_of_the_navigation_has_its_target(page):
    ids = {a["id"] for _, a in page.tags if "id" in a}
    links = [a["href"] for a in page.having("a")]
    assert links
    assert all(link.startswith("#") and link[1:] in ids for link in links)


def test_nothing_is_loaded_from_elsewhere(page, html):
    for _, attributes in page.tags:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert not re.match(r"\s*(https?:)?//", attributes.get(name) or "", re.IGNORECASE)
    assert not page.having("link")
    assert "@import" not in html[: html.index("</style>")]
    policy = [a for a in page.having("meta") if a.get("http-equiv")]
    assert policy[0]["content"].startswith("default-src 'none'")


def test_the_chart_library_is_there_once(html):
    assert html.count(chart_library()) == 1
    assert "</script" not in chart_library()
    assert "vegaEmbed" in chart_library()


def test_charts_are_described_and_responsive(page, specs):
    charts = {a["id"]: a for _, a in page.tags if "chart" in (a.get("class") or "").split()}
    assert set(charts) == set(specs)
    # two of convergence, two of residuals, two a column of random effects
    assert len(charts) == 2 + 2 + 4 + 2 + 2 + 2
    for key, spec in specs.items():
        assert spec["width"] == "container"
        assert spec["description"] == charts[key]["aria-label"]
        assert "url" not in json.dumps(spec)
        assert "config" not in spec


def test_every_chart_can_be_drawn(specs):
    for key, spec in specs.items():
        drawing = vl_convert.vegalite_to_svg(spec)
        assert drawing.startswith("<svg"), key
        assert "NaN" not in drawing, key
        assert drawing.count("<path") > 5, key


def test_axes_carry_units(specs):
    text = json.dumps(specs, ensure_ascii=False)
    assert '"title": "Fitted Reaction (ms)"' in text
    assert '"title": "(Intercept) (ms)"' in text
    assert '"title": "Days (ms / d)"' in text


def test_estimates_keep_full_precision(page, content):
    values = {float(a["data-value"]) for a in page.having("td") if a.get("data-value")}
    fit = content.models[0].fit
    for table in (
        fit.fixef,
        fit.coef_table["se"],
        fit.varcorr["vcov"][[0, 1, 3]],
        fit.varcorr["sdcor"],
    ):
        assert set(map(float, table)) <= values
    assert {fit.loglik, fit.aic, fit.bic} <= values
    assert "251.405" in page.text


def test_state_stands_at_the_top_of_its_model(html):
    start = html.index('id="model-2"')
    head = html[start : html.index('id="model-2-asked"')]
    assert "did not converge" in head
    assert "singular" in head
    assert "mind the &lt;gap&gt;" in head
    assert 'role="alert"' in head
    first = html[html.index('id="model-1"') : html.index('id="model-1-asked"')]
    assert "did not converge" not in first


def test_rows_dropped_and_manifest_are_told(page):
    text = " ".join(part.strip() for part in page.text if part.strip())
    assert "Rows read 183" in text
    assert "Rows dropped 3" in text
    assert "Rows dropped, by missing column" in text
    assert "ab" * 32 in text
    assert "and 18 more" in text


def test_comparison_says_what_it_left_out(page):
    text = " ".join(page.text)
    assert "Not converged, and therefore left out of the differences: icept." in text


def test_configuration_is_shown_as_text(page, html):
    assert "alert(1)" in "".join(page.text)
    assert "<script>alert" not in html


def test_tables_have_headings(page):
    assert all(a.get("scope") in ("col", "row") for a in page.having("th"))
    assert len(page.having("caption")) == len(page.having("table"))
    assert page.having("html")[0]["lang"] == "en"
    regions = [a for _, a in page.tags if a.get("role") == "region"]
    assert all(a.get("aria-label") and a.get("tabindex") == "0" for a in regions)


def test_size_is_bounded(html):
    assert len(html.encode()) < 1_600_000


def test_equal_input_gives_an_equal_page(content, html):
    assert render_report(content) == html


def test_hostile_names_stay_text(data):
    evil = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'
    frame = data.rename(columns={"Reaction": "a<b>&'\"", "Days": evil, "Subject": evil + "g"})
    frame[evil + "g"] = frame[evil + "g"].astype(str) + evil
    names = ["(Intercept)", evil]
    G = np.array([[612.0, 9.6], [9.6, 35.0]])
    fit = fake_fit.dense_fit(
        frame,
        "a<b>&'\"",
        names,
        evil + "g",
        names,
        (G, 655.0),
        messages=(evil,),
        versions={evil: evil},
        timings={evil: 1.0},
        data_summary={"source": evil, "missing": {evil: 2}, "rows_dropped": 2},
    )
    labels = tuple(sorted(set(frame[evil + "g"])))
    encoder = fake_fit.FrameEncoder("a<b>&'\"", tuple(names), evil + "g", tuple(names), labels)
    result = diagnose(fit, fake_fit.FrameSource(frame, (0, 180)), encoder)
    manifest = {"source": evil, "columns": {evil: evil}, "levels": {evil: [evil]}, "group": evil}
    section = ModelSection(evil, fit, result, manifest, {evil: evil, "a<b>&'\"": evil}, evil)
    html = render_report(
        ReportInput(
            models=(section, dataclasses.replace(section, title="")),
            comparisons=(compare_models([(evil, fit), ("b", fit)]),),
            config_text=evil,
            title=evil,
            author=evil,
            generated=evil,
        )
    )
    page = Page(html)
    assert len(page.having("script")) == 3
    assert not page.having("img")
    assert not page.having("b")
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    specs = re.search(r'id="chart-specs">(.*?)</script>', html, re.DOTALL)[1]
    assert evil in json.dumps(json.loads(specs), ensure_ascii=False).replace('\\"', '"')


def test_without_diagnostics_the_page_says_so(content):
    bare = dataclasses.replace(content.models[0], diagnostics=None)
    text = render_report(ReportInput(models=(bare,)))
    assert "mixedflow diagnose" in text
    assert 'id="comparison"' not in text
    assert 'id="configuration"' not in text


def test_write_is_whole_or_nothing(content, tmp_path: Path):
    path = tmp_path / "deep" / "report.html"
    write_report(path, content)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(path / "inside.html", content)
