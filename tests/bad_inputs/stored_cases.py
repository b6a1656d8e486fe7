"""Rows to predict for, and stored files that are damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import helpers
from bad_inputs.cases import FORMULA, Case, csv, frame, good_fit, with_value

import mixedflow as mf
from mixedflow.cli import invoke
from mixedflow.errors import (
    DataError,
    MixedflowError,
    SourceError,
    StoredFileError,
    UnknownLevelError,
)

Change = Callable[[Path], None]
SEXES = "y ~ x + sex + (1 | g)"


@cache
def _fitted() -> mf.FitResult:
    return mf.fit(SEXES, frame())


def predict(
    name: str, shown: str, error: type[MixedflowError], *says: str, data: Any = None, **columns: Any
) -> Case:
    """Return a case that predicts from the good fit."""
    return Case(
        name,
        shown,
        error,
        says,
        call=lambda: _fitted().predict(frame(**columns) if data is None else data),
    )


PREDICTION = [
    predict(
        "unknown level of a group",
        "g is 'ff' in row 9",
        UnknownLevelError,
        "'ff'",
        "row 9",
        "'g'",
        "did you mean 'f'?",
        g=with_value("g", 9, "ff"),
    ),
    predict(
        "unknown level of a fixed factor",
        "sex is 'mal' in row 2",
        UnknownLevelError,
        "'mal'",
        "row 2",
        "'sex'",
        "did you mean 'male'?",
        sex=with_value("sex", 2, "mal"),
    ),
    predict("missing column", "no column x", DataError, "no column 'x'", x=None),
    predict(
        "text in a numeric column",
        "x holds 'abc' in row 5",
        DataError,
        "'x'",
        "row 5",
        "'abc'",
        x=with_value("x", 5, "abc"),
    ),
    predict(
        "infinite value",
        "x is inf in row 5",
        DataError,
        "'x'",
        "row 5",
        "inf",
        x=with_value("x", 5, float("inf")),
    ),
    predict(
        "numbers for a factor",
        "sex is 1, 2, ...",
        UnknownLevelError,
        "'1'",
        "row 1",
        "'sex'",
        sex=[1, 2] * 12,
    ),
    predict("missing file", "predict('new.csv')", SourceError, "'new.csv'", data="new.csv"),
    predict("list", "predict([1, 2])", DataError, "'list'", data=[1, 2]),
    Case(
        "fitted values of a stored fit",
        "mf.load('fit').fitted",
        DataError,
        (
            "without its rows",
            "predict(newdata)",
        ),
        prepare=good_fit,
        call=lambda: mf.load("fit").fitted,
    ),
]


def edit(path: str, change: Callable[[dict[str, Any]], object]) -> Change:
    """Return a change of a JSON file."""

    def run(folder: Path) -> None:
        place = folder / path
        content = json.loads(place.read_text(encoding="utf-8"))
        change(content)
        place.write_text(helpers.sealed(content), encoding="utf-8")

    return run


def halve(path: str) -> Change:
    """Return a change that keeps the first half of a file."""

    def run(folder: Path) -> None:
        content = (folder / path).read_bytes()
        (folder / path).write_bytes(content[: len(content) // 2])

    return run


def flip(path: str) -> Change:
    """Return a change of one byte in the middle of a file, its length kept."""

    def run(folder: Path) -> None:
        content = bytearray((folder / path).read_bytes())
        content[len(content) // 2] ^= 0xFF
        (folder / path).write_bytes(bytes(content))

    return run


def remove(path: str) -> Change:
    """Return a change that deletes a file."""
    return lambda folder: (folder / path).unlink()


def fit(name: str, shown: str, *says: str, change: Change, until: str = "") -> Case:
    """Return a case that reads a fit after a change of its files."""

    def prepare(folder: Path) -> None:
        good_fit(folder)
        change(folder)

    return Case(
        name,
        shown,
        StoredFileError,
        says,
        prepare=prepare,
        call=lambda: mf.load("fit"),
        command=("show", "fit"),
        until=until,
    )


def _invoked(*words: str) -> None:
    assert invoke(words) == 0


def prepared(name: str, shown: str, *says: str, change: Change, until: str = "") -> Case:
    """Return a case that fits prepared data after a change of its files."""

    def prepare(folder: Path) -> None:
        (folder / "data.csv").write_text(csv(), encoding="utf-8")
        _invoked("prepare", "data.csv", "--out", "rows", "--partition-rows", "10")
        change(folder)

    return Case(
        name,
        shown,
        StoredFileError,
        says,
        prepare=prepare,
        call=lambda: mf.fit(FORMULA, "rows"),
        command=("condense", "rows", FORMULA, "--out", "out"),
        until=until,
    )


def design(name: str, shown: str, *says: str, change: Change, until: str = "") -> Case:
    """Return a case that fits a condensed folder after a change of its files."""

    def prepare(folder: Path) -> None:
        (folder / "data.csv").write_text(csv(), encoding="utf-8")
        _invoked("condense", "data.csv", FORMULA, "--out", "design")
        change(folder)

    return Case(
        name,
        shown,
        StoredFileError,
        says,
        prepare=prepare,
        command=("fit", "design", FORMULA, "--out", "out"),
        until=until,
    )


def set_to(key: str, value: Any) -> Callable[[dict[str, Any]], object]:
    """Return a change of one key."""
    return lambda content: content.__setitem__(key, value)


STORED = [
    fit(
        "fit.json changed",
        "the log-likelihood is another",
        "'fit'",
        "log-likelihood",
        "-1.0",
        until="the equations",
        change=edit("fit/fit.json", set_to("loglik", -1.0)),
    ),
    fit(
        "coefficient changed",
        "a fixed effect is another",
        "coefficient 'x'",
        "3.0",
        until="the equations",
        change=edit("fit/fit.json", lambda c: c["fixef"].__setitem__("x", 3.0)),
    ),
    fit(
        "parameter changed",
        "phi is another",
        "fails verification",
        until="the stored log-likelihood is",
        change=edit("fit/fit.json", lambda c: c["parameters"].__setitem__("phi", 1.5)),
    ),
    fit(
        "parameters of another shape",
        "theta is empty",
        "0 random terms",
        "has 1",
        change=edit("fit/fit.json", lambda c: c["parameters"].__setitem__("theta", [])),
    ),
    fit(
        "key missing",
        "fit.json lacks 'spec'",
        "fit.json lacks 'spec'",
        change=edit("fit/fit.json", lambda c: c.pop("spec")),
    ),
    fit(
        "certificate missing",
        "fit.json lacks 'certificate'",
        "fit.json lacks 'certificate'",
        change=edit("fit/fit.json", lambda c: c.pop("certificate")),
    ),
    fit(
        "another solver",
        "solver is 'magic'",
        "'magic'",
        "allowed are",
        until="allowed are",
        change=edit("fit/fit.json", set_to("solver", "magic")),
    ),
    fit(
        "hostile formula in fit.json",
        "the formula calls open()",
        "'fit' is damaged",
        "open()",
        until="allowed are",
        change=edit(
            "fit/fit.json",
            lambda c: c["spec"].__setitem__("formula", "y ~ open('executed', 'w') + (1 | g)"),
        ),
    ),
    fit(
        "fit.json cut off",
        "the first half of fit.json",
        "fit.json",
        "cannot be read as JSON",
        until="as JSON:",
        change=halve("fit/fit.json"),
    ),
    fit(
        "fit.json missing",
        "no fit.json",
        "'fit'",
        "fit.json is missing",
        change=remove("fit/fit.json"),
    ),
    fit(
        "another version",
        "format_version is 99",
        "fit.json",
        "99",
        "reads version 1",
        change=edit("fit/fit.json", set_to("format_version", 99)),
    ),
    fit(
        "another file",
        "format is 'other'",
        "does not describe a fit",
        change=edit("fit/fit.json", set_to("format", "other")),
    ),
    fit(
        "cross-products damaged",
        "one byte of arrays.npz",
        "arrays.npz",
        "checksum",
        change=flip("fit/crossproducts/arrays.npz"),
    ),
    fit(
        "cross-products missing",
        "no arrays.npz",
        "no arrays.npz",
        change=remove("fit/crossproducts/arrays.npz"),
    ),
    fit(
        "cross-products of another version",
        "format_version is 99",
        "99",
        "reads version 1",
        change=edit("fit/crossproducts/manifest.json", set_to("format_version", 99)),
    ),
    fit(
        "manifest of cross-products cut off",
        "the first half of manifest.json",
        "crossproducts/manifest.json",
        until="as JSON:",
        change=halve("fit/crossproducts/manifest.json"),
    ),
    fit(
        "manifest of cross-products without keys",
        "manifest.json lacks arrays_sha256",
        "arrays_sha256",
        change=edit("fit/crossproducts/manifest.json", lambda c: c.pop("arrays_sha256")),
    ),
    fit(
        "schema cut off",
        "the first half of schema.json",
        "schema.json",
        "cannot be read",
        until="as JSON:",
        change=halve("fit/schema/schema.json"),
    ),
    fit(
        "schema without keys",
        "schema.json lacks 'lists'",
        "schema.json",
        "lists",
        change=edit("fit/schema/schema.json", lambda c: c.pop("lists")),
    ),
    fit(
        "schema missing",
        "no schema.json",
        "no schema at 'fit/schema'",
        change=remove("fit/schema/schema.json"),
    ),
    fit(
        "trace damaged",
        "the first half of trace.parquet",
        "'fit' is damaged",
        until="is damaged:",
        change=halve("fit/trace.parquet"),
    ),
    fit(
        "trace missing", "no trace.parquet", "no trace.parquet", change=remove("fit/trace.parquet")
    ),
    Case(
        "no fit",
        "mf.load('nowhere')",
        StoredFileError,
        (
            "'nowhere'",
            "fit.json",
        ),
        call=lambda: mf.load("nowhere"),
        command=("show", "nowhere"),
    ),
    prepared(
        "manifest cut off",
        "the first half of manifest.json",
        "rows/manifest.json",
        "damaged",
        until="as JSON:",
        change=halve("rows/manifest.json"),
    ),
    prepared(
        "manifest without parts",
        "manifest.json lacks 'parts'",
        "rows/manifest.json",
        "'parts'",
        change=edit("rows/manifest.json", lambda c: c.pop("parts")),
    ),
    prepared(
        "manifest with an unknown key",
        "a key of another version",
        "rows/manifest.json",
        "surprise",
        change=edit("rows/manifest.json", set_to("surprise", 1)),
    ),
    prepared(
        "manifest of another version",
        "format_version is 99",
        "99",
        "reads version 1",
        "prepare the data again",
        change=edit("rows/manifest.json", set_to("format_version", 99)),
    ),
    prepared(
        "manifest with a path outside",
        "file: ../data.csv",
        "data.csv",
        change=edit(
            "rows/manifest.json", lambda c: c["parts"][0].__setitem__("file", "../data.csv")
        ),
    ),
    prepared(
        "part cut off",
        "the first half of a part",
        "part-00001.parquet",
        "bytes",
        "prepare the data again",
        until="has",
        change=halve("rows/part-00001.parquet"),
    ),
    prepared(
        "part changed",
        "one byte of a part",
        "part-00001.parquet",
        "damaged",
        until="is damaged",
        change=flip("rows/part-00001.parquet"),
    ),
    prepared(
        "part missing",
        "no part-00000.parquet",
        "part-00000.parquet",
        "missing",
        change=remove("rows/part-00000.parquet"),
    ),
    design(
        "manifest of a design cut off",
        "the first half of manifest.json",
        "design/manifest.json",
        "damaged",
        until="as JSON:",
        change=halve("design/manifest.json"),
    ),
    design(
        "design of another version",
        "format_version is 99",
        "99",
        "condense the data again",
        change=edit("design/manifest.json", set_to("format_version", 99)),
    ),
    design(
        "design without keys",
        "manifest.json lacks 'data'",
        "design/manifest.json",
        change=edit("design/manifest.json", lambda c: c.pop("data")),
    ),
    design(
        "design with other rows",
        "rows_used is 3",
        "24 rows",
        "says 3",
        change=edit("design/manifest.json", set_to("rows_used", 3)),
    ),
    design(
        "sums of a design damaged",
        "one byte of arrays.npz",
        "arrays.npz",
        "checksum",
        change=flip("design/crossproducts/arrays.npz"),
    ),
    design(
        "schema of a design cut off",
        "the first half of schema.json",
        "design/schema/schema.json",
        until="as JSON:",
        change=halve("design/schema/schema.json"),
    ),
]


STORED_FILES = {"Prediction": PREDICTION, "Stored files": STORED}
