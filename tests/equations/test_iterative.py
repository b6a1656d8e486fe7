"""Conjugate gradients and probes against the dense engine: solutions exact, traces unbiased."""

from __future__ import annotations

import numpy as np
import pytest
from crossed_sums import crossed

from mixedflow.equations import probing
from mixedflow.equations.engines import DenseEngine, RandomMatrix, stack
from mixedflow.equations.iterative import IterativeEngine, IterativePattern, IterativeSettings
from mixedflow.equations.mme import assemble_mme, solve_mme
from mixedflow.equations.moments import moments
from mixedflow.equations.probing import probed_moments
from mixedflow.equations.system import model_system
from mixedflow.errors import FitError, UnsupportedError

CASES = {
    "crossed": {"users": 200, "items": 90, "n": 900},
    "slope": {"users": 150, "items": 90, "n": 900, "slope": True},
    "more items": {"users": 80, "items": 160, "n": 900},
    "more items, slope": {"users": 70, "items": 200, "n": 900, "slope": True},
    "three": {"users": 150, "items": 90, "n": 900, "third": 8},
    "all few": {"users": 70, "items": 40, "n": 900, "third": 8},
}
cases = pytest.mark.parametrize("case", list(CASES))


def equations(case, scale=1.0):
    system = model_system(*crossed(**CASES[case]))
    rng = np.random.default_rng(7)
    factors = []
    for dim in system.dims:
        root = 0.3 * np.tril(rng.normal(size=(dim, dim))) + 0.5 * np.eye(dim)
        factors.append(scale * root)
    return assemble_mme(system, factors, 0.8)


def engine(mme, **settings):
    tight = {"tolerance": 1e-13, "probe_tolerance": 1e-13, **settings}
    return IterativeEngine(mme.random, settings=IterativeSettings(**tight))


@cases
@pytest.mark.parametrize("columns", [1, 11])
def test_solve(case, columns):
    mme = equations(case)
    rng = np.random.default_rng(1)
    right = tuple(rng.normal(size=(L, q, columns)) for L, q in mme.random.shapes)
    found, wanted = engine(mme).solve(right), DenseEngine(mme.random).solve(right)
    np.testing.assert_allclose(stack(found), stack(wanted), rtol=0, atol=1e-11)


@cases
@pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])
def test_moments(case, reml):
    """Within four Monte-Carlo standard errors; what is not estimated to the last digits."""
    mme = equations(case)
    exact = moments(solve_mme(mme, DenseEngine), reml=reml)
    found = probed_moments(solve_mme(mme, lambda _: engine(mme, probes=64)), reml=reml)
    for left, right in zip(found.bb, exact.bb, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9)
    assert found.residual == pytest.approx(exact.residual, rel=1e-9)
    for by_probe, mean, wanted in zip(found.T_by_probe, found.T, exact.T, strict=True):
        wanted = 0.5 * (wanted + wanted.T)  # noqa: PLW2901 - the score sees the symmetric part
        error = by_probe.std(axis=0, ddof=1) / 8.0
        assert (np.abs(mean - wanted) <= 4.0 * error + 1e-9 * np.abs(wanted).max()).all()
        assert (error < 0.01 * np.abs(wanted).max()).all()
    trace = sum(np.trace(part) for part in found.T) + (2 if reml else 0)
    assert found.residual_trace == pytest.approx(trace)
    second = zip(found.second_moments(), exact.second_moments(), strict=True)
    assert all(np.allclose(a, b, rtol=0.01) for a, b in second)


@pytest.mark.parametrize("case", ["crossed", "slope", "three"])
def test_traces_and_log_determinant_are_unbiased_over_seeds(case):
    mme = equations(case)
    dense = DenseEngine(mme.random)
    wanted = [
        np.trace(np.eye(d.shape[1]) * len(d) - d.sum(axis=0)) for d in dense.inverse_diagonal()
    ]
    z = []
    for seed in range(30):
        solution = solve_mme(mme, lambda _, seed=seed: engine(mme, probes=16, seed=seed))
        by_probe = probed_moments(solution, reml=False).T_by_probe
        estimates = [np.einsum("kaa->k", part) for part in by_probe]
        estimates.append(solution.engine.logdet_by_probe())
        for estimate, exact in zip(estimates, [*wanted, dense.logdet], strict=True):
            error = estimate.std(ddof=1) / 4.0
            z.append((estimate.mean() - exact) / error if error > 1e-9 * abs(exact) else 0.0)
    scores = np.array(z).reshape(30, -1)
    assert (np.abs(scores.mean(axis=0)) < 4.0 * 1.1 / np.sqrt(30)).all()
    assert (np.sqrt((scores**2).mean(axis=0)) < 1.6).all()


def test_few_levels_are_exact(monkeypatch):
    mme = equations("all few")
    exact = moments(solve_mme(mme, DenseEngine), reml=True)
    found = probed_moments(solve_mme(mme, lambda _: engine(mme, probes=4)), reml=True)
    for left, right in zip(found.T, exact.T, strict=True):
        np.testing.assert_allclose(left, 0.5 * (right + right.T), rtol=1e-10)
    assert all(np.ptp(part) < 1e-9 for part in found.T_by_probe)
    monkeypatch.setattr(probing, "EXACT_LEVELS", 0)
    loose = probed_moments(solve_mme(mme, lambda _: engine(mme, probes=4)), reml=True)
    assert all(np.ptp(part[:, 0, 0]) > 1e-6 for part in loose.T_by_probe)


@pytest.mark.parametrize("scale", [0.0, 1e-7])
def test_a_variance_of_nearly_zero_costs_no_digits(scale):
    mme = equations("crossed", scale)
    found = probed_moments(solve_mme(mme, lambda _: engine(mme)), reml=False)
    for T, part in zip(found.T, mme.ZtRZ, strict=True):
        np.testing.assert_allclose(T, part.sum(axis=0), rtol=1e-9)
    assert engine(mme).logdet == pytest.approx(sum(part.sum() for part in mme.ZtRZ), rel=1e-2)


def test_probes_are_kept_when_more_are_asked_for():
    mme = equations("crossed")
    few, many = engine(mme, probes=5), engine(mme, probes=19)
    np.testing.assert_array_equal(few.logdet_by_probe(), many.logdet_by_probe()[:5])
    first, second = (
        probed_moments(solve_mme(mme, lambda _, e=e: e), reml=True).T_by_probe for e in (few, many)
    )
    for left, right in zip(first, second, strict=True):
        np.testing.assert_allclose(left, right[:5], rtol=1e-12)


@pytest.mark.parametrize("size", [{}, {"users": 4000, "items": 900, "n": 20_000}])
def test_threads_and_seed(size):
    """Any number of threads gives the same bits; another seed other signs."""
    mme = assemble_mme(model_system(*crossed(**{**CASES["crossed"], **size})), [np.eye(1)] * 2, 1.0)
    one, two = (
        probed_moments(solve_mme(mme, lambda _, t=t: engine(mme, probes=20, threads=t)), reml=True)
        for t in (1, 2)
    )
    assert all((a == b).all() for a, b in zip(one.T_by_probe, two.T_by_probe, strict=True))
    assert engine(mme, threads=1).logdet == engine(mme, threads=2).logdet
    assert engine(mme, seed=1).logdet != engine(mme, seed=2).logdet


def test_chosen_levels():
    mme = equations("slope")
    wanted = DenseEngine(mme.random).inverse_diagonal()
    for f, levels in ((0, [3, 0, 3]), (1, [80])):
        found = engine(mme).inverse_at(f, np.array(levels))
        np.testing.assert_allclose(found, wanted[f][levels], rtol=1e-9, atol=1e-12)


def test_the_whole_inverse_is_refused():
    solver = engine(equations("crossed"))
    with pytest.raises(UnsupportedError, match="ranef_se_at"):
        solver.inverse_diagonal()
    with pytest.raises(UnsupportedError, match="'schur' or 'sparse'"):
        solver.inverse_pairs((0, 1))


def test_steps_that_run_out():
    mme = equations("crossed")
    with pytest.raises(FitError, match=r"after 2 steps, 1e-13 is wanted"):
        engine(mme, max_steps=2).solve(tuple(np.ones((L, q, 1)) for L, q in mme.random.shapes))


def test_an_indefinite_matrix_is_refused():
    mme = equations("crossed")
    broken = (mme.random.diagonal[0].copy(), mme.random.diagonal[1])
    broken[0][0] = -1.0
    with pytest.raises(FitError, match="not positive definite"):
        IterativeEngine(RandomMatrix(broken, mme.random.pairs))


def test_parts_go_in_and_out():
    mme = equations("more items, slope")
    structure = IterativePattern(mme.random.pattern)
    assert structure.first == 1
    rng = np.random.default_rng(1)
    parts = tuple(rng.normal(size=(L, q, 3)) for L, q in mme.random.shapes)
    for left, right in zip(structure.joined(*structure.split(parts)), parts, strict=True):
        np.testing.assert_array_equal(left, right)
