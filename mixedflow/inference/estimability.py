"""Which linear functions of beta can be estimated where columns of X are aliased.

Stands at "Marginal means" in ``docs/algorithm.md``. With X[:, a] = X[:, k] T' for the aliased columns
a and the kept ones k, l'beta has the same value in every solution if and only if l_a = T l_k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedflow.crossproducts.types import ONLY_KEY, CrossProducts
from mixedflow.design.types import Float, Int, TermDesign
from mixedflow.linalg.aliasing import independent_columns

ROUNDING = 1e-6
"""Relative size of l_a - T l_k that is rounding; one cell of many without rows makes it far larger."""


@dataclass(frozen=True, slots=True)
class Estimability:
    """The condition on rows l over all columns of X, in the user's units.

    Attributes
    ----------
    kept, aliased : columns
    explanation : (aliased, kept), T of the stored columns (x - shift) / scale
    shift, scale : (p,)
    intercept : the constant column, where there is one
    """

    kept: Int
    aliased: Int
    explanation: Float
    shift: Float
    scale: Float
    intercept: int | None

    def holds(self, L: Float) -> NDArray[np.bool_]:
        """Say of every row of L, (m, p), whether it can be estimated."""
        if not len(self.aliased):
            return np.logical_not(np.isnan(L).any(axis=1))
        stored = L / self.scale
        if self.intercept is not None:
            stored = (L - np.outer(L[:, self.intercept], self.shift)) / self.scale
            stored[:, self.intercept] = L[:, self.intercept]
        off = np.abs(stored[:, self.aliased] - stored[:, self.kept] @ self.explanation.T)
        found: NDArray[np.bool_] = off.max(axis=1) <= ROUNDING * np.abs(stored).max(axis=1)
        return found


def estimability(
    sums: CrossProducts, terms: Sequence[TermDesign], kept: Int, aliased: Int
) -> Estimability:
    """Return the condition for a fit.

    Parameters
    ----------
    sums : that it was fitted from
    terms : its random terms
    kept, aliased : its columns of X
    """
    pilots = sums.info.pilots
    explanation = np.zeros((0, len(kept)))
    if len(aliased):
        lead = int(sums.constant)
        found = independent_columns(_gram(sums, terms)[lead:, lead:])
        explanation = found.explanation
    return Estimability(
        kept, aliased, explanation, pilots.x_shift, pilots.x_scale, sums.info.intercept
    )


def _gram(sums: CrossProducts, terms: Sequence[TermDesign]) -> Float:
    """Return X'BX of all columns; under a residual structure where its search begins."""
    if set(sums.keyed) == {ONLY_KEY}:
        return sums.keyed[ONLY_KEY].XtBX
    from mixedflow.equations.residual_system import residual_sums

    found = residual_sums(sums, terms)
    f, _ = found.plan.values(found.psi)
    stacked = np.array([sums.keyed[key].XtBX for key in sorted(sums.keyed)])
    return np.tensordot(f, stacked, axes=1)
