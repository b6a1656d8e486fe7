"""A variance for every stratum, and nothing else: nlme's varIdent; with one stratum, iid.

Stands at "Structures" in ``docs/algorithm.md``. The logarithms of the standard deviations relative
to the first stratum are the parameters; every structure has them where it is given by strata.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mixedflow.covariance.correlation import Float
from mixedflow.covariance.registry import register_residual
from mixedflow.covariance.residual_base import ResidualStructure
from mixedflow.covariance.residual_types import ResidualBasis


@register_residual
class StrataResidual(ResidualStructure):
    """R0 = v_s I for rows of stratum s, v = 1 in the first."""

    name = "strata"
    title = "independent, a variance for every stratum"
    linear = True
    bases: ClassVar[tuple[ResidualBasis, ...]] = ("strata",)

    def n_params(self, size: int) -> int:  # noqa: ARG002 - the protocol's signature
        """Return 0: the variances of strata are counted with the strata."""
        return 0

    def param_names(self, labels: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG002
        """Return none."""
        return ()

    def start(self, size: int) -> Float:  # noqa: ARG002
        """Return none."""
        return np.empty(0)

    def matrix(self, psi: Float, size: int) -> Float:  # noqa: ARG002
        """Return I."""
        return np.eye(size)

    def derivatives(self, psi: Float, size: int) -> Float:  # noqa: ARG002
        """Return none, (0, size, size)."""
        return np.zeros((0, size, size))


@register_residual
class IndependentResidual(StrataResidual):
    """R0 = I."""

    name = "iid"
    title = "independent, one variance"
    nested_in = ("strata", "cs", "ar1", "ad", "toep", "us")
