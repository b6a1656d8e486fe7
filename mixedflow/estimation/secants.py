"""The curvature that two scores show, put into the Newton matrix: symmetric rank-one updates.

Stands at "Steps" in ``docs/algorithm.md``. The average information is not the observed one, so that
steps by it alone come closer by a constant share; with secants they come closer ever faster, at no
further evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mixedflow.design.types import Float
from mixedflow.estimation.information import Information

NEAR = 1.0
"""Decrement from which a move tells of the curvature at the optimum."""

ROUNDING = 1e-18
"""Decrement from which a move is so short that the fall of the score is rounding."""

DEFINED = 1e-6
"""Cosine below which an update would divide by next to nothing, and is left out."""


@dataclass(frozen=True, slots=True)
class Secant:
    """A move of the parameters and how far the score fell.

    Attributes
    ----------
    step : (r,), theta_1 - theta_0
    fall : (r,), score at theta_0 less that at theta_1
    """

    step: Float
    fall: Float


@dataclass(frozen=True, slots=True)
class Look:
    """Where score and information were looked at.

    Attributes
    ----------
    point, score : parameters, and dl/dtheta there
    decrement : g'H^-1g there
    secants : of the Newton moves that led there, at most as many as there are parameters
    """

    point: Float
    score: Float
    decrement: float
    secants: tuple[Secant, ...] = ()


def extended(before: Look, point: Float, score: Float) -> tuple[Secant, ...]:
    """Return the secants after a Newton move from one look to the next."""
    if before.decrement > NEAR:
        return ()
    if before.decrement < ROUNDING:
        return before.secants
    move = Secant(point - before.point, before.score - score)
    return (*before.secants, move)[-len(point) :]


def with_secants(info: Information, secants: Sequence[Secant]) -> Information:
    """Return the information with H + (y - H s)(y - H s)' / (y - H s)'s, one secant after the other.

    s is a secant's step and y its fall. After as many moves as there are parameters H is the
    observed information of a quadratic likelihood (Conn, Gould and Toint 1991).
    """
    H = info.hessian
    for secant in secants:
        rest = secant.fall - H @ secant.step
        along = float(rest @ secant.step)
        if abs(along) > DEFINED * float(np.linalg.norm(rest) * np.linalg.norm(secant.step)):
            H = H + np.outer(rest, rest) / along
    return replace(info, hessian=H)
