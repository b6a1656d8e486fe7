"""The one place that knows every covariance structure by name.

Stands at "Structures" in ``docs/algorithm.md``. A structure's file registers its class with
:func:`register`; packages outside add theirs by the entry-point group ``mixedflow.covariance``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TypeVar

from mixedflow.covariance.base import CovarianceStructure
from mixedflow.errors import UnsupportedError, did_you_mean, listing

_S = TypeVar("_S", bound=type[CovarianceStructure])

_REGISTERED: dict[str, CovarianceStructure] = {}
_OURS = ("unstructured", "diagonal")


def register(structure: _S) -> _S:
    """Class decorator: make a structure known under its ``name``."""
    _REGISTERED[structure.name] = structure()
    return structure


def structures() -> dict[str, CovarianceStructure]:
    """Return every known structure by name, ours first."""
    for module in _OURS:
        import_module(f"mixedflow.covariance.{module}")
    for point in entry_points(group="mixedflow.covariance"):
        point.load()
    return dict(_REGISTERED)


def get_structure(name: str) -> CovarianceStructure:
    """Return the structure of that name.

    Raises
    ------
    UnsupportedError
        naming what is offered.
    """
    known = structures() if name not in _REGISTERED else _REGISTERED
    if name not in known:
        raise UnsupportedError(
            f"covariance structure '{name}' is not offered; offered are {listing(known)}"
            f"{did_you_mean(name, known)}"
        )
    return known[name]
