"""What is fitted and how: the likelihood, its derivatives and EM's steps, as the driver asks for them.

Stands at "The driver" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixedflow.crossproducts.levels import LevelStore
from mixedflow.design.types import Float
from mixedflow.equations.engines import MakeEngine
from mixedflow.equations.system import ModelSystem
from mixedflow.estimation.control import FitControl, Method
from mixedflow.estimation.evaluation import AnyEvaluation, AnyMoments
from mixedflow.estimation.grouped import evaluate_grouped
from mixedflow.estimation.information import Information, information, score
from mixedflow.estimation.likelihood import evaluate
from mixedflow.estimation.parameters import VarianceParameters, at_floor, start_parameters
from mixedflow.estimation.steps import em_step, lifted, px_em_step

EmStep = Literal["em", "px-em"]

POLISHING = 6
"""Newton steps after convergence, at most; they go on while the decrement falls to a tenth."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is fitted and how: fixed while the driver runs.

    Attributes
    ----------
    system, engine : the equations and what factorises them
    reml, method, control : how
    levels : one factor's levels, for compiled passes over them; None for arrays
    polishing : Newton steps after convergence, at most
    """

    system: ModelSystem
    engine: MakeEngine
    reml: bool
    method: Method
    control: FitControl
    levels: LevelStore | None = None
    polishing: int = POLISHING

    def evaluate(self, params: VarianceParameters) -> AnyEvaluation:
        """Return the likelihood at the parameters, pivots kept off zero."""
        return self.evaluate_at(lifted(self.system, params))

    def evaluate_at(self, params: VarianceParameters) -> AnyEvaluation:
        """Return the likelihood at these very parameters."""
        if self.levels is not None:
            return evaluate_grouped(self.system, params, self.levels, reml=self.reml)
        return evaluate(self.system, params, self.engine, reml=self.reml)

    def start(self) -> VarianceParameters:
        """Return where the search begins."""
        return start_parameters(self.system)

    def information(self, evaluation: AnyEvaluation, found: AnyMoments) -> Information:
        """Return score and information there."""
        return information(evaluation, found)

    def observed(self, evaluation: AnyEvaluation) -> Float | None:  # noqa: ARG002
        """Return -d2l/d[theta, psi, phi]2 at a maximum, or None where only differences show it."""
        return None

    def score_at(self, params: VarianceParameters) -> Float:
        """Return dl/d[theta, psi, phi] at these very parameters."""
        evaluation = self.evaluate_at(params)
        return score(evaluation, evaluation.moments())

    def bounds(self, params: VarianceParameters) -> NDArray[np.int8]:
        """Return which parameters stand at a bound; see :func:`.parameters.at_floor`."""
        return at_floor(self.system, params)

    def em(self, evaluation: AnyEvaluation, found: AnyMoments, step: EmStep) -> VarianceParameters:
        """Return the parameters after a step of EM or PX-EM."""
        return em_step(evaluation, found) if step == "em" else px_em_step(evaluation, found)
