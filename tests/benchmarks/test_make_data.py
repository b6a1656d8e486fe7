"""The benchmark data: the same arguments, the same rows; the truth is in them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "make_data.py"
spec = importlib.util.spec_from_file_location("make_data", SCRIPT)
make_data = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_data)


def test_grouped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(make_data, "ROW_GROUP", 4000)
    call = ["grouped", "--rows", "10000", "--groups", "50", "--seed", "7", "--out"]
    for name in ("a", "b"):
        make_data.main([*call, str(tmp_path / name)])
    assert "10,000 rows" in capsys.readouterr().out
    file = pq.ParquetFile(tmp_path / "a")
    assert [file.metadata.row_group(i).num_rows for i in range(3)] == [4000, 4000, 2000]
    table = file.read()
    assert table.equals(pq.read_table(tmp_path / "b"))
    X = np.column_stack([np.ones(10_000), *(table[f"x{k}"] for k in range(1, 9))])
    beta = np.linalg.lstsq(X, table["y"].to_numpy(), rcond=None)[0]
    np.testing.assert_allclose(beta[2:], make_data.TRUTH["beta"][2:], atol=0.1)


def test_crossed(tmp_path: Path, capsys) -> None:
    out = tmp_path / "c.parquet"
    make_data.main(
        ["crossed", "--rows", "5000", "--users", "40", "--items", "20", "--out", str(out)]
    )
    table = pq.read_table(out)
    assert table.column_names == ["y", "x1", "user", "item"]
    counts = np.bincount(table["user"].to_numpy(), minlength=40)
    assert counts[0] > 3 * counts[10] > 0
    assert "5,000 rows" in capsys.readouterr().out


def test_repeated_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_data, "ROW_GROUP", 4000)
    for name, more in (("a", []), ("b", ["--shuffled"])):
        call = ["mmrm", "--subjects", "3000", "--visits", "4", *more, "--out"]
        make_data.main([*call, str(tmp_path / name)])
    table, moved = pq.read_table(tmp_path / "a"), pq.read_table(tmp_path / "b")
    by = [("subject", "ascending"), ("week", "ascending")]
    assert table.sort_by(by).equals(table)
    assert not moved.equals(table)
    assert moved.sort_by(by).equals(table)
    lost = 1 - np.unique(table["week"], return_counts=True)[1] / 3000
    np.testing.assert_allclose(lost, np.linspace(0.1, 0.3, 4), atol=0.03)
    placebo = table["arm"].to_numpy(zero_copy_only=False) == "placebo"
    X = np.column_stack([table["base"], placebo, table["week"], placebo * table["week"]])
    X = np.column_stack([np.ones(len(X)), X])
    truth = make_data.TRUTH["mmrm"]
    beta = np.linalg.lstsq(X, table["y"].to_numpy(), rcond=None)[0]
    wanted = [truth[name] for name in ("base", "arm[placebo]", "week", "placebo week")]
    np.testing.assert_allclose(beta[1:], wanted, atol=0.2)


def test_sizes_are_checked(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        make_data.main(["grouped", "--rows", "0", "--out", str(tmp_path / "a")])
    assert "must be 1 or more" in capsys.readouterr().err


def test_many_responses(tmp_path: Path) -> None:
    call = [
        "wide",
        "--rows",
        "2000",
        "--groups",
        "20",
        "--traits",
        "12",
        "--missing",
        "0.3",
        "--out",
    ]
    make_data.main([*call, str(tmp_path / "a")])
    make_data.main([*call, str(tmp_path / "b")])
    table = pq.read_table(tmp_path / "a")
    assert table.equals(pq.read_table(tmp_path / "b"))
    assert table.column_names[:7] == ["g", "h", "x0", "x1", "x2", "x3", "x4"]
    assert len(table.column_names) == 19
    lost = [table[f"trait{t:05d}"].null_count / 2000 for t in range(12)]
    np.testing.assert_allclose(lost, 0.3, atol=0.05)
    skewed, plain = (table[f"trait0000{t}"].drop_null().to_numpy() for t in (5, 1))
    assert skewed.min() > 0
    assert skewed.mean() > 1.2 * np.median(skewed)
    assert plain.min() < 0
