"""A smaller model's sums from a larger one's: every column of it is a column that is there.

Stands at "Sums" in ``docs/algorithm.md``. A column keeps its scale; its shift is taken back where
the smaller model has no constant to carry it. The constant is always there: sums store it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mixedflow.covariance.registry import get_residual
from mixedflow.crossproducts.linear import mapped
from mixedflow.crossproducts.types import with_structure
from mixedflow.design.columns import Column
from mixedflow.design.encode import Encoder
from mixedflow.design.plan import DesignPlan, plan_design
from mixedflow.design.residual import ParsedResidual, parse_residual
from mixedflow.design.schema import Schema
from mixedflow.design.spec import ModelSpec, make_spec, residual_columns
from mixedflow.design.types import Float, Int, Pilots
from mixedflow.errors import FormulaError, UnsupportedError, did_you_mean, listing

if TYPE_CHECKING:
    from mixedflow.crossproducts.condensed import Condensed


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Which stored columns a part of the model takes, -1 for the constant that X always has.

    Attributes
    ----------
    places : (p',) among the stored columns
    matrix : (stored columns, p'), what makes the new stored columns of the old
    shift, scale : (p',) pilots of the new
    """

    places: Int
    matrix: Float
    shift: Float
    scale: Float


def submodel(whole: Condensed, formula: str, residual: str | None = None) -> Condensed:
    """Return the sums of a model whose columns are among those of ``whole``.

    Parameters
    ----------
    whole : condensed data
    formula : of the smaller model
    residual : its residual structure, one that shares the sums; that of ``whole`` without it

    Raises
    ------
    FormulaError
        naming what the model has that is not there.
    """
    spec = _spec_of(whole, formula, residual)
    whole = replace(whole, sums=with_structure(whole.sums, spec.parsed_residual))
    if spec.design_key(whole.schema.kinds) == whole.schema.design_key:
        return replace(whole, spec=spec)
    _check_expressions(whole.spec, spec)
    learned = whole.schema.learned
    had, wanted = plan_design(whole.spec, learned), plan_design(spec, learned)
    info = whole.sums.info
    lead = int(whole.sums.constant)
    pilots = info.pilots
    x = _choose(
        _named(whole.spec, had.x, wanted.x, "the fixed part"),
        (pilots.x_shift, pilots.x_scale),
        (lead, 0 if info.intercept is None else info.intercept),
    )
    factors, z = _random_part(whole, spec, (had, wanted))
    new = Pilots(
        x.shift,
        x.scale,
        pilots.y_shift,
        pilots.y_scale,
        tuple(part.shift for part in z),
        tuple(part.scale for part in z),
    )
    schema = _schema_of(whole.schema, spec, new)
    encoder = Encoder(spec, schema)
    sums = mapped(
        whole.sums,
        encoder.info,
        _with_response(x.matrix, encoder.info.intercept is None, (lead, info.intercept)),
        factors,
        [part.matrix for part in z],
    )
    return replace(whole, spec=spec, schema=schema, sums=sums)


def _spec_of(condensed: Condensed, formula: str, residual: str | None) -> ModelSpec:
    """Return the model with the weights, levels and missing rows that the sums were made with."""
    whole = condensed.spec
    bare = make_spec(formula)
    for what, ours, theirs in (
        ("response", bare.parsed.response.text, whole.parsed.response.text),
        ("offset", _offsets(bare), _offsets(whole)),
    ):
        if ours != theirs:
            raise FormulaError(
                f"the {what} of '{formula}' is {ours or 'none'}, but that of the condensed "
                f"'{whole.formula}' is {theirs or 'none'}"
            )
    structure = whole.parsed_residual if residual is None else _on_basis(condensed, residual)
    if structure.design != whole.parsed_residual.design:
        raise UnsupportedError(
            f"residual='{residual}' cannot be fitted from sums condensed with "
            f"residual='{whole.residual}': it needs other sums of the rows; condense them again"
        )
    missing = [name for name in bare.variables if name not in whole.variables]
    if missing:
        raise FormulaError(
            f"'{formula}' cannot be fitted from sums of '{whole.formula}': the column '{missing[0]}' "
            f"was not condensed{did_you_mean(missing[0], whole.variables)}; condensed were "
            f"{listing(whole.variables)}"
        )
    levels = {name: values for name, values in whole.levels.items() if name in bare.variables}
    spec = make_spec(
        formula,
        weights=whole.weights,
        levels={**levels, **bare.levels},
        missing=whole.missing,
        residual=str(structure),
    )
    own = spec.parsed_residual.basis == structure.basis
    return spec if own else replace(spec, residual_basis=structure.basis)


def _on_basis(condensed: Condensed, residual: str) -> ParsedResidual:
    """Return the structure, on the basis of the sums where it can be computed from that too.

    ``ar1`` steps by the value of a number; sums over pairs know levels, so these must follow each
    other by one.
    """
    structure, there = parse_residual(residual), condensed.spec.parsed_residual
    shared = replace(structure, basis=there.basis)
    possible = there.basis in get_residual(structure.structure).bases
    if structure.basis == there.basis or not possible or shared.design != there.design:
        return structure
    name = structure.position
    if structure.basis != "gaps" or name is None or name in condensed.spec.levels:
        return shared
    levels = condensed.schema.levels[name]
    by_place = levels.kind == "text" or bool(np.all(np.diff(levels.values) == 1))
    return shared if by_place else structure


def _offsets(spec: ModelSpec) -> str:
    return " + ".join(sorted(e.text for e in spec.parsed.offsets))


def _check_expressions(whole: ModelSpec, spec: ModelSpec) -> None:
    known = whole.linear_expressions
    for expression in spec.linear_expressions:
        if expression not in known:
            raise FormulaError(
                f"'{spec.formula}' cannot be fitted from sums of '{whole.formula}': "
                f"'{expression.text}' was not condensed; condensed were "
                f"{listing(e.text for e in known)}"
            )
    factors = {factor.name: factor.variables for factor in whole.parsed.factors}
    for factor in spec.parsed.factors:
        if factors.get(factor.name) != factor.variables:
            raise FormulaError(
                f"'{spec.formula}' cannot be fitted from sums of '{whole.formula}': "
                f"'{factor.name}' is no grouping factor of these; they have {listing(factors)}"
            )
    for name, values in spec.levels.items():
        if whole.levels.get(name) != values:
            raise FormulaError(f"the levels of '{name}' are not those that were condensed")


def _named(
    whole: ModelSpec, had: Sequence[Column], wanted: Sequence[Column], where: str
) -> list[int]:
    """Return where columns stand among those that are there; -1 for the constant of X."""
    places = []
    for column in wanted:
        pieces = set(column.pieces)  # a product is the same in any order
        found = [k for k, c in enumerate(had) if set(c.pieces) == pieces]
        if not found and (column.pieces or where != "the fixed part"):
            names = [c.name for c in had]
            raise FormulaError(
                f"the column '{column.name}' of {where} is not among those condensed for "
                f"'{whole.formula}'{did_you_mean(column.name, names)}; {where} has {listing(names)}"
            )
        places.append(found[0] if found else -1)
    return places


def _choose(places: list[int], pilots: tuple[Float, Float], layout: tuple[int, int]) -> _Chosen:
    """Return the map from stored columns to those chosen.

    Parameters
    ----------
    places : of the columns, -1 for the constant
    pilots : shift and scale of those that are stored
    layout : stored columns before the first, and where the constant is stored
    """
    shift, scale = pilots
    lead, constant = layout
    at = np.array(places, dtype=np.int64)
    keeps_constant = -1 in places or (lead == 0 and constant in places)
    matrix = np.zeros((lead + len(shift), len(at)))
    new_shift, new_scale = np.zeros(len(at)), np.ones(len(at))
    for k, place in enumerate(places):
        if place < 0:
            matrix[constant, k] = 1.0
            continue
        matrix[lead + place, k] = 1.0
        new_scale[k] = scale[place]
        if shift[place] and not keeps_constant:
            matrix[constant, k] += shift[place] / scale[place]
        else:
            new_shift[k] = shift[place]
    return _Chosen(at, matrix, new_shift, new_scale)


def _random_part(
    whole: Condensed, spec: ModelSpec, plans: tuple[DesignPlan, DesignPlan]
) -> tuple[list[int], list[_Chosen]]:
    """Return which factors stay, in the model's order, and their columns."""
    had, wanted = plans
    info = whole.sums.info
    names = [factor.name for factor in info.factors]
    factors, chosen = [], []
    for factor, columns in zip(spec.parsed.factors, wanted.z, strict=True):
        f = names.index(factor.name)
        places = _named(whole.spec, had.z[f], columns, f"the random part of '{factor.name}'")
        constant = info.z_intercept[f]
        pilots = info.pilots.z_shift[f], info.pilots.z_scale[f]
        factors.append(f)
        chosen.append(_choose(places, pilots, (0, 0 if constant is None else constant)))
    return factors, chosen


def _with_response(x: Float, needs_lead: bool, layout: tuple[int, int | None]) -> Float:
    """Return the map of [1? X y]: the constant leads where the new X has none."""
    lead, intercept = layout
    stored = x.shape[0]
    first = np.zeros((stored, int(needs_lead)))
    first[0 if lead or intercept is None else intercept, :] = 1.0
    top = np.hstack([first, x, np.zeros((stored, 1))])
    return np.vstack([top, np.eye(1, top.shape[1], top.shape[1] - 1)])


def _schema_of(schema: Schema, spec: ModelSpec, pilots: Pilots) -> Schema:
    """Return what the smaller model needs of a schema."""
    names = set(spec.variables)
    free = names - set(spec.bare_variables) - set(spec.numeric_variables)
    free -= set(spec.parsed_residual.variables)
    kinds = {
        name: "categorical" if name in free else kind
        for name, kind in schema.kinds.items()
        if name in names
    }
    leveled = {*spec.level_variables, *(n for n in spec.bare_variables if kinds[n] != "numeric")}
    leveled |= set(residual_columns(spec))
    factors = tuple((factor.name, factor.variables) for factor in spec.parsed.factors)
    return replace(
        schema,
        design_key=spec.design_key(kinds),
        kinds=kinds,
        levels={name: levels for name, levels in schema.levels.items() if name in leveled},
        keys={name: schema.keys[name] for name, variables in factors if len(variables) > 1},
        factors=factors,
        pilots=pilots,
    )
