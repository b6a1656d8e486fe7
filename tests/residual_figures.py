"""What a fit says of R in the units of nlme and mmrm, for tests: covariances, SDs, correlations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedflow.covariance.registry import get_residual
from mixedflow.covariance.residual_types import ResidualDesign
from mixedflow.covariance.residual_weights import residual_matrix, stratum_places


@dataclass(frozen=True)
class StratumFigures:
    """R of one stratum: over its positions, or its variance; ``rho`` one unit of time apart."""

    cov: np.ndarray
    rho: float | None

    @property
    def sd(self) -> float:
        return float(np.sqrt(self.cov[0, 0]))

    def over(self, size: int) -> np.ndarray:
        """Return the (size, size) covariance of rows one unit of time apart."""
        if self.cov.shape == (size, size):
            return self.cov
        steps = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
        return self.cov[0, 0] * np.asarray(self.rho) ** steps


def figures_at(design: ResidualDesign, psi: np.ndarray, sigma2: float) -> dict[str, StratumFigures]:
    """Return R by stratum at given parameters."""
    out = {}
    for s, label in enumerate(design.strata):
        own = psi[stratum_places(design, s)[1]]
        R = sigma2 * residual_matrix(design, psi, s)
        far = get_residual(design.structure).over_points
        out[label] = StratumFigures(R[:1, :1] if far else R, _rho(design, own))
    return out


def residual_figures(fit) -> dict[str, StratumFigures]:
    """Return R of a fit by stratum; one without a label where there are no strata."""
    design = fit.crossproducts.info.residual
    return figures_at(design, fit.estimates.params.psi, fit.estimates.sigma2)


def _rho(design: ResidualDesign, own: np.ndarray) -> float | None:
    structure = get_residual(design.structure)
    if design.basis == "sizes":
        return float(structure.common_correlation(own, design.largest)[0])
    if design.basis == "gaps" or structure.over_points:
        return float(structure.gap_correlation(float(own[0]), np.ones(1))[0][0])
    return None
