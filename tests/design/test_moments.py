"""Moments of long columns: compiled stretches against their NumPy twin and exact sums."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from mixedflow.design import make_spec, moments, summarize_partition
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


@pytest.mark.parametrize("n", [20_000, 300_017])
@pytest.mark.parametrize("place", [0, 31, 8192, -1])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_shows(n, place, value):
    x = rng.normal(size=n)
    assert math.isfinite(moments_of(x).base + moments_of(x).rest)
    x[place] = value
    assert not math.isfinite(moments_of(x).base + moments_of(x).rest)


@pytest.mark.parametrize("gap", [None, math.nan, math.inf])
def test_moments_do_not_depend_on_how_missing_rows_are_found(gap):
    x, y = rng.normal(size=20_001), rng.normal(size=20_001)
    if gap is not None:
        x[[5, 9_000]] = gap
    summary = summarize_partition(make_spec("y ~ x"), pa.table({"y": y, "x": x}))
    kept = ~np.isnan(x)
    assert summary.rows_used == kept.sum()
    assert summary.moments[""] == moments_of(y[kept])
    if gap is math.inf:
        assert summary.columns["x"].infinite.count == 2
        assert "x" not in summary.moments
    else:
        assert summary.moments["x"] == moments_of(x[kept])
