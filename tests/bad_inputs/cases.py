"""One bad input: how it is made, how it is tried, and what must come of it.

A case is tried in an empty folder of its own. Its files are written there, then the call of the
Python API and the command are run, and what they leave behind is compared with what was there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mixedflow as mf
from mixedflow.errors import MixedflowError

FORMULA = "y ~ x + (1 | g)"
Files = Mapping[str, str | bytes]
Prepare = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """A bad input.

    ``error`` is the class that the API raises, ``says`` the pieces of the message that name what,
    where, what was found and what is allowed. ``call`` tries the API, ``command`` the command line.
    What follows ``until`` in the message are words or digits of another library, which change with
    its version: the document leaves them out.
    """

    name: str
    shown_input: str
    error: type[MixedflowError] | None
    says: tuple[str, ...]
    files: Files = field(default_factory=dict)
    prepare: Prepare | None = None
    call: Callable[[], Any] | None = None
    command: tuple[str, ...] | None = None
    until: str = ""

    def lay_out(self, folder: Path) -> None:
        """Write the case's files."""
        for name, content in self.files.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content if isinstance(content, bytes) else content.encode())
        if self.prepare is not None:
            self.prepare(folder)


def good_columns() -> dict[str, list[Any]]:
    """24 rows in six groups that carry ``y ~ x + (1 | g)``."""
    n = 24
    row = np.arange(n)
    group = row // 4
    noise = np.random.default_rng(20).normal(size=n)
    y = 10 + 0.5 * (row % 4) + 2 * np.sin(3.0 * group) + noise
    return {
        "y": [round(float(v), 4) for v in y],
        "x": [float(v) for v in row % 4],
        "z": [float(v) for v in row - 2],
        "g": ["abcdef"[k] for k in group],
        "h": ["pq"[k % 2] for k in row],
        "sex": ["male" if k % 3 else "female" for k in row],
        "w": [1.0 + k % 2 for k in row],
    }


def frame(**changes: Any) -> pd.DataFrame:
    """Return the good data with columns replaced or added; None takes a column away."""
    columns = {k: v for k, v in {**good_columns(), **changes}.items() if v is not None}
    return pd.DataFrame(columns)


def csv(**changes: Any) -> str:
    """Return :func:`frame` as CSV text; missing values are empty."""
    return frame(**changes).to_csv(index=False, lineterminator="\n")


def with_value(column: str, row: int, value: Any) -> list[Any]:
    """Return a good column with one value replaced; rows count from 1."""
    values = list(good_columns()[column])
    values[row - 1] = value
    return values


def good_fit(folder: Path) -> None:
    """Write the good data and the fit of the good model to ``fit``."""
    (folder / "data.csv").write_text(csv(), encoding="utf-8")
    mf.fit(FORMULA, frame()).save(folder / "fit")


def listing(folder: Path) -> dict[str, str]:
    """Return every file and folder with a digest of its content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        is_file = path.is_file() and not path.is_symlink()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else ""
        found[str(path.relative_to(folder))] = content
    return found
