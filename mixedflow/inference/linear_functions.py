"""Linear functions l'beta + o of a fit, tested by any method of degrees of freedom.

Stands at "Marginal means" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.inference.adjustments import Adjustment, Family, adjusted
from mixedflow.inference.estimability import Estimability
from mixedflow.inference.hypotheses import FixedTests, JointTest, independent_rows

NO_ESTIMATE = "not estimable"
SOME_LEFT_OUT = "without what is not estimable"


@dataclass(frozen=True, slots=True)
class LinearFunctions:
    """Rows of L beta + offset.

    Attributes
    ----------
    L : (m, p), over all columns of X, aliased ones too; NaN where there is no such function
    offset : (m,)
    """

    L: Float
    offset: Float

    def combined(self, weights: Float) -> LinearFunctions:
        """Return combinations, (c, m) weights, of these functions; NaN of what is NaN itself."""
        gone = np.logical_not(np.isfinite(self.L).all(axis=1))
        L = weights @ np.where(gone[:, None], 0.0, self.L)
        L[(weights[:, gone] != 0.0).any(axis=1)] = np.nan
        return LinearFunctions(L, weights @ self.offset)

    def take(self, rows: Int) -> LinearFunctions:
        """Return some of the functions, by their places."""
        return LinearFunctions(self.L[rows], self.offset[rows])


class FunctionTests(NamedTuple):
    """Columns of a table, (m,) each; NaN where a function cannot be estimated, as notes say."""

    estimate: Float
    se: Float
    df: Float
    statistic: Float
    p: Float
    lower: Float
    upper: Float
    note: list[str]


@dataclass(frozen=True, slots=True)
class FunctionBasis:
    """What functions of beta are tested by.

    Attributes
    ----------
    tests : of the kept columns
    estimability : what can be estimated where columns are aliased
    """

    tests: FixedTests
    estimability: Estimability

    def tested(
        self, functions: LinearFunctions, adjust: Adjustment, level: float, *, means: int = 0
    ) -> FunctionTests:
        """Test every function against 0, as one family.

        Parameters
        ----------
        functions : m of them
        adjust, level : see :func:`mixedflow.inference.adjustments.adjusted`
        means : number of means whose pairs the functions are; 0 if they are not
        """
        known = self.estimability.holds(functions.L)
        L = np.where(known[:, None], functions.L, 0.0)[:, self.estimability.kept]
        found = self.tests.rows(L, level)
        gone = np.where(known, 0.0, np.nan)
        estimate = found.estimate + functions.offset + gone
        se, df = found.se + gone, found.df + gone
        t = estimate / np.where(se > 0, se, np.nan)
        scores = adjusted(t, df, Family(L @ _root(self.tests.vcov), means), adjust, level)
        half = scores.critical * se
        note = ["; ".join(filter(None, (scores.note, "" if k else NO_ESTIMATE))) for k in known]
        return FunctionTests(estimate, se, df, t, scores.p, estimate - half, estimate + half, note)

    def joint(self, functions: LinearFunctions) -> tuple[JointTest, str]:
        """Test that all functions are 0, those left out that cannot be estimated, as is noted."""
        known = self.estimability.holds(functions.L)
        L = functions.L[known][:, self.estimability.kept]
        note = "" if known.all() else SOME_LEFT_OUT
        if not len(independent_rows(L)):
            return JointTest(0, np.nan, np.nan, np.nan), note or NO_ESTIMATE
        moved, *_ = np.linalg.lstsq(L, functions.offset[known], rcond=None)
        return replace(self.tests, beta=self.tests.beta + moved).joint(L), note


def _root(vcov: Float) -> Float:
    """Return B with B B' = vcov."""
    values, vectors = np.linalg.eigh(vcov)
    out: Float = vectors * np.sqrt(np.maximum(values, 0.0))
    return out
