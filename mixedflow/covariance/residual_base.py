"""What a residual covariance structure states about itself: R0(psi) and its derivatives.

Stands at "Structures" in ``docs/algorithm.md`` (DESIGN 3.1). R_i = sigma2 R0 restricted to the
positions that group i has; R0 is 1 at the first position, so sigma2 is the variance there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from mixedflow.covariance.correlation import Correlation, Float
from mixedflow.covariance.natural import natural_second, variances_and_correlations
from mixedflow.covariance.residual_types import Int, ResidualBasis

_STEP = 1e-5
"""Half the distance of two derivatives that show the second ones."""


class ResidualStructure(ABC):
    """R0 = R0(psi), psi any real numbers.

    Attributes
    ----------
    name : as in formulas; ``title`` in words
    bases : which sums it can be computed from, its own shortest first
    heterogeneous : whether every position has a variance of its own
    nested_in : names of structures that hold this one as a special case
    linear : whether sigma2 R0 is linear in its natural coordinates: its entries, or variances
    over_points : whether positions may be points of several coordinates
    """

    name: ClassVar[str]
    title: ClassVar[str]
    bases: ClassVar[tuple[ResidualBasis, ...]] = ("pairs",)
    heterogeneous: ClassVar[bool] = False
    nested_in: ClassVar[tuple[str, ...]] = ()
    linear: ClassVar[bool] = False
    over_points: ClassVar[bool] = False

    @property
    def basis(self) -> ResidualBasis:
        """The structure's own basis."""
        return self.bases[0]

    @property
    def over_distance(self) -> bool:
        """Whether the correlation is one of any distance, not of whole steps."""
        return "gaps" in self.bases and ("pairs" not in self.bases or self.over_points)

    def at(self, positions: tuple[str, ...]) -> ResidualStructure:  # noqa: ARG002 - those of points
        """Return the structure over positions of these labels: itself, where only their number counts."""
        return self

    @abstractmethod
    def n_params(self, size: int) -> int:
        """Return the number of parameters for ``size`` positions."""

    @abstractmethod
    def param_names(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return a label for every parameter."""

    @abstractmethod
    def start(self, size: int) -> Float:
        """Return where the search begins."""

    @abstractmethod
    def matrix(self, psi: Float, size: int) -> Float:
        """Return R0, (size, size), with R0[0, 0] = 1."""

    @abstractmethod
    def derivatives(self, psi: Float, size: int) -> Float:
        """Return dR0/dpsi_i, (n_params, size, size)."""

    def restricted(self, psi: Float, size: int, held: Int) -> Float:
        """Return R0 over some positions, (k, k)."""
        out: Float = self.matrix(psi, size)[np.ix_(held, held)]
        return out

    def curvature(self, psi: Float, size: int, weights: Float) -> Float:
        """Return sum_ab w_ab d2R0_ab/dpsi_i dpsi_j, (n_params, n_params), by central differences."""
        out = np.zeros((len(psi), len(psi)))
        for i, unit in enumerate(_STEP * np.eye(len(psi))):
            up, down = (
                np.tensordot(self.derivatives(psi + move, size), weights, axes=2)
                for move in (unit, -unit)
            )
            out[i] = (up - down) / (2.0 * _STEP)
        return 0.5 * (out + out.T)

    def natural_second(self, psi: Float, size: int, moves: Float) -> Float | None:  # noqa: ARG002
        """Return sum_ij W_ij d2R/dx_i dx_j at R = R0, (size, size), x the coordinates of books.

        W is the covariance of x where that of [psi, log sigma2] is moves moves', (n_params + 1, k);
        None says that no such coordinates are known. See :mod:`mixedflow.covariance.natural`.
        """
        return np.zeros((size, size)) if self.linear else None

    def gap_bend(self, psi: float) -> float | None:  # noqa: ARG002 - structures differ
        """Return (d2x/dpsi2) / (dx/dpsi), x the coordinate of books; of structures on gaps."""
        return None

    def common_correlation(self, psi: Float, largest: int) -> tuple[float, Float]:
        """Return the correlation rho of any two rows and drho/dpsi; of structures on sizes."""
        raise NotImplementedError(f"{self.name} is not a structure on sizes of groups")

    def gap_correlation(self, psi: float, gaps: Float) -> tuple[Float, Float]:
        """Return the correlation r over every gap and dr/dpsi; of structures on gaps."""
        raise NotImplementedError(f"{self.name} is not a structure on gaps")

    def gap_start(self, typical: float) -> float:
        """Return where the search begins when a typical gap is known."""
        raise NotImplementedError(f"{self.name} is not a structure on gaps")

    def gap_limits(self, gaps: Float) -> tuple[float, float]:
        """Return between which psi the correlations over the gaps are of use."""
        raise NotImplementedError(f"{self.name} is not a structure on gaps")


class CorrelatedResidual(ResidualStructure):
    """R0 = C(psi), or D C(psi) D with D = diag(1, e^l_2, ..., e^l_m) where heterogeneous."""

    correlation: ClassVar[Correlation]

    def n_params(self, size: int) -> int:
        """Return the correlations' parameters, and m - 1 where heterogeneous."""
        return self._n_scales(size) + self.correlation.n_params(size)

    def param_names(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``log sd ratio(b)`` for every position but the first, then correlations."""
        scales = [f"log sd ratio({b})" for b in labels[1:]] if self.heterogeneous else []
        return (*scales, *self.correlation.names(labels))

    def start(self, size: int) -> Float:
        """Return equal variances and the family's start."""
        return np.concatenate([np.zeros(self._n_scales(size)), self.correlation.start(size)])

    def matrix(self, psi: Float, size: int) -> Float:
        """Return D C D."""
        scale, C = self._parts(psi, size)
        R: Float = scale * C
        return R

    def derivatives(self, psi: Float, size: int) -> Float:
        """Return (e_b e_b' R0 + R0 e_b e_b') for log sds, D dC D for correlations."""
        scale, C = self._parts(psi, size)
        count = self._n_scales(size)
        out = np.zeros((len(psi), size, size))
        R = scale * C
        for i in range(count):
            out[i, i + 1, :] += R[i + 1]
            out[i, :, i + 1] += R[i + 1]
        out[count:] = scale * self.correlation.derivatives(psi[count:], size)
        return out

    def natural_second(self, psi: Float, size: int, moves: Float) -> Float | None:
        """Return it in variances and correlations; zero where R is linear in its entries."""
        if self.linear:
            return np.zeros((size, size))
        pairs = self.correlation.pairs(size)
        if pairs is None:
            return None

        def slopes(z: Float) -> Float:
            R, dR = self.matrix(z[:-1], size), self.derivatives(z[:-1], size)
            whole: Float = np.exp(z[-1]) * np.concatenate([dR, R[None]])
            return whole

        coordinates = variances_and_correlations(1 + self._n_scales(size), pairs)
        at = np.append(psi, 0.0)
        return natural_second(self.matrix(psi, size), slopes, at, moves, coordinates)

    def _n_scales(self, size: int) -> int:
        return size - 1 if self.heterogeneous else 0

    def _parts(self, psi: Float, size: int) -> tuple[Float, Float]:
        count = self._n_scales(size)
        scale = np.ones(size)
        if self.heterogeneous:
            scale[1:] = np.exp(psi[:count])
        return np.outer(scale, scale), self.correlation.matrix(psi[count:], size)
