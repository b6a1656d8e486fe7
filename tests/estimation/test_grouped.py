"""Compiled passes over one factor's levels against arrays over all levels, quantity by quantity."""

from __future__ import annotations

import numpy as np
import pytest
from dense_problems import RECIPES, problem

from mixedflow.crossproducts import levels as levels_module
from mixedflow.estimation import fit as fit_module
from mixedflow.estimation.control import FitControl
from mixedflow.estimation.fit import estimate
from mixedflow.estimation.grouped import MomentsPass, evaluate_grouped, local_levels
from mixedflow.estimation.information import information
from mixedflow.estimation.steps import em_step, px_em_step

ALONE = [name for name in RECIPES if len({t[0] for t in RECIPES[name].random}) == 1]
alone = pytest.mark.parametrize("name", ALONE)
both = pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])


@alone
@both
def test_likelihood_score_information_and_steps(name, reml):
    p = problem(name)
    params = p.params(7)
    arrays = p.at(params, reml=reml)
    passes = evaluate_grouped(p.system, params, reml=reml)
    assert passes.minus2ll == pytest.approx(arrays.minus2ll, rel=1e-12)
    a, b = arrays.moments(), passes.moments()
    left, right = information(arrays, a), information(passes, b)
    for field in ("score", "average", "hessian"):
        one, other = getattr(left, field), getattr(right, field)
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-10 * np.abs(one).max())
    for step in (em_step, px_em_step):
        np.testing.assert_allclose(
            step(passes, b).vector(), step(arrays, a).vector(), rtol=1e-9, atol=1e-11
        )


@alone
def test_threads_and_stretches(name, monkeypatch):
    p = problem(name)
    params = p.params(8)
    whole = evaluate_grouped(p.system, params, reml=True)
    monkeypatch.setattr(levels_module, "STRETCH", 2)
    stores = (local_levels(p.system, threads) for threads in (1, 3))
    one, three = (evaluate_grouped(p.system, params, store, reml=True) for store in stores)
    assert one.minus2ll == three.minus2ll
    assert one.minus2ll == pytest.approx(whole.minus2ll, rel=1e-13)
    left, right = information(one, one.moments()), information(three, three.moments())
    np.testing.assert_array_equal(left.hessian, right.hessian)
    np.testing.assert_array_equal(left.score, right.score)


@alone
@both
def test_the_whole_fit(name, reml, monkeypatch):
    p = problem(name)
    arrays = estimate(p.sums, p.terms, reml=reml)
    monkeypatch.setattr(fit_module, "compiled_pays", lambda system: True)
    passes = estimate(p.sums, p.terms, reml=reml, control=FitControl(threads=2))
    assert passes.minus2ll == pytest.approx(arrays.minus2ll, abs=1e-8)
    assert passes.singular == arrays.singular
    for G, H in zip(passes.G, arrays.G, strict=True):
        np.testing.assert_allclose(G, H, rtol=0, atol=1e-6 * np.abs(H).max() + 1e-12)
    np.testing.assert_allclose(passes.beta, arrays.beta, rtol=1e-7)


@pytest.mark.parametrize("effects", [1, 2, 5])
def test_levels_side_by_side_add_up_to_single_levels(effects):
    rng = np.random.default_rng(effects)
    rows = rng.normal(size=(300, 9, effects + 4))
    products = np.einsum("lni,lnj->lij", rows, rows)
    Z, X = slice(0, effects), slice(effects, effects + 3)
    sums = (products[:, Z, Z].copy(), products[:, Z, X].copy(), products[:, Z, -1].copy())
    T = np.tril(rng.normal(size=(effects, effects)))
    task = MomentsPass((T, 0.7), (rng.normal(size=3), 1e-3 * np.eye(3)))
    together = task(sums, (1, 299))
    alone = levels_module.added([task(sums, (g, g + 1)) for g in range(1, 299)])
    for whole, parts in zip(together, alone, strict=True):
        assert whole.shape == parts.shape
        np.testing.assert_allclose(whole, parts, rtol=0, atol=1e-12 * np.abs(parts).max())
