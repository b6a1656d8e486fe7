"""When conjugate gradients are taken instead of a factorisation, and that no ordering is tried then."""

from __future__ import annotations

import numpy as np
import pytest

from mixedflow.equations import budget, choice
from mixedflow.equations.budget import Budget, machine_budget
from mixedflow.equations.choice import plan_engine
from mixedflow.equations.engines import RandomPattern
from mixedflow.equations.iterative import IterativeEngine, IterativeRoute, IterativeSettings
from mixedflow.errors import UnsupportedError

PLENTY = Budget(flops=1e15, bytes=1e12)
LITTLE = Budget(flops=1e6, bytes=1e12)


def random_pairs(users=8000, items=1500, n=40_000, seed=1):
    rng = np.random.default_rng(seed)
    keys = np.unique(rng.integers(0, users, n) * items + rng.integers(0, items, n))
    return RandomPattern(((users, 1), (items, 1)), {(0, 1): (keys // items, keys % items)})


def nested(levels=20_000, outer=2000):
    at = np.arange(levels)
    return RandomPattern(((levels, 1), (outer, 1)), {(0, 1): (at, at * outer // levels)})


def test_beyond_the_budget():
    pattern = random_pairs()
    assert plan_engine(pattern, budget=PLENTY).name in ("schur", "sparse")
    plan = plan_engine(pattern, budget=LITTLE)
    assert plan.name == "pcg"
    assert plan.engine is IterativeEngine
    assert not plan.engine.exact
    assert "16 random vectors" in plan.why
    assert plan.flops > 0
    assert plan.bytes > 0
    assert plan_engine(pattern, budget=Budget(1e15, 1e5)).name == "pcg"


def test_no_order_is_sought_where_the_graph_does_not_fall_apart(monkeypatch):
    def never(pattern):
        raise AssertionError(pattern)

    monkeypatch.setattr(choice, "_plan_sparse", never)
    assert plan_engine(random_pairs(), budget=LITTLE).name == "pcg"


@pytest.mark.parametrize("limit", [LITTLE, Budget(1e9, 1e8)])
def test_nested_levels_are_factorised_however_many(limit):
    plan = plan_engine(nested(), budget=limit)
    assert plan.name == ("sparse" if plan.flops <= limit.flops else "pcg")
    assert plan_engine(nested(), budget=Budget(1e9, 1e8)).name == "sparse"


def test_small_systems_are_never_estimated():
    assert plan_engine(random_pairs(100, 40, 500), budget=LITTLE).name == "dense"
    assert plan_engine(random_pairs(2000, 90, 5000), budget=LITTLE).name == "schur"
    one = RandomPattern(((1_000_000, 2),), {})
    assert plan_engine(one, budget=LITTLE).name == "grouped"


def test_it_can_be_asked_for():
    settings = IterativeSettings(probes=5, seed=3)
    plan = plan_engine(random_pairs(100, 40, 500), wanted="pcg", iterative=settings)
    assert plan.name == "pcg"
    assert isinstance(plan.make, IterativeRoute)
    assert plan.make.settings == settings
    assert plan.make.with_probes(9).settings.probes == 9
    with pytest.raises(UnsupportedError, match="'pcg' cannot solve this model"):
        plan_engine(RandomPattern(((1000, 1),), {}), wanted="pcg")


def test_settings_reach_a_route_that_is_chosen():
    settings = IterativeSettings(probes=5, seed=3, threads=2)
    plan = plan_engine(random_pairs(), budget=LITTLE, iterative=settings)
    assert plan.make.settings == settings


def test_the_budget_of_a_machine():
    assert machine_budget(cores=4, memory=16e9) == Budget(2e12, 8e9)
    here = machine_budget()
    assert here.flops >= budget.FLOPS_A_CORE
    assert here.bytes > 1e8


def test_a_control_group_limits_the_memory(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    limit.write_text("2000000000\n")
    monkeypatch.setattr(budget, "_GROUP_LIMITS", (str(limit), str(tmp_path / "none")))
    assert machine_budget(cores=1).bytes <= 1e9
    limit.write_text("max\n")
    assert machine_budget(cores=1).bytes > 1e8
