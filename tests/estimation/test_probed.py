"""Fits by conjugate gradients against exact fits, and what they say of their own error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from crossed_sums import crossed

from mixedflow.errors import UnsupportedError
from mixedflow.estimation import probing_driver
from mixedflow.estimation.control import FitControl
from mixedflow.estimation.fit import (
    conditional_covariances,
    conditional_covariances_at,
    estimate,
    evaluate_at,
)
from mixedflow.estimation.probed import component_derivatives

PCG = FitControl(solver="pcg")


def components(fit):
    rows = [np.r_[np.diag(G), G[np.triu_indices(len(G), 1)]] for G in fit.G]
    return np.concatenate([*rows, [fit.sigma2]])


@pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])
@pytest.mark.parametrize("setting", [{}, {"slope": True}, {"third": 8}], ids=str)
def test_within_the_monte_carlo_error_of_the_exact_fit(setting, reml):
    sums, terms = crossed(**setting)
    exact = estimate(sums, terms, reml=reml)
    found = estimate(sums, terms, reml=reml, control=PCG)
    assert found.converged
    assert found.solver == "pcg"
    assert found.monte_carlo.met
    se = np.array(found.monte_carlo_se)
    assert len(se) == len(components(found))
    assert (np.abs(components(found) - components(exact)) <= 4.0 * se).all()
    assert abs(found.minus2ll - exact.minus2ll) <= 4.0 * found.monte_carlo.minus2ll_se
    own = se / np.array(found.monte_carlo.relative)
    assert (se < 0.05 * own).all()
    np.testing.assert_allclose(found.beta, exact.beta, atol=1e-3 * np.sqrt(exact.vcov[0, 0]))
    np.testing.assert_allclose(found.vcov, exact.vcov, rtol=1e-2)
    for left, right in zip(found.u, exact.u, strict=True):
        np.testing.assert_allclose(left, right, atol=5e-3)
    assert exact.monte_carlo is None
    assert exact.monte_carlo_se == ()


def test_the_stated_error_covers_over_seeds():
    """|z| < 2 about nineteen times in twenty; four probes make the error large enough to see."""
    sums, terms = crossed()
    exact = components(estimate(sums, terms))
    control = replace(PCG, mc_probes=12)
    z = []
    for seed in range(24):
        found = estimate(sums, terms, control=replace(control, mc_seed=seed))
        z.append((components(found) - exact) / np.array(found.monte_carlo_se))
    scores = np.abs(np.array(z))
    assert (scores < 2.2).mean() > 0.85
    assert np.median(scores) > 0.3
    assert np.median(scores) < 1.1


def test_the_same_seed_gives_the_same_fit():
    sums, terms = crossed()
    one, two = (estimate(sums, terms, control=replace(PCG, threads=t)) for t in (1, 2))
    assert one.params.vector().tolist() == two.params.vector().tolist()
    assert one.minus2ll == two.minus2ll
    assert one.monte_carlo == two.monte_carlo
    other = estimate(sums, terms, control=replace(PCG, mc_seed=9))
    assert other.params.phi != one.params.phi
    assert other.monte_carlo.seed == 9


def test_probes_are_added_until_the_target_is_met(monkeypatch):
    sums, terms = crossed()
    loose = estimate(sums, terms, control=replace(PCG, mc_probes=4)).monte_carlo
    target = loose.largest / 3.0
    fit = estimate(sums, terms, control=replace(PCG, mc_probes=4, mc_target=target))
    assert fit.monte_carlo.met
    assert fit.monte_carlo.probes > 4
    assert any(row.step.endswith(" probes") for row in fit.trace)
    monkeypatch.setattr(probing_driver, "MOST_PROBES", 6)
    short = estimate(sums, terms, control=replace(PCG, mc_probes=4, mc_target=target / 10))
    assert short.monte_carlo.probes == 6
    assert not short.monte_carlo.met
    assert short.converged


def test_a_variance_of_zero():
    sums, terms = crossed(sd=(0.6, 0.0), seed=2)
    exact = estimate(sums, terms)
    found = estimate(sums, terms, control=PCG)
    assert exact.singular == found.singular == (False, True)
    assert found.G[1][0, 0] == 0.0
    assert found.monte_carlo.se[1] == 0.0
    assert np.isfinite(found.monte_carlo.relative).all()
    np.testing.assert_allclose(found.G[0], exact.G[0], rtol=1e-6)


@pytest.mark.parametrize("method", ["auto", "ai", "em"])
def test_methods(method):
    sums, terms = crossed(300, 120, 2500)
    control = replace(PCG, tolerance=1e-6, parameter_tolerance=1e-4)
    found = estimate(sums, terms, method=method, control=control)
    assert found.converged
    steps = {row.step for row in found.trace[1:]}
    assert steps <= {"auto": {"em", "ai"}, "ai": {"ai"}, "em": {"em"}}[method]
    exact = estimate(sums, terms)
    np.testing.assert_allclose(components(found), components(exact), rtol=2e-2)


def test_px_em_is_refused():
    sums, terms = crossed(300, 120, 2500)
    with pytest.raises(UnsupportedError, match="'px-em' is not available with the solver 'pcg'"):
        estimate(sums, terms, method="px-em", control=PCG)
    evaluation = estimate_point(sums, terms)
    with pytest.raises(UnsupportedError, match="'px-em'"):
        evaluation.expanded(None, ())


def test_too_few_iterations_are_no_convergence():
    sums, terms = crossed(300, 120, 2500)
    found = estimate(sums, terms, control=replace(PCG, max_iter=2))
    assert not found.converged
    assert found.trace[-1].iteration == 2
    assert found.monte_carlo is not None


def test_progress_sees_every_row():
    sums, terms = crossed(300, 120, 2500)
    rows = []
    found = estimate(sums, terms, control=PCG, progress=rows.append)
    assert tuple(rows) == found.trace[1:]


def test_the_likelihood_can_be_had_again():
    sums, terms = crossed()
    found = estimate(sums, terms, control=replace(PCG, mc_probes=6, mc_seed=3))
    again = evaluate_at(
        sums, terms, found.params, reml=True, solver="pcg", monte_carlo=found.monte_carlo
    )
    assert again.minus2ll == found.minus2ll


def test_exact_conditional_covariances_of_chosen_levels():
    sums, terms = crossed(slope=True)
    params = estimate(sums, terms).params
    exact = evaluate_at(sums, terms, params, reml=True, solver="schur")
    found = evaluate_at(sums, terms, params, reml=True, solver="pcg")
    for f, levels in ((0, np.array([5, 2])), (1, np.array([0, 99]))):
        wanted = conditional_covariances(exact)[f][levels]
        np.testing.assert_allclose(
            conditional_covariances_at(found, f, levels), wanted, rtol=1e-7, atol=1e-10
        )
        np.testing.assert_allclose(conditional_covariances_at(exact, f, levels), wanted)


def test_the_certificate_names_the_estimate():
    sums, terms = crossed(300, 120, 2500)
    rows = estimate(sums, terms, control=PCG).certificate.as_rows()
    last = rows[-1]
    assert last[2] == "note"
    assert "Monte-Carlo" in last[1]


def estimate_point(sums, terms):
    from mixedflow.equations.choice import plan_engine
    from mixedflow.equations.system import model_system
    from mixedflow.estimation.parameters import start_parameters
    from mixedflow.estimation.probed import evaluate_probed

    system = model_system(sums, terms)
    route = plan_engine(system.pattern, wanted="pcg").make
    return evaluate_probed(system, start_parameters(system), route, reml=True)


@pytest.mark.parametrize("setting", [{}, {"slope": True}], ids=str)
def test_derivatives_of_the_components(setting):
    sums, terms = crossed(300, 120, 2500, **setting)
    system = estimate_point(sums, terms).system
    params = estimate_point(sums, terms).params
    J = component_derivatives(system, params)

    def values(vector):
        point = evaluate_at(sums, terms, params.with_vector(vector), reml=True, solver="schur")
        from mixedflow.estimation.fit import term_covariances

        G = term_covariances(point)
        y2 = system.fixed_scale.y_scale**2
        rows = [np.r_[np.diag(g), g[np.triu_indices(len(g), 1)]] for g in G]
        return np.concatenate([*rows, [y2 * point.params.sigma2]])

    at, step = params.vector(), 1e-5
    for i in range(len(at)):
        unit = step * np.eye(len(at))[i]
        slope = (values(at + unit) - values(at - unit)) / (2 * step)
        np.testing.assert_allclose(J[:, i], slope, rtol=1e-6, atol=1e-8)


def test_more_probes_mean_less_error():
    sums, terms = crossed()
    few, many = (
        estimate(sums, terms, control=replace(PCG, mc_probes=n)).monte_carlo for n in (16, 256)
    )
    ratio = np.array(few.se) / np.array(many.se)
    assert (ratio > 2.0).all()
    assert (ratio < 8.0).all()


@pytest.mark.slow
def test_a_large_system():
    """A dense Schur complement of 6,000 takes the exact engine minutes; this takes seconds."""
    sums, terms = crossed(60_000, 6_000, 600_000)
    found = estimate(sums, terms, control=replace(PCG, threads=2))
    assert found.converged
    truth = np.array([0.36, 0.16, 1.0])
    se = np.array(found.monte_carlo_se) / np.array(found.monte_carlo.relative)
    assert (np.abs(components(found) - truth) < 4.0 * se).all()
    assert found.monte_carlo.largest < 0.01
