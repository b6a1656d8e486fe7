"""Random unbalanced designs, each as a data frame with a formula and as its dense twin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from oracle import DenseModel, Term

# kind -> (formula, terms). A term is (varcorr label, factor, its Z columns, diagonal G?).
KINDS: dict[str, tuple[str, list[tuple[str, str, list[str], bool]]]] = {
    "us1": ("y ~ x + z + (1 | g)", [("g", "g", ["1"], False)]),
    "us2": ("y ~ x + z + (1 + x | g)", [("g", "g", ["1", "x"], False)]),
    "us3": ("y ~ x + z + (1 + x + z | g)", [("g", "g", ["1", "x", "z"], False)]),
    "us4": ("y ~ x + z + (1 + x + z + w | g)", [("g", "g", ["1", "x", "z", "w"], False)]),
    "slope": ("y ~ x + (0 + x | g)", [("g", "g", ["x"], False)]),
    "bars": ("y ~ x + z + (x || g)", [("g", "g", ["1"], False), ("g.1", "g", ["x"], False)]),
    "bars+": (
        "y ~ x + (x + z || g) + (1 | h)",
        [
            ("g", "g", ["1"], False),
            ("g.1", "g", ["x"], False),
            ("g.2", "g", ["z"], False),
            ("h", "h", ["1"], False),
        ],
    ),
    "nested": ("y ~ x + (1 | g/k)", [("k:g", "k:g", ["1"], False), ("g", "g", ["1"], False)]),
    "nested-slope": (
        "y ~ x + z + (x | g) + (1 | g:k)",
        [("g:k", "g:k", ["1"], False), ("g", "g", ["1", "x"], False)],
    ),
    "crossed": ("y ~ x + (1 | g) + (1 | h)", [("g", "g", ["1"], False), ("h", "h", ["1"], False)]),
    "crossed-slope": (
        "y ~ x + z + (1 + x | g) + (1 + z | h)",
        [("g", "g", ["1", "x"], False), ("h", "h", ["1", "z"], False)],
    ),
    "three": (
        "y ~ x + (1 | g) + (1 | h) + (1 | k)",
        [("g", "g", ["1"], False), ("h", "h", ["1"], False), ("k", "k", ["1"], False)],
    ),
    "two-terms": (
        "y ~ x + z + (1 | g) + (0 + x + z | g)",
        [("g", "g", ["1"], False), ("g.1", "g", ["x", "z"], False)],
    ),
}


@dataclass(frozen=True)
class Design:
    """A data set with its formula, and what the dense twin needs of it."""

    kind: str
    data: pd.DataFrame
    formula: str
    terms: list[tuple[str, str, list[str], bool]]
    weights: str | None = None
    labels: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def column(self, name: str) -> np.ndarray:
        return np.ones(len(self.data)) if name == "1" else self.data[name].to_numpy(float)

    def dense(self) -> DenseModel:
        fixed = self.formula.split("(")[0].split("~")[1].replace("+", " ").split()
        X = np.column_stack([self.column(name) for name in ("1", *fixed)])
        terms = []
        for _, factor, columns, _ in self.terms:
            _, codes = np.unique(self.labels[factor], return_inverse=True)
            terms.append(Term(codes, np.column_stack([self.column(c) for c in columns])))
        weights = None if self.weights is None else self.data[self.weights].to_numpy(float)
        return DenseModel(X, self.data["y"].to_numpy(float), terms, weights=weights)

    def levels(self, term: int) -> list[str]:
        """Return the labels of a term's levels in the dense twin's order."""
        return [str(level) for level in np.unique(self.labels[self.terms[term][1]])]


def random_design(kind: str, seed: int, *, weights: bool = False, n: int = 110) -> Design:
    """Return an unbalanced design: groups of very unequal size, empty cells, one group of one row.

    Variances are large beside sigma, so that most optima are interior.
    """
    rng = np.random.default_rng([seed, *map(ord, kind)])
    formula, terms = KINDS[kind]
    share = rng.dirichlet(np.full(14, 1.5))
    g = np.concatenate([np.arange(14), rng.choice(14, n - 14, p=share)])
    h = np.concatenate([np.arange(6), rng.integers(0, 6, n - 6)])
    k = np.concatenate([np.arange(4), rng.integers(0, 4, n - 4)])
    empty = (g + h) % 5 == 0  # missing cells of the crossed layout
    h = np.where(empty, (h + 1) % 6, h)
    data = pd.DataFrame(
        {
            "g": np.array([f"g{i:02d}" for i in g]),
            "h": h + 100,
            "k": np.array(list("abcd"))[k],
            "x": rng.normal(size=n),
            "z": rng.uniform(-1, 2, size=n),
            "w": rng.normal(size=n) ** 2,
            "wt": rng.uniform(0.2, 3.0, size=n),
        }
    )
    labels = {name: data[name].astype(str).to_numpy(str) for name in "ghk"}
    labels["k:g"] = np.char.add(np.char.add(labels["k"], ":"), labels["g"])
    labels["g:k"] = np.char.add(np.char.add(labels["g"], ":"), labels["k"])
    y = (
        3
        + 2 * data["x"].to_numpy()
        + rng.normal(size=n) / (np.sqrt(data["wt"].to_numpy()) if weights else 1.0)
    )
    for _, factor, columns, _ in terms:
        _, codes = np.unique(labels[factor], return_inverse=True)
        root = rng.normal(size=(len(columns), len(columns))) + 1.5 * np.eye(len(columns))
        effects = rng.normal(size=(codes.max() + 1, len(columns))) @ root.T
        values = [np.ones(n) if c == "1" else data[c].to_numpy() for c in columns]
        y = y + np.sum(effects[codes] * np.column_stack(values), axis=1)
    data["y"] = y
    data = data.sample(frac=1, random_state=seed)
    order = data.index.to_numpy()
    return Design(
        kind,
        data.reset_index(drop=True),
        formula,
        terms,
        "wt" if weights else None,
        {name: values[order] for name, values in labels.items()},
    )
