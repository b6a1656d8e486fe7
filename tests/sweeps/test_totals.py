"""Rows of many responses to sums: twins, partitions, patterns of missing values."""

import numpy as np
import pytest

from mixedflow.sweeps import totals
from mixedflow.sweeps.rows import RowColumns
from mixedflow.sweeps.totals import Totals


def _rows(seed: int, n: int = 200, L: int = 7) -> RowColumns:
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    return RowColumns(
        X=X,
        Z=np.ascontiguousarray(X[:, :2]),
        codes=rng.integers(0, L, n),
        weights=rng.uniform(0.5, 2.0, n),
        base=rng.normal(size=n),
        kept=np.ones(n, dtype=bool),
    )


def _part(rows: RowColumns, at: slice) -> RowColumns:
    return RowColumns(
        rows.X[at], rows.Z[at], rows.codes[at], rows.weights[at], rows.base[at], rows.kept[at]
    )


def _values(seed: int, T: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    V = rng.normal(5.0, 3.0, size=(T, n))
    V[1, 10:30] = np.nan
    V[2, 10:30] = np.nan
    V[3, 150:] = np.nan
    V[4] = np.nan
    return V


def _added(rows, V, cuts, monkeypatch, compile_above):
    monkeypatch.setattr(totals, "COMPILE_ABOVE", compile_above)
    total = Totals.empty((len(V), 7, 2, 3), shifted=True)
    for at in cuts:
        total.add(np.ascontiguousarray(V[:, at]), _part(rows, at))
    return total


ONE = [slice(0, 200)]
THREE = [slice(0, 60), slice(60, 61), slice(61, 200)]


@pytest.mark.parametrize("cuts", [ONE, THREE])
@pytest.mark.parametrize("compile_above", [0, 10**12])
def test_sums_are_those_of_the_rows_that_are_there(monkeypatch, cuts, compile_above):
    rows, V = _rows(1), _values(2, 6, 200)
    total = _added(rows, V, cuts, monkeypatch, compile_above)
    designs, responses = total.sums()
    assert len(designs.n_obs) == 4  # none missing, two that lack the same, one by itself, nothing
    assert responses.which[1] == responses.which[2]
    for t in range(6):
        here = ~np.isnan(V[t])
        x, z, w = rows.X[here], rows.Z[here], rows.weights[here]
        y = (V[t, here] + rows.base[here] - total.shift[t]) / total.scale[t]
        d = responses.which[t]
        assert designs.n_obs[d] == here.sum()
        np.testing.assert_allclose(designs.XtX[d], x.T @ (x * w[:, None]), rtol=1e-12)
        np.testing.assert_allclose(responses.Xty[t], x.T @ (w * y), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(responses.yty[t], w @ y**2, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(designs.sum_log_weight[d], np.log(w).sum(), atol=1e-12)
        for level in range(7):
            own = rows.codes[here] == level
            np.testing.assert_allclose(
                designs.ZtX[d, level], z[own].T @ (x[own] * w[own, None]), rtol=1e-10, atol=1e-10
            )
            np.testing.assert_allclose(
                designs.ZtZ[d, level], z[own].T @ (z[own] * w[own, None]), rtol=1e-10, atol=1e-10
            )
            np.testing.assert_allclose(
                responses.Zty[t, level], z[own].T @ (w[own] * y[own]), rtol=1e-9, atol=1e-9
            )


def test_a_shift_is_only_made_where_the_constant_takes_it_back():
    rows, V = _rows(3), _values(4, 6, 200)
    total = Totals.empty((6, 7, 2, 3), shifted=False)
    total.add(V, rows)
    assert (total.shift == 0).all()
    assert (np.log2(total.scale) % 1 == 0).all()


def test_extremes_and_first_values_survive_empty_partitions():
    rows, V = _rows(5), _values(6, 6, 200)
    V[0, :60] = np.nan
    total = Totals.empty((6, 7, 2, 3), shifted=True)
    for at in THREE:
        total.add(np.ascontiguousarray(V[:, at]), _part(rows, at))
    assert total.low[0] == np.nanmin(V[0])
    assert total.high[3] == np.nanmax(V[3])
    assert not total.seen[4]
