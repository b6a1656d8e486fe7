"""The driver: every method ends at the same optimum, says when it does not, and never at NaN."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from dense_problems import RECIPES, problem

import mixedflow as mf
from mixedflow.equations import choice
from mixedflow.equations.choice import ENGINES
from mixedflow.errors import ConfigError, FitError, UnsupportedError
from mixedflow.estimation.control import METHODS, SOLVERS, FitControl, checked_method
from mixedflow.estimation.driver import NEAR
from mixedflow.estimation.fit import estimate, fit_ml, fit_reml

both = pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])
INSIDE = ["one", "slope only", "crossed", "weighted, no constant", "no constant"]


@both
@pytest.mark.parametrize("name", INSIDE)
@pytest.mark.parametrize("method", ["em", "px-em", "ai"])
def test_all_methods_reach_the_same_optimum(name, reml, method):
    """EM stops at a decrement of 1e-8 and cannot go closer in good time: 1e-3 standard errors."""
    p = problem(name)
    wanted = estimate(p.sums, p.terms, reml=reml)
    found = estimate(p.sums, p.terms, reml=reml, method=method)
    assert wanted.converged
    assert found.converged
    assert found.method == method
    assert found.minus2ll == pytest.approx(wanted.minus2ll, abs=1e-6)
    se = np.sqrt(np.diag(wanted.vcov))
    np.testing.assert_allclose(found.beta / se, wanted.beta / se, atol=1e-3)
    for a, b in zip(found.G, wanted.G, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3 * np.abs(b).max())


@both
@pytest.mark.parametrize("name", list(RECIPES))
def test_the_optimum_is_one(name, reml):
    """At the fit the textbook's score is zero, or the G is singular and the score points out of it."""
    p = problem(name)
    fit = estimate(p.sums, p.terms, reml=reml)
    assert fit.converged
    G, sigma2 = p.user(fit.params)
    score = p.twin.score(G, sigma2, reml=reml)
    slopes, of_sigma2 = p.twin.unpack(score)
    assert abs(of_sigma2 * sigma2) < 1e-5
    for G_j, slope in zip(G, slopes, strict=True):
        scale = np.sqrt(np.diag(G_j)) + 1e-100
        M = (slope + np.diag(np.diag(slope))) / 2 * np.outer(scale, scale)
        assert np.abs(M @ (G_j / np.outer(scale, scale))).max() < 1e-4 * max(1.0, np.abs(M).max())


def test_fit_reml_and_fit_ml_are_estimate():
    p = problem("one")
    assert fit_reml(p.sums, p.terms).minus2ll == estimate(p.sums, p.terms).minus2ll
    assert fit_ml(p.sums, p.terms).minus2ll == estimate(p.sums, p.terms, reml=False).minus2ll
    assert fit_ml(p.sums, p.terms, method="ai").method == "ai"


def test_a_start_is_taken_and_does_not_decide():
    p = problem("crossed slopes")
    plain = estimate(p.sums, p.terms)
    seen = []
    for seed in range(3):
        start = p.params(seed)
        other = estimate(p.sums, p.terms, start=start, progress=seen.append)
        assert other.trace[0].minus2ll == pytest.approx(p.at(start, reml=True).minus2ll, rel=1e-9)
        assert other.minus2ll == pytest.approx(plain.minus2ll, abs=1e-7)
    assert seen
    assert all(row.step in {"px-em", "ai"} for row in seen)


def test_more_iterations_never_lower_the_likelihood():
    p = problem("three columns")
    for method in METHODS:
        rows = estimate(p.sums, p.terms, method=method, control=FitControl(max_iter=40)).trace
        values = np.array([row.minus2ll for row in rows])
        assert (np.diff(values) <= 1e-9).all()
        assert [row.iteration for row in rows] == list(range(len(rows)))


class TestNotConverged:
    @pytest.mark.parametrize("method", METHODS)
    def test_the_result_says_so(self, method):
        rng = np.random.default_rng(1)
        g = np.repeat(np.arange(10), 6)
        data = pd.DataFrame({"g": g, "x": rng.normal(size=60)})
        data["y"] = (
            rng.normal(size=10)[g] + data["x"] * rng.normal(size=10)[g] + rng.normal(size=60)
        )
        fit = mf.fit(
            "y ~ x + (x | g)", data, method=method, levels=None, types={"g": "category"},
            control=FitControl(max_iter=1),
        )  # fmt: skip
        assert fit.converged is False
        assert fit.n_iter == 1
        assert any(f"not converged after 1 iterations of {method}" in text for text in fit.messages)
        assert "not converged" in repr(fit)
        assert ("converged", "no", "warning") in fit.certificate.as_rows()
        assert np.isfinite(fit.certificate.decrement)
        assert fit.certificate.decrement > 1e-8


class TestControl:
    """Every field is set to something that shows; the list of fields is closed."""

    def fit(self, **settings):
        p = problem("crossed slopes")
        method = settings.pop("method", "auto")
        return estimate(p.sums, p.terms, method=method, control=FitControl(**settings))

    def test_every_field_is_tested_here(self):
        assert {field.name for field in dataclasses.fields(FitControl)} == {
            "max_iter", "tolerance", "parameter_tolerance", "em_steps", "solver", "threads",
            "accelerate", "warm_start",
            "mc_probes", "mc_target", "mc_seed",
        }  # fmt: skip

    def test_warm_start(self, monkeypatch):
        for name, value in (("WARM_ABOVE", 0.0), ("WARM_SHARE", float("inf"))):
            monkeypatch.setattr(choice, name, value)
        assert self.fit(solver="schur").trace[0].step == "warm start"
        assert self.fit(solver="schur", warm_start=False).trace[0].step == "start"

    def test_max_iter(self):
        assert self.fit(max_iter=2).trace[-1].iteration == 2
        assert FitControl().iterations("auto") == 200
        assert FitControl().iterations("em") == FitControl().iterations("px-em") == 20_000
        assert FitControl(max_iter=7).iterations("em") == 7

    def test_tolerance(self):
        settings = {"method": "px-em", "parameter_tolerance": 0.1}
        early, late = (self.fit(tolerance=t, **settings) for t in (1e-1, 1e-10))
        assert early.trace[-1].iteration < late.trace[-1].iteration
        assert early.certificate.decrement < 1e-1
        assert late.certificate.decrement < 1e-10

    def test_parameter_tolerance(self):
        early, late = (
            self.fit(method="px-em", accelerate=False, tolerance=0.9, parameter_tolerance=t)
            for t in (0.1, 1e-9)
        )
        assert early.trace[-1].iteration < late.trace[-1].iteration
        assert late.certificate.rel_change < 1e-9

    @pytest.mark.parametrize("steps", [0, 1, 5])
    def test_em_steps(self, steps):
        trace = self.fit(em_steps=steps, tolerance=1e-12).trace
        taken = [row.step for row in trace].index("ai") - 1
        assert [row.step for row in trace[1 : taken + 1]] == ["px-em"] * taken
        before = [row.rel_change < NEAR for row in trace[: taken + 1]]
        assert taken == min([steps, *(k for k, near in enumerate(before) if near)])

    @pytest.mark.parametrize("solver", list(SOLVERS))
    def test_solver(self, solver):
        if solver == "grouped":
            with pytest.raises(UnsupportedError, match="'grouped' cannot solve"):
                self.fit(solver=solver)
            return
        found = self.fit(solver=solver)
        assert solver in ("auto", found.solver)
        if solver == "pcg":  # its likelihood is a Monte-Carlo estimate
            assert found.minus2ll == pytest.approx(self.fit().minus2ll, abs=1.0)
            return
        assert found.solver in ENGINES
        assert found.minus2ll == pytest.approx(self.fit().minus2ll, rel=1e-11)

    @pytest.mark.parametrize("method", ["em", "px-em"])
    def test_accelerate(self, method):
        plain, quick = (
            self.fit(method=method, accelerate=on, tolerance=1e-10) for on in (False, True)
        )
        assert {row.step for row in plain.trace[1:]} == {method}
        assert "squarem" in {row.step for row in quick.trace}
        assert len(quick.trace) < len(plain.trace)
        assert quick.converged
        assert quick.minus2ll == pytest.approx(plain.minus2ll, abs=1e-7)
        assert all(
            after.minus2ll <= before.minus2ll + 1e-9 * abs(before.minus2ll)
            for before, after in pairwise(quick.trace)
        )

    def test_threads(self):
        one, two = self.fit(threads=1), self.fit(threads=2)
        assert one.minus2ll == two.minus2ll

    def test_mc_seed(self):
        """With few levels the variances are exact; the log-determinant still rests on chance."""
        one, again, other = (self.fit(solver="pcg", mc_seed=seed) for seed in (5, 5, 6))
        assert one.minus2ll == again.minus2ll
        assert one.minus2ll != other.minus2ll
        assert one.monte_carlo.seed == 5
        exact = self.fit()
        for found in (one, other):
            assert abs(found.minus2ll - exact.minus2ll) < 6 * found.monte_carlo.minus2ll_se
            for G, H in zip(found.G, exact.G, strict=True):
                np.testing.assert_allclose(G, H, atol=1e-4 * np.abs(H).max())

    def test_mc_probes(self):
        few, many = (self.fit(solver="pcg", mc_probes=n, mc_target=0.9) for n in (4, 64))
        assert few.monte_carlo.probes == 4
        assert many.monte_carlo.probes == 64

    @pytest.mark.parametrize("target", [0.9, 0.02])
    def test_mc_target(self, target):
        found = self.fit(solver="pcg", mc_probes=4, mc_target=target).monte_carlo
        assert found.target == target
        assert found.largest <= target

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("mc_probes", 3), ("mc_probes", 8.5), ("mc_seed", -1), ("mc_seed", "a"),
            ("mc_target", 0.0), ("mc_target", 1.5),
            ("accelerate", 1), ("max_iter", 0), ("max_iter", -3), ("max_iter", 2.5), ("max_iter", "10"),
            ("max_iter", True), ("tolerance", 0.0), ("tolerance", 1.0), ("tolerance", -1e-8),
            ("tolerance", float("nan")), ("tolerance", "small"), ("parameter_tolerance", 0),
            ("parameter_tolerance", 2.0), ("parameter_tolerance", None), ("em_steps", -1),
            ("em_steps", 1.5), ("solver", "shur"), ("solver", "cholesky"), ("threads", 0),
            ("threads", None),
        ],
    )  # fmt: skip
    def test_wrong_values(self, field, value):
        with pytest.raises(ConfigError, match=field) as raised:
            FitControl(**{field: value})
        assert str(value) in str(raised.value)

    def test_a_misspelt_solver_or_method_gets_its_nearest_match(self):
        with pytest.raises(ConfigError, match="did you mean 'schur'"):
            FitControl(solver="shur")
        with pytest.raises(ConfigError, match="did you mean 'px-em'"):
            checked_method("pxem")
        assert [checked_method(name) for name in METHODS] == list(METHODS)


class TestNothingToEstimate:
    """A residual variance of zero is no fit at all, and one sentence says so."""

    def data(self):
        rng = np.random.default_rng(3)
        g = np.repeat(np.arange(8), 5)
        return pd.DataFrame({"g": np.array(list("abcdefgh"))[g], "x": rng.normal(size=40), "k": g})

    @pytest.mark.parametrize("method", METHODS)
    def test_fixed_effects_reproduce_the_response(self, method):
        data = self.data().assign(y=lambda d: 2 * d["x"] + 1)
        with pytest.raises(FitError, match="fixed effects reproduce the response exactly"):
            mf.fit("y ~ x + (1 | g)", data, method=method)

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("noise", [0.0, 1e-9])
    def test_random_effects_reproduce_the_response(self, method, noise):
        data = self.data()
        data["y"] = data["k"] + noise * data["x"]
        with pytest.raises(FitError, match="together reproduce the response exactly"):
            mf.fit("y ~ 1 + (1 | g)", data, method=method)

    def test_a_small_residual_is_still_a_fit(self):
        data = self.data()
        data["y"] = data["k"] + 1e-3 * data["x"]
        fit = mf.fit("y ~ 1 + (1 | g)", data)
        assert fit.converged
        within = data["x"] - data.groupby("g")["x"].transform("mean")
        assert fit.sigma**2 == pytest.approx(1e-6 * (within**2).sum() / 32, rel=1e-7)
