"""The hypotheses of a fit's terms, of type I, II or III.

Stands at "Types of hypotheses" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixedflow.design.types import Float
from mixedflow.errors import UnsupportedError
from mixedflow.inference.term_types import AnovaType, FixedPart, term_hypotheses

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult

TYPES: dict[str, AnovaType] = {"1": 1, "2": 2, "3": 3, "I": 1, "II": 2, "III": 3}
"""What a type may be called."""


def anova_hypotheses(fit: FitResult, kind: int | str) -> dict[str, Float]:
    """Return L of every term but the intercept, by the term's name."""
    if str(kind).upper() not in TYPES:
        raise UnsupportedError(
            f"anova(type={kind!r}) is not offered; offered are type=1, 2 and 3 (or 'I', 'II', "
            "'III'), and contrast(L) tests any other hypothesis"
        )
    estimates = fit.estimates
    fixed = FixedPart(fit.spec.parsed.fixed, fit.schema.learned, estimates.kept)
    found = term_hypotheses(fixed, fit.crossproducts, TYPES[str(kind).upper()])
    return {term.label: term.L for term in found}
