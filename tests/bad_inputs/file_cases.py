"""Files of data that cannot be read."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from bad_inputs.cases import FORMULA, Case, Files, csv, frame

import mixedflow as mf
from mixedflow.errors import (
    DataError,
    MixedflowError,
    SourceError,
)

DAYS = [str(date(2024, 1, 1) + timedelta(days=k)) for k in range(24)]
NONE = [None] * 24


def file(
    name: str,
    shown: str,
    error: type[MixedflowError],
    *says: str,
    path: str = "data.csv",
    content: str | bytes | None = None,
    files: Files | None = None,
    prepare: Callable[[Path], None] | None = None,
    **more: Any,
) -> Case:
    """Return a case with files of its own, tried from the API and the command line."""
    laid = dict(files or {}) | ({} if content is None else {path: content})
    return Case(
        name,
        shown,
        error,
        says,
        files=laid,
        prepare=prepare,
        call=lambda: mf.fit(FORMULA, path),
        command=("fit", path, FORMULA, "--out", "out"),
        **more,
    )


def parquet(data: pd.DataFrame | None = None) -> bytes:
    """Return the good data as a Parquet file."""
    out = io.BytesIO()
    (frame() if data is None else data).to_parquet(out, index=False)
    return out.getvalue()


def feather() -> bytes:
    """Return the good data as a Feather file."""
    out = io.BytesIO()
    frame().to_feather(out)
    return out.getvalue()


def lines(change: Callable[[list[str]], None]) -> str:
    """Return the good CSV with its lines changed; ``rows[0]`` is the header."""
    rows = csv().splitlines()
    change(rows)
    return "\n".join(rows) + "\n"


FILES = [
    file(
        "missing file",
        "data.csv is called daten.csv",
        SourceError,
        "'data.csv'",
        "did you mean 'daten.csv'?",
        files={"daten.csv": csv()},
    ),
    file(
        "missing folder",
        "there is no folder",
        SourceError,
        "no folder 'nowhere'",
        path="nowhere/data.csv",
    ),
    file("empty file", "a file of 0 bytes", SourceError, "'data.csv' is empty", content=b""),
    file("blank file", "three empty lines", SourceError, "is empty", content="\n\n\n"),
    file(
        "header only",
        "a CSV file with names and no rows",
        SourceError,
        "no rows",
        content="y,x,g\n",
    ),
    file(
        "ragged line",
        "line 6 has one value more",
        SourceError,
        "line 6",
        "8 values",
        "header has 7",
        content=lines(lambda rows: rows.__setitem__(5, rows[5] + ",1")),
    ),
    file(
        "short line",
        "line 9 has one value less",
        SourceError,
        "line 9",
        "6 values",
        "header has 7",
        content=lines(lambda rows: rows.__setitem__(8, rows[8].rpartition(",")[0])),
    ),
    file(
        "not UTF-8",
        "a Latin-1 file",
        SourceError,
        "line 2",
        "UTF-8",
        content=csv(g=["\xe9"] * 24).encode("latin-1"),
    ),
    file(
        "text that is not gzip",
        "text called data.csv.gz",
        SourceError,
        "not a gzip file",
        path="data.csv.gz",
        content=csv(),
    ),
    file(
        "truncated gzip",
        "the first half of a .csv.gz",
        SourceError,
        "cut off",
        path="data.csv.gz",
        content=gzip.compress(csv().encode(), mtime=0)[:200],
    ),
    file(
        "two columns of one name",
        "header y,x,x,g",
        DataError,
        "two columns named 'x'",
        content=lines(lambda rows: rows.__setitem__(0, rows[0].replace("z", "x"))),
    ),
    file(
        "quote that swallows rows",
        "the last value of line 4 has an odd quote",
        SourceError,
        "line 4",
        "quotation mark",
        content=lines(lambda rows: rows.__setitem__(3, rows[3].rpartition(",")[0] + ',"2.0')),
    ),
    file(
        "quote not closed",
        "line 4 has an odd quote",
        SourceError,
        "line 4",
        "quotation mark",
        content=lines(lambda rows: rows.__setitem__(3, '"' + rows[3])),
    ),
    file(
        "truncated Parquet",
        "the first half of a Parquet file",
        SourceError,
        "'data.parquet' is cut off",
        path="data.parquet",
        content=parquet()[: len(parquet()) // 2],
    ),
    file(
        "text called Parquet",
        "CSV called data.parquet",
        SourceError,
        "not a Parquet file",
        path="data.parquet",
        content=csv(),
    ),
    file(
        "truncated Feather",
        "the first half of a Feather file",
        SourceError,
        "'data.feather' is cut off",
        path="data.feather",
        content=feather()[: len(feather()) // 2],
        until="as Arrow IPC:",
    ),
    file(
        "Parquet without rows",
        "a Parquet file of no rows",
        SourceError,
        "no rows",
        path="data.parquet",
        content=parquet(frame().iloc[:0]),
    ),
    file(
        "folder without Parquet",
        "a folder with a text file",
        SourceError,
        "'rows'",
        "no Parquet files",
        path="rows",
        files={"rows/notes.txt": "nothing"},
    ),
    file(
        "glob without a match",
        "no file of that pattern",
        SourceError,
        "'parts/*.parquet'",
        path="parts/*.parquet",
    ),
    file(
        "files of different columns",
        "x is text in the second file",
        DataError,
        "'x'",
        "numbers",
        "text",
        "b.parquet",
        path="parts",
        files={"parts/a.parquet": parquet(), "parts/b.parquet": parquet(frame(x=list("ab") * 12))},
    ),
    file(
        "file that lacks a column",
        "the second file has no x",
        DataError,
        "'x'",
        "b.parquet",
        path="parts",
        files={"parts/a.parquet": parquet(), "parts/b.parquet": parquet(frame(x=None))},
    ),
    file(
        "unknown kind of file",
        "an Excel file",
        SourceError,
        "'data.xlsx'",
        "CSV",
        "Parquet",
        path="data.xlsx",
        content=b"PK",
    ),
]

DATA_FILES = {"Files of data": FILES}
