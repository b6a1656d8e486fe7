"""What the sums must know of R = sigma2 R0(psi): its basis, its positions and its strata.

Stands at "Structures" in ``docs/algorithm.md`` (DESIGN 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]

SEPARATOR = ", "
"""Stands between the coordinates of a point, in its label and between the names of their columns."""

STRATUM_OF_MASK = 62
"""Fewest bits of a key's first number that hold which positions a group has."""

SumKey = tuple[int, int]
"""(observation pattern, basis element); what the numbers mean depends on the basis."""


ResidualBasis = Literal["strata", "gaps", "sizes", "pairs"]


def held_positions(mask: int) -> list[int]:
    """Return the positions whose bits are set, ascending."""
    out = []
    while mask:
        low = mask & -mask
        out.append(low.bit_length() - 1)
        mask ^= low
    return out


@dataclass(frozen=True, slots=True)
class ResidualDesign:
    """The residual structure of a design; the same for every partition.

    Attributes
    ----------
    structure : name in the registry of residual structures
    basis : which products are summed; structures that share a basis share the sums
    positions : labels in order, of structures over positions; () otherwise
    strata : labels of the strata, each with its own parameters; one empty label without strata
    group, stratum : columns whose combinations are the groups and the strata
    position : column of the positions, columns of coordinates with a comma between them, or None for
        the order of the rows within a group
    largest : rows of the largest group, 0 where that does not matter
    common : whether strata differ in their variances alone and share all else
    """

    structure: str
    basis: ResidualBasis
    positions: tuple[str, ...] = ()
    strata: tuple[str, ...] = ("",)
    group: tuple[str, ...] = ()
    position: str | None = None
    stratum: tuple[str, ...] = ()
    largest: int = 0
    common: bool = False

    @property
    def mask_bits(self) -> int:
        """Bits of a key's first number that hold which positions a group has; those above: stratum."""
        return max(STRATUM_OF_MASK, len(self.positions))
