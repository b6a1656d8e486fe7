"""Kenward and Roger from the sums against their formulas on dense matrices of the rows."""

from __future__ import annotations

import json

import helpers
import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.errors import UnsupportedError
from mixedflow.inference import crossed_products

RNG = np.random.default_rng(11)


def dense(X, parts, R, Phi=None):
    """Return Phi, Phi_A, the slopes of Phi and W; V = sum theta_i D_i, the last R."""
    V = sum(theta * D for theta, D in parts) + R[0] * R[1]
    slopes = [D for _, D in parts] + [R[1]]
    inverse = np.linalg.inv(V)
    half = inverse @ X
    Phi = np.linalg.inv(X.T @ half) if Phi is None else Phi
    P = [half.T @ D @ half for D in slopes]
    Q = [[half.T @ a @ inverse @ b @ half for b in slopes] for a in slopes]
    r = range(len(slopes))
    traces = [[np.sum((inverse @ a) * (inverse @ b).T) for b in slopes] for a in slopes]
    shared = [[np.trace(Phi @ (P[i] @ Phi @ P[j] - 2.0 * Q[i][j])) for j in r] for i in r]
    W = np.linalg.inv(0.5 * (np.array(traces) + shared))
    inner = sum(W[i, j] * (Q[i][j] - P[i] @ Phi @ P[j]) for i in r for j in r)
    return Phi, Phi + 2.0 * Phi @ inner @ Phi, np.array([Phi @ p @ Phi for p in P]), W


def dense_df(Phi, slopes, W):
    """Return 2 Phi_kk^2 / (g'Wg) of every coefficient."""
    return 2.0 * np.diag(Phi) ** 2 / np.einsum("ipp,ij,jpp->p", slopes, W, slopes)


def pieces(fit, data, weights=None):
    """Return theta and D of every entry of G, and sigma2 with W^-1, over the rows."""
    parts = []
    for term, G in zip(fit.encoder.terms, fit.estimates.G, strict=True):
        factor = fit.crossproducts.info.factors[term.factor]
        names = [factor.columns[c] for c in term.columns]
        Z = np.column_stack([np.ones(len(data)) if n == "(Intercept)" else data[n] for n in names])
        same = np.equal.outer(*[data[list(factor.variables)].agg(tuple, axis=1).to_numpy()] * 2)
        pairs = [(a, b) for a in range(len(G)) for b in range(a, len(G))]
        if term.structure == "diag":
            pairs = [(a, a) for a in range(len(G))]
        for a, b in pairs:
            D = same * (np.outer(Z[:, a], Z[:, b]) + (a != b) * np.outer(Z[:, b], Z[:, a]))
            parts.append((G[a, b], D))
    w = np.ones(len(data)) if weights is None else data[weights].to_numpy()
    return parts, (fit.estimates.sigma2, np.diag(1.0 / w))


def crossed(n=150):
    data = pd.DataFrame(
        {
            "x": RNG.normal(5.0, 2.0, n),
            "g": RNG.integers(0, 9, n),
            "h": RNG.integers(0, 7, n),
            "w": RNG.uniform(0.5, 2.0, n),
        }
    )
    u, v, s = RNG.normal(size=9), RNG.normal(size=7), RNG.normal(size=9)
    noise = RNG.normal(size=n) / np.sqrt(data["w"])
    data["y"] = 1.0 + data["x"] * (0.3 + 0.4 * s[data["g"]]) + u[data["g"]] + v[data["h"]] + noise
    return data


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + (x | g)",
        "y ~ x + (x || g)",
        "y ~ x + diag(1 + x | g)",
        "y ~ 0 + x + (x | g) + (1 | h)",
        "y ~ x + (x | g) + (1 | h)",
        "y ~ x + (1 | h/g)",
        "y ~ x + (x | h) + (x | g)",
        "y ~ x + (0 + x | h) + (1 | g) + (1 | h:g)",
    ],
)
def test_same_as_on_dense_matrices(formula, weights):
    data = crossed()
    fit = mf.fit(formula, data, weights=weights)
    X = np.column_stack(
        [np.ones(len(data)) if n == "(Intercept)" else data[n] for n in fit.coefficient_names]
    )
    Phi, adjusted, slopes, W = dense(X, *pieces(fit, data, weights))
    found = fit.infer("kenward-roger")
    se = np.sqrt(np.diag(adjusted))
    np.testing.assert_allclose(
        found.vcov / np.outer(se, se), adjusted / np.outer(se, se), atol=1e-7
    )
    np.testing.assert_allclose(found.coef_table["df"], dense_df(Phi, slopes, W), rtol=1e-6)


def test_pbkrtest_forgets_the_weights_of_V():
    """Its figures are those of sigma2 I in V beside the weighted Phi; ours of sigma2 W^-1."""
    entry = helpers.entries()["sleepstudy_weights_reml"]
    data = helpers.reference_frame(entry)
    fit = mf.fit(entry["formula"], data, weights="w")
    X = np.column_stack([np.ones(len(data)), data["Days"]])
    figures = {e["id"]: e for e in json.loads((helpers.REFERENCES / "df.json").read_text())}
    theirs = list(figures[entry["id"]]["kenward-roger"]["coef"].values())
    Phi, adjusted, slopes, W = dense(X, *pieces(fit, data), fit.vcov.to_numpy())
    np.testing.assert_allclose(np.sqrt(np.diag(adjusted)), [r["se"] for r in theirs], rtol=1e-6)
    np.testing.assert_allclose(dense_df(Phi, slopes, W), [r["df"] for r in theirs], rtol=1e-6)
    Phi, adjusted, slopes, W = dense(X, *pieces(fit, data, "w"))
    ours = fit.infer("kenward-roger").coef_table
    np.testing.assert_allclose(ours["se"], np.sqrt(np.diag(adjusted)), rtol=1e-7)
    np.testing.assert_allclose(ours["df"], dense_df(Phi, slopes, W), rtol=1e-7)


@pytest.mark.parametrize(
    ("formula", "options", "message"),
    [
        ("y ~ x + (x | g)", {"reml": False}, r"REML.*'satterthwaite'"),
    ],
)
def test_what_is_not_offered_names_what_is(formula, options, message):
    fit = mf.fit(formula, crossed(), **options)
    with pytest.raises(UnsupportedError, match=message):
        fit.infer("kenward-roger")


def test_many_effects_of_several_factors_are_refused(monkeypatch):
    monkeypatch.setattr(crossed_products, "DENSE_LIMIT", 5)
    fit = mf.fit("y ~ x + (1 | g) + (1 | h)", crossed())
    with pytest.raises(UnsupportedError, match=r"up to 5 random effects beside.*here are 7"):
        fit.infer("kenward-roger")
