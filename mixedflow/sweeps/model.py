"""One model of a sweep: its design, learned without any response.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from mixedflow.crossproducts.types import ONLY_KEY, CrossProducts
from mixedflow.design.encode import Encoder
from mixedflow.design.schema import Schema
from mixedflow.design.spec import ModelSpec
from mixedflow.design.types import Float
from mixedflow.equations.system import SPAN_TOLERANCE, ModelSystem, model_system
from mixedflow.estimation.control import FitControl
from mixedflow.sweeps.outcome import factor_entries
from mixedflow.sweeps.standin import StandInSource
from mixedflow.sweeps.types import Entries

STAND_IN = "trait"
"""Name of the response in a sweep's formulas; another where the data have such a column."""


SweepDf = Literal["satterthwaite", "residual", "asymptotic"]
"""Degrees of freedom that a sweep offers."""

ALL_ROWS = "all"
"""Name of the subset of all rows, where no other was asked for."""


@dataclass(frozen=True)
class SweepModel:
    """A model that many responses are fitted by, on all rows or some.

    Attributes
    ----------
    name : of the model in the sweep
    subset : of the rows
    source : the rows, with a stand-in for the response
    spec, schema : with the stand-in
    sums : of the stand-in over the rows that lack no predictor
    reml : restricted likelihood, or the full one
    ddf : degrees of freedom of the tests of coefficients
    control : settings of single fits
    shown : whether it stands in the table; the others are refits for tests
    key : SHA-256 of all that a trait's fit depends on besides the trait; empty where nothing is kept
    """

    name: str
    subset: str
    source: StandInSource
    spec: ModelSpec
    schema: Schema
    sums: CrossProducts
    reml: bool
    ddf: SweepDf = "satterthwaite"
    control: FitControl | None = None
    shown: bool = True
    key: str = ""

    @property
    def identity(self) -> tuple[str, str, bool]:
        """What tells it from the other models of its sweep."""
        return self.name, self.subset, self.reml

    @property
    def label(self) -> str:
        """What rows call it: its key, or its identity where nothing is kept."""
        return self.key or "\0".join(map(str, self.identity))

    @property
    def rows(self) -> tuple[str, str]:
        """What its sums depend on."""
        return self.spec.formula, self.subset

    @cached_property
    def encoder(self) -> Encoder:
        """Turns rows into columns."""
        return Encoder(self.spec, self.schema)

    @cached_property
    def system(self) -> ModelSystem:
        """The sums in the equations' columns."""
        return model_system(self.sums, self.encoder.terms)

    @cached_property
    def entries(self) -> Entries | None:
        """Where parameters stand in Lambda; None where responses are fitted one by one."""
        return factor_entries(self.system) if self.spec.residual == "iid" else None

    @cached_property
    def unit(self) -> Float:
        """C with 1 = X c over the kept columns; zeros where X does not span the constant."""
        info, part = self.encoder.info, self.sums.keyed[ONLY_KEY]
        kept = self.system.kept
        if info.intercept is not None:
            return np.asarray(kept == info.intercept, dtype=float)
        at = kept + int(self.sums.constant)
        one = part.XtBX[at, 0]
        found = np.linalg.solve(part.XtBX[np.ix_(at, at)], one)
        spans = part.XtBX[0, 0] - found @ one <= SPAN_TOLERANCE * part.XtBX[0, 0]
        return found if spans else np.zeros(len(kept))

    def lacks(self, n: int) -> bool:
        """Whether a response with so many values lacks one that it must have."""
        return self.spec.missing == "error" and n < self.sums.n_obs

    @property
    def coefficients(self) -> list[str]:
        """Names of the fixed effects that are estimated."""
        names = self.encoder.info.x_columns
        if self.spec.residual != "iid":
            return list(names)
        return [names[k] for k in self.system.kept]
