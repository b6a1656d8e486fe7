"""Whatever can be asked of a fit beyond its estimates, one class a subject.

Stands at "Results" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from mixedflow.results.blups import Blups
from mixedflow.results.coefficients import Coefficients
from mixedflow.results.inferring import Inferring
from mixedflow.results.influence import Influence
from mixedflow.results.marginal_questions import Marginal
from mixedflow.results.measures import Measures
from mixedflow.results.predicting import Predicting
from mixedflow.results.resampling import Resampling
from mixedflow.results.tidying import Tidy


class Questions(
    Blups, Coefficients, Inferring, Influence, Marginal, Measures, Predicting, Resampling, Tidy
):
    """What :class:`mixedflow.results.fit_result.FitResult` answers beside its estimates."""
