"""mixedflow: mixed models from a laptop to a cluster.

``import mixedflow as mf; fit = mf.fit("Reaction ~ Days + (Days | Subject)", data)``. Names are
loaded on first use, so that ``mixedflow --help`` does not wait for the numerical libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mixedflow.api import fit, load
    from mixedflow.crossproducts.condensed import Condensed
    from mixedflow.design.shared import SharedSchema
    from mixedflow.estimation.control import FitControl
    from mixedflow.results.comparison import compare
    from mixedflow.results.fit_result import FitResult
    from mixedflow.results.pooling import pool
    from mixedflow.results.variance_testing import variance_test
    from mixedflow.scanning import ScanResult, load_scan, scan
    from mixedflow.sums import condense, learn_schema, load_crossproducts, merge_schemas
    from mixedflow.sweeping import sweep
    from mixedflow.sweeps.result import SweepResult, load_sweep

__all__ = [
    "Condensed",
    "FitControl",
    "FitResult",
    "ScanResult",
    "SharedSchema",
    "SweepResult",
    "__version__",
    "compare",
    "condense",
    "fit",
    "learn_schema",
    "load",
    "load_crossproducts",
    "load_sweep",
    "load_scan",
    "merge_schemas",
    "pool",
    "scan",
    "sweep",
    "variance_test",
]

_HOME = {
    "fit": "mixedflow.api",
    "load": "mixedflow.api",
    "compare": "mixedflow.results.comparison",
    "variance_test": "mixedflow.results.variance_testing",
    "pool": "mixedflow.results.pooling",
    "condense": "mixedflow.sums",
    "learn_schema": "mixedflow.sums",
    "load_crossproducts": "mixedflow.sums",
    "merge_schemas": "mixedflow.sums",
    "Condensed": "mixedflow.crossproducts.condensed",
    "SharedSchema": "mixedflow.design.shared",
    "FitControl": "mixedflow.estimation.control",
    "FitResult": "mixedflow.results.fit_result",
    "sweep": "mixedflow.sweeping",
    "load_sweep": "mixedflow.sweeps.result",
    "SweepResult": "mixedflow.sweeps.result",
    "scan": "mixedflow.scanning",
    "load_scan": "mixedflow.scanning",
    "ScanResult": "mixedflow.scanning",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'mixedflow' has no attribute {name!r}")
