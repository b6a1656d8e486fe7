"""Weights of contrasts among means: pairs, against a control, neighbours, effects, polynomials.

Stands at "Marginal means" in ``docs/algorithm.md``. Named and scaled as R's emmeans does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mixedflow.design.types import Float
from mixedflow.errors import UnsupportedError
from mixedflow.inference.adjustments import Adjustment

ContrastMethod = Literal["pairwise", "trt.vs.ctrl", "consecutive", "eff", "poly", "identity"]

DEFAULT_ADJUST: dict[str, Adjustment] = {
    "pairwise": "tukey",
    "trt.vs.ctrl": "dunnett",
    "consecutive": "mvt",
    "eff": "BH",
    "poly": "none",
    "identity": "none",
}

DEGREES = ("linear", "quadratic", "cubic", "quartic", "degree 5", "degree 6")
MAX_NUMBERS = 1 << 25
"""Weights that all pairs may have together."""

ROUNDED = 0.05
"""Distance from whole numbers that polynomial weights may have before they are rounded."""


@dataclass(frozen=True, slots=True)
class ContrastWeights:
    """Names and weights, (c, k), of contrasts among k means."""

    names: tuple[str, ...]
    weights: Float


def contrast_weights(
    method: ContrastMethod, labels: Sequence[str], reference: int = 0
) -> ContrastWeights:
    """Return the contrasts of a method.

    Parameters
    ----------
    method : ``"pairwise"``; ``"trt.vs.ctrl"``, all but the reference minus it; ``"consecutive"``, each
        minus the one before; ``"eff"``, each minus the mean of all; ``"poly"``, orthogonal polynomials
        up to degree 6 in whole numbers; ``"identity"``, the means themselves
    labels : of the means
    reference : place of the control

    Raises
    ------
    UnsupportedError
        for all pairs of too many means.
    """
    k = len(labels)
    if method == "pairwise" and k * k * (k - 1) // 2 > MAX_NUMBERS:
        raise UnsupportedError(
            f"all pairs of {k:,} means are {k * (k - 1) // 2:,} contrasts; offered are "
            "contrast('trt.vs.ctrl') and 'eff', and at={...} for some of the levels"
        )
    unit: Float = np.eye(k)
    if method == "pairwise":
        found = [(i, j) for i in range(k) for j in range(i + 1, k)]
    elif method == "trt.vs.ctrl":
        found = [(i, reference) for i in range(k) if i != reference]
    elif method == "consecutive":
        found = [(i + 1, i) for i in range(k - 1)]
    elif method == "eff":
        return ContrastWeights(tuple(f"{one} effect" for one in labels), unit - 1.0 / k)
    elif method == "poly":
        degree = min(len(DEGREES), k - 1)
        return ContrastWeights(DEGREES[:degree], _polynomials(k, degree))
    else:
        return ContrastWeights(tuple(labels), unit)
    names = tuple(f"{labels[i]} - {labels[j]}" for i, j in found)
    weights: Float = np.array([unit[i] - unit[j] for i, j in found]).reshape(len(found), k)
    return ContrastWeights(names, weights)


def crossed(parts: Sequence[ContrastWeights]) -> ContrastWeights:
    """Return contrasts of contrasts over several factors, the first factor's changing fastest."""
    names, weights = parts[0].names, parts[0].weights
    for part in parts[1:]:
        names = tuple(f"{one} : {more}" for more in part.names for one in names)
        weights = np.asarray(np.kron(part.weights, weights), dtype=np.float64)
    return ContrastWeights(names, weights)


def _polynomials(k: int, degree: int) -> Float:
    """Return orthogonal polynomials over 1 .. k, scaled to the nearest whole numbers."""
    x = np.arange(1.0, k + 1) - (k + 1) / 2.0
    basis, _ = np.linalg.qr(np.vander(x, degree + 1, increasing=True))
    basis = basis * np.sign(basis[-1])
    return np.array([_whole(column) for column in basis.T[1:]])


def _whole(column: Float) -> Float:
    """Scale by the least weight, then by what is left over, until all are nearly whole."""
    scaled = column / column[column > 0.01].min()
    off = np.abs(scaled - np.round(scaled)).max()
    while off > ROUNDED:
        scaled = scaled / off
        off = np.abs(scaled - np.round(scaled)).max()
    out: Float = np.round(scaled)
    return out
