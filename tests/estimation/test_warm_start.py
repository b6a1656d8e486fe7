"""Where an exact evaluation is expensive, estimated ones lead near the optimum; the answer is exact."""

from __future__ import annotations

import numpy as np
import pytest
from crossed_sums import crossed

from mixedflow.equations import choice
from mixedflow.equations.choice import plan_engine
from mixedflow.equations.system import model_system
from mixedflow.errors import ConfigError, FitError
from mixedflow.estimation import fit as fitting
from mixedflow.estimation import probing_driver, problem
from mixedflow.estimation.control import FitControl
from mixedflow.estimation.fit import estimate
from mixedflow.estimation.parameters import start_parameters

COLD = FitControl(warm_start=False)


@pytest.fixture
def dear(monkeypatch):
    """Let small systems count as expensive."""
    monkeypatch.setattr(choice, "WARM_ABOVE", 0.0)
    monkeypatch.setattr(choice, "WARM_SHARE", float("inf"))
    monkeypatch.setattr(choice, "SMALL", 0)


@pytest.fixture
def counted(monkeypatch):
    """Count exact evaluations."""
    calls = []
    plain = problem.evaluate

    def evaluate(*args, **options):
        calls.append(args[1])
        return plain(*args, **options)

    monkeypatch.setattr(problem, "evaluate", evaluate)
    return calls


@pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])
@pytest.mark.parametrize("solver", ["auto", "schur", "sparse"])
@pytest.mark.parametrize("setting", [{}, {"slope": True}, {"third": 8}], ids=str)
def test_the_optimum_is_the_exact_one(setting, solver, reml, dear, counted):
    sums, terms = crossed(**setting)
    found = estimate(sums, terms, reml=reml, control=FitControl(solver=solver))
    evaluations = len(counted)
    exact = estimate(sums, terms, reml=reml, control=COLD)
    assert found.converged
    assert found.certificate.decrement < 1e-8
    assert found.monte_carlo is None
    assert found.minus2ll == pytest.approx(exact.minus2ll, rel=0, abs=1e-7)
    for left, right in zip(found.G, exact.G, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-8)
    assert [row.step for row in exact.trace[:2]] == ["start", "px-em"]
    assert {row.step for row in found.trace[1:]} == {"ai"}
    assert found.trace[0].step == "warm start"
    assert evaluations <= 4


def test_nothing_is_evaluated_twice(dear, counted):
    sums, terms = crossed()
    estimate(sums, terms)
    points = {tuple(params.vector()) for params in counted}
    assert len(points) == len(counted)


def test_the_same_seed_gives_the_same_bits(dear):
    sums, terms = crossed()
    one, two = (estimate(sums, terms, control=FitControl(threads=t)) for t in (1, 2))
    assert one.params.vector().tolist() == two.params.vector().tolist()
    other = estimate(sums, terms, control=FitControl(mc_seed=5))
    assert other.trace[0].minus2ll != one.trace[0].minus2ll
    assert other.minus2ll == pytest.approx(one.minus2ll, abs=1e-7)


@pytest.mark.parametrize("method", ["ai", "px-em"])
def test_other_methods_start_where_they_say(method, dear):
    sums, terms = crossed(users=60, items=20, n=900)
    assert estimate(sums, terms, method=method).trace[0].step == "start"


def test_a_start_of_one_s_own_is_taken(dear):
    sums, terms = crossed()
    own = start_parameters(model_system(sums, terms))
    found = estimate(sums, terms, start=own)
    assert found.trace[0].step == "start"


def test_a_variance_that_vanishes_is_left_to_the_exact_likelihood(dear):
    sums, terms = crossed(sd=(0.6, 0.0), seed=2)
    found, exact = estimate(sums, terms), estimate(sums, terms, control=COLD)
    assert found.singular == exact.singular
    assert found.minus2ll == pytest.approx(exact.minus2ll, abs=1e-7)


def breaks_down(*_args, **_options):
    raise FitError("it breaks down")


@pytest.mark.parametrize(
    ("name", "value"),
    [("_look", breaks_down), ("_move", lambda *_: None), ("APPROACHES", 1)],
    ids=["breaks down", "no step helps", "takes too long"],
)
def test_what_does_not_lead_there_changes_nothing(name, value, dear, monkeypatch):
    sums, terms = crossed()
    exact = estimate(sums, terms, control=COLD)
    monkeypatch.setattr(probing_driver, name, value)
    found = estimate(sums, terms)
    assert [row.minus2ll for row in found.trace] == [row.minus2ll for row in exact.trace]


def test_the_plan_says_so(dear):
    pattern = model_system(*crossed()).pattern
    plan = plan_engine(pattern)
    assert plan.warm is not None
    assert "random vectors" in plan.why
    assert not plan.warm.settings.determinant


def test_cheap_systems_have_none():
    pattern = model_system(*crossed()).pattern
    assert plan_engine(pattern).warm is None
    assert plan_engine(pattern, wanted="schur").warm is None


def test_where_estimates_are_dear_too_there_is_none(dear, monkeypatch):
    monkeypatch.setattr(choice, "WARM_SHARE", 1e-9)
    assert plan_engine(model_system(*crossed()).pattern).warm is None


def test_it_is_yes_or_no():
    with pytest.raises(ConfigError, match="warm_start must be true or false"):
        FitControl(warm_start=1)
    assert fitting.FitControl().warm_start
