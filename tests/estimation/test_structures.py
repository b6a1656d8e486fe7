"""Fits of every structure of G: against the dense optimum, each other, nlme, and on the boundary."""

from __future__ import annotations

import json
from pathlib import Path

import helpers
import numpy as np
import pandas as pd
import pytest
from oracle import DenseModel, term
from scipy.optimize import minimize

import mixedflow as mf
from mixedflow.covariance.registry import get_structure

SPELLED = {
    "id": "id(0 + v | g)",
    "cs": "cs(0 + v | g)",
    "csh": "csh(0 + v | g)",
    "ar1": "ar1(0 + v | g)",
    "ar1h": "ar1h(0 + v | g)",
    "toep": "toep(0 + v | g)",
    "toeph": "toeph(0 + v | g)",
    "fa(1)": "fa(0 + v | g, 1)",
    "diag": "diag(0 + v | g)",
}
METHODS = ("auto", "ai", "px-em", "em")


def rows(seed=1, n_groups=50, levels="abcd", G=None, sigma=0.8):
    """Return unbalanced rows, some groups without some levels."""
    rng, m = np.random.default_rng(seed), len(levels)
    at = np.arange(m)
    if G is None:
        sd = np.array([1.0, 1.5, 0.8, 1.2])[:m]
        G = np.outer(sd, sd) * 0.5 ** np.abs(at[:, None] - at)
    u = rng.multivariate_normal(np.zeros(m), G, size=n_groups)
    out = [
        (f"g{g}", levels[v], x, 10.0 + 0.5 * x + u[g, v] + sigma * rng.normal())
        for g in range(n_groups)
        for v in range(m)
        for x in rng.normal(5.0, 2.0, size=rng.integers(0, 4))
    ]
    return pd.DataFrame(out, columns=["g", "v", "x", "y"])


DATA = rows()


def dense(data):
    levels = sorted(data["v"].unique())
    Z = (data["v"].to_numpy()[:, None] == np.array(levels)).astype(float)
    X = np.column_stack([np.ones(len(data)), data["x"]])
    return DenseModel(X, data["y"].to_numpy(), [term(data["g"], Z)])


def fitted_G(fit, group="g"):
    matrix = helpers.covariance_matrices(fit.varcorr)[group].to_numpy()
    return np.nan_to_num(matrix)  # uncorrelated columns have no covariance in the table


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", SPELLED)
def test_every_method_reaches_the_dense_optimum(name, reml):
    model, structure = dense(DATA), get_structure(name)
    fits = [mf.fit(f"y ~ x + {SPELLED[name]}", DATA, reml=reml, method=m) for m in METHODS]
    first = fits[0]
    for fit in fits:
        assert fit.converged
        assert not fit.singular
        assert fit.loglik == pytest.approx(first.loglik, abs=1e-6, rel=0)
    G, sigma2 = fitted_G(first), first.sigma**2
    at_fit = model.minus2ll([G], sigma2, reml=reml)
    assert first.deviance == pytest.approx(at_fit, abs=1e-8)

    def value(point):
        return model.minus2ll([structure.matrix(point[:-1], 4)], np.exp(point[-1]), reml=reml)

    at = np.append(structure.start(G), np.log(sigma2))
    away = at + 0.1 * np.random.default_rng(3).normal(size=len(at))
    found = minimize(value, away, method="BFGS", options={"gtol": 1e-3})
    assert found.fun == pytest.approx(at_fit, abs=1e-5)
    assert at_fit <= found.fun + 1e-8


def test_structures_that_are_the_same_give_the_same():
    two = rows(seed=4, levels="ab")
    wide = [mf.fit(f"y ~ x + {s}(0 + v | g)", two) for s in ("us", "csh", "ar1h", "toeph")]
    narrow = [mf.fit(f"y ~ x + {s}(0 + v | g)", two) for s in ("cs", "ar1", "toep")]
    one = [mf.fit(f"y ~ x + {s}(1 | g)", two) for s in ("us", "id", "cs", "ar1h", "toep")]
    for same in (wide, narrow, one):
        for fit in same[1:]:
            assert fit.loglik == pytest.approx(same[0].loglik, abs=1e-9)
            np.testing.assert_allclose(fitted_G(fit), fitted_G(same[0]), rtol=1e-6)
    assert narrow[0].loglik < wide[0].loglik


def test_the_matrix_of_a_fit_may_be_held():
    wide = mf.fit("y ~ x + (0 + v | g)", DATA)
    matrix = np.round(fitted_G(wide), 10)
    matrix = (matrix + matrix.T) / 2
    for method in METHODS:
        fit = mf.fit(f"y ~ x + fixed(0 + v | g, {matrix.tolist()})", DATA, method=method)
        assert fit.converged
        assert fit.loglik == pytest.approx(wide.loglik, abs=1e-7)
        assert fit.sigma == pytest.approx(wide.sigma, rel=1e-5)
        np.testing.assert_allclose(fitted_G(fit), matrix, rtol=1e-12)


def test_a_known_matrix_of_another_size_is_refused():
    with pytest.raises(mf.errors.UnsupportedError, match="is 2 x 2, but its term has 4 columns"):
        mf.fit("y ~ x + fixed(0 + v | g, [[1, 0], [0, 1]])", DATA)


def test_too_many_factors_are_refused():
    with pytest.raises(mf.errors.UnsupportedError, match="2 factors needs a term of at least 5"):
        mf.fit("y ~ x + fa(0 + v | g, 2)", DATA)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["cs", "csh", "ar1"])
def test_a_correlation_of_one_ends_on_the_boundary(name, method):
    """Both levels share one effect: the fit is that of (1 | g), and says that it is singular."""
    data = rows(seed=6, levels="ab", G=np.ones((2, 2)))
    fit = mf.fit(f"y ~ x + {name}(0 + v | g)", data, method=method)
    simple = mf.fit("y ~ x + (1 | g)", data)
    assert fit.loglik >= simple.loglik - 1e-5
    if name != "csh" and fit.singular:
        assert fit.loglik == pytest.approx(simple.loglik, abs=1e-5)
    assert fit.converged


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["id", "cs", "ar1", "toep", "csh"])
def test_no_variance_at_all_ends_on_the_boundary(name, method):
    data = rows(seed=8, n_groups=30)
    effects = data.groupby(["g", "v"])["y"].transform("mean")
    data["y"] = data["y"] - effects
    fit = mf.fit(f"y ~ x + {name}(0 + v | g)", data, method=method)
    assert fit.converged
    assert fit.singular
    np.testing.assert_array_equal(np.diag(fitted_G(fit)), 0.0)


ORACLE = Path(__file__).parents[1] / "references" / "structures.json"


@pytest.mark.parametrize("method", METHODS)
def test_nlme_assay_with_blocks_on_the_diagonal(method):
    """nlme: pdBlocked(pdIdent(~1), pdIdent(~sample - 1), pdIdent(~dilut - 1))."""
    entry = json.loads(ORACLE.read_text(encoding="utf-8"))["assay_pdblocked"]
    data = pd.DataFrame(entry["data"]).astype({"Block": str, "sample": str, "dilut": str})
    random = "(1 | Block) + id(0 + sample | Block) + id(0 + dilut | Block)"
    fit = mf.fit(f"logDens ~ sample * dilut + {random}", data, method=method)
    assert fit.loglik == pytest.approx(entry["logLik"], abs=1e-5)
    assert fit.sigma == pytest.approx(entry["sigma"], rel=1e-4)
    matrices = helpers.covariance_matrices(fit.varcorr)
    for group, variance in zip(("Block", "Block.1", "Block.2"), entry["variances"], strict=True):
        np.testing.assert_allclose(np.diag(matrices[group]), variance, rtol=1e-4)
    estimates = fit.fixef.to_numpy()[: len(entry["fixed"])]
    assert sorted(estimates) == pytest.approx(sorted(entry["fixed"]), rel=1e-4, abs=1e-7)
