"""Curvature of psi: exact without random effects; EM's M-step by Newton's method."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.covariance.registry import get_residual
from mixedflow.covariance.residual_base import ResidualStructure
from mixedflow.estimation.driver import run_driver
from mixedflow.estimation.information import information
from mixedflow.estimation.observed import observed_information
from mixedflow.estimation.problems import residual_problem
from mixedflow.estimation.psi_step import psi_m_step
from mixedflow.estimation.residual import ResidualProblem

STRUCTURES = (
    "us(visit | subject)",
    "us(visit | arm/subject)",
    "toeph(visit | subject)",
    "adh(visit | subject)",
    "cs(1 | subject)",
    "ar1(week | subject)",
    "strata(arm) * ar1(week | subject)",
    "strata(arm)",
)


@pytest.fixture(scope="module")
def visits() -> pd.DataFrame:
    """60 subjects by up to four visits, every fifth missing."""
    rng = np.random.default_rng(11)
    subject, week = np.repeat(np.arange(60), 4), np.tile(np.arange(4), 60)
    y = np.repeat(rng.normal(size=60), 4) + 0.3 * week + (1 + 0.2 * week) * rng.normal(size=240)
    arm, x = np.where(subject % 2, "a", "b"), rng.normal(size=240)
    frame = pd.DataFrame({"subject": subject, "week": week, "y": y, "arm": arm, "x": x})
    frame["visit"] = "v" + frame["week"].astype(str)
    return frame[rng.random(240) > 0.2].reset_index(drop=True)


def problem_of(data: pd.DataFrame, residual: str, *, reml: bool) -> ResidualProblem:
    sums = mf.condense("y ~ x + arm", data, residual=residual).sums
    return residual_problem(sums, (), reml=reml)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("residual", STRUCTURES)
def test_information_is_the_slope_of_the_score(
    visits: pd.DataFrame, residual: str, reml: bool
) -> None:
    problem = problem_of(visits, residual, reml=reml)
    start = problem.start()
    moved = 0.2 * np.random.default_rng(5).normal(size=len(start.vector()))
    evaluation = problem.evaluate(start.with_vector(start.vector() + moved))
    params, found = evaluation.params, evaluation.moments()
    info = problem.information(evaluation, found)
    np.testing.assert_allclose(info.score, problem.score(evaluation, found), rtol=1e-10, atol=1e-10)
    for i, unit in enumerate(1e-5 * np.eye(len(params.vector()))[:-1]):
        up, down = (
            problem.score_at(params.with_vector(params.vector() + u)) for u in (unit, -unit)
        )
        size = np.abs(info.hessian).max()
        np.testing.assert_allclose(info.hessian[i], -(up - down) / 2e-5, atol=1e-7 * size)
    phi = information(evaluation, found)
    assert info.hessian[-1, -1] == phi.hessian[-1, -1]


def test_observed_information_needs_no_differences(
    visits: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = problem_of(visits, "us(visit | subject)", reml=True)
    best = run_driver(problem).evaluation.params
    exact = observed_information(problem, best)
    monkeypatch.setattr(ResidualProblem, "observed", lambda *_: None)
    by_differences = observed_information(problem, best)
    size = np.abs(exact.hessian).max()
    np.testing.assert_allclose(exact.hessian, by_differences.hessian, atol=1e-6 * size)
    assert exact.free.all()


@pytest.mark.parametrize("residual", STRUCTURES)
def test_m_step_reaches_the_minimum(visits: pd.DataFrame, residual: str) -> None:
    problem = problem_of(visits, residual, reml=True)
    evaluation = problem.evaluate(problem.start())
    expected = problem.residual.expected(evaluation.solution, evaluation.moments())
    plan, n = problem.residual.plan, problem.system.n_obs

    def value(psi: np.ndarray) -> float:
        f, logdet = plan.values(psi)
        return n * np.log(f @ expected) + logdet

    psi = psi_m_step(problem.residual, expected, evaluation.params.psi)
    assert value(psi) < value(evaluation.params.psi)
    f, _ = plan.values(psi)
    of_sum, of_log = plan.slopes(psi, expected)
    np.testing.assert_allclose(of_sum * n / (f @ expected) + of_log, 0.0, atol=1e-6 * n)
    again = psi_m_step(problem.residual, expected, psi)
    np.testing.assert_allclose(again, psi, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_unstructured_curvature(size: int) -> None:
    structure, rng = get_residual("us"), np.random.default_rng(size)
    psi, weights = 0.5 * rng.normal(size=structure.n_params(size)), rng.normal(size=(size, size))
    weights += weights.T
    exact = structure.curvature(psi, size, weights)
    by_differences = ResidualStructure.curvature(structure, psi, size, weights)
    np.testing.assert_allclose(exact, by_differences, atol=1e-7)
