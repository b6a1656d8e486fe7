"""Counts of a sweep as tables: how its fits ended, what is significant, why fits are missing.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedflow.report.tables import Cell, Table, count, number
from mixedflow.results.summary import format_number

LEVEL = 0.05
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class FailureReason:
    """Fits that are missing for one reason.

    Attributes
    ----------
    reason : its words, numbers left out
    rows : how many
    traits : of how many traits
    examples : some of them
    query : what the search of the page finds them by
    """

    reason: str
    rows: int
    traits: int
    examples: tuple[str, ...]
    query: str


def failed_rows(table: pd.DataFrame) -> pd.Series:
    """Return which rows have a reason instead of a fit."""
    return table["error"].fillna("").astype(str).ne("")


def seconds_text(seconds: float) -> str:
    """Return a duration to be read."""
    if not np.isfinite(seconds):
        return "–"
    return f"{format_number(seconds, 3)} s" if seconds < 600 else f"{seconds / 60:,.1f} min"


def split_variants(table: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], npt.NDArray[Any]]:
    """Return the rows of every model, in every subset where there are several, and whose a row is."""
    names = table["model"].astype(str)
    if "subset" in table and len(table["subset"].unique()) > 1:
        names = names + " · " + table["subset"].astype(str)
    codes, labels = pd.factorize(names)
    return {str(label): table[codes == k] for k, label in enumerate(labels)}, codes


def endings_table(variants: Mapping[str, pd.DataFrame], formulas: Mapping[str, str]) -> Table:
    """Return how the fits ended, a row a model."""
    rows = []
    for label, part in variants.items():
        rows.append(
            (
                Cell(label),
                Cell(formulas.get(str(part["model"].iloc[0]), ""), style="code"),
                count(len(part)),
                *(count(int(flags(part, name).sum())) for name in ("converged", "singular")),
                count(int(failed_rows(part).sum())),
                Cell(seconds_text(float(part["seconds"].sum())), style="number"),
            )
        )
    head = ("Model", "Formula", "Traits", "Converged", "Singular", "Without a fit", "Time of fits")
    return Table("How the fits ended", head, tuple(rows))


def flags(table: pd.DataFrame, name: str) -> npt.NDArray[np.bool_]:
    """Return a column of yes and no, where missing is no."""
    return table[name].fillna(value=False).to_numpy(dtype=np.bool_)


def significance_table(
    variants: Mapping[str, pd.DataFrame], calibrated: Mapping[str, Mapping[str, Any]]
) -> Table:
    """Return a row a model and coefficient: p-values, how many with q < 0.05, inflation."""
    several = len(variants) > 1
    rows = []
    for label, part in variants.items():
        for name, entry in calibrated[label].items():
            found = f"q:{name}" in part.columns
            small = int((part[f"q:{name}"] < LEVEL).sum()) if found else 0
            value = entry["lambda"]
            rows.append(
                (
                    Cell(name),
                    *([Cell(label)] if several else []),
                    count(entry["n"]),
                    count(small) if found else Cell("–", style="number"),
                    number(value, None if value is None else f"{value:.3f}"),
                )
            )
    head = ("Coefficient", *(["Model"] if several else []), "Tested", f"q < {LEVEL}", "λ")
    note = (
        "λ: median chi-squared of the p-values over its value where nothing is there; "
        "near 1 unless many traits respond."
    )
    return Table("Coefficients", head, tuple(rows), note)


def tests_table(tests: pd.DataFrame) -> Table | None:
    """Return a row a test between models; None where there are none."""
    if not len(tests):
        return None
    rows = []
    for name, part in tests.groupby("test", sort=False):
        small = int((part["q"] < LEVEL).sum()) if "q" in part else 0
        rows.append((Cell(str(name)), count(int(part["p"].notna().sum())), count(small)))
    return Table("Tests between models", ("Test", "Tested", f"q < {LEVEL}"), tuple(rows))


def failure_reasons(failures: pd.DataFrame) -> tuple[FailureReason, ...]:
    """Return the reasons, the most frequent first; what stands after a colon is left out."""
    if not len(failures):
        return ()
    errors = failures["error"].astype(str)
    kinds = errors.str.split(":", n=1).str[0]
    order = kinds.value_counts(sort=True)
    names = sorted(order.index, key=lambda kind: (-order[kind], kind))
    return tuple(_reason(kind, failures[kinds == kind], errors[kinds == kind]) for kind in names)


def _reason(kind: str, rows: pd.DataFrame, errors: pd.Series) -> FailureReason:
    alone = len(errors.unique()) == 1
    text = str(errors.iloc[0]) if alone else re.sub(r"\d+", "…", kind) + ": …"
    traits = tuple(dict.fromkeys(str(name) for name in rows["trait"]))
    sign, wanted = ("=", text) if alone else ("~", kind)
    return FailureReason(
        text, len(rows), len(traits), traits[:EXAMPLES], f"error {sign} {quoted(wanted)}"
    )


def quoted(text: str) -> str:
    """Return a text as the search of the page reads it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
