"""G = s^2 I: all columns of a term share one variance and vary independently.

Stands at "Structures" in ``docs/algorithm.md``; nlme's pdIdent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.correlation import Correlation, Float
from mixedflow.covariance.registry import register
from mixedflow.covariance.structured import CorrelatedColumns


class NoCorrelation(Correlation):
    """C = I."""

    def n_params(self, m: int) -> int:  # noqa: ARG002 - the protocol's signature
        """Return 0."""
        return 0

    def names(self, labels: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG002
        """Return none."""
        return ()

    def matrix(self, psi: NDArray[Any], m: int) -> NDArray[Any]:  # noqa: ARG002
        """Return I."""
        return np.eye(m)

    def nearest(self, C: Float) -> Float:  # noqa: ARG002
        """Return none."""
        return np.empty(0)


@register
class Identity(CorrelatedColumns):
    """G = s^2 I; its M-step is the root of tr(S) / (n q)."""

    name = "id"
    title = "one variance for all columns"
    linear = True
    formula = "G = s^2 I"
    heterogeneous = False
    correlated = False
    closed_form = True
    correlation = NoCorrelation()
