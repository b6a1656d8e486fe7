"""Wrong data and formulas: one clear sentence, exit code 2, nothing half-written.

The same table goes through the command line and through the API.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mixedflow as mf
from mixedflow.cli import invoke
from mixedflow.errors import MixedflowError

FORMULA = "y ~ x + (x | g)"


def table(**changes: Any) -> str:
    """Return a good table as CSV with cells ``row_column=value`` or columns ``column=function``."""
    lines = ["y,x,c,w,g"]
    for i in range(1, 41):
        row: dict[str, Any] = {
            "y": round((i * 7919 % 101) / 10, 3),
            "x": i % 10,
            "c": "uvw"[i % 3],
            "w": 1 + i % 2,
            "g": f"g{i % 8}",
        }
        for name, value in changes.items():
            where, _, column = name.rpartition("_")
            if where in {"", f"r{i}"}:
                row[column] = value(i) if callable(value) else value
        lines.append(",".join(str(value) for value in row.values()))
    return "\n".join(lines) + "\n"


Make = Callable[[Path], tuple[str, str]]


def csv(formula: str = FORMULA, text: str | None = None, **changes: Any) -> Make:
    """Return a maker of (formula, path) with a CSV file of this content."""

    def make(folder: Path) -> tuple[str, str]:
        path = folder / "d.csv"
        path.write_text(table(**changes) if text is None else text, encoding="utf-8")
        return formula, str(path)

    return make


def raw(name: str, content: bytes) -> Make:
    def make(folder: Path) -> tuple[str, str]:
        (folder / name).write_bytes(content)
        return FORMULA, str(folder / name)

    return make


def truncated_parquet(folder: Path) -> tuple[str, str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "d.parquet"
    pq.write_table(pa.table({"y": [1.0] * 50, "x": [1.0] * 50, "g": ["a"] * 50}), path)
    path.write_bytes(path.read_bytes()[:-200])
    return FORMULA, str(path)


def differing_parquet(folder: Path) -> tuple[str, str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"y": [1.0], "x": [1.0], "g": ["a"]}), folder / "a.parquet")
    pq.write_table(pa.table({"y": [1.0], "z": [1.0], "g": ["a"]}), folder / "b.parquet")
    return FORMULA, str(folder)


def nothing(folder: Path) -> tuple[str, str]:
    (folder / "data.csv").write_text(table(), encoding="utf-8")
    return FORMULA, str(folder / "dta.csv")


CASES: list[tuple[str, Make, dict[str, Any], str]] = [
    ("file missing", nothing, {}, "did you mean 'data.csv'?"),
    ("folder missing", lambda d: (FORMULA, str(d / "no/d.csv")), {}, "there is no folder"),
    ("glob without match", lambda d: (FORMULA, str(d / "*.parquet")), {}, "no file matches"),
    ("folder without data", lambda d: (FORMULA, str(d)), {}, "holds no Parquet files"),
    ("unknown ending", raw("d.xlsx", b"PK"), {}, "of a kind that cannot be read"),
    ("empty file", csv(text=""), {}, "d.csv"),
    ("header only", csv(text="y,x,c,w,g\n"), {}, "no rows"),
    ("repeated column", csv(text="y,x,x,g\n1,2,3,a\n"), {}, "'x'"),
    ("ragged row", csv(text="y,x,g\n1,2,a\n1,2\n3,4,b\n"), {}, "3"),
    ("not UTF-8", raw("d.csv", b"y,x,g\n1,2,\xff\xfe\n"), {}, "d.csv"),
    ("not gzip", raw("d.csv.gz", b"y,x,g\n1,2,a\n"), {}, "d.csv.gz"),
    ("cut gzip", raw("d.csv.gz", gzip.compress(table().encode())[:60]), {}, "d.csv.gz"),
    ("cut Parquet", truncated_parquet, {}, "d.parquet"),
    ("not Parquet", raw("d.parquet", b"PAR1 is not"), {}, "d.parquet"),
    ("Parquet files that differ", differing_parquet, {}, "b.parquet"),
    ("column misspelt", csv("y ~ xx + (1 | g)"), {}, "did you mean 'x'?"),
    ("response misspelt", csv("Y ~ x + (1 | g)"), {}, "did you mean 'y'?"),
    ("group missing", csv("y ~ x + (1 | group)"), {}, "'group'"),
    ("weights misspelt", csv(), {"weights": "ww"}, "did you mean 'w'?"),
    ("text in a number", csv(r7_x="fast"), {}, "row 7"),
    ("text in the response", csv(r3_y="n/a?"), {}, "row 3"),
    ("infinite value", csv(r5_x="inf"), {}, "row 5"),
    ("infinite response", csv(r5_y="-inf"), {}, "row 5"),
    ("all of a column missing", csv(_x=""), {}, "'x'"),
    (
        "no complete row",
        csv(_y=lambda i: "" if i % 2 else 1, _x=lambda i: 1 if i % 2 else ""),
        {},
        "row",
    ),
    ("missing is an error", csv(r9_x=""), {"missing": "error"}, "row 9"),
    ("one level", csv(_g="a"), {}, "'g'"),
    ("a level for every row", csv(_g=lambda i: f"g{i}"), {}, "g"),
    ("constant response", csv(_y=3), {}, "'y'"),
    ("negative weight", csv(r4_w=-1), {"weights": "w"}, "row 4"),
    ("zero weight", csv(r4_w=0), {"weights": "w"}, "row 4"),
    ("text as weights", csv(), {"weights": "c"}, "'c'"),
    ("undeclared level", csv("y ~ c + (1 | g)"), {"levels": {"c": ["u", "v"]}}, "'w'"),
    ("levels of the response", csv(), {"levels": {"y": [1, 2]}}, "'y'"),
    ("unbalanced bracket", csv("y ~ x + (1 | g"), {}, "formula"),
    ("no response", csv("~ x + (1 | g)"), {}, "response"),
    ("two tildes", csv("y ~ x ~ (1 | g)"), {}, "~"),
    ("no random term", csv("y ~ x"), {}, "no random term"),
    ("empty formula", csv(" "), {}, "formula"),
    ("nothing before the bar", csv("y ~ x + ( | g)"), {}, "|"),
    ("bar without brackets", csv("y ~ x + 1 | g"), {}, "|"),
    ("attribute access", csv("y ~ x.mean() + (1 | g)"), {}, "x.mean"),
    ("dunder name", csv("y ~ __import__('os') + (1 | g)"), {}, "__import__"),
    ("unknown function", csv("y ~ sqroot(x) + (1 | g)"), {}, "sqroot"),
    ("log of a negative", csv("y ~ log(x - 5) + (1 | g)"), {}, "log"),
    ("response on both sides", csv("y ~ y + (1 | g)"), {}, "'y'"),
    ("text as a number in a function", csv("y ~ log(c) + (1 | g)"), {}, "'c'"),
    ("categorical response", csv("c ~ x + (1 | g)"), {}, "'c'"),
    ("unknown method", csv(), {"method": "newton"}, "allowed"),
    ("unknown missing policy", csv(), {"missing": "ignore"}, "'drop'"),
]
IDS = [case[0] for case in CASES]


# --- tests


def options(more: dict[str, Any]) -> list[str]:
    """Return keyword arguments of the API as options of the command line."""
    found = []
    for name, value in more.items():
        if name == "levels":
            found += [f"--levels={column}={levels}" for column, levels in value.items()]
        else:
            found.append(f"--{name}={value}")
    return found


@pytest.mark.parametrize(("name", "make", "more", "part"), CASES, ids=IDS)
def test_the_command_line_says_one_sentence(name, make, more, part, tmp_path, capsys):
    formula, path = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "out"
    assert invoke(["fit", path, formula, "--out", str(out), *options(more)]) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert part in errors[0]
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert sorted(tmp_path.rglob("*")) == before, "nothing half-written"


@pytest.mark.parametrize(("name", "make", "more", "part"), CASES, ids=IDS)
def test_the_api_raises_the_same(name, make, more, part, tmp_path):
    formula, path = make(tmp_path)
    with pytest.raises(MixedflowError) as caught:
        mf.fit(formula, path, **more)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_there_are_at_least_forty():
    assert len(CASES) >= 40


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
def test_an_output_that_cannot_be_written(tmp_path, capsys):
    formula, path = csv()(tmp_path)
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    assert invoke(["fit", path, formula, "--out", str(locked / "fit")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_an_output_below_a_file(tmp_path, capsys):
    formula, path = csv()(tmp_path)
    assert invoke(["fit", path, formula, "--out", f"{path}/fit"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_an_unknown_level_at_prediction(tmp_path):
    formula, path = csv("y ~ x + (1 | g)")(tmp_path)
    fit = mf.fit(formula, path)
    with pytest.raises(MixedflowError, match="g99"):
        fit.predict({"x": [1.0], "g": ["g99"]})
    with pytest.raises(MixedflowError, match="'x'"):
        fit.predict({"g": ["g1"]})
