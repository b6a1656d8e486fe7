"""What the steps and the driver need of the likelihood at some variances, however it was computed.

Stands at "Likelihood" in ``docs/algorithm.md``. Two routes offer it: arrays over all levels
(:mod:`.likelihood`) and compiled passes for one factor with many levels (:mod:`.grouped`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from mixedflow.design.types import Float
from mixedflow.equations.system import ModelSystem
from mixedflow.estimation.parameters import VarianceParameters

FreeEntry = tuple[int, int, int]
"""(factor, a, b): entry alpha[a, b] of PX-EM's working matrix of a factor."""


class AnyMoments(Protocol):
    """Second moments given y; see :class:`mixedflow.equations.moments.Moments`."""

    @property
    def reml(self) -> bool:
        """Which likelihood."""

    @property
    def bb(self) -> Sequence[Float]:
        """sum_l b b', (q_f, q_f) a factor."""

    @property
    def T(self) -> Sequence[Float]:
        """(q_f, q_f) a factor; S = bb + L I - T."""

    @property
    def residual(self) -> float:
        """e'R^-1e at the solution."""

    @property
    def residual_trace(self) -> float:
        """tr(C W'R^-1W)."""

    def second_moments(self) -> Sequence[Float]:
        """Return S_f = sum_l E[b b'] a factor."""


class AnyEvaluation(Protocol):
    """The likelihood at some variances."""

    @property
    def params(self) -> VarianceParameters:
        """Where."""

    @property
    def minus2ll(self) -> float:
        """-2 log-likelihood, user's units."""

    @property
    def reml(self) -> bool:
        """Which likelihood."""

    @property
    def system(self) -> ModelSystem:
        """The sums."""

    @property
    def factors(self) -> Sequence[Float]:
        """F of every grouping factor, (q_f, q_f)."""

    @property
    def precision(self) -> float:
        """1 / sigma2."""

    @property
    def beta(self) -> Float:
        """Fixed effects in stored columns, (p,)."""

    @property
    def S_inverse(self) -> Float:
        """(X'V^-1X)^-1 in stored columns, (p, p)."""

    def moments(self) -> Any:
        """Return the moments of an E-step."""

    def average(self, found: Any) -> Float:
        """Return the average information, (r, r)."""

    def expanded(self, found: Any, index: Sequence[FreeEntry]) -> tuple[Float, Float]:
        """Return PX-EM's normal equations over the free entries of the working matrices."""
