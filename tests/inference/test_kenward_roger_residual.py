"""Kenward and Roger with structures of R and of G against their formulas on dense matrices of the rows.

The twin writes V down by rows as a function of its parameters and differentiates it numerically. Full
Kenward and Roger depends on the parameters: the twin's are variances, correlations and the range as
SAS has them, written down here a second time.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from residual_problems import ResidualCase

import mixedflow as mf
from mixedflow.covariance.residual_base import CorrelatedResidual
from mixedflow.covariance.structured import CorrelatedColumns
from mixedflow.errors import UnsupportedError
from mixedflow.estimation.observed import observed_information

NONE = ()
CLINIC = (("clinic", ("1",)),)
SLOPE = (("g", ("1", "x")),)
NESTED = (("g", ("1",)), ("clinic", ("1",)))
CROSSED = (("g", ("1",)), ("h", ("1",)))


def lags(m):
    return np.abs(np.subtract.outer(np.arange(m), np.arange(m)))


def chained(rho):
    m = len(rho) + 1
    return np.array([[np.prod(rho[min(a, b) : max(a, b)]) for a in range(m)] for b in range(m)])


def toeplitz(r):
    return np.r_[1.0, r][lags(len(r) + 1)]


CORRELATION = {
    "cs": lambda r, m: np.where(np.eye(m, dtype=bool), 1.0, r[0]),
    "ar1": lambda r, m: r[0] ** lags(m),
    "ad": lambda r, m: chained(r),
    "toep": lambda r, m: toeplitz(r),
}
PAIRS = {
    "cs": lambda m: [(0, 1)],
    "ar1": lambda m: [(0, 1)],
    "ad": lambda m: [(k, k + 1) for k in range(m - 1)],
    "toep": lambda m: [(0, k) for k in range(1, m)],
}


def covariance(name, x, m):
    """Return R or G of variances and correlations; of covariances where it is linear in these."""
    if name == "us":
        R = np.zeros((m, m))
        R[np.triu_indices(m)] = x
        return R + R.T - np.diag(np.diag(R))
    if name in ("cs", "toep"):
        return (x if name == "toep" else np.r_[x[0], np.repeat(x[1], m - 1)])[lags(m)]
    if name in ("ar1", "ad"):
        return x[0] * CORRELATION[name](x[1:], m)
    s = np.sqrt(x[:m])
    return np.outer(s, s) * CORRELATION[name[:-1]](x[m:], m)


def coordinates(name, R):
    """Return x of a matrix."""
    m, sd = len(R), np.sqrt(np.diag(R))
    if name == "us":
        return R[np.triu_indices(m)]
    if name in ("cs", "toep"):
        return R[0, : 2 if name == "cs" else m]
    rho = [R[a, b] / (sd[a] * sd[b]) for a, b in PAIRS[name.removesuffix("h")](m)]
    return np.r_[sd[:1] ** 2 if name in ("ar1", "ad") else sd**2, rho]


def steps(x):
    return np.diag(1e-3 * np.maximum(np.abs(x), 0.1))


def slopes(function, x):
    out = []
    for h in steps(x):
        f = [function(x + k * h) for k in (-2, -1, 1, 2)]
        out.append((f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h.max()))
    return np.array(out)


def bends(function, x):
    h = steps(x)
    at = [[function(x + a * i + b * j) for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
          for i in h for j in h]  # fmt: skip
    size = np.outer(h.sum(axis=0), h.sum(axis=0)).ravel()
    found = [(f[0] - f[1] - f[2] + f[3]) / (4 * s) for f, s in zip(at, size, strict=True)]
    return np.array(found).reshape(len(x), len(x), *np.shape(found[0]))


def textbook(X, V, x, W, second):
    """Return Phi_A and the degrees of freedom of every coefficient for V(x)."""
    inverse = np.linalg.inv(V(x))
    half = inverse @ X
    Phi = np.linalg.inv(X.T @ half)
    D = slopes(V, x)
    P = np.array([half.T @ d @ half for d in D])
    r = range(len(x))
    inner = sum(
        W[i, j] * (half.T @ D[i] @ inverse @ D[j] @ half - P[i] @ Phi @ P[j]) for i in r for j in r
    )
    if second:
        curved = np.einsum("ij,ijab->ab", W, bends(V, x))
        inner = inner - 0.25 * half.T @ curved @ half
    g = np.array([np.diag(Phi @ p @ Phi) for p in P])
    return Phi + 2.0 * Phi @ inner @ Phi, 2.0 * np.diag(Phi) ** 2 / np.einsum(
        "ip,ij,jp->p", g, W, g
    )


def agrees(found, adjusted, df, tolerance=1e-6):
    se = np.sqrt(np.diag(adjusted))
    scale = np.outer(se, se)
    np.testing.assert_allclose(found.vcov / scale, adjusted / scale, atol=tolerance)
    np.testing.assert_allclose(found.coef_table["df"], df, rtol=10 * tolerance)


def twin_V(case, params):
    """Return V over the rows at parameters of ours."""
    G, sigma2 = case.user(params)
    root = 1.0 / np.sqrt(case.weights)
    V = sigma2 * case.R0(params.psi) * np.outer(root, root)
    for term, G_j in zip(case.terms, G, strict=True):
        same = term.codes[:, None] == term.codes
        V = V + np.where(same, term.Z @ G_j @ term.Z.T, 0.0)
    return V


LINEAR = [
    ResidualCase("x", NONE, "us(visit | arm/g)"),
    ResidualCase("x", CLINIC, "us(visit | g)", weighted=True),
    ResidualCase("x", NONE, "cs(visit | g)", weighted=True),
    ResidualCase("x", CLINIC, "cs(1 | g)"),
    ResidualCase("x", SLOPE, "cs(1 | arm/g)"),
    ResidualCase("x + visit", CLINIC, "csh(visit | arm/g)"),
    ResidualCase("x", NONE, "ar1(t | g)"),
    ResidualCase("x", SLOPE, "ar1(1 | g)", weighted=True),
    ResidualCase("x", CLINIC, "ar1(t | arm/g)"),
    ResidualCase("x", NESTED, "strata(arm) * ar1(t | g)"),
    ResidualCase("x", CLINIC, "ar1h(visit | g)", weighted=True),
    ResidualCase("x", CLINIC, "sp_exp(time | arm/g)", weighted=True),
    ResidualCase("x", CLINIC, "sp_exp(time, east | arm/g)", weighted=True),
    ResidualCase("x + visit", CLINIC, "adh(visit | g)"),
    ResidualCase("x", NONE, "toep(visit | g)", weighted=True),
    ResidualCase("x", NONE, "toeph(visit | g)"),
    ResidualCase("x", SLOPE, "strata(lab)", weighted=True),
    ResidualCase("x + visit", CROSSED, "strata(lab)", weighted=True),
]


def named(case):
    random = ",".join(f"{'+'.join(c)}|{g}" for g, c in case.random) or "-"
    return f"{case.residual.replace(' ', '')} {random}" + (" w" if case.weighted else "")


@pytest.mark.parametrize("case", LINEAR, ids=named)
def test_linear_is_the_same_in_any_parameters(case):
    fit = case.fit()
    params = fit.estimates.params
    found = observed_information(case.problem, params)
    free, W = found.free, found.covariance[np.ix_(found.free, found.free)]
    at = case.problem.evaluate(params).params
    x = at.vector()

    def V(inner):
        whole = x.copy()
        whole[free] = inner
        return twin_V(case, at.with_vector(whole))

    adjusted, df = textbook(case.X, V, x[free], W, second=False)
    agrees(fit.infer("kenward-roger-linear"), adjusted, df)


FULL = [
    *(ResidualCase("x", NONE, f"{name}(visit | g)") for name in ("us", "cs", "csh", "ar1h")),
    *(ResidualCase("x + visit", NONE, f"{name}(visit | g)") for name in ("ad", "adh", "toep", "toeph")),
    ResidualCase("x", NONE, "ar1(t | g)", weighted=True),
    ResidualCase("x", NONE, "car1(time | g)"),
    ResidualCase("x", CLINIC, "csh(visit | g)"),
    ResidualCase("x", NESTED, "ar1(t | g)"),
    ResidualCase("x", SLOPE, "car1(time | g)", weighted=True),
    ResidualCase("x", CLINIC, "sp_exp(time, east | g)", weighted=True),
]  # fmt: skip


@pytest.mark.parametrize("case", FULL, ids=named)
def test_full_is_that_of_variances_and_correlations(case):
    """x = (variances, correlations) or covariances of R, entries of every G."""
    fit = case.fit()
    at = case.problem.evaluate(fit.estimates.params).params
    name = case.residual.split("(")[0]
    gaps = name == "sp_exp" or case.problem.residual.design.basis == "gaps"
    sizes = [G.shape[0] for G in case.user(at)[0]]
    i, j = case.pairs

    def of_residual(params):
        G, sigma2 = case.user(params)
        if gaps:
            rho = np.tanh(params.psi[0])
            own = [sigma2, rho if name == "ar1" else np.exp(-params.psi[0])]
        else:
            m = len(case.problem.residual.design.positions)
            own = coordinates(name, sigma2 * residual_matrix(case, params.psi, m))
        return np.concatenate([*(g[np.triu_indices(len(g))] for g in G), own])

    def V(x):
        out, start = np.zeros((len(case.X),) * 2), 0
        for term, size in zip(case.terms, sizes, strict=True):
            stop = start + size * (size + 1) // 2
            G = covariance("us", x[start:stop], size)
            same = term.codes[:, None] == term.codes
            out += np.where(same, term.Z @ G @ term.Z.T, 0.0)
            start = stop
        R, where = np.zeros_like(out), case.places
        if gaps:
            rho = x[start + 1] if name == "ar1" else np.exp(-1.0 / x[start + 1])
            apart = np.abs(where[i] - where[j])
            if case.coordinates:
                away = case.data[list(case.coordinates)].to_numpy(dtype=float)
                apart = np.linalg.norm(away[i] - away[j], axis=1)
            R[i, j] = x[start] * rho**apart
        else:
            m = len(case.problem.residual.design.positions)
            R[i, j] = covariance(name, x[start:], m)[where[i], where[j]]
        root = 1.0 / np.sqrt(case.weights)
        return out + R * np.outer(root, root)

    x = of_residual(at)
    np.testing.assert_allclose(V(x), twin_V(case, at), atol=1e-9 * np.abs(V(x)).max())
    J = slopes(lambda z: of_residual(at.with_vector(z)), at.vector()).T
    W = J @ observed_information(case.problem, at).covariance @ J.T
    adjusted, df = textbook(case.X, V, x, W, second=True)
    agrees(fit.infer("kenward-roger"), adjusted, df)


SITES = 25


def sites(n=300):
    """Return rows of 25 groups with effects of four conditions, an unbalanced few in each."""
    rng = np.random.default_rng(4)
    g, site = rng.integers(0, SITES, n), rng.integers(0, 4, n)
    sd, rho = np.array([1.0, 1.6, 0.7, 1.2]), 0.6 ** lags(4)
    u = rng.normal(size=(SITES, 4)) @ np.linalg.cholesky(np.outer(sd, sd) * rho).T
    x = rng.normal(size=n)
    y = 3.0 + 0.5 * x + site + 2.0 * u[g, site] + rng.normal(size=n)
    labels = [f"c{k}" for k in site]
    return pd.DataFrame({"y": y, "x": x, "g": g, "site": labels, "h": rng.integers(0, 6, n)})


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("more", ["", " + (1 | h)"])
@pytest.mark.parametrize("structure", ["cs", "csh", "ar1", "ar1h", "toep", "toeph"])
def test_structured_G_with_the_expected_information(structure, more, second):
    data = sites()
    fit = mf.fit(f"y ~ x + site + {structure}(0 + site | g){more}", data)
    X = np.column_stack(
        [np.ones(len(data)), data["x"], *(data["site"] == f"c{k}" for k in (1, 2, 3))]
    )
    Z, same = (
        pd.get_dummies(data["site"]).to_numpy(float),
        np.equal.outer(*[data["g"].to_numpy()] * 2),
    )
    together = np.equal.outer(*[data["h"].to_numpy()] * 2)
    own = next(G for G in fit.estimates.G if len(G) == 4)
    x = np.r_[coordinates(structure, own), fit.sigma**2]
    if more:
        x = np.r_[x, next(G for G in fit.estimates.G if len(G) == 1)[0]]

    def V(x):
        count = len(coordinates(structure, own))
        out = np.where(same, Z @ covariance(structure, x[:count], 4) @ Z.T, 0.0)
        out += x[count] * np.eye(len(data))
        return out + together * x[-1] if more else out

    adjusted, df = textbook(X, V, x, expected(X, V, x), second)
    agrees(fit.infer("kenward-roger" if second else "kenward-roger-linear"), adjusted, df)


def test_factor_analytic_G_in_loadings_and_own_variances():
    rng, data = np.random.default_rng(5), sites(400)
    g, site = data["g"].to_numpy(), data["site"].str[1].astype(int).to_numpy()
    own = rng.normal(size=(SITES, 4)) * np.array([1.0, 1.4, 1.1, 0.9])
    data["y"] = 2.0 * rng.normal(size=SITES)[g] + own[g, site] + 0.4 * rng.normal(size=400)
    fit = mf.fit("y ~ x + fa(0 + site | g, 1)", data)
    X = np.column_stack([np.ones(len(data)), data["x"]])
    Z, same = (
        pd.get_dummies(data["site"]).to_numpy(float),
        np.equal.outer(*[data["g"].to_numpy()] * 2),
    )
    (theta,) = fit.estimates.params.theta
    x = fit._problem().system.fixed_scale.y_scale * theta
    x = np.r_[x[:4], x[4:] ** 2, fit.sigma**2]

    def V(x):
        G = np.outer(x[:4], x[:4]) + np.diag(x[4:8])
        return np.where(same, Z @ G @ Z.T, 0.0) + x[8] * np.eye(len(data))

    for second in (False, True):
        adjusted, df = textbook(X, V, x, expected(X, V, x), second)
        agrees(fit.infer("kenward-roger" if second else "kenward-roger-linear"), adjusted, df)


@pytest.mark.parametrize("kind", ["G", "R"])
def test_structures_that_state_no_coordinates_have_the_first_order(kind, monkeypatch):
    owner = CorrelatedColumns if kind == "G" else CorrelatedResidual
    fit = mf.fit("y ~ x + site + csh(0 + site | g)", sites()) if kind == "G" else FULL[2].fit()
    monkeypatch.setattr(owner, "natural_second", lambda *_: None)
    with pytest.raises(UnsupportedError, match=r"'csh' states none.*'kenward-roger-linear'"):
        fit.infer("kenward-roger")
    assert np.isfinite(fit.infer("kenward-roger-linear").coef_table["df"]).all()


def test_linear_structures_have_both_orders_alike_on_a_boundary_too():
    rng = np.random.default_rng(0)
    data = sites().assign(y=rng.normal(size=300))
    fit = mf.fit("y ~ x + cs(0 + site | g)", data)
    both = [fit.infer(ddf).coef_table for ddf in ("kenward-roger", "kenward-roger-linear")]
    pd.testing.assert_frame_equal(*both)


def test_autoregressions_on_sums_by_position_need_no_rows():
    case = ResidualCase("x", NONE, "ar1(visit | g)")
    sums = mf.condense(case.formula, case.data, residual="us(visit | g)")
    fit, rows = mf.fit(case.formula, sums, residual="ar1(visit | g)"), case.fit()
    for ddf in ("kenward-roger", "kenward-roger-linear"):
        found = fit.infer(ddf).coef_table
        np.testing.assert_allclose(found, rows.infer(ddf).coef_table, rtol=1e-5)


def expected(X, V, x):
    """Return the inverse of 1/2 tr(P_V D_i P_V D_j)."""
    inverse = np.linalg.inv(V(x))
    P = inverse - inverse @ X @ np.linalg.solve(X.T @ inverse @ X, X.T @ inverse)
    PD = [P @ d for d in slopes(V, x)]
    return np.linalg.inv(0.5 * np.array([[np.sum(a * b.T) for b in PD] for a in PD]))


def residual_matrix(case, psi, m):
    """Return R0 over the positions out of the rows' R0: the first group that has both."""
    R0, where, out = case.R0(psi), case.places, np.full((m, m), np.nan)
    i, j = case.pairs
    out[where[i], where[j]] = R0[i, j]
    return out
