"""The page of a sweep: complete, exact, safe against hostile names, small."""

from __future__ import annotations

import base64
import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
import sweep_frames
from page_reader import Page

from mixedflow.errors import OutputError
from mixedflow.report import ReportInput, render_report, render_sweep_page, write_sweep_page
from mixedflow.report.sweep_charts import histogram_rows
from mixedflow.report.sweep_data import EXACT, packed_column, packed_table
from mixedflow.report.sweep_tables import failure_reasons
from mixedflow.sweeps.calibration import uniform_band

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    '"quoted" & \\ odd',
    "{{ 7 * 7 }}",
    "gène ½",
    "a,b\nc",
)
TRAITS = (*HOSTILE, *(f"gene{i:03d}" for i in range(94)))


def payload(page):
    found = re.search(r'<script type="application/json" id="sweep-data">(.*?)</script>', page, re.S)
    return json.loads(found.group(1))


def unpacked(column, length):
    if "values" in column:
        return column["values"]
    if "constant" in column:
        values = np.full(length, column["constant"])
    else:
        values = np.frombuffer(base64.b64decode(column["data"]), dtype=f"<{column['type']}")
    if column["kind"] == "text":
        return [column["levels"][int(code)] for code in values]
    return values


def columns_of(packed):
    return {c["name"]: unpacked(c, packed["length"]) for c in packed["columns"]}


@pytest.fixture(scope="module")
def section():
    failures = {3: "constant", 10: "too few rows: 3 for 2 fixed effects",
                11: "too few rows: 2 for 2 fixed effects", 150: "constant"}  # fmt: skip
    return sweep_frames.section(TRAITS, models=("full", "null"), failures=failures)


@pytest.fixture(scope="module")
def page(section):
    return render_sweep_page(section)


def test_page_holds_every_number(section, page):
    table = section.result.table
    found = columns_of(payload(page)["table"])
    assert set(found) == set(table.columns)
    for name in table.columns:
        if table[name].dtype.kind in "fiub":
            wanted = table[name].to_numpy(dtype=float)
            rtol = 0 if name in EXACT else 1e-6
            np.testing.assert_allclose(np.asarray(found[name], float), wanted, rtol=rtol)
        else:
            assert list(found[name]) == table[name].tolist()


def test_page_holds_tests_and_variants(section, page):
    data = payload(page)
    assert list(columns_of(data["tests"])["trait"]) == list(TRAITS)
    assert [one["label"] for one in data["variants"]] == ["full", "null"]
    variant = np.broadcast_to(unpacked(data["variant"], 200), 200)
    np.testing.assert_array_equal(variant, np.repeat([0, 1], 100))


def test_page_asks_nothing_of_the_network(page):
    read = Page(page)
    assert not read.having("link")
    assert not read.having("img")
    assert all("src" not in one for one in read.having("script"))
    policy = next(m["content"] for m in read.having("meta") if m.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_hostile_names_are_data(section, page):
    read = Page(page)
    assert len(read.having("script")) == 4
    assert "alert(1)" not in page.replace("\\u003cscript\\u003ealert(1)", "").replace(
        "&lt;script&gt;alert(1)", ""
    )
    assert "49" not in [text.strip() for text in read.text]


def test_identifiers_on_the_page_are_unique(page):
    names = [one["id"] for _, one in Page(page).tags if one.get("id")]
    assert len(names) == len(set(names))


def test_scripts_find_what_they_look_for(page):
    names = {one["id"] for _, one in Page(page).tags if one.get("id")}
    wanted = set(re.findall(r'getElementById\("([a-z-]+)"\)', page))
    wanted |= {f"{part}-{key}" for part in ("chart", "note") for key in payload(page)["specs"]}
    assert wanted <= names


def test_summary_counts(section, page):
    words = " ".join(" ".join(Page(page).text).split())
    assert "Traits 100 Models 2 Fits 200 Converged 196" in words
    assert "Without a fit 4" in words
    small = int((section.result.table.query("model == 'full'")["q:x"] < 0.05).sum())
    assert f"x full 97 {small} " in words
    assert "Cells & genes" in words


def test_failures_are_counted_by_reason(section, page):
    few, constant = failure_reasons(section.result.failures)[::-1]
    assert (constant.reason, constant.rows, constant.traits) == ("constant", 2, 2)
    assert (few.reason, few.rows) == ("too few rows: …", 2)
    assert constant.query == 'error = "constant"'
    assert few.query == 'error ~ "too few rows"'
    queries = [one["data-query"] for one in Page(page).having("button") if "data-query" in one]
    assert queries == [constant.query, few.query]


def test_a_sweep_without_failures_says_so():
    page = render_sweep_page(sweep_frames.section(TRAITS[6:]))
    assert "Every trait has a fit by every model." in page


def call_of(content, variant=0, trait="gene007"):
    one = payload(render_sweep_page(content))["variants"][variant]
    return f"{one['before']}{trait}{one['after']}"


def test_call_is_python_that_fits_the_trait(section):
    content = dataclasses.replace(section, data='"cells.parquet"', options={"full": "reml=False"})
    call = call_of(content)
    assert call == (
        'mf.fit("gene007 ~ x + C(z, \\"sum\\") + (1 | g)", "cells.parquet", reml=False)'
    )
    compile(call, "call", "eval")


def test_call_follows_what_was_asked(section):
    spec = {
        "models": {"null": "~ 1 + (1 | g)"}, "residual": {"null": "ar1(t | g)"}, "reml": False,
        "weights": "w", "levels": {"z": ["a", "b"]}, "source": "cells.parquet",
        "subsets": {"all": None, "f": {"sex": ["f"], "age": ["1", "2"]}},
    }  # fmt: skip
    table = section.result.table.query("model == 'null'")
    both = pd.concat([table, table.assign(subset="f")], ignore_index=True)
    result = sweep_frames.Found(both, section.result.tests, spec)
    content = dataclasses.replace(section, result=result, formulas={})
    rest = "residual='ar1(t | g)', weights='w', levels={'z': ['a', 'b']})"
    about = "  # data: a frame of cells.parquet with the trait as a column"
    assert call_of(content) == f'mf.fit("gene007 ~ 1 + (1 | g)", data, reml=False, {rest}{about}'
    call = call_of(dataclasses.replace(content, data='"cells.parquet"'), 1)
    rows = (
        "data[(data['sex'].astype(str).isin(['f'])) & (data['age'].astype(str).isin(['1', '2']))]"
    )
    assert call.startswith(f'mf.fit("gene007 ~ 1 + (1 | g)", {rows}, reml=False')
    assert call.endswith('  # data: a frame of "cells.parquet"')
    compile(call, "call", "eval")


def test_subsets_stand_beside_each_other(section):
    table = section.result.table
    one = table[table["model"] == "null"]
    both = pd.concat([one, one.assign(subset="women")], ignore_index=True)
    result = sweep_frames.Found(both, section.result.tests)
    data = payload(render_sweep_page(dataclasses.replace(section, result=result)))
    assert [one["label"] for one in data["variants"]] == ["null · all", "null · women"]
    assert set(data["histograms"]) == set(data["calibration"]) == {"null · all", "null · women"}


def test_q_stands_behind_p_and_the_reason_in_front(page):
    names = [column["name"] for column in payload(page)["table"]["columns"]]
    assert names[:4] == ["trait", "model", "subset", "error"]
    assert names.index("q:x") == names.index("p:x") + 1


def test_histograms_hold_every_fit(section, page):
    table = section.result.table.query("model == 'full'")
    bins = payload(page)["histograms"]["full"]
    assert set(bins) == {"icc", "sigma", "sd:(Intercept)|g"}
    for name, one in bins.items():
        assert sum(one["count"]) == table[name].notna().sum()
    above = histogram_rows(np.append(np.linspace(0, 1, 1000), 1e6))
    assert above["above"] == 5
    assert above["count"][-1] >= above["above"]
    assert sum(histogram_rows(np.zeros(5))["count"]) == 5
    assert histogram_rows(np.full(3, np.nan))["count"] == []


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1e-300, 0.5, 1.0], "f8"),
        ([0.25, np.nan, -3.5], "f4"),
        ([1e39, 1.5], "f8"),
        ([1.0, 2.0, 255.0], "u1"),
        ([1.0, 70000.0], "u4"),
        ([1.0, 2.0**40], "f8"),
        ([np.inf, 1.0], "f4"),
        ([0.0, np.nan], "f4"),
    ],
)
def test_numbers_keep_their_digits(values, kind):
    packed = packed_column("p:x", pd.Series(values))
    assert packed["type"] == kind
    np.testing.assert_allclose(unpacked(packed, len(values)), values, rtol=1e-6)


def test_columns_of_one_value_and_of_none():
    assert packed_column("n", pd.Series([5, 5, 5]))["constant"] == 5
    assert np.isnan(unpacked(packed_column("x", pd.Series([np.nan, np.nan])), 2)).all()
    assert packed_table(pd.DataFrame({"trait": [], "p": []}))["length"] == 0
    maybe = pd.Series([True, None, False], dtype="boolean")
    assert list(unpacked(packed_column("converged", maybe), 3)) == [1, 0, 0]
    text = pd.Series(["a", None, "a"], dtype=object)
    assert unpacked(packed_column("error", text), 3) == ["a", "", "a"]


def test_twenty_thousand_traits_stay_small():
    rng = np.random.default_rng(3)
    traits = [f"gene{i:05d}" for i in range(20000)]
    names = ("(Intercept)", "x0", "x1", "x2", "x3", "x4")
    frame = sweep_frames.model_frame("full", traits, rng, names)
    for name in names:
        frame[f"p:{name}"] **= 40
        frame[f"se:{name}"] = rng.random(len(traits))
    section = sweep_frames.section(traits[:1])
    result = sweep_frames.Found(frame, section.result.tests)
    assert frame.shape[1] > 45
    page = render_sweep_page(dataclasses.replace(section, result=result))
    assert len(page.encode()) < 10e6


def test_same_sweep_gives_the_same_page(section, page):
    assert render_sweep_page(section) == page


def test_page_is_written_whole(section, page, tmp_path):
    write_sweep_page(tmp_path / "cells.html", section)
    assert (tmp_path / "cells.html").read_text(encoding="utf-8") == page
    with pytest.raises(OutputError):
        write_sweep_page(tmp_path / "cells.html" / "x.html", section)


def test_report_links_to_its_sweeps(section):
    other = dataclasses.replace(section, name="a b", title="", page="")
    page = render_report(ReportInput(models=(), sweeps=(section, other)))
    links = [one["href"] for one in Page(page).having("a")]
    assert "cells.html" in links
    assert "a%20b.html" in links
    assert "#sweeps" in links
    assert "Cells &amp; genes" in page
    assert "2 sweeps" in page
    assert 'id="overview"' not in page
    alone = render_report(ReportInput(models=()))
    assert 'id="sweeps"' not in alone
    assert 'id="overview"' in alone


def test_band_of_uniform_numbers():
    expected, lower, upper = uniform_band(2000)
    assert (lower < expected).all()
    assert (expected < upper).all()
    np.testing.assert_allclose(lower[0], 1 - 0.975 ** (1 / 2000), rtol=1e-10)
    np.testing.assert_allclose(upper[-1], 0.975 ** (1 / 2000), rtol=1e-10)
    assert len(uniform_band(1)[0]) == 1


def test_band_holds_most_of_a_drawn_sample():
    p = np.sort(np.random.default_rng(5).random(5000))
    expected, lower, upper = uniform_band(5000)
    own = p[np.round(expected * 5000 - 0.5).astype(int)]
    assert ((own >= lower) & (own <= upper)).mean() > 0.9
