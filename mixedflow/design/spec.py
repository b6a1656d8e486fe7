"""The frozen description of a model: formula, weights, levels, what to do with missing values.

Stands at "The model" in ``docs/algorithm.md``: y = X beta + sum_j Z_j u_j + e. A spec knows
nothing of any data; :func:`check_columns` compares it with the columns that a source has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from mixedflow.covariance.residual_types import ResidualBasis
from mixedflow.design.formula import ParsedFormula, RandomTerm, Term, parse_formula
from mixedflow.design.residual import ParsedResidual, parse_residual
from mixedflow.design.safety import Expression, take_apart
from mixedflow.errors import ConfigError, FormulaError, UnsupportedError, did_you_mean, listing

MissingPolicy = Literal["drop", "error"]
Level = str | int | float | bool


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What was asked, apart from the method of estimation.

    Attributes
    ----------
    formula : the formula as it was written
    weights : column of known weights, or None
    missing : ``drop`` incomplete rows, or call them an ``error``
    levels : declared levels in order, column by column
    residual : structure of R
    residual_basis : products its sums are made of, where they are another structure's
    """

    formula: str
    weights: str | None = None
    missing: MissingPolicy = "drop"
    levels: Mapping[str, tuple[Level, ...]] = field(default_factory=dict)
    residual: str = "iid"
    residual_basis: ResidualBasis | None = None

    @property
    def parsed(self) -> ParsedFormula:
        """The formula taken apart."""
        return parse_formula(self.formula)

    @property
    def parsed_residual(self) -> ParsedResidual:
        """The residual structure taken apart."""
        parsed = parse_residual(self.residual)
        return parsed if self.residual_basis is None else replace(parsed, basis=self.residual_basis)

    @property
    def linear_expressions(self) -> tuple[Expression, ...]:
        """The distinct expressions of X and Z."""
        parts = (self.parsed.fixed, *(term.lhs for term in self.parsed.random))
        return tuple(dict.fromkeys(e for part in parts for e in part.expressions))

    @property
    def predictors(self) -> tuple[str, ...]:
        """Columns that X, Z, the offsets and the grouping factors read."""
        names = [n for e in (*self.linear_expressions, *self.parsed.offsets) for n in e.names]
        names += [n for factor in self.parsed.factors for n in factor.variables]
        return tuple(dict.fromkeys(names))

    @property
    def variables(self) -> tuple[str, ...]:
        """All data columns that the model reads, the response first."""
        last = ((self.weights,) if self.weights else ()) + self.parsed_residual.variables
        return tuple(dict.fromkeys((*self.parsed.response.names, *self.predictors, *last)))

    @property
    def numeric_variables(self) -> tuple[str, ...]:
        """Columns that must hold numbers: the response, weights, offsets, arguments of functions."""
        expressions = [e for e in self.linear_expressions if e.kind in ("numeric", "basis")]
        expressions = [self.parsed.response, *self.parsed.offsets, *expressions]
        names = [n for e in expressions for n in e.names]
        names += [self.weights] if self.weights else []
        return tuple(dict.fromkeys((*names, *self.parsed_residual.coordinates)))

    @property
    def covariates(self) -> tuple[str, ...]:
        """Columns that X and the offsets read."""
        names = [n for e in (*self.parsed.fixed.expressions, *self.parsed.offsets) for n in e.names]
        return tuple(dict.fromkeys(names))

    @property
    def bare_variables(self) -> tuple[str, ...]:
        """Columns that stand by themselves in X or Z: numbers or categories, as the data say."""
        names = [e.names[0] for e in self.linear_expressions if e.kind == "column"]
        return tuple(dict.fromkeys(names))

    @property
    def level_variables(self) -> tuple[str, ...]:
        """Columns of which levels are learned, whatever they hold: in C(), behind a bar, declared."""
        names = [e.names[0] for e in self.linear_expressions if e.kind == "contrast"]
        names += [n for factor in self.parsed.factors for n in factor.variables]
        names += [n for n in self.bare_variables if n in self.levels]
        names += residual_levels(self)
        return tuple(dict.fromkeys(names))

    def z_terms(self) -> dict[str, tuple[Term, ...]]:
        """For each factor the union of its terms' products: lower degrees first, then as mentioned."""
        union: dict[str, tuple[Term, ...]] = {}
        for random in self.parsed.random:
            both = dict.fromkeys((*union.get(random.factor.name, ()), *random.lhs.terms))
            union[random.factor.name] = tuple(sorted(both, key=len))
        return union

    def design_key(self, kinds: Mapping[str, str] | None = None) -> str:
        """Short hash of what condensing depends on; not of how terms divide the columns of Z.

        ``kinds`` (column to ``numeric`` or ``categorical``) tells which columns are categories besides
        those that the spec declares: the coding of a category does depend on its term.
        """
        random = {
            name: [":".join(e.text for e in term) or "1" for term in terms]
            for name, terms in self.z_terms().items()
        }
        categories = [str(t) for t in self.parsed.random if self._has_category(t, kinds or {})]
        content = {
            "response": self.parsed.response.text,
            "fixed": str(self.parsed.fixed),
            "offsets": [e.text for e in self.parsed.offsets],
            "random": random,
            "categories": categories,
            "weights": self.weights,
            "missing": self.missing,
            "residual": self.parsed_residual.design,
            "levels": {n: list(v) for n, v in sorted(self.levels.items()) if n in self.variables},
        }
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]

    def _has_category(self, random: RandomTerm, kinds: Mapping[str, str]) -> bool:
        return any(
            e.kind == "contrast"
            or e.names[0] in self.levels
            or (e.kind == "column" and kinds.get(e.names[0]) == "categorical")
            for e in random.lhs.expressions
        )

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON; :func:`spec_from_json` reads it back."""
        shared = {} if self.residual_basis is None else {"residual_basis": self.residual_basis}
        return {
            "formula": self.formula,
            "weights": self.weights,
            "missing": self.missing,
            "levels": {name: list(values) for name, values in self.levels.items()},
            "residual": self.residual,
            **shared,
        }


def residual_levels(spec: ModelSpec) -> tuple[str, ...]:
    """Return the columns of R whose levels count: strata, and positions that are not numbers."""
    residual = spec.parsed_residual
    position = [] if residual.position is None else [residual.position]
    if residual.basis == "gaps":
        position = [name for name in position if name in spec.levels]
    return (*position, *residual.strata)


def residual_columns(spec: ModelSpec) -> tuple[str, ...]:
    """Return the columns of positions and strata, whose levels stand in the keys of sums."""
    residual = spec.parsed_residual
    return (*((residual.position,) if residual.position else ()), *residual.strata)


def spec_from_json(content: Mapping[str, Any]) -> ModelSpec:
    """Rebuild a spec from :meth:`ModelSpec.to_json`."""
    spec = make_spec(
        content["formula"],
        weights=content["weights"],
        levels=content["levels"],
        missing=content["missing"],
        residual=content["residual"],
    )
    return replace(spec, residual_basis=content.get("residual_basis"))


def make_spec(
    formula: str,
    *,
    weights: str | None = None,
    levels: Mapping[str, Sequence[Any]] | None = None,
    missing: str = "drop",
    residual: str = "iid",
    relationship: object = None,
) -> ModelSpec:
    """Check the parts of a model's description and freeze them."""
    if not isinstance(formula, str):
        raise FormulaError(f"The formula must be text like 'y ~ x + (1 | g)'; found {formula!r}.")
    parsed = parse_formula(formula)
    if missing not in get_args(MissingPolicy):
        near = did_you_mean(str(missing), get_args(MissingPolicy))
        raise ConfigError(
            f"missing='{missing}' is not a policy{near}; allowed are 'drop', 'error'."
        )
    structure = parse_residual(residual)
    if relationship is not None:
        raise UnsupportedError("A relationship between the levels of a factor is not offered.")
    if weights is not None and str(weights).strip() == "":
        raise ConfigError(f"weights must be the name of a column; {weights!r} was given.")
    declared = {name: _checked_levels(name, values) for name, values in (levels or {}).items()}
    for name, values in _levels_in_formula(parsed).items():
        if declared.setdefault(name, values) != values:
            raise FormulaError(f"The levels of '{name}' are declared twice and differently.")
    spec = ModelSpec(formula, weights, missing, declared, str(structure))  # type: ignore[arg-type]
    _check_roles(spec)
    return spec


def _checked_levels(name: str, values: Any) -> tuple[Level, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigError(f"levels: '{name}' needs a list of its levels; {values!r} was given.")
    levels: tuple[Level, ...] = tuple(v.item() if hasattr(v, "item") else v for v in values)
    labels = [str(v) for v in levels]
    if not levels or len(set(labels)) < len(labels):
        what = "is empty" if not levels else "names a level twice"
        raise ConfigError(f"levels: the list for '{name}' {what}: {list(levels)}.")
    return levels


def _levels_in_formula(parsed: ParsedFormula) -> dict[str, tuple[Level, ...]]:
    """Find ``C(x, levels=[...])``, which declares the order of x's levels like ``levels:`` does."""
    found: dict[str, tuple[Level, ...]] = {}
    parts = (parsed.fixed, *(term.lhs for term in parsed.random))
    for expression in (e for part in parts for e in part.expressions if e.kind == "contrast"):
        levels = take_apart(expression.tree, expression.text).parameters["levels"]  # type: ignore[arg-type]
        if levels is not None:
            found[expression.names[0]] = _checked_levels(expression.names[0], levels)
    return found


def _check_roles(spec: ModelSpec) -> None:
    numeric = set(spec.numeric_variables)
    for name in spec.levels:
        if name in numeric:
            raise FormulaError(
                f"'{name}' has declared levels, so it is a category, but the model uses it as a "
                "number."
            )
    response = spec.parsed.response
    if response.kind == "column" and response.names[0] in spec.predictors:
        raise FormulaError(
            f"The response '{response.text}' also stands on the right of '~' in '{spec.formula}'."
        )
    if spec.weights in response.names:
        raise FormulaError(f"The column '{spec.weights}' is both the response and the weights.")
    points = spec.parsed_residual.position if spec.parsed_residual.coordinates else None
    if points in spec.variables:
        raise FormulaError(
            f"'{points}' names the points of '{spec.residual}' and is a column of the model, too; "
            "rename the column."
        )
    for name in spec.parsed_residual.variables:
        if name in response.names or name == spec.weights:
            what = "the weights" if name == spec.weights else "the response"
            raise FormulaError(f"The column '{name}' is both {what} and in '{spec.residual}'.")


def check_columns(spec: ModelSpec, columns: Iterable[str], source: str = "the data") -> None:
    """Raise :class:`FormulaError` for a column that the source does not have, naming the nearest."""
    available = list(columns)
    for name in spec.variables:
        if name in available:
            continue
        what = "weights column" if name == spec.weights else "column"
        what = f"{what} '{name}' of "
        own = name in spec.parsed_residual.variables and name not in spec.predictors
        what += f"residual='{spec.residual}'" if own else "the model"
        raise FormulaError(
            f"The {what} is not in {source}{did_you_mean(name, available)}; "
            f"its columns are {listing(available, 30)}."
        )


def require_random_term(spec: ModelSpec) -> None:
    """Raise unless the formula has a random term, or its residuals a structure."""
    if not spec.parsed.random and spec.residual == "iid":
        raise FormulaError(
            f"'{spec.formula}' has no random term; add at least one, such as (1 | group)"
        )
