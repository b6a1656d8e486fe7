"""pandas, imported when the first table is asked for: a fit by itself needs none.

Stands at "Results" in ``docs/algorithm.md``. Modules of this room write ``from
mixedflow.results.tabulating import pd``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["pd"]


class _Later:
    """A module that is imported when something of it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


if TYPE_CHECKING:
    import pandas as pd
else:
    pd = _Later("pandas")
