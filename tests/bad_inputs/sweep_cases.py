"""Sweeps that were asked for in wrong words, and layouts of traits that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from bad_inputs.cases import Case, Prepare, frame

import mixedflow as mf
from mixedflow.errors import (
    ConfigError,
    DataError,
    FormulaError,
    MixedflowError,
    SourceError,
    StoredFileError,
    UnsupportedError,
)

MODEL = "~ x + (1 | g)"


def swept(
    name: str,
    shown: str,
    error: type[MixedflowError],
    *says: str,
    prepare: Prepare | None = None,
    until: str = "",
    **options: Any,
) -> Case:
    """Return a case of a sweep; the trait is ``y`` unless the case names others."""
    data = options.pop("data", None)
    models = options.pop("models", MODEL)
    options.setdefault("traits", "y")
    return Case(
        name,
        shown,
        error,
        says,
        prepare=prepare,
        until=until,
        call=lambda: mf.sweep(models, frame() if data is None else data, **options),
    )


def _matrix(shape: tuple[int, ...], names: str = "a\nb\n") -> Prepare:
    def prepare(folder: Path) -> None:
        np.save(folder / "Y.npy", np.random.default_rng(1).normal(size=shape))
        (folder / "names.txt").write_text(names, encoding="utf-8")

    return prepare


def _long(**changes: Any) -> Any:
    table = frame().rename(columns={"y": "expr"})
    table["gene"] = ["a", "b"] * 12
    table["sample"] = [f"s{k // 2}" for k in range(24)]
    for column in ("x", "g"):
        table[column] = table[column].iloc[::2].repeat(2).to_numpy()
    for column, (row, value) in changes.items():
        table.loc[row, column] = value
    return table


LONG = {"trait": "gene", "value": "expr", "row": ["sample"]}

SWEPT = [
    swept(
        "trait that is not there", "traits='yy'", DataError, "'yy'", "did you mean 'y'", traits="yy"
    ),
    swept("pattern that no trait fits", "traits='gene*'", DataError, "'gene*'", traits="gene*"),
    swept(
        "regular expression that is none",
        "traits='re:gene['",
        ConfigError,
        "'re:gene['",
        traits="re:gene[",
        until="is no regular expression",
    ),
    swept("trait that a model reads", "traits='x'", DataError, "'x'", "a model", traits="x"),
    swept("trait of text", "traits='sex'", DataError, "'sex' holds text", traits="sex"),
    swept(
        "models without names",
        "['~ x + (1 | g)']",
        ConfigError,
        "models must be",
        models=["~ x + (1 | g)"],
    ),
    swept("tests without names", "tests=['x']", ConfigError, "tests must be", tests=["x"]),
    swept("no traits named", "no traits", ConfigError, "name the traits", traits=None),
    swept("empty list of traits", "traits=[]", DataError, "at least one trait", traits=[]),
    swept("traits that are no names", "traits=3", ConfigError, "found 3", traits=3),
    swept(
        "response of a sweep",
        "'y ~ x + (1 | g)'",
        FormulaError,
        "'y'",
        "leave it out",
        models="y ~ x + (1 | g)",
    ),
    swept(
        "transformed response of a sweep",
        "'log(trait) ~ x + (1 | g)'",
        FormulaError,
        "'log(trait)'",
        models="log(trait) ~ x + (1 | g)",
    ),
    swept(
        "formula of a sweep without a tilde",
        "'x + (1 | g)'",
        FormulaError,
        "no '~'",
        models="x + (1 | g)",
    ),
    swept(
        "sweep without a random term",
        "'~ x'",
        FormulaError,
        "no random term",
        models="~ x",
    ),
    swept("sweep without a model", "{}", ConfigError, "at least one model", models={}),
    swept(
        "degrees of freedom of a sweep",
        "ddf='kenward-roger'",
        UnsupportedError,
        "'kenward-roger'",
        "'satterthwaite', 'residual', 'asymptotic'",
        ddf="kenward-roger",
    ),
    swept("q-values misspelt", "q='BHY'", ConfigError, "'BHY'", "'BH', 'storey'", q="BHY"),
    swept(
        "test of a model that is not there",
        "tests={'x': ('nul', 'full')}",
        ConfigError,
        "'nul'",
        "did you mean 'null'",
        models={"null": "~ 1 + (1 | g)", "full": MODEL},
        tests={"x": ("nul", "full")},
    ),
    swept(
        "test of one model",
        "tests={'x': ('full',)}",
        ConfigError,
        "two models",
        models={"full": MODEL},
        tests={"x": ("full",)},
    ),
    swept(
        "subset of a value that is not there",
        "subsets={'m': {'sex': ['mal']}}",
        DataError,
        "'mal'",
        "did you mean 'male'",
        subsets={"m": {"sex": ["mal"]}},
    ),
    swept(
        "subset of a column that is not there",
        "subsets={'m': {'sexx': ['male']}}",
        DataError,
        "'sexx'",
        "did you mean 'sex'",
        subsets={"m": {"sexx": ["male"]}},
    ),
    swept(
        "subset without two levels of a factor",
        "'~ sex + (1 | g)', subsets={'m': {'sex': ['male']}}",
        DataError,
        "subset 'm'",
        "'sex' has one level",
        models="~ sex + (1 | g)",
        subsets={"m": {"sex": ["male"]}},
    ),
    swept(
        "subset written as code",
        "subsets={'m': \"sex == 'male'\"}",
        ConfigError,
        "lists of their values",
        subsets={"m": "sex == 'male'"},
    ),
    swept(
        "subset without a list",
        "subsets={'m': {'sex': 'male'}}",
        ConfigError,
        "needs a list of values",
        subsets={"m": {"sex": "male"}},
    ),
    swept(
        "residual structure of a model that is not there",
        "residual={'modle': 'ar1(1 | g)'}",
        ConfigError,
        "'modle'",
        "did you mean 'model'",
        residual={"modle": "ar1(1 | g)"},
    ),
]

LAYOUTS = [
    swept(
        "matrix with other rows than the data",
        "Y.npy of 20 x 2, 24 rows",
        DataError,
        "20 rows",
        "24",
        prepare=_matrix((20, 2)),
        matrix=("Y.npy", "names.txt"),
        traits=None,
    ),
    swept(
        "matrix lying on its side",
        "Y.npy of 2 x 24, 24 rows",
        DataError,
        "turn it round",
        prepare=_matrix((2, 24)),
        matrix=("Y.npy", "names.txt"),
        traits=None,
    ),
    swept(
        "names of a matrix that are too few",
        "Y.npy of 24 x 3, two names",
        DataError,
        "3 columns and 2 names",
        prepare=_matrix((24, 3)),
        matrix=("Y.npy", "names.txt"),
        traits=None,
    ),
    swept(
        "name of a matrix that stands twice",
        "names a, a",
        DataError,
        "two columns named 'a'",
        prepare=_matrix((24, 2), "a\na\n"),
        matrix=("Y.npy", "names.txt"),
        traits=None,
    ),
    swept(
        "matrix of another kind",
        "names.txt as the matrix",
        SourceError,
        "'names.txt'",
        prepare=_matrix((24, 2)),
        matrix=("names.txt", ["a", "b"]),
        traits=None,
        until="can be read",
    ),
    swept(
        "names that cannot be read",
        "names in 'nams.txt'",
        SourceError,
        "'nams.txt'",
        prepare=_matrix((24, 2)),
        matrix=("Y.npy", "nams.txt"),
        traits=None,
    ),
    swept(
        "matrix and long format at once",
        "matrix=..., long=...",
        ConfigError,
        "exclude each other",
        prepare=_matrix((24, 2)),
        matrix=("Y.npy", "names.txt"),
        long=LONG,
    ),
    swept(
        "covariate that changes within a row",
        "long format, x differs in sample s0",
        DataError,
        "'x' changes within a row",
        "data row 2",
        data=_long(x=(1, 9.0)),
        long=LONG,
        traits=None,
    ),
    swept(
        "two values of a trait in a row",
        "long format, gene a twice in sample s0",
        DataError,
        "'s0'",
        "2 values of 'a'",
        data=_long(gene=(1, "a")),
        long=LONG,
        traits=None,
    ),
    swept(
        "long format without its columns",
        "long={'trait': 'gene'}",
        ConfigError,
        "'value'",
        data=_long(),
        long={"trait": "gene"},
        traits=None,
    ),
    swept(
        "word of the long format",
        "long={'traits': 'gene', ...}",
        ConfigError,
        "did you mean 'trait'",
        data=_long(),
        long={"traits": "gene", "value": "expr", "row": ["sample"]},
        traits=None,
    ),
    swept(
        "values in long format that are text",
        "long={'value': 'sex', ...}",
        DataError,
        "'sex'",
        "numbers",
        data=_long(),
        long={**LONG, "value": "sex"},
        traits=None,
    ),
]


def _stored(damage: Any) -> Prepare:
    def prepare(folder: Path) -> None:
        mf.sweep(MODEL, frame(), ["y"], path=folder / "sweep")
        damage(folder / "sweep")

    return prepare


def _cut(folder: Path) -> None:
    path = folder / "sweep.parquet"
    path.write_bytes(path.read_bytes()[:100])


def _newer(folder: Path) -> None:
    path = folder / "sweep.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 9'))


STORED = [
    Case(
        "sweep whose table was cut",
        "sweep/sweep.parquet of 100 bytes",
        StoredFileError,
        ("'sweep/sweep.parquet'", "run the sweep again"),
        prepare=_stored(_cut),
        call=lambda: mf.load_sweep("sweep"),
    ),
    Case(
        "sweep of a later format",
        '"format_version": 9',
        StoredFileError,
        ("format version 9", "reads version 1"),
        prepare=_stored(_newer),
        call=lambda: mf.load_sweep("sweep"),
    ),
    Case(
        "sweep that is not there",
        "mf.load_sweep('nowhere')",
        StoredFileError,
        ("no sweep at 'nowhere'", "sweep.json"),
        call=lambda: mf.load_sweep("nowhere"),
    ),
]

SWEEPS = {"Sweeps": [*SWEPT, *LAYOUTS, *STORED]}
