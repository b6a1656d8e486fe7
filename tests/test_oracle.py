"""The dense twin checked by itself: closed forms, identities and published figures."""

from __future__ import annotations

import helpers
import numpy as np
import pytest
from oracle import DenseModel, Term, term
from scipy import linalg


def one_way(a=5, n=4, seed=1, sd=2.0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(a), n)
    y = 10 + sd * rng.normal(size=a)[labels] + rng.normal(size=a * n)
    return DenseModel(np.ones((a * n, 1)), y, [term(labels)]), labels


def mean_squares(y, labels):
    levels = np.unique(labels)
    means = np.array([y[labels == level].mean() for level in levels])
    n = len(y) // len(levels)
    between = n * np.sum((means - y.mean()) ** 2) / (len(levels) - 1)
    within = np.sum((y - means[labels]) ** 2) / (len(y) - len(levels))
    return between, within, means, n


def random_model(seed, weights=False, K=False):
    """Return two crossed terms (q = 2 and 1), unbalanced, with a point to look at."""
    rng = np.random.default_rng(seed)
    n = 40
    x = rng.normal(size=n)
    X = np.column_stack([np.ones(n), x, rng.normal(size=n)])
    first, second = rng.integers(0, 7, n), rng.integers(0, 5, n)
    first[:7], second[:5] = np.arange(7), np.arange(5)
    A = rng.normal(size=(5, 8))
    relation = A @ A.T / 8 if K else None
    terms = [term(first, X[:, :2]), term(second, K=relation)]
    y = X @ [1.0, 2.0, -1.0] + rng.normal(size=7)[first] + x * rng.normal(size=7)[first]
    y += rng.normal(size=5)[second] + rng.normal(size=n)
    model = DenseModel(X, y, terms, weights=rng.uniform(0.5, 2, n) if weights else None)
    return model, [np.array([[1.2, 0.3], [0.3, 0.8]]), np.array([[0.7]])], 1.1


KINDS = [(5, False, False), (2, True, False), (3, False, True), (4, True, True)]
kinds = pytest.mark.parametrize(("seed", "weights", "K"), KINDS)
both = pytest.mark.parametrize("reml", [True, False])


def test_balanced_one_way_has_closed_forms():
    model, labels = one_way()
    between, within, means, n = mean_squares(model.y, labels)
    a, N = len(means), len(labels)
    (G,), sigma2 = model.maximise(reml=True)
    assert sigma2 == pytest.approx(within, rel=1e-10)
    assert G[0, 0] == pytest.approx((between - within) / n, rel=1e-10)
    point = model.at([G], sigma2)
    assert point.beta[0] == pytest.approx(model.y.mean(), rel=1e-13)
    assert point.vcov[0, 0] == pytest.approx(between / N, rel=1e-10)
    shrink = n * G[0, 0] / (n * G[0, 0] + sigma2)
    np.testing.assert_allclose(
        model.blup([G], sigma2)[0][:, 0], shrink * (means - model.y.mean()), rtol=1e-10
    )
    np.testing.assert_allclose(
        model.cond_var([G], sigma2)[0][:, 0, 0], G[0, 0] * sigma2 / between, rtol=1e-10
    )
    minus2ll = (
        (N - 1) * np.log(2 * np.pi)
        + (N - a) * np.log(within)
        + a * np.log(between)
        + np.log(N / between)
        + (N - 1)
    )
    assert point.minus2ll == pytest.approx(minus2ll, rel=1e-12)


def test_balanced_one_way_by_maximum_likelihood():
    model, labels = one_way()
    between, within, means, n = mean_squares(model.y, labels)
    a = len(means)
    (G,), sigma2 = model.maximise(reml=False)
    assert sigma2 == pytest.approx(within, rel=1e-10)
    assert G[0, 0] == pytest.approx(((a - 1) / a * between - within) / n, rel=1e-10)


@both
def test_dyestuff_as_published(reml):
    """Yield ~ 1 + (1 | Batch): -2 log L is 319.6543 (REML), 327.3271 (ML) in Bates et al. 2015."""
    data = helpers.data_frame("Dyestuff")
    y = data["Yield"].to_numpy(float)
    model = DenseModel(np.ones((30, 1)), y, [term(data["Batch"])])
    G, sigma2 = model.maximise(reml=reml)
    wanted = 319.65427684 if reml else 327.32705988
    assert model.minus2ll(G, sigma2, reml=reml) == pytest.approx(wanted, abs=1e-8)
    assert sigma2 == pytest.approx(2451.25, rel=1e-10)
    assert G[0][0, 0] == pytest.approx(1764.05 if reml else 1388.333333333, rel=1e-9)


@kinds
@both
def test_score_is_the_slope_of_the_likelihood(seed, weights, K, reml):
    model, G, sigma2 = random_model(seed, weights, K)
    np.testing.assert_allclose(
        model.score(G, sigma2, reml=reml),
        model.numeric_score(G, sigma2, reml=reml),
        rtol=1e-7,
        atol=1e-8,
    )


@kinds
def test_average_information_is_the_mean_of_observed_and_expected(seed, weights, K):
    model, G, sigma2 = random_model(seed, weights, K)
    theta = model.pack(G, sigma2)
    observed = np.zeros((len(theta), len(theta)))
    for i in range(len(theta)):
        h = np.zeros(len(theta))
        h[i] = 1e-5
        up, down = (model.score(*model.unpack(theta + s * h), reml=True) for s in (1, -1))
        observed[i] = -(up - down) / 2e-5
    expected = model.expected_information(G, sigma2, reml=True)
    average = model.average_information(G, sigma2)
    np.testing.assert_allclose(average, (observed + expected) / 2, rtol=1e-6, atol=1e-7)


@kinds
def test_henderson_equations_give_the_same_solution(seed, weights, K):
    """[X'X X'Z; Z'X Z'Z + D^-1] (beta, u) = (X'y, Z'y): BLUE, BLUP, vcov and PEV by another way."""
    model, G, sigma2 = random_model(seed, weights, K)
    W = np.hstack([model.X, *model.Z])
    M = W.T @ model.R0inv @ W / sigma2
    D = linalg.block_diag(*[t.spread(g) for t, g in zip(model.terms, G, strict=True)])
    M[model.p :, model.p :] += linalg.inv(D)
    C = linalg.inv(M)
    v = C @ (W.T @ model.R0inv @ model.y) / sigma2
    mean, var = model.moments(G, sigma2, reml=True)
    np.testing.assert_allclose(mean, v, rtol=1e-9)
    np.testing.assert_allclose(var, C, rtol=1e-8, atol=1e-12)
    pev = model.pev(G, sigma2)[0]
    np.testing.assert_allclose(pev[2], C[model.p + 4 : model.p + 6, model.p + 4 : model.p + 6])
    conditional = linalg.inv(M[model.p :, model.p :])
    np.testing.assert_allclose(model.cond_var(G, sigma2)[0][2], conditional[4:6, 4:6], rtol=1e-9)
    point = model.at(G, sigma2)
    minus2ll = (
        (model.n - model.p) * np.log(2 * np.pi)
        + model.n * np.log(sigma2)
        + np.linalg.slogdet(model.R0)[1]
        + np.linalg.slogdet(D)[1]
        + np.linalg.slogdet(M)[1]
        + (model.y @ model.R0inv @ (model.y - W @ v)) / sigma2
    )
    assert point.minus2ll == pytest.approx(minus2ll, rel=1e-11)


@kinds
@both
def test_em_step_is_a_scaled_gradient_step(seed, weights, K, reml):
    """sigma2 + 2 sigma2^2/n dl/dsigma2, and G + 2/L G (dl/dG) G with off-diagonals halved."""
    model, G, sigma2 = random_model(seed, weights, K)
    new, new_sigma2 = model.em_step(G, sigma2, reml=reml)
    score = model.score(G, sigma2, reml=reml)
    assert new_sigma2 == pytest.approx(sigma2 + 2 * sigma2**2 / model.n * score[-1], rel=1e-10)
    slopes, _ = model.unpack(score)
    for j, t in enumerate(model.terms):
        slope = (slopes[j] + np.diag(np.diag(slopes[j]))) / 2
        wanted = G[j] + 2 / t.n_levels * G[j] @ slope @ G[j]
        np.testing.assert_allclose(new[j], wanted, rtol=1e-9)


@kinds
@both
@pytest.mark.parametrize("step", ["em_step", "px_em_step"])
def test_em_steps_climb_and_rest_at_the_top(seed, weights, K, reml, step):
    model, G, sigma2 = random_model(seed, weights, K)
    before = model.minus2ll(G, sigma2, reml=reml)
    point = (G, sigma2)
    for _ in range(15):
        point = getattr(model, step)(*point, reml=reml)
        after = model.minus2ll(*point, reml=reml)
        assert after <= before + 1e-10 * abs(before)
        before = after
    top = model.maximise(reml=reml, start=point)
    np.testing.assert_allclose(model.score(*top, reml=reml) * model.scales(*top), 0, atol=1e-8)
    again = getattr(model, step)(*top, reml=reml)
    np.testing.assert_allclose(model.pack(*again), model.pack(*top), rtol=1e-8)


def test_px_em_arrives_where_em_creeps():
    """At a zero variance EM is O(1/t); PX-EM is there in under a hundred rounds (Dyestuff2)."""
    data = helpers.data_frame("Dyestuff2")
    model = DenseModel(np.ones((30, 1)), data["Yield"].to_numpy(), [term(data["Batch"])])
    optimum = 161.828277812288
    em = px = ([np.array([[5.0]])], 10.0)
    for _ in range(100):
        em = model.em_step(*em, reml=True)
        if px[0][0][0, 0] > 1e-12:
            px = model.px_em_step(*px, reml=True)
    assert model.minus2ll(*px, reml=True) == pytest.approx(optimum, abs=1e-9)
    assert model.minus2ll(*em, reml=True) > optimum + 1e-3


def test_a_relationship_is_its_factor_moved_into_Z():
    model, G, sigma2 = random_model(3, K=True)
    factor = np.linalg.cholesky(model.terms[1].K)
    moved = model.Z[1] @ factor
    plain = DenseModel(model.X, model.y, model.terms)
    V = plain.V([G[0], 0 * G[1]], sigma2) + G[1][0, 0] * moved @ moved.T
    np.testing.assert_allclose(model.V(G, sigma2), V, rtol=1e-12)


@both
def test_weights_are_rows_scaled_by_their_roots(reml):
    """Var(e_i) = sigma2 / w_i; -2 log L loses sum log w against the scaled rows'."""
    model, G, sigma2 = random_model(2, weights=True)
    w = 1 / np.diag(model.R0)
    root = np.sqrt(w)
    scaled = DenseModel(
        model.X * root[:, None],
        model.y * root,
        [Term(t.codes, t.Z * root[:, None], t.K) for t in model.terms],
    )
    assert model.minus2ll(G, sigma2, reml=reml) == pytest.approx(
        scaled.minus2ll(G, sigma2, reml=reml) - np.log(w).sum(), rel=1e-12
    )


def test_a_zero_variance_needs_no_special_case():
    model, G, sigma2 = random_model(1)
    boundary = [G[0], np.zeros((1, 1))]
    without = DenseModel(model.X, model.y, model.terms[:1])
    assert model.minus2ll(boundary, sigma2, reml=True) == pytest.approx(
        without.minus2ll(G[:1], sigma2, reml=True), rel=1e-12
    )
    assert not model.blup(boundary, sigma2)[1].any()
    assert not model.cond_var(boundary, sigma2)[1].any()
