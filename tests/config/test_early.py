"""What the head of the data tells before any job."""

from __future__ import annotations

import pytest

from mixedflow.config import check_config, parse_config
from mixedflow.config.early import check_early, data_to_come
from mixedflow.config.plan import make_plan
from mixedflow.errors import ConfigError, DataError

CONFIG = """\
data:
  trial: {{path: {path}}}
models:
  one:
    data: trial
    formula: y ~ x + sex + (1 | g)
    infer:
      contrasts: {{asked: {{"{weight}": 1}}}}
"""
ROWS = ["y,x,sex,g"] + [f"{i * i % 7},{i},{'fm'[i % 2]},{i % 3}" for i in range(24)]


def check(folder, weight: str, path: str = "data.csv", **told) -> None:
    config = parse_config(CONFIG.format(path=path, weight=weight), "c.yaml")
    check_early(config, folder, where="c.yaml", **told)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data.csv").write_text("\n".join(ROWS) + "\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("weight", ["x", "(Intercept)", "sex[T.m]"])
def test_coefficients_pass(folder, weight):
    check(folder, weight)


@pytest.mark.parametrize(("weight", "near"), [("X", "x"), ("sex[T.M]", "sex[T.m]")])
def test_others_are_named(folder, weight, near):
    with pytest.raises(ConfigError, match="is no coefficient") as refused:
        check(folder, weight)
    assert str(refused.value).startswith("c.yaml: models.one: infer.contrasts.asked: ")
    assert f"did you mean '{near}'" in str(refused.value)


@pytest.fixture
def long_file(folder, monkeypatch):
    """The rows, in a file of which only the first block is read."""
    monkeypatch.setattr("mixedflow.data.csv.SMALL_BYTES", 0)
    monkeypatch.setattr("mixedflow.data.csv_text.BLOCK_BYTES", 100)
    return folder


def test_of_a_large_file_the_head_is_not_asked_for_levels(long_file):
    check(long_file, "sex[T.other]")
    with pytest.raises(ConfigError, match="'X' is no coefficient"):
        check(long_file, "X")


def test_what_is_wrong_with_rows_is_left_to_the_step_that_reads_them(folder):
    (folder / "data.csv").write_text("y,x,sex,g\n1,2\n", encoding="utf-8")
    check(folder, "X")


def test_data_that_are_made_later_are_not_looked_at(tmp_path):
    check(tmp_path, "X", later=frozenset({"trial"}))


def test_columns_come_first(folder):
    (folder / "data.csv").write_text("y,z\n1,2\n", encoding="utf-8")
    with pytest.raises(Exception, match="The column 'x'"):
        check(folder, "X")


def test_units_are_of_columns(folder):
    config = parse_config(CONFIG.format(path="data.csv, units: {X: m}", weight="x"), "c.yaml")
    with pytest.raises(DataError, match=r"c.yaml: data.trial.units: data.csv has no column 'X'"):
        check_early(config, folder, where="c.yaml")


@pytest.mark.parametrize("made_later", ["data.csv", "c.npy", "names.txt"])
def test_files_of_a_scan_that_are_not_there_yet_make_its_data_later(
    tmp_path, monkeypatch, made_later
):
    monkeypatch.chdir(tmp_path)
    for name in ("data.csv", "c.npy", "names.txt"):
        (tmp_path / name).touch()
    scan = {"data": "trial", "formula": "y ~ 1 + (1 | g)"}
    config = {
        "data": {"trial": {"path": "data.csv"}},
        "scan": {"many": {**scan, "matrix": {"path": "c.npy", "names": "names.txt"}}},
    }
    plan = make_plan(check_config(config, "c"))
    assert data_to_come(plan) == frozenset()
    (tmp_path / made_later).unlink()
    assert data_to_come(plan) == {"trial"}
