"""SciPy's linear algebra, imported at its first use; outside ``docs/algorithm.md``.

Importing it takes longer than a small fit, and small fits and those of one grouping factor never
come to use it. Modules take ``blas``, ``lapack`` and so on from here instead of from SciPy.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any


class _Late:
    """A module that is imported when a name of it is looked up."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._module), name)


class _LateExtension(_Late):
    """An extension module of ``scipy.linalg``, had without the rest of the package.

    It is the one that the package itself takes: where that has been imported already, or where the
    file is not found, the package's own module is used.
    """

    def __init__(self, module: str, extension: str) -> None:
        super().__init__(module)
        self._extension = extension
        self._loaded: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._loaded is None:
            try:
                self._loaded = self._alone()
            except ImportError:
                self._loaded = importlib.import_module(self._module)
        return getattr(self._loaded, name)

    def _alone(self) -> Any:
        """Return the extension, loaded from its file."""
        if self._module in sys.modules:
            return sys.modules[self._module]
        scipy = importlib.import_module("scipy")
        folders = [str(Path(where) / "linalg") for where in scipy.__path__]
        spec = PathFinder.find_spec(f"scipy.linalg.{self._extension}", folders)
        if spec is None or spec.loader is None:
            raise ImportError(f"scipy.linalg has no {self._extension}")
        found = module_from_spec(spec)
        spec.loader.exec_module(found)
        return found


linalg: Any = _Late("scipy.linalg")
blas: Any = _LateExtension("scipy.linalg.blas", "_fblas")
lapack: Any = _LateExtension("scipy.linalg.lapack", "_flapack")
sparse: Any = _Late("scipy.sparse")
special: Any = _Late("scipy.special")
csgraph: Any = _Late("scipy.sparse.csgraph")
