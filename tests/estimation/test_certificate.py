"""The certificate: its second path is independent and agrees, and its verdicts turn when they must."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from dense_problems import RECIPES, problem, with_variance

from mixedflow.equations.choice import plan_engine
from mixedflow.estimation import certificate
from mixedflow.estimation.certificate import independent_minus2ll
from mixedflow.estimation.fit import estimate
from mixedflow.estimation.likelihood import evaluate

both = pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])
recipes = pytest.mark.parametrize("name", list(RECIPES))
CROSSED = [name for name in RECIPES if len(dict.fromkeys(t[0] for t in RECIPES[name].random)) > 1]
ALONE = [name for name in RECIPES if name not in CROSSED]


def agree(found, wanted):
    assert found == pytest.approx(wanted, rel=1e-9)


@recipes
@both
def test_whole_system(name, reml):
    p = problem(name)
    evaluation = p.at(p.params(1), reml=reml)
    value, path = independent_minus2ll(evaluation)
    assert path == "dense LU of the whole system"
    agree(value, p.twin.minus2ll(*p.user(evaluation.params), reml=reml))


@pytest.mark.parametrize("name", ALONE)
@both
def test_level_by_level(name, reml, monkeypatch):
    monkeypatch.setattr(certificate, "DENSE_LIMIT", 0)
    p = problem(name)
    evaluation = p.at(p.params(2), reml=reml)
    value, path = independent_minus2ll(evaluation)
    assert path == "LU level by level"
    agree(value, p.twin.minus2ll(*p.user(evaluation.params), reml=reml))


@pytest.mark.parametrize("name", CROSSED)
@both
def test_after_eliminating_a_factor(name, reml, monkeypatch):
    monkeypatch.setattr(certificate, "DENSE_LIMIT", 0)
    p = problem(name)
    evaluation = p.at(p.params(3), reml=reml)
    value, path = independent_minus2ll(evaluation)
    assert path == "LU after eliminating a factor"
    agree(value, p.twin.minus2ll(*p.user(evaluation.params), reml=reml))


@pytest.mark.parametrize("name", CROSSED)
@both
def test_sparse(name, reml, monkeypatch):
    monkeypatch.setattr(certificate, "DENSE_LIMIT", 0)
    monkeypatch.setattr(certificate, "REST_LIMIT", 0)
    p = problem(name)
    make = plan_engine(p.system.pattern, wanted="sparse").make
    evaluation = evaluate(p.system, p.params(4), make, reml=reml)
    value, path = independent_minus2ll(evaluation)
    assert path == "sparse LU"
    agree(value, p.twin.minus2ll(*p.user(evaluation.params), reml=reml))


def test_too_large_for_any(monkeypatch):
    for limit in ("DENSE_LIMIT", "REST_LIMIT", "SPARSE_FLOPS"):
        monkeypatch.setattr(certificate, limit, 0)
    p = problem("crossed")
    fit = estimate(p.sums, p.terms)
    assert np.isnan(fit.certificate.minus2ll_check)
    row = fit.certificate.as_rows()[-1]
    assert row[0] == "-2 log-likelihood again"
    assert row[2] == "note"


@pytest.mark.parametrize("name", ["slope", "crossed slopes"])
def test_a_variance_of_zero_on_every_path(name, monkeypatch):
    p = problem(name)
    params = with_variance(p.params(1), 0, 0.0)
    wanted = p.twin.minus2ll(*p.user(params), reml=True)
    for limit in (None, "DENSE_LIMIT", "REST_LIMIT"):
        if limit:
            monkeypatch.setattr(certificate, limit, 0)
        solver = "sparse" if limit == "REST_LIMIT" else "auto"
        make = plan_engine(p.system.pattern, wanted=solver).make
        agree(independent_minus2ll(evaluate(p.system, params, make, reml=True))[0], wanted)


def test_the_second_path_sees_an_error_of_the_first():
    """It must come from the equations, not from the solution that it checks."""
    p = problem("slope")
    evaluation = p.at(p.params(1), reml=True)
    wrong = dataclasses.replace(
        evaluation.solution, logdet_random=evaluation.solution.logdet_random + 1e-3
    )
    from mixedflow.estimation.likelihood import Evaluation, minus2_loglik

    value = minus2_loglik(p.system, wrong, evaluation.params.sigma2, reml=True)
    found, _ = independent_minus2ll(Evaluation(evaluation.params, wrong, value, True))
    assert value == pytest.approx(evaluation.minus2ll + 1e-3, rel=1e-12)
    agree(found, evaluation.minus2ll)


@pytest.mark.parametrize("name", ["one", "crossed slopes", "aliased", "weighted"])
@both
def test_fields_of_a_good_fit(name, reml):
    p = problem(name)
    fit = estimate(p.sums, p.terms, reml=reml)
    found = fit.certificate
    assert found.converged
    assert found.decrement < 1e-8
    assert found.scaled_score < 1e-4
    assert found.rel_change < 1e-6
    assert found.em_monotone
    assert found.minus2ll == fit.minus2ll
    agree(found.minus2ll_check, fit.minus2ll)
    assert [label for label, _ in found.boundary] == [term.label for term in p.terms]
    assert tuple(on for _, on in found.boundary) == fit.singular
    assert {row[2] for row in found.as_rows()} <= {"ok", "note"}


def test_condition_numbers_are_those_of_correlation_matrices():
    p = problem("slope")
    fit = estimate(p.sums, p.terms)
    inverse = p.at(fit.params, reml=True).solution.S_inverse
    sd = np.sqrt(np.diag(inverse))
    wanted = np.linalg.cond(inverse / np.outer(sd, sd))
    assert fit.certificate.condition_fixed == pytest.approx(wanted, rel=1e-8)
    assert fit.certificate.condition_information >= 1.0


class TestVerdicts:
    def good(self):
        return estimate(problem("one").sums, problem("one").terms).certificate

    @pytest.mark.parametrize(
        ("field", "value", "row", "verdict"),
        [
            ("converged", False, "converged", "warning"),
            ("scaled_score", 0.1, "scaled score", "warning"),
            ("scaled_score", float("nan"), "scaled score", "warning"),
            ("decrement", 1e-3, "decrement g'H^-1 g", "warning"),
            ("rel_change", 1e-2, "relative Newton step", "warning"),
            ("smallest_eigenvalue", -0.1, "smallest eigenvalue of the information", "note"),
            ("em_monotone", False, "EM steps monotone", "warning"),
            ("minus2ll_check", 1.0, "-2 log-likelihood by dense LU of the whole system", "warning"),
        ],
    )
    def test_a_bad_figure_is_judged_so(self, field, value, row, verdict):
        good = self.good()
        assert dict((r[0], r[2]) for r in good.as_rows())[row] == "ok"  # noqa: C402
        bad = dataclasses.replace(good, **{field: value})
        assert {r[0]: r[2] for r in bad.as_rows()}[row] == verdict

    def test_every_field_is_in_the_rows_or_named_here(self):
        names = {field.name for field in dataclasses.fields(certificate.Certificate)}
        assert names == {
            "converged", "scaled_score", "decrement", "rel_change", "smallest_eigenvalue",
            "boundary", "em_monotone", "minus2ll", "minus2ll_check", "check_path",
            "condition_fixed", "condition_information", "limits",
        }  # fmt: skip
