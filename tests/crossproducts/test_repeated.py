"""Levels with equal Z'Z brought down to a few: every pass and the whole fit stay what they were."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.crossproducts import repeated
from mixedflow.crossproducts.levels import LocalLevels
from mixedflow.crossproducts.repeated import RepeatedLevels, gathered
from mixedflow.estimation import fit as fit_module
from mixedflow.estimation.grouped import Absorption, MomentsPass


def levels(kinds: int, count: int = 4000, q: int = 2, p: int = 3) -> LocalLevels:
    rng = np.random.default_rng(2)
    A = rng.normal(size=(kinds, 6, q))
    ZZ = (A.transpose(0, 2, 1) @ A)[rng.integers(0, kinds, count)]
    return LocalLevels((ZZ, rng.normal(size=(count, q, p)), rng.normal(size=(count, q))))


@pytest.mark.parametrize("kinds", [1, 3])
def test_passes_give_what_they_give_for_all_levels(kinds):
    whole = levels(kinds)
    few = gathered(whole)
    assert isinstance(few, RepeatedLevels)
    assert few.n_levels == 4000
    assert few.fewer.n_levels == kinds * 8
    scale = (np.array([[0.7, 0.0], [0.2, 0.5]]), 1.3)
    beta, S = np.array([0.1, -0.3, 0.2]), 0.01 * np.eye(3)
    for task in (Absorption(scale), MomentsPass(scale, (beta, S))):
        for a, b in zip(whole.total(task), few.total(task), strict=True):
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-12 * np.abs(a).max())


def test_levels_that_differ_or_are_few_stay(monkeypatch):
    for store in (levels(4000), levels(30)):
        assert gathered(store) is store
    monkeypatch.setattr(repeated, "_same", lambda *_: False)
    store = levels(1)
    assert gathered(store) is store


@pytest.mark.parametrize(
    "formula", ["y ~ x + (1 + t | g)", "y ~ x + (1 | g)", "y ~ x + t + (1 + t || g)"]
)
@pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])
def test_a_balanced_fit_is_the_same(formula, reml, monkeypatch):
    rng = np.random.default_rng(3)
    n_groups, t = 3000, np.arange(4.0)
    g = np.repeat(np.arange(n_groups), 4)
    x = rng.normal(size=len(g))
    u, v = rng.normal(size=(2, n_groups))
    y = 20 + x + u[g] + (0.3 + 0.5 * v[g]) * np.tile(t, n_groups) + rng.normal(size=len(g))
    rows = pd.DataFrame({"y": y, "x": x, "t": np.tile(t, n_groups), "g": g})
    monkeypatch.setattr(fit_module, "compiled_pays", lambda _: True)
    seen = []

    def watched(store: LocalLevels):
        seen.append(gathered(store))
        return seen[-1]

    monkeypatch.setattr(fit_module, "gathered", watched)
    found = mf.fit(formula, rows, reml=reml)
    assert isinstance(seen[0], RepeatedLevels)
    monkeypatch.setattr(fit_module, "gathered", lambda store: store)
    wanted = mf.fit(formula, rows, reml=reml)
    assert found.converged
    assert found.loglik == pytest.approx(wanted.loglik, rel=1e-12)
    np.testing.assert_allclose(found.varcorr["vcov"], wanted.varcorr["vcov"], rtol=1e-10)
    np.testing.assert_allclose(found.ranef["g"], wanted.ranef["g"], rtol=0, atol=1e-10)
