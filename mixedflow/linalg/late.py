"""SciPy's linear algebra, imported at its first use; outside ``docs/algorithm.md``.

Importing it takes longer than a small fit, and small fits and those of one grouping factor never
come to use it. Modules take ``blas``, ``lapack`` and so on from here instead of from SciPy.
"""

from __future__ import annotations

import importlib
from typing import Any


class _Late:
    """A module that is imported when a name of it is looked up."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._module), name)


linalg: Any = _Late("scipy.linalg")
blas: Any = _Late("scipy.linalg.blas")
lapack: Any = _Late("scipy.linalg.lapack")
sparse: Any = _Late("scipy.sparse")
csgraph: Any = _Late("scipy.sparse.csgraph")
