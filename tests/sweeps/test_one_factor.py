"""Many responses at once: slopes, the compiled pass beside its twin, the optimum of single fits."""

import numpy as np
import pytest

from mixedflow.sweeps import one_factor
from mixedflow.sweeps.one_factor import fit_one_factor
from mixedflow.sweeps.one_factor_twins import look_with_numpy
from tests.sweeps.problems import entries_of, random_sums

KINDS = [(1, "us"), (2, "us"), (3, "us"), (2, "diag"), (3, "id")]


def _looks(designs, responses, entries, theta, reml):
    from mixedflow.sweeps.one_factor import _Task

    n = designs.n_obs[responses.which].astype(float)
    task = _Task(designs, responses, entries, reml, n, np.eye(designs.XtX.shape[1]))
    return task.look(theta, np.arange(len(theta)))


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize(("q", "kind"), KINDS)
@pytest.mark.parametrize("D", [1, 3])
def test_the_compiled_pass_is_its_twin(monkeypatch, q, kind, D, reml):
    designs, responses = random_sums(q, p=4, q=q, D=D)
    entries = entries_of(q, kind)
    theta = np.random.default_rng(1).normal(size=(6, entries.count))
    monkeypatch.setattr(one_factor, "COMPILE_ABOVE", 0)
    found = _looks(designs, responses, entries, theta, reml)
    twin = look_with_numpy(theta, designs, responses, entries, reml=reml)
    for name in type(twin).__slots__:
        np.testing.assert_allclose(
            getattr(found, name), getattr(twin, name), rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize(("q", "kind"), KINDS)
def test_slopes_are_differences(q, kind, reml):
    designs, responses = random_sums(10 + q, p=4, q=q)
    entries = entries_of(q, kind)
    theta = np.random.default_rng(2).normal(size=(6, entries.count))
    at = look_with_numpy(theta, designs, responses, entries, reml=reml)
    for i in range(entries.count):
        step = np.zeros_like(theta)
        step[:, i] = 1e-5
        up, down = (
            look_with_numpy(theta + s * step, designs, responses, entries, reml=reml)
            for s in (1, -1)
        )
        for value, slope in (("logdet", "of_log"), ("square", "of_square")):
            wanted = (getattr(up, value) - getattr(down, value)) / 2e-5
            np.testing.assert_allclose(getattr(at, slope)[:, i], wanted, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize(("q", "kind"), KINDS)
def test_no_response_can_be_moved_up_from_where_it_ended(q, kind, reml):
    designs, responses = random_sums(20 + q, n=500, L=20, q=q, p=4, T=12)
    entries = entries_of(q, kind)
    fits = fit_one_factor(designs, responses, entries, reml=reml)
    assert fits.converged.all()
    rng = np.random.default_rng(3)
    n = designs.n_obs[responses.which]
    m = n - 4 if reml else n
    for size in (1e-3, 1e-2, 1e-1, 1.0):
        theta = fits.theta + size * rng.normal(size=fits.theta.shape)
        look = look_with_numpy(theta, designs, responses, entries, reml=reml)
        value = look.logdet + m * np.log(look.square)
        best = fits.look.logdet + m * np.log(fits.look.square)
        assert (value >= best - 1e-9).all()


def test_a_column_that_is_a_sum_of_others_is_said_so():
    designs, responses = random_sums(1, p=3, q=1)
    XtX = designs.XtX.copy()
    XtX[0, 2], XtX[0, :, 2] = XtX[0, 1], XtX[0, :, 1]
    ZtX = designs.ZtX.copy()
    ZtX[..., 2] = ZtX[..., 1]
    from dataclasses import replace

    fits = fit_one_factor(replace(designs, XtX=XtX, ZtX=ZtX), responses, entries_of(1), reml=True)
    assert fits.aliased.all()
    assert not fits.converged.any()


def test_nothing_left_of_a_response_is_said_so():
    designs, responses = random_sums(2, p=3, q=1)
    from dataclasses import replace

    beta = np.array([0.0, 1.0, 2.0])
    X = designs.XtX[0]
    Xty = np.tile(X @ beta, (6, 1))
    yty = np.full(6, beta @ X @ beta)
    Zty = np.tile(designs.ZtX[0] @ beta, (6, 1, 1))
    fits = fit_one_factor(
        designs, replace(responses, Xty=Xty, yty=yty, Zty=Zty), entries_of(1), reml=True
    )
    assert fits.exact.all()
    assert not fits.converged.any()
