"""What a sweep is asked, checked before any work: models, subsets, traits, tests, options.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from mixedflow.crossproducts.types import CrossProducts
from mixedflow.data.source import Source
from mixedflow.design.formula import parse_formula
from mixedflow.design.schema import Schema
from mixedflow.design.spec import ModelSpec, make_spec, require_random_term
from mixedflow.errors import (
    ConfigError,
    FormulaError,
    MixedflowError,
    UnsupportedError,
    did_you_mean,
    listing,
)
from mixedflow.estimation.control import FitControl
from mixedflow.sweeps.model import ALL_ROWS, STAND_IN, SweepDf, SweepModel
from mixedflow.sweeps.multiplicity import QMethod, checked_q
from mixedflow.sweeps.ratios import Pair, fixed_part
from mixedflow.sweeps.single import Condense
from mixedflow.sweeps.standin import StandInSource
from mixedflow.sweeps.wrapped import make_subset

ONLY_MODEL = "model"
"""Name of the model where only one was given, without a name."""


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """Models, rows and tests of a sweep; see :func:`mixedflow.sweep`."""

    models: str | Mapping[str, str]
    subsets: Mapping[str, Mapping[str, Any] | None] | None = None
    tests: Mapping[str, Sequence[str]] | None = None
    residual: str | Mapping[str, str] = "iid"
    reml: bool = True
    ddf: str = "satterthwaite"
    q: str = "BH"
    weights: str | None = None
    levels: Mapping[str, Sequence[Any]] | None = None
    control: FitControl | None = None
    missing: str = "drop"

    @property
    def named(self) -> dict[str, str]:
        """Formulas by the name of their model."""
        return {ONLY_MODEL: self.models} if isinstance(self.models, str) else dict(self.models)


@dataclass(frozen=True, slots=True)
class Checked:
    """A request whose words are known to be right.

    Attributes
    ----------
    specs : of every model, with a response that stands for every trait
    response : its name
    ddf, q : the methods
    tests : the models of every test, smaller first
    """

    request: SweepRequest
    specs: Mapping[str, ModelSpec]
    response: str
    ddf: SweepDf
    q: QMethod
    tests: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def read(self) -> frozenset[str]:
        """Columns that the models and the subsets read."""
        names = {name for spec in self.specs.values() for name in spec.variables}
        names |= {c for one in (self.request.subsets or {}).values() if one for c in one}
        return frozenset(names - {self.response})


def checked(request: SweepRequest, columns: Sequence[str]) -> Checked:
    """Return a request whose words were checked against each other.

    Raises
    ------
    MixedflowError
        one sentence on the first thing that is wrong
    """
    _check_mappings(request)
    named = request.named
    if not named:
        raise ConfigError("a sweep needs at least one model")
    response = STAND_IN
    while response in columns:
        response += "_"
    if request.control is not None and not isinstance(request.control, FitControl):
        raise ConfigError(f"control must be a FitControl; found {request.control!r}")
    if not isinstance(request.reml, bool):
        raise ConfigError(f"reml must be true or false; found {request.reml!r}")
    residual = _residuals(request.residual, named)
    specs = {name: _spec(request, text, residual[name], response) for name, text in named.items()}
    return Checked(
        request, specs, response, _ddf(request.ddf), checked_q(request.q),
        _tests(request.tests, named),
    )  # fmt: skip


def _check_mappings(request: SweepRequest) -> None:
    """Raise for what should have names and has none."""
    given: dict[str, tuple[Any, str]] = {
        "models": (request.models, "a formula, or {'full': '~ x + (1 | g)'}"),
        "subsets": (request.subsets, "{'male': {'sex': ['M']}}"),
        "tests": (request.tests, "{'x': ('null', 'full')}"),
        "residual": (request.residual, "a structure, or {'full': 'ar1(t | g)'}"),
    }
    for what, (value, wanted) in given.items():
        text = isinstance(value, str) and what in ("models", "residual")
        if not (text or value is None or isinstance(value, Mapping)):
            raise ConfigError(f"{what} must be {wanted}; found {value!r}")


def _spec(request: SweepRequest, formula: str, residual: str, response: str) -> ModelSpec:
    spec = make_spec(
        f"{response} ~ {right_side(formula)}",
        weights=request.weights,
        levels=request.levels,
        missing=request.missing,
        residual=residual,
    )
    require_random_term(spec)
    return spec


def right_side(formula: str) -> str:
    """Return what stands right of ``~`` in a formula without a response, or with ``trait`` for it."""
    if not isinstance(formula, str):
        raise FormulaError(f"the formula must be text like '~ x + (1 | g)'; found {formula!r}")
    left, tilde, right = formula.partition("~")
    if not tilde:
        raise FormulaError(f"the formula '{formula}' has no '~'; write it like '~ x + (1 | g)'")
    if left.strip() not in {"", STAND_IN}:
        raise FormulaError(
            f"the formula '{formula}' of a sweep has the response '{left.strip()}'; leave it out, or "
            f"write '{STAND_IN}': every trait stands for itself, transformed in the data if at all"
        )
    parse_formula(f"{STAND_IN} ~ {right}")
    return right.strip()


def _residuals(residual: str | Mapping[str, str], named: Mapping[str, str]) -> dict[str, str]:
    if isinstance(residual, str):
        return dict.fromkeys(named, residual)
    for name in residual:
        if name not in named:
            raise ConfigError(
                f"residual: there is no model '{name}'{did_you_mean(name, named)} (the models are "
                f"{listing(named)})"
            )
    return {name: residual.get(name, "iid") for name in named}


def _ddf(ddf: str) -> SweepDf:
    for one in get_args(SweepDf):
        if one == ddf:
            found: SweepDf = one
            return found
    offered = get_args(SweepDf)
    raise UnsupportedError(
        f"ddf={ddf!r} is not offered in a sweep; offered are {listing(offered)}"
        f"{did_you_mean(str(ddf), offered)}, and the others for single fits"
    )


def _tests(tests: Mapping[str, Any] | None, named: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    out = {}
    for test, pair in (tests or {}).items():
        listed = isinstance(pair, Sequence) and not isinstance(pair, str)
        if not listed or len(pair) != 2 or pair[0] == pair[1]:
            raise ConfigError(
                f"tests: '{test}' needs two models, the smaller first, as ('null', 'full'); found "
                f"{pair!r}"
            )
        for name in pair:
            if name not in named:
                raise ConfigError(
                    f"tests: '{test}' names the model '{name}', which the sweep does not have"
                    f"{did_you_mean(str(name), named)} (it has {listing(named)})"
                )
        out[str(test)] = (pair[0], pair[1])
    return out


def built_models(asked: Checked, source: Source, condense: Condense) -> tuple[SweepModel, ...]:
    """Return every model in every subset, its design learned."""
    subsets = {ALL_ROWS: None} if asked.request.subsets is None else dict(asked.request.subsets)
    if not subsets:
        raise ConfigError("subsets: name at least one, as {'all': None}, or leave them out")
    out = []
    for subset, wanted in subsets.items():
        rows = StandInSource(make_subset(subset, wanted, source), asked.response)
        for name, spec in asked.specs.items():
            schema, sums = _condensed(spec, rows, condense, _where(asked, name, subset))
            out.append(
                SweepModel(
                    name, subset, rows, spec, schema, sums, asked.request.reml, asked.ddf,
                    asked.request.control,
                )
            )  # fmt: skip
    return tuple(out)


def _where(asked: Checked, name: str, subset: str) -> str:
    """Return which of several designs this is, for messages; empty where there is one."""
    said = [f"model '{name}'"] if len(asked.specs) > 1 else []
    said += [f"subset '{subset}'"] if asked.request.subsets is not None else []
    return ", ".join(said)


def _condensed(
    spec: ModelSpec, rows: StandInSource, condense: Condense, where: str
) -> tuple[Schema, CrossProducts]:
    try:
        return condense(spec, rows)
    except MixedflowError as error:
        if not where:
            raise
        raise type(error)(f"{where}: {error}") from error


def with_tests(
    asked: Checked, models: tuple[SweepModel, ...]
) -> tuple[tuple[SweepModel, ...], list[Pair]]:
    """Return the models with the refits by ML that tests need, and the tests.

    Likelihoods by REML of different fixed parts are of different contrasts of y.
    """
    every = {(m.name, m.subset, m.reml): m for m in models}
    pairs = []
    for test, names in asked.tests.items():
        for subset in dict.fromkeys(m.subset for m in models):
            small, large = (every[name, subset, asked.request.reml] for name in names)
            if small.reml and fixed_part(small) != fixed_part(large):
                small, large = (replace(m, reml=False, shown=False) for m in (small, large))
                every |= {(m.name, m.subset, False): m for m in (small, large)}
            pairs.append(Pair(test, small, large))
    return tuple(every.values()), pairs
