"""``mixedflow scan``: the table of ``mixedflow.scan``, and what the workflow runs for a section."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.cli import invoke
from mixedflow.config import check_config
from mixedflow.config.plan import make_plan

FORMULA = "y ~ x + (1 | g)"


@pytest.fixture
def place(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    g, x = rng.integers(12, size=90), rng.normal(size=90)
    C = rng.integers(-9, 3, (90, 6)).astype(float)
    C[C < 0] = np.where(C[C < 0] > -8, 1.0, -9.0)
    frame = pd.DataFrame({"g": [f"g{k}" for k in g], "x": x, "y": rng.normal(size=12)[g] + x})
    frame["y"] += rng.normal(size=90)
    frame = pd.concat([frame, pd.DataFrame(C, columns=[f"c{k}" for k in range(6)])], axis=1)
    monkeypatch.chdir(tmp_path)
    frame.to_csv("d.csv", index=False)
    np.save("c.npy", C)
    (tmp_path / "c.txt").write_text("\n".join(f"c{k}" for k in range(6)) + "\n")
    return frame


CASES = {
    "columns": (
        ["--covariate=c*", "--missing=mean"],
        {"covariates": "c*", "missing": "mean"},
        {"covariates": "c*", "missing": "mean"},
    ),
    "codes": (
        ["--covariate=c0", "--covariate=re:^c[12]$", "--missing=mean", "--missing-value=-9"],
        {"covariates": ["c0", "re:^c[12]$"], "missing": "mean", "missing_value": -9.0},
        {"covariates": ["c0", "re:^c[12]$"], "missing": "mean", "missing_value": -9.0},
    ),
    "file": (
        ["--covariate=@c.txt", "--sigma=null", "--ml"],
        {"covariates": "@c.txt", "sigma": "null", "reml": False},
        {"covariates": [f"c{k}" for k in range(6)], "sigma": "null", "reml": False},
    ),
    "matrix": (
        ["--matrix=c.npy", "--matrix-names=c.txt", "--variances=reestimate"],
        {"matrix": {"path": "c.npy", "names": "c.txt"}, "variances": "reestimate"},
        {"covariates": ("c.npy", "c.txt"), "variances": "reestimate"},
    ),
    "some": (
        ["--covariate=c*", "--variances=reestimate", "--reestimate-below=0.5"],
        {"covariates": "c*", "variances": "reestimate", "reestimate_below": 0.5},
        {"covariates": "c*", "variances": "reestimate", "reestimate_below": 0.5},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_table_is_that_of_the_function(place, name, capsys):
    options, _, asked = CASES[name]
    assert invoke(["scan", "d.csv", FORMULA, "--out=out", *options]) == 0
    assert "covariates, 0 without an estimate: out" in capsys.readouterr().err
    wanted = mf.scan(FORMULA, place, **asked)
    pd.testing.assert_frame_equal(mf.load_scan("out").table, wanted.table, rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_section_and_the_command_line_ask_the_same(place, name):
    options, section, _ = CASES[name]
    config = {
        "data": {"d": {"path": "d.csv", "levels": {"g": [f"g{k}" for k in range(12)]}}},
        "scan": {"s": {"data": "d", "formula": FORMULA, **section}},
    }
    made = shlex.split(make_plan(check_config(config, "config")).scan_options("s"))
    assert invoke(["scan", "d.csv", *made, "--out=one"]) == 0
    assert invoke(["scan", "d.csv", FORMULA, "--out=two", *options]) == 0
    one, two = mf.load_scan("one"), mf.load_scan("two")
    pd.testing.assert_frame_equal(one.table, two.table, rtol=1e-12)


def test_the_page_of_a_scan_is_written(place):
    assert invoke(["scan", "d.csv", FORMULA, "--out=height", "--covariate=c*"]) == 0
    assert invoke(["report", "--scan=height"]) == 0
    assert "Covariates" in Path("scan-height.html").read_text(encoding="utf-8")
    assert 'href="scan-height.html"' in Path("report.html").read_text(encoding="utf-8")


def test_check_says_what_a_scan_will_do(place, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(
        "data: {d: {path: d.csv}}\n"
        f"scan: {{s: {{data: d, formula: '{FORMULA}', covariates: c*, variances: reestimate}}}}\n"
    )
    assert invoke(["check", "-c", "c.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "6: c0, c1, c2, c3 ..." in shown
    assert "estimated again with each" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--covariate=d*"], "no column of numbers is called 'd*'"),
        (["--covariate=c0", "--variances=nul"], "did you mean 'null'?"),
        (["--covariate=c0", "--reestimate-below=0.1"], "needs variances: reestimate"),
        (["--matrix=c.npy"], "--matrix and --matrix-names go together"),
        ([], "at least one covariate"),
        (["--covariate=c0", "--matrix=c.npy", "--matrix-names=c.txt"], "leave one out"),
        (["--covariate=x"], "'x' cannot be a covariate of the scan"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(place, options, message, tmp_path, capsys):
    before = sorted(tmp_path.iterdir())
    assert invoke(["scan", "d.csv", FORMULA, "--out=out", *options]) == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
