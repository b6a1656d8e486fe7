"""Robust covariances and deletions from sums by group against dense matrices of the rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.errors import DataError, UnsupportedError

RNG = np.random.default_rng(7)


def frame(n=140):
    data = pd.DataFrame(
        {
            "x": RNG.normal(5.0, 2.0, n),
            "z": RNG.normal(size=n),
            "g": RNG.integers(0, 12, n),
            "w": RNG.uniform(0.5, 2.0, n),
        }
    )
    data["h"] = data["g"] * 10 + RNG.integers(0, 3, n)
    data["k"] = RNG.integers(0, 6, n)
    u, s, v, c = (RNG.normal(size=size) for size in (12, 12, 200, 6))
    data["y"] = 1.0 + data["x"] * (0.3 + 0.4 * s[data["g"]]) + u[data["g"]] + v[data["h"]]
    data["y"] += 0.7 * c[data["k"]] + RNG.normal(size=n) / np.sqrt(data["w"])
    return data


DATA = frame()


def dense_V(fit, data, weights=None):
    """Return V over the rows."""
    w = np.ones(len(data)) if weights is None else data[weights].to_numpy()
    V = fit.estimates.sigma2 * np.diag(1.0 / w)
    if fit.spec.residual.startswith("ar1"):
        order = data.groupby("g").cumcount().to_numpy()
        same = np.equal.outer(data["g"].to_numpy(), data["g"].to_numpy())
        rho = fit.residual_params.set_index("parameter").loc["rho", "estimate"]
        V = fit.estimates.sigma2 * same * rho ** np.abs(np.subtract.outer(order, order))
    for term, G in zip(fit.encoder.terms, fit.estimates.G, strict=True):
        factor = fit.crossproducts.info.factors[term.factor]
        names = [factor.columns[c] for c in term.columns]
        Z = np.column_stack([np.ones(len(data)) if n == "(Intercept)" else data[n] for n in names])
        same = np.equal.outer(*[data[list(factor.variables)].agg(tuple, axis=1).to_numpy()] * 2)
        V = V + same * (Z @ G @ Z.T)
    return V


def dense_X(fit, data):
    return np.column_stack(
        [np.ones(len(data)) if n == "(Intercept)" else data[n] for n in fit.coefficient_names]
    )


def power(A, a):
    values, U = np.linalg.eigh(A)
    return (
        U * np.where(values > 1e-9 * values[-1], np.abs(values), np.inf if a < 0 else 0) ** a
    ) @ U.T


def dense_robust(X, V, y, groups, kind, root):
    """Return the covariance of clubSandwich (root "symmetric") or mmrm ("white"), and df."""
    W = np.linalg.inv(V)
    Phi = np.linalg.inv(X.T @ W @ X)
    e = y - X @ Phi @ X.T @ W @ y
    labels = np.unique(groups)
    left = np.eye(len(y)) - X @ Phi @ X.T @ W
    P = []
    for g in labels:
        at = groups == g
        L = np.linalg.cholesky(V[np.ix_(at, at)])
        if root == "symmetric":
            half = power(V[np.ix_(at, at)], 0.5)
            own = V[np.ix_(at, at)] - X[at] @ Phi @ X[at].T
            A = half @ power(half @ own @ half, -0.5) @ half
        else:
            white = np.linalg.solve(L, X[at])
            H = np.eye(at.sum()) - white @ Phi @ white.T
            powers = {"CR0": 0.0, "CR1": 0.0, "CR2": -0.5, "CR3": -1.0}
            A = L @ power(H, powers[kind]) @ np.linalg.inv(L)
            if kind == "CR1":
                A = A * np.sqrt(len(labels) / (len(labels) - 1))
        P.append(Phi @ X[at].T @ W[np.ix_(at, at)] @ A @ left[at])
    P = np.array(P)
    scores = P @ y
    df = []
    for k in range(X.shape[1]):
        gram = P[:, k] @ V @ P[:, k].T
        df.append(np.trace(gram) ** 2 / np.sum(gram**2))
    assert np.allclose(P @ y, P @ e)
    return scores.T @ scores, np.array(df)


CASES = [
    ("y ~ x + z + (x | g)", None, "iid"),
    ("y ~ x + z + (x | g)", "w", "iid"),
    ("y ~ 0 + x + z + (1 | g)", None, "iid"),
    ("y ~ x + z + (x | g) + (1 | h)", None, "iid"),
    ("y ~ x + z + (1 | h) + (1 | g)", "w", "iid"),
    ("y ~ x + z", None, "ar1(1 | g)"),
    ("y ~ x + z + (1 | g)", None, "ar1(1 | g)"),
]


@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR2", "CR3"])
@pytest.mark.parametrize(("formula", "weights", "residual"), CASES)
def test_robust_as_on_dense_matrices(formula, weights, residual, kind):
    fit = mf.fit(formula, DATA, weights=weights, residual=residual)
    plain = weights is None and residual == "iid" and kind == "CR2"
    X, V, groups = dense_X(fit, DATA), dense_V(fit, DATA, weights), DATA["g"].to_numpy()
    root = "symmetric" if plain else "white"
    vcov, df = dense_robust(X, V, DATA["y"].to_numpy(), groups, kind, root)
    found = fit.infer(vcov=kind)
    se = np.sqrt(np.diag(vcov))
    np.testing.assert_allclose(found.vcov / np.outer(se, se), vcov / np.outer(se, se), atol=1e-8)
    np.testing.assert_allclose(found.coef_table["df"], df, rtol=1e-7)


@pytest.mark.parametrize(("formula", "weights", "residual"), CASES)
def test_deletion_as_on_dense_matrices(formula, weights, residual):
    fit = mf.fit(formula, DATA, weights=weights, residual=residual)
    X, V, y = dense_X(fit, DATA), dense_V(fit, DATA, weights), DATA["y"].to_numpy()
    check_deletion(fit, fit.influence(), X, V, y, "g")


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("factor", ["g", "k", "h"])
def test_deletion_where_factors_are_crossed(factor, weights):
    fit = mf.fit("y ~ x + z + (x | g) + (1 | h) + (1 | k)", DATA, weights=weights)
    X, V, y = dense_X(fit, DATA), dense_V(fit, DATA, weights), DATA["y"].to_numpy()
    check_deletion(fit, fit.influence(factor), X, V, y, factor)
    some = fit.influence(factor).index[[3, 1]]
    pd.testing.assert_frame_equal(
        fit.influence(factor, list(some)), fit.influence(factor).loc[some], rtol=1e-10
    )


def check_deletion(fit, table, X, V, y, factor):
    Phi = fit.vcov.to_numpy()
    names = [f"dfbetas_{name}" for name in fit.coefficient_names]
    p = len(names)
    for level, row in table.iterrows():
        at = DATA[factor].astype(str).to_numpy() != level
        W = np.linalg.inv(V[np.ix_(at, at)])
        left = np.linalg.inv(X[at].T @ W @ X[at])
        change = fit.fixef.to_numpy() - left @ X[at].T @ W @ y[at]
        np.testing.assert_allclose(row[names], change / np.sqrt(np.diag(left)), atol=1e-8)
        ratio = np.linalg.solve(Phi, left)
        expected = {
            "leverage": p - np.trace(np.linalg.inv(ratio)),
            "max_leverage": 1 - np.linalg.eigvals(np.linalg.inv(ratio)).real.min(),
            "cook": change @ np.linalg.solve(Phi, change) / p,
            "mdffits": change @ np.linalg.solve(left, change) / p,
            "covratio": np.linalg.det(ratio),
            "covtrace": np.trace(ratio) - p,
        }
        np.testing.assert_allclose(row[list(expected)], list(expected.values()), rtol=1e-7)


def test_every_table_rests_on_the_covariance_that_was_asked_for():
    data = DATA.assign(f=np.where(DATA["z"] > 0.4, "a", np.where(DATA["z"] > -0.4, "b", "c")))
    fit = mf.fit("y ~ x + f + (x | g)", data)
    found = fit.infer(vcov="CR2")
    assert found.covariance == "CR2"
    assert "CR2, satterthwaite" in repr(found)
    np.testing.assert_allclose(np.sqrt(np.diag(found.vcov)), found.coef_table["se"])
    row = found.contrast({"x": 1.0}).iloc[0]
    pd.testing.assert_series_equal(row, found.coef_table.loc["x"], check_names=False)
    table = found.anova()
    assert table.loc["x", "F"] == pytest.approx(row["statistic"] ** 2)
    assert table.loc["x", "den_df"] == pytest.approx(row["df"])
    names = fit.coefficient_names
    chosen = [[name.startswith(f"f[T.{level}") for name in names] for level in "bc"]
    joint = found.contrast(np.array(chosen, dtype=float)).iloc[0]
    pd.testing.assert_series_equal(table.loc["f"], joint, check_names=False)
    wald = fit.infer("asymptotic", vcov="CR2").coef_table
    np.testing.assert_allclose(wald["se"], found.coef_table["se"])
    assert np.isinf(wald["df"]).all()


def test_jackknife_at_the_variances_of_the_fit_is_cr3():
    fit = mf.fit("y ~ x + z + (x | g)", DATA)
    moved = fit.jackknife(refit=False).replicates - fit.fixef
    np.testing.assert_allclose(moved.T @ moved, fit.infer(vcov="CR3").vcov, rtol=1e-8)


def test_group_that_alone_tells_of_a_coefficient_is_left_as_missing():
    data = DATA.assign(only=np.where(DATA["g"] == 3, DATA["z"], 0.0))
    fit = mf.fit("y ~ x + only + (1 | g)", data)
    found = fit.influence()
    assert np.isnan(found.loc["3", "cook"])
    assert found.loc["3", "covratio"] == np.inf
    assert np.isfinite(found.drop("3")).all().all()
    refits = fit.influence("g", ["3", "4"], refit=True)
    assert np.isnan(refits.loc["3", ["cook", "covratio", "dfbetas_x"]]).all()
    assert np.isfinite(refits.loc["4", "cook"])
    jackknife = fit.jackknife()
    assert jackknife.replicates["x"].isna().sum() == 1
    assert np.isfinite(jackknife.table.loc[["x", "only", "sigma"]]).all().all()
    assert np.isfinite(fit.infer(vcov="CR2").coef_table.loc["x"]).all()


def test_sums_by_group_need_no_rows():
    formula = "y ~ x + z + (x | g)"
    rows = mf.fit(formula, DATA)
    sums = mf.fit(formula, mf.condense(formula, DATA, by_group="g"))
    for ask in (
        lambda fit: fit.infer(vcov="CR2").coef_table,
        lambda fit: fit.influence(),
        lambda fit: fit.jackknife().table,
        lambda fit: fit.outlying_groups(),
    ):
        pd.testing.assert_frame_equal(ask(rows), ask(sums), rtol=1e-6)
    without = mf.fit(formula, mf.condense(formula, DATA))
    with pytest.raises(UnsupportedError, match="by_group='g'"):
        without.infer(vcov="CR0")
    assert "distance" not in without.outlying_groups()


def test_jackknife_is_a_fit_without_each_group():
    fit = mf.fit("y ~ x + (x | g)", DATA)
    found = fit.jackknife()
    for level in ("0", "7"):
        alone = mf.fit("y ~ x + (x | g)", DATA[DATA["g"].astype(str) != level])
        np.testing.assert_allclose(found.replicates.loc[level].iloc[:2], alone.fixef, rtol=1e-6)
        np.testing.assert_allclose(found.replicates.loc[level, "sigma"], alone.sigma, rtol=1e-6)
    values = found.replicates["x"]
    assert found.table.loc["x", "se"] == pytest.approx(values.std(ddof=0) * np.sqrt(11))
    assert found.vcov.loc["x", "x"] == pytest.approx(found.table.loc["x", "se"] ** 2)
    quick = fit.jackknife(refit=False).replicates
    np.testing.assert_allclose(quick["x"], values, atol=0.2 * found.table.loc["x", "se"])


@pytest.mark.parametrize("factor", ["g", "k"])
def test_refits_without_levels_of_crossed_factors(factor):
    formula = "y ~ x + (1 | g) + (1 | k)"
    fit = mf.fit(formula, DATA)
    found = fit.influence(factor, ["2"], refit=True).loc["2"]
    alone = mf.fit(formula, DATA[DATA[factor] != 2])
    change = (fit.fixef - alone.fixef).to_numpy()
    assert found["cook"] == pytest.approx(change @ np.linalg.solve(fit.vcov, change) / 2, rel=1e-5)
    assert found["rvc_sigma"] == pytest.approx(alone.sigma / fit.sigma - 1, abs=1e-7)
    ratio = np.linalg.det(alone.vcov) / np.linalg.det(fit.vcov)
    assert found["covratio"] == pytest.approx(ratio, rel=1e-5)


def test_distances_as_on_dense_matrices():
    fit = mf.fit("y ~ x + z + (x | g)", DATA)
    X, V, y = dense_X(fit, DATA), dense_V(fit, DATA), DATA["y"].to_numpy()
    W = np.linalg.inv(V)
    Phi = np.linalg.inv(X.T @ W @ X)
    P = W - W @ X @ Phi @ X.T @ W
    e = y - X @ fit.fixef.to_numpy()
    found = fit.outlying_groups("g")
    assert found["p"].is_monotonic_increasing
    for level, row in found.iterrows():
        at = (DATA["g"].astype(str) == level).to_numpy()
        Z = np.column_stack([np.ones(at.sum()), DATA["x"][at]])
        u = fit.ranef["g"].loc[level].to_numpy()
        G = fit.estimates.G[0]
        np.testing.assert_allclose(G @ Z.T @ (P @ y)[at], u, rtol=1e-6)
        spread = G @ Z.T @ P[np.ix_(at, at)] @ Z @ G
        assert row["Q"] == pytest.approx(u @ np.linalg.solve(spread, u), rel=1e-6)
        own = V[np.ix_(at, at)] - X[at] @ Phi @ X[at].T
        assert row["distance"] == pytest.approx(e[at] @ np.linalg.solve(own, e[at]), rel=1e-7)
        assert row["distance_df"] == at.sum()
    p = found["p"].to_numpy()
    assert found["p_bonferroni"].iloc[0] == min(1.0, 12 * p[0])
    assert found["p_bh"].iloc[0] == min(1.0, (p * 12 / np.arange(1, 13)).min())


def test_an_outlying_group_is_found():
    data = DATA.assign(y=DATA["y"] + 40.0 * (DATA["h"] == 51))
    fit = mf.fit("y ~ x + (1 | g) + (1 | h)", data)
    found = fit.outlying_groups("h")
    assert found.index[0] == "51"
    assert found["p_bonferroni"].iloc[0] < 0.01
    tests = fit.ranef_tests()
    assert tests.loc[("h", "(Intercept)"), "p"] < 1e-6


@pytest.mark.parametrize(
    ("ask", "error", "says"),
    [
        (lambda fit: fit.infer(vcov="CR2"), UnsupportedError, "are crossed"),
        (lambda fit: fit.influence(), DataError, "name the factor"),
        (lambda fit: fit.influence("q"), DataError, "'q' is not a grouping factor"),
        (lambda fit: fit.influence("k", ["77"]), DataError, "'77' is not a level of 'k'"),
        (lambda fit: fit.jackknife(), UnsupportedError, "are crossed"),
        (lambda fit: fit.outlying_groups("q"), DataError, "'q' is not a grouping factor"),
    ],
)
def test_what_crossed_factors_cannot_have(ask, error, says):
    fit = mf.fit("y ~ x + (1 | g) + (1 | k)", DATA)
    with pytest.raises(error, match=says):
        ask(fit)
