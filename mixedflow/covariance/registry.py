"""The one place that knows every covariance structure by name, of G and of R.

Stands at "Structures" in ``docs/algorithm.md``. A structure's file registers its classes with
:func:`register` (G) and :func:`register_residual` (R); packages outside add theirs by the
entry-point groups ``mixedflow.covariance`` and ``mixedflow.residual``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TypeVar

from mixedflow.covariance.base import CovarianceStructure
from mixedflow.covariance.residual_base import ResidualStructure
from mixedflow.errors import UnsupportedError, did_you_mean, listing

_S = TypeVar("_S", bound=type[CovarianceStructure])
_R = TypeVar("_R", bound=type[ResidualStructure])
_Any = TypeVar("_Any")

_REGISTERED: dict[str, CovarianceStructure] = {}
_RESIDUAL: dict[str, ResidualStructure] = {}
_OURS = ("unstructured", "diagonal")
_OURS_RESIDUAL = (
    "strata",
    "unstructured_residual",
    "compound_symmetry",
    "autoregressive",
    "continuous_autoregressive",
    "antedependence",
    "toeplitz",
)


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
    for module in _OURS:
        import_module(f"mixedflow.covariance.{module}")
    for point in entry_points(group="mixedflow.covariance"):
        point.load()
    return _in_order(_REGISTERED, _OURS)


def residual_structures() -> dict[str, ResidualStructure]:
    """Return every known structure of R by name, ours first."""
    for module in _OURS_RESIDUAL:
        import_module(f"mixedflow.covariance.{module}")
    for point in entry_points(group="mixedflow.residual"):
        point.load()
    return _in_order(_RESIDUAL, _OURS_RESIDUAL)


def get_structure(name: str) -> CovarianceStructure:
    """Return the structure of G of that name.

    Raises
    ------
    UnsupportedError
        naming what is offered.
    """
    known = _REGISTERED if name in _REGISTERED else structures()
    if name not in known:
        raise UnsupportedError(
            f"covariance structure '{name}' is not offered; offered are {listing(known)}"
            f"{did_you_mean(name, known)}"
        )
    return known[name]


def get_residual(name: str) -> ResidualStructure:
    """Return the structure of R of that name.

    Raises
    ------
    UnsupportedError
        naming what is offered.
    """
    known = _RESIDUAL if name in _RESIDUAL else residual_structures()
    if name not in known:
        raise UnsupportedError(
            f"residual structure '{name}' is not offered; offered are {listing(known, 20)}"
            f"{did_you_mean(name, known)}"
        )
    return known[name]


def _in_order(known: dict[str, _Any], ours: tuple[str, ...]) -> dict[str, _Any]:
    """Return the structures in the order of our modules, others after them."""

    def rank(name: str) -> int:
        module = type(known[name]).__module__.rpartition(".")[2]
        return ours.index(module) if module in ours else len(ours)

    return {name: known[name] for name in sorted(known, key=rank)}
