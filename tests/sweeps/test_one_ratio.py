"""One random effect a level: the compiled search ends where the search by NumPy does."""

import dataclasses

import numpy as np
import pytest

from mixedflow.sweeps import one_factor
from mixedflow.sweeps.one_factor import fit_one_factor
from tests.sweeps.problems import entries_of, random_sums


def _both(monkeypatch, designs, responses, reml):
    L = np.random.default_rng(9).normal(size=(3, designs.XtX.shape[1]))
    out = []
    for above in (0, 10**12):
        monkeypatch.setattr(one_factor, "COMPILE_ABOVE", above)
        out.append(fit_one_factor(designs, responses, entries_of(1), reml=reml, L=L))
    return out


def _same(found, twin):
    for name in ("converged", "singular", "aliased", "exact"):
        np.testing.assert_array_equal(getattr(found, name), getattr(twin, name))
    good = twin.converged
    for name in ("theta", "sigma2", "minus2ll", "spread"):
        np.testing.assert_allclose(
            getattr(found, name)[good], getattr(twin, name)[good], rtol=1e-7, atol=1e-8
        )
    for name in ("hessian", "slopes"):  # the twin's are central differences
        wanted = getattr(twin, name)[good]
        size = 1e-5 * np.abs(wanted).max(initial=0.0)
        np.testing.assert_allclose(getattr(found, name)[good], wanted, rtol=1e-5, atol=size)
    np.testing.assert_allclose(found.look.beta[good], twin.look.beta[good], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("D", [1, 3])
@pytest.mark.parametrize("p", [1, 4, 9])
def test_the_compiled_search_ends_where_its_twin_does(monkeypatch, p, D, reml):
    designs, responses = random_sums(40 + p, n=400, L=21, p=p, q=1, T=30, D=D)
    found, twin = _both(monkeypatch, designs, responses, reml)
    assert found.converged.all()
    assert 0 < found.singular.sum() < 30
    _same(found, twin)


@pytest.mark.parametrize("reml", [True, False])
def test_curvatures_are_differences_of_slopes(monkeypatch, reml):
    designs, responses = random_sums(50, n=400, L=21, p=4, q=1, T=12)
    monkeypatch.setattr(one_factor, "COMPILE_ABOVE", 0)
    fits = fit_one_factor(designs, responses, entries_of(1), reml=reml)
    n = designs.n_obs[responses.which].astype(float)
    m = n - 4 if reml else n
    task = one_factor._Task(designs, responses, entries_of(1), reml, m, np.eye(4))
    every, step = np.arange(12), 1e-5
    up, down = task.look(fits.theta + step, every), task.look(fits.theta - step, every)
    wanted = (up.of_log - down.of_log + (up.of_square - down.of_square) / fits.sigma2[:, None]) / (
        2 * step
    )
    np.testing.assert_allclose(fits.hessian[:, 0, 0], wanted[:, 0], rtol=1e-6, atol=1e-4)
    slopes = (task.spread(up.inverse) - task.spread(down.inverse)) / (2 * step)
    np.testing.assert_allclose(fits.slopes[:, 0], slopes, rtol=1e-6, atol=1e-8)


def test_what_cannot_be_fitted_is_said_as_by_the_twin(monkeypatch):
    designs, responses = random_sums(60, n=400, L=21, p=3, q=1, T=6)
    Xty, yty, Zty = responses.Xty.copy(), responses.yty.copy(), responses.Zty.copy()
    Xty[2], Zty[2] = designs.XtX[0, 1], designs.ZtX[0, :, :, 1]  # the second column itself
    yty[2] = designs.XtX[0, 1, 1]
    Xty[3], Zty[3], yty[3] = 0.0, 0.0, 0.0
    other = dataclasses.replace(responses, Xty=Xty, Zty=Zty, yty=yty)
    found, twin = _both(monkeypatch, designs, other, True)
    assert found.exact[[2, 3]].all()
    assert not found.converged[[2, 3]].any()
    _same(found, twin)


def test_a_level_without_rows_and_a_column_that_is_a_sum_of_others(monkeypatch):
    designs, responses = random_sums(70, n=400, L=21, p=3, q=1, T=6)
    ZtZ, ZtX, Zty = designs.ZtZ.copy(), designs.ZtX.copy(), responses.Zty.copy()
    ZtZ[:, 4], ZtX[:, 4], Zty[:, 4] = 0.0, 0.0, 0.0
    empty = dataclasses.replace(designs, ZtZ=ZtZ, ZtX=ZtX)
    _same(*_both(monkeypatch, empty, dataclasses.replace(responses, Zty=Zty), True))
    XtX = designs.XtX.copy()
    XtX[0, 2], XtX[0, :, 2] = XtX[0, 1], XtX[0, :, 1]
    ZtX = designs.ZtX.copy()
    ZtX[..., 2] = ZtX[..., 1]
    aliased = dataclasses.replace(designs, XtX=XtX, ZtX=ZtX)
    found, twin = _both(monkeypatch, aliased, responses, True)
    assert found.aliased.all()
    _same(found, twin)
