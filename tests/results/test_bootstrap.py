"""Bootstraps: draws against fits of the rows they stand for, and what is made of them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from helpers import REFERENCES, data_frame

import mixedflow as mf
from mixedflow.errors import ConfigError, DataError, UnsupportedError
from mixedflow.estimation import grouped
from mixedflow.parallel import open_runner
from mixedflow.results import bootstrap_plans
from mixedflow.results.bootstrap import Bootstrap
from mixedflow.results.bootstrap_plans import RowPlan, drawn_levels, generator, replicates
from mixedflow.results.bootstrapping import BootstrapRequest, _group_plan, _parametric_plan
from mixedflow.results.replicate import names_of, replicate_of
from mixedflow.results.simulating import row_blocks

SLEEP = "Reaction ~ Days + (Days | Subject)"


def request(kind: str, **options) -> BootstrapRequest:
    given = {"nsim": 1, "statistic": None, "seed": 3, "factor": None, "strata": None, **options}
    return BootstrapRequest(kind=kind, **given)


def numbers(found: list) -> np.ndarray:
    return np.array([list(one.parameters().values()) for one in found])


def assert_same_distribution(a: np.ndarray, b: np.ndarray) -> None:
    """Means and SDs within five Monte-Carlo errors."""
    n, m = len(a), len(b)
    spread = np.sqrt(a.var(axis=0) / n + b.var(axis=0) / m)
    assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) < 5 * spread).all()
    ratio = np.log(a.std(axis=0) / b.std(axis=0))
    assert (np.abs(ratio) < 5 * np.sqrt(1.5 / n + 1.5 / m)).all()


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("Reaction ~ Days + (1 | Subject)", {"weights": "w"}),
        ("Reaction ~ 0 + Days + (1 | Subject) + (1 | Days)", {}),
        ("Reaction ~ Days + (1 | Subject)", {"residual": "strata(half)"}),
        ("Reaction ~ Days", {"residual": "strata(half)", "reml": False}),
        ("Reaction ~ Days + (1 | Subject)", {"residual": "cs(1 | Subject:half)"}),
        ("Reaction ~ Days", {"residual": "strata(arm) * cs(1 | Subject)"}),
    ],
)
def test_draws_of_sums_are_distributed_as_those_of_rows(formula: str, options: dict):
    frame = data_frame("sleepstudy").assign(w=np.tile([0.5, 1.0, 3.0], 60))
    frame["half"] = np.where(frame["Days"] < 5, "a", "b")
    frame["arm"] = np.where(frame["Subject"] % 2, "a", "b")
    fit = mf.fit(formula, frame.iloc[:-7], **options)
    law = _parametric_plan(fit, request("parametric"))
    blocks = tuple(row_blocks(fit, "drawn"))
    rows = RowPlan(fit, blocks, fit.estimates.params, 4, names_of(fit))
    draws = range(100)
    assert_same_distribution(numbers(replicates(law, draws)), numbers(replicates(rows, draws)))


def test_residual_structures_are_drawn_by_rows():
    frame = data_frame("sleepstudy")
    fit = mf.fit("Reaction ~ Days", frame, residual="ar1(1 | Subject)")
    found = fit.bootstrap(20, seed=2)
    y = fit.simulate(20, seed=2)
    for k in (0, 17, 19):
        again = fit.refit(y[f"sim_{k + 1}"])
        got = found.draws.iloc[k][["(Intercept)", "Days", "sigma"]].astype(float)
        np.testing.assert_allclose(got, [*again.fixef, again.sigma], rtol=1e-5)
    assert found.draws["rho"].between(-1, 1).all()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("formula", "options"),
    [
        (SLEEP, {}),
        ("Reaction ~ 0 + Days + (1 | Subject)", {"weights": "w", "reml": False}),
    ],
)
def test_drawn_groups_are_copies_of_their_rows(formula, options, compiled, monkeypatch):
    monkeypatch.setattr(grouped, "COMPILE_ABOVE", 0 if compiled else 10**9)
    frame = data_frame("sleepstudy").assign(w=np.tile([0.5, 1.0, 3.0], 60)).iloc[:-7]
    fit = mf.fit(formula, frame, **options)
    plan = _group_plan(fit, request("group"))
    subjects = fit.schema.level_labels(0)
    for draw in range(4):
        levels = drawn_levels(plan.strata, generator(3, draw))
        copies = [
            frame[frame["Subject"].astype(str) == subjects[k]].assign(Subject=f"s{n}")
            for n, k in enumerate(levels)
        ]
        wanted = mf.fit(formula, pd.concat(copies, ignore_index=True), **options)
        (found,) = replicates(plan, [draw])
        assert found.loglik == pytest.approx(wanted.loglik, abs=1e-6)
        np.testing.assert_allclose(found.beta, wanted.fixef, rtol=1e-5)
        np.testing.assert_allclose(found.G[0], wanted.estimates.G[0], rtol=2e-3, atol=1e-3)
        assert found.converged


def test_groups_with_nested_levels():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"school": np.repeat(np.arange(12), 20), "x": rng.standard_normal(240)})
    frame["room"] = np.repeat(np.arange(60), 4)
    frame["y"] = frame["x"] + rng.standard_normal(12)[frame["school"]]
    frame["y"] += rng.standard_normal(60)[frame["room"]] + rng.standard_normal(240)
    formula = "y ~ x + (1 | school) + (1 | room)"
    fit = mf.fit(formula, frame)
    plan = _group_plan(fit, request("group", factor="school"))
    levels = np.sort(drawn_levels(plan.strata, generator(3, 0)))
    copies = []
    for n, k in enumerate(levels):
        own = frame[frame["school"].astype(str) == fit.schema.level_labels(0)[k]]
        copies.append(own.assign(school=n, room=own["room"] + 1000 * n))
    wanted = mf.fit(formula, pd.concat(copies, ignore_index=True))
    assert replicates(plan, [0])[0].loglik == pytest.approx(wanted.loglik, abs=1e-6)
    assert fit.bootstrap(5, kind="group", factor="school").draws["converged"].all()
    with pytest.raises(UnsupportedError, match=r"factor='...'.*'school', 'room'"):
        fit.bootstrap(5, kind="group")


def test_strata_keep_their_numbers_of_groups():
    frame = data_frame("sleepstudy")
    fit = mf.fit(SLEEP, frame)
    labels = fit.schema.level_labels(0)
    strata = {label: k % 3 for k, label in enumerate(labels)}
    plan = _group_plan(fit, request("group", strata=strata))
    for draw in range(3):
        levels = drawn_levels(plan.strata, generator(3, draw))
        np.testing.assert_array_equal(np.bincount(levels % 3), [6, 6, 6])
    with pytest.raises(DataError, match="nothing of the level '309'"):
        fit.bootstrap(2, kind="group", strata={"308": 1})


def test_draws_are_the_same_whoever_makes_them():
    fit = mf.fit(SLEEP, data_frame("sleepstudy"))
    for kind in ("parametric", "group"):
        alone = fit.bootstrap(40, kind=kind, workers=1, seed=8)
        pd.testing.assert_frame_equal(
            alone.draws, fit.bootstrap(40, kind=kind, workers=3, seed=8).draws
        )
        pd.testing.assert_frame_equal(
            alone.draws.iloc[:23], fit.bootstrap(23, kind=kind, seed=8).draws
        )
        assert (
            not alone.draws["sigma"].isin(fit.bootstrap(40, kind=kind, seed=9).draws["sigma"]).any()
        )


@pytest.mark.slow
def test_draws_are_the_same_on_worker_processes():
    fit = mf.fit(SLEEP, data_frame("sleepstudy"))
    here = fit.bootstrap(40, statistic=lambda one: one.icc.sum() if one.G == () else one.sigma2)
    with open_runner("processes", workers=2) as runner:
        there = fit.bootstrap(40, statistic=lambda one: one.sigma2, runner=runner)
    pd.testing.assert_frame_equal(here.draws, there.draws)


def test_a_draw_is_what_a_fit_from_the_start_finds():
    fit = mf.fit(SLEEP, data_frame("sleepstudy"))
    plan = _parametric_plan(fit, request("parametric"))
    for draw in range(5):
        (warm,) = replicates(plan, [draw])
        cold = bootstrap_plans.attempted(plan.problem_of(draw), None)
        assert -2 * warm.loglik == pytest.approx(cold.settled.minus2ll, abs=1e-6)


def test_statistics_of_the_light_fit():
    fit = mf.fit("Reaction ~ Days + (1 | Subject)", data_frame("sleepstudy"))
    found = fit.bootstrap(
        12, statistic=lambda one: {"icc": one.icc["Subject"], "b": one.fixef["Days"]}
    )
    assert found.estimate["icc"] == pytest.approx(fit.icc["Subject"])
    np.testing.assert_array_equal(found.draws["b"], found.draws["Days"])
    G = found.draws["sd_(Intercept)|Subject"] ** 2
    np.testing.assert_allclose(found.draws["icc"], G / (G + found.draws["sigma"] ** 2))
    assert "statistic" in fit.bootstrap(2, statistic=lambda one: one.loglik).draws
    assert list(fit.bootstrap(2, statistic=lambda one: one.beta).draws)[-4:-2] == [
        "statistic_0",
        "statistic_1",
    ]
    with pytest.raises(DataError, match=r"statistic must return a number.*DataFrame"):
        fit.bootstrap(2, statistic=lambda one: one.varcorr)


def test_residual_covariance_of_the_light_fit():
    frame = data_frame("sleepstudy")
    fit = mf.fit("Reaction ~ Days", frame, residual="ar1h(Days | Subject)")
    np.testing.assert_allclose(replicate_of(fit).R[0], fit.residual_cov)
    plain = replicate_of(mf.fit(SLEEP, frame))
    assert plain.R[0] == pytest.approx(plain.sigma**2)
    with pytest.raises(DataError, match="random slopes"):
        plain.icc.sum()


def test_threads_leave_the_libraries_as_they_were():
    from threadpoolctl import threadpool_info

    fit = mf.fit(SLEEP, data_frame("sleepstudy"))
    before = [one["num_threads"] for one in threadpool_info()]
    fit.bootstrap(70, workers=4)
    assert [one["num_threads"] for one in threadpool_info()] == before


def test_intervals_of_known_draws():
    values = np.arange(1.0, 100.0)
    draws = pd.DataFrame({"a": values, "converged": True, "singular": False})
    draws.loc[99] = [np.nan, False, False]
    found = Bootstrap("group", pd.Series({"a": 40.0}), draws.astype({"a": float}), 1)
    assert found.failed == 1
    assert found.bias["a"] == pytest.approx(10.0)
    assert found.se["a"] == pytest.approx(values.std(ddof=1))
    percentile = found.confint(0.9)
    np.testing.assert_allclose(percentile[["lower", "upper"]], [[5.0, 95.0]])
    np.testing.assert_allclose(found.confint(0.9, "basic")[["lower", "upper"]], [[-15.0, 75.0]])
    normal = found.confint(0.9, "normal").loc["a"]
    assert normal["upper"] - 30 == pytest.approx(1.6448536 * values.std(ddof=1))
    assert normal["lower"] + normal["upper"] == pytest.approx(60.0)
    assert percentile.loc["a", "estimate"] == 40.0


def test_parametric_draws_as_those_of_lme4():
    reference = json.loads((REFERENCES / "bootstrap.json").read_text())
    for entry in reference["bootMer"]:
        fit = mf.fit(entry["formula"], data_frame(entry["data"]))
        found = fit.bootstrap(400, seed=5)
        R = entry["nsim"]
        for name, mean, sd in zip(entry["names"], entry["mean"], entry["sd"], strict=True):
            mine = found.draws[name]
            error = sd * np.sqrt(1 / R + 1 / 400)
            assert abs(mine.mean() - mean) < 5 * error, name
            assert abs(np.log(mine.std() / sd)) < 5 * np.sqrt(1.0 / R + 1.0 / 400), name


def test_what_cannot_be_drawn(monkeypatch):
    frame = data_frame("sleepstudy").assign(day=lambda d: "d" + d["Days"].astype(str))
    fit = mf.fit("Reaction ~ Days + (1 | Subject)", frame)
    crossed = mf.fit("Reaction ~ 1 + (1 | Subject) + (1 | day)", frame)
    with pytest.raises(UnsupportedError, match=r"crossed with it.*kind='parametric'"):
        crossed.bootstrap(2, kind="group", factor="Subject")
    with pytest.raises(DataError, match="did you mean 'Subject'"):
        fit.bootstrap(2, kind="group", factor="Subjct")
    with pytest.raises(ConfigError, match=r"'grup'.*did you mean 'group'"):
        fit.bootstrap(2, kind="grup")
    with pytest.raises(ConfigError, match="belong to kind='group'"):
        fit.bootstrap(2, factor="Subject")
    with pytest.raises(ConfigError, match="nsim must be a whole number"):
        fit.bootstrap(0)
    with pytest.raises(UnsupportedError, match=r"method='bca'.*'percentile'"):
        fit.bootstrap(2).confint(method="bca")
    with pytest.raises(ConfigError, match="strata must say"):
        fit.bootstrap(2, kind="group", strata=["a"])
    with pytest.raises(UnsupportedError, match="not for residual='cs"):
        mf.fit("Reaction ~ Days", frame, residual="cs(1 | Subject)").bootstrap(2, kind="group")
    sums = mf.fit(
        "Reaction ~ Days + (1 | Subject)", mf.condense("Reaction ~ Days + (1 | Subject)", frame)
    )
    with pytest.raises(UnsupportedError, match="by_group='Subject'"):
        sums.bootstrap(2, kind="group")
    assert sums.bootstrap(3).draws["converged"].all()
    monkeypatch.setattr("mixedflow.inference.sum_law.LARGEST_REST", 2)
    stored = mf.condense("Reaction ~ 1 + (1 | Subject) + (1 | day)", frame)
    with pytest.raises(UnsupportedError, match="fit the model from rows"):
        mf.fit("Reaction ~ 1 + (1 | Subject) + (1 | day)", stored).bootstrap(2)


def test_fits_that_are_not_fitted_again():
    frame = data_frame("Penicillin")
    control = mf.FitControl(solver="pcg")
    estimated = mf.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", frame, control=control)
    with pytest.raises(UnsupportedError, match=r"'pcg' does not make.*'schur'"):
        estimated.bootstrap(2)
    assert estimated.simulate(2).notna().all(axis=None)
    sharded = mf.fit("diameter ~ 1 + (1 | plate)", frame, sharded=True)
    for ask in (sharded.simulate, sharded.bootstrap, lambda: sharded.refit(frame["diameter"])):
        with pytest.raises(UnsupportedError, match="fit the model without sharded=True"):
            ask()


def test_a_fit_on_the_boundary_is_left_again():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"g": np.repeat(np.arange(10), 4), "y": rng.standard_normal(40)})
    frame["y"] -= frame.groupby("g")["y"].transform("mean")
    fit = mf.fit("y ~ 1 + (1 | g)", frame)
    assert fit.singular
    assert 0.3 < fit.bootstrap(50).draws["singular"].mean() < 0.8


def test_groups_from_sums_kept_by_group():
    frame = data_frame("sleepstudy")
    sums = mf.condense(SLEEP, frame, by_group="Subject")
    by_rows = mf.fit(SLEEP, frame).bootstrap(6, kind="group", seed=2)
    by_sums = mf.fit(SLEEP, sums).bootstrap(6, kind="group", seed=2)
    np.testing.assert_allclose(by_sums.draws["sigma"], by_rows.draws["sigma"], rtol=1e-9)


def test_a_draw_without_some_coefficient_is_told():
    frame = data_frame("sleepstudy")
    frame["rare"] = (frame["Subject"] == frame["Subject"].iloc[0]).astype(float)
    fit = mf.fit("Reaction ~ Days + rare + (1 | Subject)", frame)
    found = fit.bootstrap(40, kind="group", seed=1)
    lost = found.draws["rare"].isna()
    assert found.failed == lost.sum() > 5
    assert not found.draws.loc[lost, "converged"].any()
    assert found.confint().notna().all(axis=None)
