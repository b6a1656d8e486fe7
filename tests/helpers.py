"""What several test files share: the reference entries, their data, comparable names."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mixedflow.data.manifest import CHECKSUM, checksum

REFERENCES = Path(__file__).parent / "references"


def entries() -> dict[str, dict[str, Any]]:
    """Return the reference fits by id; where both files have one, that of ``made_here.json``."""
    return _read("lme4.json", "made_here.json")


def residual_entries() -> dict[str, dict[str, Any]]:
    """Return those with a residual structure; ``made_residual.json`` before ``residual.json``."""
    return _read("residual.json", "made_residual.json")


@cache
def _read(*files: str) -> dict[str, dict[str, Any]]:
    out = {}
    for name in files:
        for entry in json.loads((REFERENCES / name).read_text()):
            rename = entry.pop("rename", {})
            for component in entry.get("varcomp", []):
                component["group"] = rename.get(component["group"], component["group"])
            told = {} if "formula" in entry else {"formula": spaced(entry["r_formula"])}
            out[entry["id"]] = {**told, **entry}
    return out


def spaced(formula: str) -> str:
    """Write ``(1|g)`` as ``(1 | g)``."""
    return re.sub(r"\s*(\|\|?)\s*", r" \1 ", formula)


def data_path(name: str) -> Path:
    """Return the file of a reference data set, ``.csv`` or ``.csv.gz``."""
    plain = REFERENCES / "data" / f"{name}.csv"
    return plain if plain.exists() else plain.with_suffix(".csv.gz")


@cache
def data_frame(name: str) -> pd.DataFrame:
    """Read as R does: only NA is missing, so that Alfalfa's level "None" stays."""
    return pd.read_csv(data_path(name), keep_default_na=False, na_values=["NA"])


def reference_frame(entry: dict[str, Any]) -> pd.DataFrame:
    """Return the data of an entry: columns computed and cells blanked as its note says."""
    data = data_frame(entry["data"]).copy()
    for column, expression in entry.get("compute", {}).items():
        data[column] = data.eval(expression)
    for column, rows in entry.get("blank", {}).items():
        data[column] = data[column].astype(float)
        data.loc[[row - 1 for row in rows], column] = np.nan
    return data


def fit_arguments(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of ``mixedflow.fit`` for an entry."""
    return {
        "reml": entry["method"] == "REML",
        "weights": entry.get("weights"),
        "levels": entry.get("levels"),
        "residual": entry.get("residual", "iid"),
    }


def plain_name(name: str) -> str:
    """Write a coefficient's name so that R's and formulaic's can be compared.

    ``Machine[T.B]`` and ``MachineB``, ``I(age**2)`` and ``I(age^2)`` become the same text, as do
    ``C(dose, contr.poly).L`` and ``ordered(dose).L``.
    """
    name = re.sub(r"ordered\((\w+)\)", r"C(\1,contr.poly)", name)
    parts = [re.sub(r"\[(?:T\.)?(.*?)\]", r"\1", part) for part in name.split(":")]
    return ":".join(sorted(re.sub(r"\s", "", part).replace("**", "^") for part in parts))


def plain_index(frame: pd.DataFrame | pd.Series) -> Any:
    """Return a copy whose index is in plain names."""
    out = frame.copy()
    out.index = pd.Index([plain_name(str(name)) for name in frame.index])
    return out


def level_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy with the levels as text and the columns in plain names."""
    out = plain_index(frame.T).T
    out.index = pd.Index([str(level) for level in frame.index])
    return out


def covariance_matrices(varcorr: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return group -> covariance matrix (named by plain names) from a ``varcorr`` table."""
    out: dict[str, pd.DataFrame] = {}
    rows = varcorr[varcorr["group"] != "Residual"]
    for group, part in rows.groupby("group", sort=False):
        second = part["term2"].fillna("").astype(str)
        first = part["term1"].astype(str)
        names = [plain_name(name) for name in first[second == ""]]
        matrix = pd.DataFrame(np.nan, index=names, columns=names)
        for a, b, value in zip(first, second, part["vcov"], strict=True):
            x, z = plain_name(a), plain_name(b or a)
            matrix.loc[x, z] = matrix.loc[z, x] = value
        out[str(group)] = matrix
    return out


def residual_variance(varcorr: pd.DataFrame) -> float:
    return float(varcorr.loc[varcorr["group"] == "Residual", "vcov"].iloc[0])


def sealed(content: dict[str, Any]) -> str:
    """Return the JSON of a changed manifest as one who knows its checksum would write it."""
    rest = {key: value for key, value in content.items() if key != CHECKSUM}
    return json.dumps({**rest, CHECKSUM: checksum(rest)})
