"""Fixtures for all tests, and the path to the helper modules beside this file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Small matrices gain nothing from BLAS threads, and lose much where other processes are about.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def fit_reference() -> Callable[..., Any]:
    """Return ``fit(entry id, method="auto", **overrides)``, which fits a model once a session."""
    import helpers

    import mixedflow as mf

    done: dict[tuple[str, str, str], Any] = {}

    def fit(name: str, method: str = "auto", **more: Any) -> Any:
        key = (name, method, repr(sorted(more.items())))
        if key not in done:
            entry = helpers.entries()[name]
            arguments = helpers.fit_arguments(entry) | more
            data = helpers.reference_frame(entry)
            done[key] = mf.fit(entry["formula"], data, method=method, **arguments)
        return done[key]

    return fit
