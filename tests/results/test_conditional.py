"""Conditional AIC and intervals of intraclass correlations against cAIC4 and dense twins."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from helpers import REFERENCES, data_frame
from scipy.optimize import minimize

import mixedflow as mf
from mixedflow.errors import ConfigError, UnsupportedError

R = json.loads((REFERENCES / "profiles.json").read_text())
SLOPES = "Reaction ~ Days + (Days | Subject)"
Z = 1.959963984540054

FITS = {
    "sleep": (SLOPES, "sleep_unb", True),
    "sleep_ml": (SLOPES, "sleep_unb", False),
    "sleep_intercept": ("Reaction ~ Days + (1 | Subject)", "sleep_unb", True),
    "machines": ("score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", "machines_unb", True),
    "pastes": ("strength ~ 1 + (1 | batch) + (1 | sample)", "Pastes", False),
    "dyestuff2": ("Yield ~ 1 + (1 | Batch)", "Dyestuff2", True),
}


@pytest.mark.parametrize("name", FITS)
def test_conditional_aic_is_caic4s(name):
    formula, data, reml = FITS[name]
    found = mf.fit(formula, data_frame(data), reml=reml).caic
    wanted = R[f"caic_{name}"]
    assert found["loglik"] == pytest.approx(wanted["loglik"], abs=1e-4)
    assert found["df"] == pytest.approx(wanted["df"], abs=2e-4)
    assert found["caic"] == pytest.approx(2 * (found["df"] - found["loglik"]), rel=1e-12)
    known = 2 * (found["rho"] + 1 - found["loglik"])
    assert found["caic_known"] == pytest.approx(known, rel=1e-12)


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(12)
    g, v = np.divmod(np.arange(40), 5)
    frame = pd.DataFrame({"g": g, "v": v, "x": rng.normal(size=40), "w": 1.0 + np.arange(40) % 3})
    e = np.zeros((8, 5))
    for k in range(5):
        e[:, k] = 0.5 * e[:, k - 1] + rng.normal(size=8)
    frame["y"] = 3 + frame["x"] + 1.5 * rng.normal(size=8)[g] + e[g, v]
    return frame.drop(index=[3, 11, 12, 30, 38]).reset_index(drop=True)


@pytest.mark.parametrize(
    "options",
    [{}, {"reml": False}, {"weights": "w"}, {"residual": "ar1(v | g)"}],
    ids=["reml", "ml", "weights", "ar1"],
)
def test_degrees_of_freedom_are_how_fits_follow_the_response(options):
    """tr(dy-hat/dy), the response moved row by row and the model fitted again."""
    frame = rows()
    fit = mf.fit("y ~ x + (1 | g)", frame, **options)
    assert not fit.singular
    total, h = 0.0, 1e-3
    for i in range(len(frame)):
        both = []
        for sign in (1.0, -1.0):
            moved = frame.copy()
            moved.loc[i, "y"] += sign * h
            both.append(float(mf.fit("y ~ x + (1 | g)", moved, **options).fitted.iloc[i]))
        total += (both[0] - both[1]) / (2 * h)
    of_residual = 2 if "residual" in options else 1
    assert fit.caic["df"] - of_residual == pytest.approx(total, abs=2e-4)


def test_rho_is_the_trace_of_the_hat_matrix():
    frame = rows()
    fit = mf.fit("y ~ x + (1 | g)", frame)
    X = np.column_stack([np.ones(len(frame)), frame["x"]])
    g = frame["g"].to_numpy()
    V = fit.estimates.G[0][0, 0] * (g[:, None] == g) + fit.sigma**2 * np.eye(len(g))
    inverse = np.linalg.inv(V)
    P = inverse - inverse @ X @ np.linalg.solve(X.T @ inverse @ X, X.T @ inverse)
    assert fit.caic["rho"] == pytest.approx(len(g) - fit.sigma**2 * np.trace(P), rel=1e-9)
    e = frame["y"] - fit.fitted
    loglik = -0.5 * (len(g) * np.log(2 * np.pi * fit.sigma**2) + e @ e / fit.sigma**2)
    assert fit.caic["loglik"] == pytest.approx(loglik, rel=1e-9)


def dense_reml(frame: pd.DataFrame, s2: float, sigma2: float) -> float:
    g, y = frame["g"].to_numpy(), frame["y"].to_numpy()
    X = np.column_stack([np.ones(len(g)), frame["x"]])
    V = s2 * (g[:, None] == g) + sigma2 * np.eye(len(g))
    inverse = np.linalg.inv(V)
    gram = X.T @ inverse @ X
    e = y - X @ np.linalg.solve(gram, X.T @ inverse @ y)
    return float(np.linalg.slogdet(V)[1] + np.linalg.slogdet(gram)[1] + e @ inverse @ e)


def test_the_delta_interval_is_that_of_the_dense_information():
    frame = rows()
    fit = mf.fit("y ~ x + (1 | g)", frame)
    table = fit.icc_table()
    total, sigma2 = fit.estimates.G[0][0, 0] + fit.sigma**2, fit.sigma**2
    icc = 1 - sigma2 / total

    def half(v: np.ndarray) -> float:  # in logit of icc and log of the whole variance
        share, whole = 1 / (1 + np.exp(-v[0])), np.exp(v[1])
        return 0.5 * dense_reml(frame, share * whole, (1 - share) * whole)

    at, h = np.array([np.log(icc / (1 - icc)), np.log(total)]), 1e-3
    H = np.zeros((2, 2))
    for i in range(2):
        for j in range(2):
            a, b = h * np.eye(2)[i], h * np.eye(2)[j]
            H[i, j] = (
                half(at + a + b) - half(at + a - b) - half(at - a + b) + half(at - a - b)
            ) / (4 * h * h)
    se = np.sqrt(np.linalg.inv(H)[0, 0])
    ends = 1 / (1 + np.exp(-(at[0] + np.array([-1, 1]) * Z * se)))
    np.testing.assert_allclose(table.loc["g", ["lower", "upper"]].to_numpy(float), ends, rtol=1e-4)
    assert table.loc["g", "se"] == pytest.approx(icc * (1 - icc) * se, rel=1e-4)
    assert table.loc["g", "estimate"] == pytest.approx(fit.icc["g"], rel=1e-10)


def test_the_profile_interval_is_where_the_dense_likelihood_has_fallen():
    frame = rows()
    fit = mf.fit("y ~ x + (1 | g)", frame)
    table = fit.icc_table(method="profile")
    least = dense_reml(frame, fit.estimates.G[0][0, 0], fit.sigma**2)
    for end in ("lower", "upper"):
        share = table.loc["g", end]
        found = minimize(
            lambda v, s=share: dense_reml(frame, s * np.exp(v[0]), (1 - s) * np.exp(v[0])),
            [np.log(fit.sigma**2)],
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-10},
        ).fun
        assert found - least == pytest.approx(Z**2, abs=1e-4)


def test_several_terms_have_a_total_and_a_boundary_a_profile():
    fit = mf.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", data_frame("Penicillin"))
    table = fit.icc_table()
    assert list(table.index) == ["plate", "sample", "total"]
    assert table.loc["total", "estimate"] == pytest.approx(fit.icc.sum(), rel=1e-10)
    assert ((table["lower"] < table["estimate"]) & (table["estimate"] < table["upper"])).all()
    singular = mf.fit("Yield ~ 1 + (1 | Batch)", data_frame("Dyestuff2"))
    assert "on the boundary" in singular.icc_table().loc["Batch", "note"]
    profile = singular.icc_table(method="profile").loc["Batch"]
    assert profile["lower"] == 0.0
    assert 0.1 < profile["upper"] < 0.5


def test_intervals_cover_the_intraclass_correlation():
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(30), [4, 5, 6] * 10)
    covered, runs = 0, 120
    for _ in range(runs):
        y = rng.normal(size=30)[g] + rng.normal(size=len(g))
        row = mf.fit("y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "g": g})).icc_table().loc["g"]
        covered += row["lower"] <= 0.5 <= row["upper"]
    assert abs(covered / runs - 0.95) < 3 * np.sqrt(0.95 * 0.05 / runs)


def test_what_has_no_interval_is_refused():
    fit = mf.fit(SLOPES, data_frame("sleepstudy"))
    with pytest.raises(UnsupportedError, match="has slopes"):
        fit.icc_table()
    plain = mf.fit("Reaction ~ Days + (1 | Subject)", data_frame("sleepstudy"))
    with pytest.raises(ConfigError, match="method='boot' is not known"):
        plain.icc_table(method="boot")
    with pytest.raises(ConfigError, match="between 0 and 1"):
        plain.icc_table(95)
