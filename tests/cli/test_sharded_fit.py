"""``mixedflow fit --sharded``: where shards are, what is written, and what the page says."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.cli import invoke
from mixedflow.results.sharded import ShardedFit

DATA = Path(__file__).parents[2] / "config/data/sleepstudy.csv"
FORMULA = "Reaction ~ Days + (Days | Subject)"


def run(*arguments: object) -> None:
    assert invoke([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    place = tmp_path_factory.mktemp("rows") / "prepared"
    run("prepare", DATA, "--out", place, "--group", "Subject", "--partition-rows", 60)
    return place


@pytest.mark.parametrize("where", ["threads", "processes"])
def test_it_is_written_whole_and_shards_are_gone(where, prepared, tmp_path, capsys):
    run(
        "fit", prepared, FORMULA, "--sharded", "--dask", where, "--workers", 1,
        "--out", tmp_path / "new/model/fit",
    )  # fmt: skip
    assert "groups: Subject, 18" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["new"]
    assert [p.name for p in (tmp_path / "new/model").iterdir()] == ["fit"]
    stored = mf.load(tmp_path / "new/model/fit")
    assert isinstance(stored, ShardedFit)
    direct = mf.fit(FORMULA, DATA)
    assert stored.loglik == pytest.approx(direct.loglik, rel=1e-12)
    assert stored.data_summary["source"] == str(DATA)
    pd.testing.assert_frame_equal(stored.ranef["Subject"], direct.ranef["Subject"], rtol=1e-6)
    page = tmp_path / "page.html"
    run("report", tmp_path / "new/model", "--out", page)
    text = page.read_text(encoding="utf-8")
    assert "was fitted in shards" in text
    assert "251.405" in text


def test_nothing_is_written_without_out(prepared, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("fit", prepared, FORMULA, "--sharded")
    assert "groups: Subject, 18" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_likelihood_and_the_method_reach_it(prepared, tmp_path):
    run(
        "fit",
        prepared,
        FORMULA,
        "--sharded",
        "--ml",
        "--method=em",
        "--quiet",
        "-o",
        tmp_path / "fit",
    )
    stored = mf.load(tmp_path / "fit")
    assert (stored.reml, stored.method) == (False, "em")
    assert stored.loglik == pytest.approx(mf.fit(FORMULA, DATA, reml=False).loglik, abs=1e-6)
