"""The columns of X and of each factor's Z, and which of them a random term uses.

Stands at "Rows become columns" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from mixedflow.design.columns import Column, Learned, plan_columns
from mixedflow.design.spec import ModelSpec
from mixedflow.errors import FormulaError


@dataclass(frozen=True, slots=True)
class DesignPlan:
    """What to compute for any rows.

    Attributes
    ----------
    x : columns of the fixed part
    z : columns of each grouping factor, the union over its terms
    terms : for each random term in the formula's order its factor and its columns there
    """

    x: tuple[Column, ...]
    z: tuple[tuple[Column, ...], ...]
    terms: tuple[tuple[int, tuple[int, ...]], ...]


def plan_design(spec: ModelSpec, learned: Learned) -> DesignPlan:
    """Lay out X and Z; the same Z whatever way terms divide its (numeric) columns."""
    names = [factor.name for factor in spec.parsed.factors]
    per_term = [plan_columns(random.lhs, learned) for random in spec.parsed.random]
    z: list[tuple[Column, ...]] = []
    for name in names:
        mine = [
            c for r, c in zip(spec.parsed.random, per_term, strict=True) if r.factor.name == name
        ]
        z.append(_union(name, mine))
    terms = []
    for random, columns in zip(spec.parsed.random, per_term, strict=True):
        factor = names.index(random.factor.name)
        places = [c.name for c in z[factor]]
        terms.append((factor, tuple(places.index(c.name) for c in columns)))
    return DesignPlan(plan_columns(spec.parsed.fixed, learned), tuple(z), tuple(terms))


def _union(factor: str, parts: list[tuple[Column, ...]]) -> tuple[Column, ...]:
    """Columns of all terms, the constant first, then by degree, each in order of first mention."""
    seen: dict[str, Column] = {}
    for column in (c for part in parts for c in part):
        if column.name in seen:
            raise FormulaError(
                f"The model is not identified: the column '{column.name}' varies by '{factor}' in "
                "two random terms; leave it out of one of them."
            )
        seen[column.name] = column
    return tuple(sorted(seen.values(), key=lambda c: c.degree))
