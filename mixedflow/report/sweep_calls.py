"""The call of ``mixedflow.fit`` that makes one fit of a sweep again.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def formulas_of(spec: Mapping[str, Any]) -> dict[str, str]:
    """Return model -> formula of what a sweep was asked."""
    return {str(name): str(formula) for name, formula in spec.get("models", {}).items()}


def options_of(spec: Mapping[str, Any], model: str) -> str:
    """Return what a fit of a model is told beside formula and rows, as Python writes it."""
    residual = spec.get("residual", {}).get(model, "iid")
    given = {
        "reml": None if spec.get("reml", True) else False,
        "residual": None if residual == "iid" else residual,
        "weights": spec.get("weights"),
        "missing": None if spec.get("missing", "drop") == "drop" else spec["missing"],
        "levels": spec.get("levels") or None,
    }
    return ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)


def rows_of(spec: Mapping[str, Any], subset: str, data: str) -> tuple[str, str]:
    """Return the rows of a fit as Python writes them, and what must be said of them.

    Parameters
    ----------
    spec : what the sweep was asked
    subset : name of the subset
    data : the file of all rows and traits in quotation marks, or empty where there is none
    """
    wanted: Mapping[str, Sequence[str]] | None = (spec.get("subsets") or {}).get(subset)
    if data and not wanted:
        return data, ""
    about = data or " ".join(str(spec.get("source", "the sweep")).split())
    note = f"data: a frame of {about}" + ("" if data else " with the trait as a column")
    if not wanted:
        return "data", note
    conditions = [
        f"data[{name!r}].astype(str).isin({list(map(str, values))!r})"
        for name, values in wanted.items()
    ]
    if len(conditions) == 1:
        return f"data[{conditions[0]}]", note
    return f"data[{' & '.join(f'({one})' for one in conditions)}]", note


def call_around(formula: str, rows: tuple[str, str], options: str) -> tuple[str, str]:
    """Return what stands before and after the name of the trait."""
    text = formula.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    place, note = rows
    end = f"{place}, {options})" if options else f"{place})"
    return 'mf.fit("', f' {text}", {end}' + (f"  # {note}" if note else "")
