"""What was asked of a fit, answered: tables of tests and intervals, and their folder on disk.

Stands at "Results" in ``docs/algorithm.md``. A folder holds ``infer.json``, which says what was asked,
by which methods it was answered and what every table holds, and a CSV file for each table. On reading,
every file must be as it was written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from mixedflow.data.atomic import atomic_folder
from mixedflow.data.manifest import ManifestKind, read_manifest
from mixedflow.errors import StoredFileError
from mixedflow.results.tabulating import pd

MANIFEST = "infer.json"
KIND = ManifestKind(
    "tests and intervals", MANIFEST, 1, "mixedflow-inference", again="`mixedflow infer` writes it"
)
OWN_FILES = (MANIFEST, "*.csv")

TableKind = Literal[
    "coefficients", "anova", "contrasts", "joint", "emmeans", "robust", "intervals", "profiles",
    "random", "variances", "bootstrap", "caic", "influence",
]  # fmt: skip
ColumnKind = Literal["text", "number", "integer", "flag"]


@dataclass(frozen=True, eq=False, slots=True)
class InferredTable:
    """One table of an inference.

    Attributes
    ----------
    key : name of its file, without the ending
    kind : what its rows are
    title : heading
    method : how the numbers were found, a sentence
    table : the rows; what a row is called stands in the first column
    note : why there are none, where there are none
    details : what else a reader of the table needs
    """

    key: str
    kind: TableKind
    title: str
    method: str
    table: pd.DataFrame
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, slots=True)
class Inferred:
    """Tests and intervals of a fit.

    Attributes
    ----------
    formula : of the model
    settings : what was asked, as plain values
    ddf : how the degrees of freedom were found, in words
    level : of the intervals
    statement : what must be read first; why there is no table for a fit that did not converge
    tables : in the order of the page
    fit_digest : SHA-256 of the fit's ``fit.json``; empty for a fit that was not stored
    versions : of mixedflow and what it computed with
    """

    formula: str
    settings: Mapping[str, Any]
    ddf: str
    level: float
    statement: str = ""
    tables: tuple[InferredTable, ...] = ()
    fit_digest: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def of_kind(self, *kinds: TableKind) -> list[InferredTable]:
        """Return the tables of some kinds."""
        return [table for table in self.tables if table.kind in kinds]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, empty where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def save_inferred(found: Inferred, folder: Path) -> None:
    """Write an inference to a folder; it appears whole or not at all."""
    with atomic_folder(folder, OWN_FILES) as place:
        entries = [_written(one, place) for one in found.tables]
        document = {
            "formula": found.formula,
            "settings": dict(found.settings),
            "ddf": found.ddf,
            "level": found.level,
            "statement": found.statement,
            "fit_digest": found.fit_digest,
            "versions": dict(found.versions),
            "tables": entries,
        }
        (place / MANIFEST).write_text(KIND.text(document, allow_nan=False), encoding="utf-8")


def _written(one: InferredTable, place: Path) -> dict[str, Any]:
    """Write a table and return what the manifest says of it."""
    path = place / f"{one.key}.csv"
    one.table.to_csv(path, index=False, lineterminator="\n")
    return {
        "key": one.key,
        "kind": one.kind,
        "title": one.title,
        "method": one.method,
        "note": one.note,
        "details": dict(one.details),
        "columns": {str(name): _column_kind(one.table[name]) for name in one.table.columns},
        "rows": len(one.table),
        "sha256": file_digest(path),
    }


def _column_kind(column: pd.Series) -> ColumnKind:
    kinds: dict[str, ColumnKind] = {"f": "number", "i": "integer", "u": "integer", "b": "flag"}
    return kinds.get(column.dtype.kind, "text")


def load_inferred(folder: Path) -> Inferred:
    """Read what :func:`save_inferred` wrote.

    Raises
    ------
    StoredFileError
        if a file is missing, or is not as it was written.
    """
    content = read_manifest(folder, KIND)
    del content["format"], content["format_version"]
    try:
        tables = tuple(_read(entry, folder) for entry in content.pop("tables"))
        return Inferred(tables=tables, **content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StoredFileError(f"'{folder / MANIFEST}' is damaged: {error}; {KIND.again}") from error


def _read(entry: dict[str, Any], folder: Path) -> InferredTable:
    path = folder / f"{entry['key']}.csv"
    if not path.is_file():
        raise StoredFileError(f"no {KIND.what} at '{folder}': {path.name} is missing; {KIND.again}")
    if file_digest(path) != entry["sha256"]:
        raise StoredFileError(f"'{path}' is not as it was written; {KIND.again}")
    if entry["kind"] not in get_args(TableKind):
        raise ValueError(f"'{entry['kind']}' is no kind of table")
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name, kind in entry["columns"].items():
        frame[name] = _values(frame[name], kind)
    words = ("key", "kind", "title", "method", "note", "details")
    return InferredTable(table=frame, **{word: entry[word] for word in words})


def _values(column: pd.Series, kind: ColumnKind) -> pd.Series:
    if kind == "number":
        return column.replace("", "nan").astype(float)
    if kind == "integer":
        return column.astype("int64")
    return column == "True" if kind == "flag" else column
