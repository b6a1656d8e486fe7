"""Rows for tests of sums, and what it means that two fits, or two sums, are one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from dense_problems import arrays

import mixedflow as mf

CLOSE = 1e-10
FULL = "y ~ x1 + x2 + s + x1:x2 + (1 + x1 + x2 | g) + (1 | h)"
NESTED = "y ~ x1 + x2 + (1 + x1 | g) + (1 | g:k)"


def frame(n: int = 900, seed: int = 0) -> pd.DataFrame:
    """Return rows far from zero, with three factors (k within g), a category, weights, an offset."""
    rng = np.random.default_rng(seed)
    g, h, k = rng.integers(0, 24, n), rng.integers(0, 9, n), rng.integers(0, 3, n)
    x1, x2 = rng.normal(50, 4, n), rng.normal(-3, 0.5, n)
    u, v, w = rng.normal(0, 2, (24, 2)), rng.normal(0, 1.5, 9), rng.normal(0, 1, (24, 3))
    s = rng.choice(["f", "m", "x"], n)
    y = 900 + 0.8 * x1 - 2 * x2 + (s == "m") + u[g, 0] + 0.4 * u[g, 1] * (x2 + 3) + v[h] + w[g, k]
    return pd.DataFrame(
        {
            "y": y + rng.normal(0, 1.3, n),
            "x1": x1,
            "x2": x2,
            "s": s,
            "g": [f"g{i:02d}" for i in g],
            "h": h + 100,
            "k": k,
            "site": np.where(g < 12, "A", "B"),
            "w": rng.uniform(0.5, 2.0, n),
            "o": rng.normal(5, 1, n),
        }
    )


ROWS = frame()


def agree(a, b, limit: float = CLOSE) -> None:
    """Check that two fits are one: likelihood, coefficients, components, random effects."""
    assert a.loglik == pytest.approx(b.loglik, rel=limit)
    assert list(a.fixef.index) == list(b.fixef.index)
    # a coefficient is as exact as its standard error is large
    np.testing.assert_allclose(
        a.fixef, b.fixef, rtol=0, atol=CLOSE * max(b.coef_table["se"].max(), 1)
    )
    assert list(a.varcorr["group"]) == list(b.varcorr["group"])
    np.testing.assert_allclose(a.varcorr["vcov"], b.varcorr["vcov"], rtol=CLOSE, atol=CLOSE)
    assert set(a.ranef) == set(b.ranef)
    for factor, effects in b.ranef.items():
        ours = a.ranef[factor].loc[effects.index, effects.columns]
        assert len(ours) == len(a.ranef[factor])
        np.testing.assert_allclose(ours, effects, rtol=CLOSE, atol=CLOSE)


def same_bits(a: mf.Condensed, b: mf.Condensed) -> None:
    left, right = arrays(a.sums), arrays(b.sums)
    assert list(left) == list(right)
    for name, values in left.items():
        np.testing.assert_array_equal(values, right[name], err_msg=name)


def same_sums(a: mf.Condensed, b: mf.Condensed, limit: float = 1e-11) -> None:
    left, right = arrays(a.sums), arrays(b.sums)
    assert list(left) == list(right)
    for name, values in left.items():
        size = max(1.0, float(np.abs(values).max(initial=0.0)))
        np.testing.assert_allclose(values, right[name], rtol=0, atol=limit * size, err_msg=name)
    assert a.sums.n_obs == b.sums.n_obs
    for f in range(len(a.schema.factors)):
        assert a.schema.level_labels(f) == b.schema.level_labels(f)
