"""The one place that knows every covariance structure by name, of G and of R.

Stands at "Structures" in ``docs/algorithm.md``. A structure's file registers its classes with
:func:`register` (G) and :func:`register_residual` (R); packages outside add theirs by the
entry-point groups ``mixedflow.covariance`` and ``mixedflow.residual``.
"""

from __future__ import annotations

import re
from ast import literal_eval
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TypeVar

from mixedflow.covariance.base import CovarianceStructure
from mixedflow.covariance.residual_base import ResidualStructure
from mixedflow.covariance.residual_types import ResidualDesign
from mixedflow.errors import FormulaError, UnsupportedError, did_you_mean, listing

_S = TypeVar("_S", bound=type[CovarianceStructure])
_R = TypeVar("_R", bound=type[ResidualStructure])
_Any = TypeVar("_Any")

_REGISTERED: dict[str, CovarianceStructure] = {}
_RESIDUAL: dict[str, ResidualStructure] = {}
_OURS = {
    "us": "unstructured",
    "diag": "diagonal",
    "id": "identity",
    "cs": "compound_symmetry",
    "csh": "compound_symmetry",
    "ar1": "autoregressive",
    "ar1h": "autoregressive",
    "toep": "toeplitz",
    "toeph": "toeplitz",
    "fa": "factor_analytic",
    "fixed": "fixed",
}
_OURS_RESIDUAL = {
    "iid": "strata",
    "strata": "strata",
    "us": "unstructured_residual",
    "cs": "compound_symmetry",
    "csh": "compound_symmetry",
    "ar1": "autoregressive",
    "ar1h": "autoregressive",
    "car1": "continuous_autoregressive",
    "sp_exp": "spatial_exponential",
    "ad": "antedependence",
    "adh": "antedependence",
    "toep": "toeplitz",
    "toeph": "toeplitz",
}
_GROUP, _GROUP_RESIDUAL = "mixedflow.covariance", "mixedflow.residual"
_ARGUMENT = re.compile(r"(\w+)\((.*)\)", re.DOTALL)


def register(structure: _S) -> _S:
    """Class decorator: make a structure of G known under its ``name``."""
    _REGISTERED[structure.name] = structure()
    return structure


def register_residual(structure: _R) -> _R:
    """Class decorator: make a structure of R known under its ``name``."""
    _RESIDUAL[structure.name] = structure()
    return structure


def structures() -> dict[str, CovarianceStructure]:
    """Return every known structure of G by name, ours first."""
    return _all(_REGISTERED, _OURS, _GROUP)


def residual_structures() -> dict[str, ResidualStructure]:
    """Return every known structure of R by name, ours first."""
    return _all(_RESIDUAL, _OURS_RESIDUAL, _GROUP_RESIDUAL)


def structure_names() -> tuple[str, ...]:
    """Return the names of the structures of G, loading none that is ours."""
    return _names(_REGISTERED, _OURS, _GROUP)


def get_structure(text: str) -> CovarianceStructure:
    """Return the structure of G of that name, with the argument that the text gives it: ``fa(2)``.

    Raises
    ------
    UnsupportedError
        naming what is offered.
    FormulaError
        where the argument is not one that the structure takes.
    """
    parts = _ARGUMENT.fullmatch(text)
    if parts is None:
        return _one(text, _REGISTERED, _OURS, _GROUP, "covariance")
    return _with_argument(_one(parts[1], _REGISTERED, _OURS, _GROUP, "covariance"), parts[2])


def get_residual(name: str) -> ResidualStructure:
    """Return the structure of R of that name.

    Raises
    ------
    UnsupportedError
        naming what is offered.
    """
    return _one(name, _RESIDUAL, _OURS_RESIDUAL, _GROUP_RESIDUAL, "residual")


def residual_structure(design: ResidualDesign) -> ResidualStructure:
    """Return the structure of R of a design, over its positions."""
    return get_residual(design.structure).at(design.positions)


@lru_cache(maxsize=256)
def _with_argument(structure: CovarianceStructure, text: str) -> CovarianceStructure:
    try:
        argument = literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise FormulaError(
            f"the argument of {structure.name}(...) must be a number or a list of lists of "
            f"numbers; found '{text.strip()}'"
        ) from None
    return structure.with_argument(argument)


def _one(name: str, known: dict[str, _Any], ours: dict[str, str], group: str, what: str) -> _Any:
    if name not in known and name in ours:
        import_module(f"mixedflow.covariance.{ours[name]}")
    elif name not in known:
        _all(known, ours, group)
    if name not in known:
        offered = _names(known, ours, group)
        raise UnsupportedError(
            f"{what} structure '{name}' is not offered; offered are {listing(offered, 20)}"
            f"{did_you_mean(name, offered)}"
        )
    return known[name]


def _all(known: dict[str, _Any], ours: dict[str, str], group: str) -> dict[str, _Any]:
    for module in dict.fromkeys(ours.values()):
        import_module(f"mixedflow.covariance.{module}")
    for point in entry_points(group=group):
        point.load()
    names = [*ours, *(name for name in known if name not in ours)]
    return {name: known[name] for name in names}


def _names(known: dict[str, _Any], ours: dict[str, str], group: str) -> tuple[str, ...]:
    others = (point.name for point in entry_points(group=group))
    return tuple(dict.fromkeys([*ours, *known, *others]))
