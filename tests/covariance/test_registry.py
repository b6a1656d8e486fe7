"""The registry: names, misspelt names, and packages that add a structure."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from mixedflow.covariance import registry
from mixedflow.covariance.base import psd_factor
from mixedflow.covariance.diagonal import Diagonal
from mixedflow.errors import UnsupportedError


def test_an_unknown_name_is_told_what_there_is():
    with pytest.raises(UnsupportedError, match=r"'dig' is not offered.*'us', 'diag'.*mean 'diag'"):
        registry.get_structure("dig")


def test_an_entry_point_adds_a_structure(monkeypatch):
    known = dict(registry._REGISTERED)
    monkeypatch.setattr(registry, "_REGISTERED", known)

    def load():
        @registry.register
        class Twin(Diagonal):
            name = "twin"
            title = "diagonal by another name"

        return Twin

    point = SimpleNamespace(name="twin", load=load)
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [point] if "covariance" in group else []
    )
    assert registry.get_structure("twin").title == "diagonal by another name"
    assert set(registry.structures()) >= {"us", "diag", "twin"}


def test_psd_factor_is_cholesky_where_it_exists():
    root = np.random.default_rng(1).normal(size=(4, 6))
    G = root @ root.T
    np.testing.assert_allclose(psd_factor(G), np.linalg.cholesky(G), rtol=1e-12)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_psd_factor_of_a_singular_matrix(rank):
    root = np.random.default_rng(2).normal(size=(4, rank))
    G = root @ root.T
    F = psd_factor(G)
    np.testing.assert_allclose(F @ F.T, G, atol=1e-7 * (1 + np.trace(G)))
    np.testing.assert_array_equal(F, np.tril(F))


@pytest.mark.parametrize("power", [-200, 0, 200])
def test_psd_factor_knows_no_units(power):
    G = np.array([[4.0, 2.0], [2.0, 1.0]]) * 10.0**power
    F = psd_factor(G)
    np.testing.assert_allclose(F @ F.T, G, rtol=1e-12)
    assert F[1, 1] == 0.0
