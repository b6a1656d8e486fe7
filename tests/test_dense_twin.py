"""Random unbalanced fits against the dense n x n twin, at the fitted variance parameters.

Two statements a fit. *The algebra*: at the parameters that were found, log-likelihood, beta, its
covariance, BLUPs and conditional variances equal the textbook's to 1e-8. *The optimum*: the twin's
numeric gradient is zero there, or, where a G is singular, points out of the parameter space.
"""

from __future__ import annotations

import helpers
import numpy as np
import pytest
from designs import KINDS, random_design

CASES = [(kind, seed, reml, False) for kind in KINDS for seed, reml in ((1, True), (2, False))]
CASES += [(kind, 3, reml, True) for kind, reml in (("us1", True), ("us2", False), ("us2", True))]
CASES += [("crossed", 4, True, True), ("bars", 4, False, True), ("nested", 5, True, True)]
cases = pytest.mark.parametrize(("kind", "seed", "reml", "weights"), CASES)


@pytest.fixture(scope="module")
def fitted():
    """Return ``fitted(kind, seed, reml, weights)`` -> (design, fit, twin, G, sigma2), each once."""
    import mixedflow as mf

    done = {}

    def get(kind, seed, reml, weights):
        key = (kind, seed, reml, weights)
        if key not in done:
            design = random_design(kind, seed, weights=weights)
            fit = mf.fit(design.formula, design.data, reml=reml, **design.arguments)
            matrices = helpers.covariance_matrices(fit.varcorr)
            G = []
            for label, _, columns, _ in design.terms:
                names = [named(c) for c in columns]
                G.append(matrices[label].loc[names, names].to_numpy(float))
            done[key] = (design, fit, design.dense(), G, fit.sigma**2)
        return done[key]

    return get


def named(column):
    return "(Intercept)" if column == "1" else column


@cases
def test_the_algebra(kind, seed, reml, weights, fitted):
    design, fit, twin, G, sigma2 = fitted(kind, seed, reml, weights)
    point = twin.at(G, sigma2)
    assert -2 * fit.loglik == pytest.approx(twin.minus2ll(G, sigma2, reml=reml), rel=1e-10)
    se = np.sqrt(np.diag(point.vcov))
    np.testing.assert_allclose(fit.fixef.to_numpy() / se, point.beta / se, rtol=1e-8, atol=1e-8)
    outer = np.outer(se, se)
    np.testing.assert_allclose(fit.vcov.to_numpy() / outer, point.vcov / outer, atol=1e-8)
    np.testing.assert_allclose(fit.coef_table["se"].to_numpy(), se, rtol=1e-8)
    blups, variances = twin.blup(G, sigma2), twin.cond_var(G, sigma2)
    for j, (_, factor, columns, _) in enumerate(design.terms):
        names = [named(c) for c in columns]
        ours = helpers.level_table(fit.ranef[factor]).loc[design.levels(j), names].to_numpy()
        sds = helpers.level_table(fit.ranef_se[factor]).loc[design.levels(j), names].to_numpy()
        scale = np.sqrt(np.diag(G[j])) + 1e-8 * np.sqrt(sigma2)
        np.testing.assert_allclose(ours / scale, blups[j] / scale, atol=1e-8)
        wanted = np.einsum("laa->la", variances[j]) / scale**2
        np.testing.assert_allclose((sds / scale) ** 2, wanted, atol=1e-8)


@cases
def test_the_optimum(kind, seed, reml, weights, fitted):
    _, fit, twin, G, sigma2 = fitted(kind, seed, reml, weights)
    assert fit.converged
    if fit.singular:
        check_boundary(twin, G, sigma2, reml)
        return
    gradient = twin.numeric_score(G, sigma2, reml=reml)
    information = twin.expected_information(G, sigma2, reml=reml)
    assert gradient @ np.linalg.solve(information, gradient) < 1e-8
    assert np.max(np.abs(gradient * twin.scales(G, sigma2))) < 1e-4


def check_boundary(twin, G, sigma2, reml):
    """At a singular G: slope times G is zero and no admissible direction goes up.

    With M = dl/dG, the optimum over positive semidefinite G has M G = 0 and M negative
    semidefinite on the null space of G.
    """
    score = twin.score(G, sigma2, reml=reml)
    slopes, slope_sigma2 = twin.unpack(score)
    assert abs(slope_sigma2 * sigma2) < 1e-4
    for term, G_j, slope in zip(twin.terms, G, slopes, strict=True):
        M = (slope + np.diag(np.diag(slope))) / 2
        unit = np.sqrt(np.mean(term.Z**2, axis=0) / sigma2)  # per column, in sigma's scale
        M = M / np.outer(unit, unit)
        H = G_j * np.outer(unit, unit)
        assert np.max(np.abs(M @ H)) < 1e-3 * max(1.0, np.max(np.abs(M)))
        assert np.linalg.eigvalsh(M)[-1] < 1e-3 * max(1.0, np.max(np.abs(M)))


def test_most_optima_are_interior(fitted):
    """The designs must be worth the test: singular fits are the exception."""
    inside = [not fitted(*case)[1].singular for case in CASES]
    assert sum(inside) >= 0.7 * len(CASES)
