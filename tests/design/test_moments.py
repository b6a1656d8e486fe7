"""Moments of long columns: compiled stretches against their NumPy twin and exact sums."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mixedflow.design import moments
from mixedflow.design.moments import moments_of

rng = np.random.default_rng(7)
COLUMNS = {
    "normal": rng.normal(size=301_003),
    "far from zero": 1e9 + rng.normal(size=300_002),
    "constant": np.full(300_001, 3.25),
    "strided": rng.normal(size=(300_004, 2))[:, 1],
    "counts": rng.integers(0, 5, 300_000).astype(float),
}


@pytest.mark.parametrize("name", list(COLUMNS))
def test_compiled_stretches_equal_their_twin(name, monkeypatch):
    x = COLUMNS[name]
    compiled = moments_of(x)
    monkeypatch.setattr(moments, "COMPILED_FROM", len(x) + 1)
    twin = moments_of(x)
    assert (compiled.n, compiled.low, compiled.high) == (twin.n, twin.low, twin.high)
    assert compiled.mean == pytest.approx(math.fsum(x) / len(x), rel=1e-15, abs=1e-15)
    assert compiled.mean == pytest.approx(twin.mean, rel=1e-15, abs=1e-15)
    assert compiled.m2 == pytest.approx(twin.m2, rel=1e-12, abs=1e-12)
