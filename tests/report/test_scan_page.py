"""The page of a scan: complete, thinned where a scan is large, safe against hostile names."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.errors import OutputError
from mixedflow.report import ReportInput, ScanSection, render_report, render_scan_page
from mixedflow.report.scan_charts import BINS, SMALLEST
from mixedflow.report.scans import LISTED, covariate_table, write_scan_page

HOSTILE = "</script><script>alert(1)</script>"


def rows(n_families: int = 60) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(4)
    family = np.repeat(np.arange(n_families), 4)
    C = rng.integers(0, 3, (len(family), 30)).astype(float)
    C[:, 7], C[3, 9] = 1.0, np.nan
    y = rng.normal(size=n_families)[family] + rng.normal(size=len(family)) + 0.8 * C[:, 4]
    return pd.DataFrame({"y": y, "family": [f"f{i}" for i in family]}), C


@pytest.fixture(scope="module")
def result():
    frame, C = rows()
    names = [f"c{j}" for j in range(29)] + [HOSTILE]
    return mf.scan("y ~ 1 + (1 | family)", frame, (C, names))


@pytest.fixture(scope="module")
def page(result):
    return render_scan_page(ScanSection("snps", result, title="A & B <i>"))


def specs(page: str) -> dict:
    found = re.search(r'id="chart-specs">(.*?)</script>', page, re.S)
    return json.loads(found.group(1))


def values(spec: dict) -> list[dict]:
    """Return the points of a chart: the values that have a name."""
    named = spec.get("datasets", {})
    layers = [layer.get("data", spec.get("data")) for layer in spec.get("layer", [spec])]
    found = [data["values"] if "values" in data else named[data["name"]] for data in layers]
    return [one for rows in found for one in rows if "name" in one]


def test_all_that_was_tested_is_drawn_and_listed(result, page):
    tested = result.table["p"].notna().sum()
    assert tested == 28
    for spec in specs(page).values():
        assert len(values(spec)) == tested
    listed = covariate_table(result.table)
    assert len(listed.rows) == tested
    assert listed.rows[0][0].text == "c4"
    smallest = result.table["p"].min()
    assert any(cell.exact == repr(float(smallest)) for cell in listed.rows[0])
    places = {one["name"]: one["x"] for one in values(specs(page)["scan-places"])}
    assert places["c0"] == 1
    assert places["c8"] == 9


def test_what_is_missing_is_told_with_its_reason(page):
    assert "constant" in page
    assert "values are missing" in page
    assert "c7" in page
    assert "c9" in page


def test_names_are_text_and_not_markup(page):
    assert HOSTILE not in page
    assert "A &amp; B &lt;i&gt;" in page
    assert HOSTILE in [one["name"] for one in values(specs(page)["scan-places"])]


def test_a_large_scan_is_thinned_and_says_so(result):
    n = 50_000
    rng = np.random.default_rng(1)
    p = rng.random(n)
    p[123] = 1e-30
    table = pd.DataFrame(
        {
            "covariate": [f"c{j}" for j in range(n)],
            "n": 240,
            "missing": 0,
            "estimate": rng.normal(size=n),
            "se": 1.0,
            "df": 200.0,
            "statistic": 1.0,
            "p": p,
            "q": p,
            "variances": "null",
            "error": "",
        }
    )
    large = type(result)(table, result.null, result.spec)
    page = render_scan_page(ScanSection("large", large))
    drawn = specs(page)
    assert SMALLEST <= len(values(drawn["scan-places"])) <= SMALLEST + BINS
    assert len(values(drawn["scan-volcano"])) == SMALLEST
    assert max(one["y"] for one in values(drawn["scan-quantiles"])) == pytest.approx(30)
    assert f"The {LISTED} smallest p of 50,000" in page
    assert len(page) < 3e6


def test_a_scan_without_any_test_has_a_page(result):
    table = result.table[result.table["error"] != ""].reset_index(drop=True)
    page = render_scan_page(ScanSection("none", type(result)(table, result.null, result.spec)))
    assert 'id="chart-specs"' not in page
    assert "constant" in page


def test_the_report_links_to_the_page(result):
    section = ScanSection("my scan", result)
    page = render_report(ReportInput(models=(), scans=(section,)))
    assert 'href="my%20scan.html"' in page
    assert "1 scan ·" in page


def test_a_place_that_cannot_be_written_is_said(tmp_path, result):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_scan_page(tmp_path / "file" / "page.html", ScanSection("s", result))
