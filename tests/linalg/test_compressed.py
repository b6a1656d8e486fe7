"""A sparse matrix by rows multiplies as its dense form does, by NumPy and by SciPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mixedflow.linalg import compressed
from mixedflow.linalg.compressed import compressed_rows, symmetric_product


@pytest.fixture(params=["numpy", "numpy, by pieces", "scipy"])
def way(request, monkeypatch):
    if request.param == "scipy":
        monkeypatch.setattr(compressed, "SCIPY_ABOVE", 0)
    elif request.param == "numpy, by pieces":
        monkeypatch.setattr(compressed, "STRETCH", 7)


def sparse_matrix(shape=(40, 12), share=0.3):
    rng = np.random.default_rng(1)
    dense = np.where(rng.random(shape) < share, rng.normal(size=shape), 0.0)
    dense[3] = dense[:, 4] = dense[-1] = 0.0
    rows, columns = np.nonzero(dense)
    order = rng.permutation(len(rows))
    entries = rows[order], columns[order], dense[rows, columns][order]
    return compressed_rows(*entries, shape), dense


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("columns", [(), (1,), (3,)])
def test_products(columns):
    A, dense = sparse_matrix()
    rng = np.random.default_rng(2)
    X, Y = rng.normal(size=(12, *columns)), rng.normal(size=(40, *columns))
    np.testing.assert_array_equal(A.toarray(), dense)
    np.testing.assert_allclose(A @ X, dense @ X, rtol=0, atol=1e-13)
    np.testing.assert_allclose(A.transposed_times(Y), dense.T @ Y, rtol=0, atol=1e-13)


@pytest.mark.usefixtures("way")
def test_symmetric_product():
    A, dense = sparse_matrix()
    weights = np.random.default_rng(3).normal(size=len(dense))
    B = replace(A, data=weights[A.rows] * A.data)
    wanted = dense.T @ (weights[:, None] * dense)
    np.testing.assert_allclose(symmetric_product(A, B), wanted, rtol=0, atol=1e-13)


@pytest.mark.usefixtures("way")
def test_a_matrix_without_entries():
    none = np.zeros(0, dtype=int)
    A = compressed_rows(none, none, np.zeros(0), (3, 2))
    np.testing.assert_array_equal(A @ np.ones((2, 2)), np.zeros((3, 2)))
    np.testing.assert_array_equal(symmetric_product(A, A), np.zeros((2, 2)))
