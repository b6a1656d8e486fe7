"""Profiles at the boundary, by REML, of other structures of G and of R: lme4's, and dense twins."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from helpers import REFERENCES, data_frame
from scipy.optimize import minimize

import mixedflow as mf
from mixedflow.errors import ConfigError, UnsupportedError

LME4 = json.loads((REFERENCES / "profiles.json").read_text())
Z2 = 1.959963984540054**2
ENDS = ["lower", "upper"]
LAG = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))

LME4_FITS = {
    "dyestuff2": ("Yield ~ 1 + (1 | Batch)", "Dyestuff2"),
    "machines": ("score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", "machines_unb"),
    "pastes": ("strength ~ 1 + (1 | batch) + (1 | sample)", "Pastes"),
    "sleep_intercept": ("Reaction ~ Days + (1 | Subject)", "sleep_unb"),
}


@pytest.mark.parametrize("name", LME4_FITS)
def test_profiles_are_lme4s_at_the_boundary_too(name):
    formula, data = LME4_FITS[name]
    table = mf.fit(formula, data_frame(data)).confint()
    wanted = pd.DataFrame(LME4[f"profile_{name}"], index=ENDS).T
    fixed = [one for one in wanted.index if not one.startswith(".")]
    np.testing.assert_allclose(table[ENDS].iloc[-len(fixed) :], wanted.loc[fixed], rtol=1e-3)
    # lme4 lists its SDs by the number of levels
    ours = table.iloc[: -len(fixed)].sort_values("upper")[ENDS].to_numpy()
    theirs = wanted.drop(index=fixed).sort_values("upper").to_numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    assert (table["note"] == "").all()


Spread = Callable[[np.ndarray], np.ndarray]


class Dense:
    """-2 log-likelihood of y ~ N(X b, V(v)), and its least value with one function of v held."""

    def __init__(self, X: np.ndarray, y: np.ndarray, V: Spread, *, reml: bool) -> None:
        self.X, self.y, self.V, self.reml = X, y, V, reml

    def __call__(self, v: np.ndarray) -> float:
        try:
            L = np.linalg.cholesky(self.V(v))
        except np.linalg.LinAlgError:
            return 1e6
        X, y = np.linalg.solve(L, self.X), np.linalg.solve(L, self.y)
        gram = X.T @ X
        e = y - X @ np.linalg.solve(gram, X.T @ y)
        n, p = self.X.shape
        value = 2.0 * np.log(np.diag(L)).sum() + e @ e
        if not self.reml:
            return float(value + n * np.log(2 * np.pi))
        return float(value + (n - p) * np.log(2 * np.pi) + np.linalg.slogdet(gram)[1])

    def held(self, values: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> float:
        """Return the least over what is free, by a search without slopes."""
        options = {"xatol": 1e-7, "fatol": 1e-9, "maxiter": 6000, "maxfev": 6000}
        found = minimize(lambda f: self(values(f)), start, method="Nelder-Mead", options=options)
        again = minimize(lambda f: self(values(f)), found.x, method="Nelder-Mead", options=options)
        return float(again.fun)


def rows(seed: int = 1) -> pd.DataFrame:
    """Return 24 groups with 2 to 4 of four visits."""
    rng = np.random.default_rng(seed)
    g, v = np.divmod(np.arange(96), 4)
    frame = pd.DataFrame(
        {"g": g, "v": v, "x": rng.normal(size=96), "arm": np.array(["a", "b"])[g % 2]}
    )
    own = rng.normal(size=(24, 4)) @ np.linalg.cholesky(0.6**LAG).T
    frame["y"] = 4 + frame["x"] + own[g, v] * np.array([1.0, 1.6, 1.2, 2.0])[v]
    frame["y"] += rng.normal(size=24)[g] + 0.5 * frame["v"] * rng.normal(size=24)[g]
    keep = rng.uniform(size=96) > 0.25
    return frame[keep | (frame["v"] < 2)].reset_index(drop=True)


def by_group(frame: pd.DataFrame, inner: np.ndarray) -> np.ndarray:
    """Return the covariance of rows of the same group, inner of their two visits."""
    g, v = frame["g"].to_numpy(), frame["v"].to_numpy()
    return inner[np.ix_(v, v)] * (g[:, None] == g)


def twin(frame: pd.DataFrame, V: Spread, *, reml: bool) -> Dense:
    X = np.column_stack([np.ones(len(frame)), frame["x"]])
    return Dense(X, frame["y"].to_numpy(), V, reml=reml)


@pytest.mark.parametrize("likelihood", ["ml", "reml"])
def test_reml_profiles_of_an_intercept_have_fallen_by_the_quantile(likelihood):
    frame = rows()
    fit = mf.fit("y ~ x + (1 | g)", frame, reml=likelihood == "reml")

    def V(v: np.ndarray) -> np.ndarray:
        return by_group(frame, np.full((4, 4), np.exp(2 * v[0]))) + np.exp(2 * v[1]) * np.eye(
            len(frame)
        )

    dense = twin(frame, V, reml=likelihood == "reml")
    table = fit.confint(parm="theta_", likelihood=likelihood)
    assert list(table.index) == ["sd_(Intercept)|g", "sigma"]
    start = np.log(table["estimate"].to_numpy())
    assert dense(start) == pytest.approx(fit.deviance, abs=1e-7)
    for at, name in enumerate(table.index):
        for end in ENDS:
            held = np.log(table.loc[name, end])
            found = dense.held(lambda f, a=at, h=held: np.insert(f, a, h), start[1 - at : 2 - at])
            assert found - fit.deviance == pytest.approx(Z2, abs=1e-4)


@pytest.mark.parametrize("likelihood", ["ml", "reml"])
def test_autoregression_beside_an_intercept(likelihood):
    frame = rows(9)
    reml = likelihood == "reml"
    fit = mf.fit("y ~ x + (1 | g)", frame, residual="ar1(v | g)", reml=reml)

    def V(v: np.ndarray) -> np.ndarray:
        return by_group(frame, np.exp(2 * v[0]) + np.exp(2 * v[1]) * np.tanh(v[2]) ** LAG)

    dense = twin(frame, V, reml=reml)
    table = fit.confint(parm="theta_", likelihood=likelihood)
    assert list(table.index) == ["sd_(Intercept)|g", "sigma", "rho"]
    start = np.r_[np.log(table["estimate"].iloc[:2]), np.arctanh(table["estimate"].iloc[2])]
    assert dense(start) == pytest.approx(fit.deviance, abs=1e-6)
    _assert_fallen(dense, table, start, fit.deviance)


def _assert_fallen(dense: Dense, table: pd.DataFrame, start: np.ndarray, least: float) -> None:
    """Every end inside its range has the quantile's deviance; at an end of the range there is less."""
    for at, name in enumerate(table.index):
        correlation = name.startswith(("rho", "cor"))
        for end in ENDS:
            value = table.loc[name, end]
            open_end = abs(value) >= 1 if correlation else value == 0
            if open_end:
                edge = 7.0 * np.sign(value) if correlation else start[at] - 9.0
            else:
                edge = np.arctanh(value) if correlation else np.log(value)
            found = dense.held(lambda f, a=at, h=edge: np.insert(f, a, h), np.delete(start, at))
            if open_end:
                assert found - least < Z2
            else:
                assert found - least == pytest.approx(Z2, abs=5e-4), (name, end)


def test_compound_symmetry_of_effects():
    frame = rows(3)
    fit = mf.fit("y ~ x + csh(1 + v | g)", frame, reml=False)
    Z = np.column_stack([np.ones(4), np.arange(4)])

    def V(v: np.ndarray) -> np.ndarray:
        s, r = np.exp(v[:2]), np.tanh(v[2])
        G = np.outer(s, s) * np.array([[1, r], [r, 1]])
        return by_group(frame, Z @ G @ Z.T) + np.exp(2 * v[3]) * np.eye(len(frame))

    dense = twin(frame, V, reml=False)
    table = fit.confint(parm="theta_")
    assert list(table.index) == ["sd_(Intercept)|g", "sd_v|g", "rho|g", "sigma"]
    est = table["estimate"].to_numpy()
    start = np.r_[np.log(est[:2]), np.arctanh(est[2]), np.log(est[3])]
    assert dense(start) == pytest.approx(fit.deviance, abs=1e-6)
    _assert_fallen(dense, table, start, fit.deviance)


def test_the_same_model_by_another_structure_has_the_same_profiles():
    """csh of two columns is us; fa of one factor over three columns is us; id of one is any."""
    frame = rows(3)
    ends = ["estimate", "lower", "upper"]
    us = mf.fit("y ~ x + (1 + v | g)", frame).confint()
    csh = mf.fit("y ~ x + csh(1 + v | g)", frame).confint()
    csh = csh.rename(index={"rho|g": "cor_v.(Intercept)|g"}).loc[us.index]
    np.testing.assert_allclose(csh[ends], us[ends], rtol=3e-4, atol=3e-5)
    plain = mf.fit("y ~ x + (1 | g)", frame).confint()
    for structure in ("id", "cs", "ar1h", "toep"):
        same = mf.fit(f"y ~ x + {structure}(1 | g)", frame).confint()
        np.testing.assert_allclose(same[ends], plain[ends], rtol=3e-4, atol=3e-4)


def test_residual_compound_symmetry_is_an_intercept():
    frame = rows(5)
    one = mf.fit("y ~ x + (1 | g)", frame, reml=False)
    two = mf.fit("y ~ x", frame, residual="cs(1 | g)", reml=False)
    ends = ["x", "(Intercept)"]
    np.testing.assert_allclose(
        two.confint().loc[ends, ENDS], one.confint().loc[ends, ENDS], rtol=1e-4
    )
    assert list(two.confint(parm="theta_").index) == ["sigma", "rho"]


def test_unstructured_residuals_with_strata_of_positions():
    frame = rows(2)
    fit = mf.fit("y ~ x", frame, residual="us(v | g)")
    table = fit.confint(parm=["sigma", "sd(3)", "sd ratio(1)", "corr(0, 3)", "corr(1, 2)"])
    assert (table["note"] == "").all()
    ml = mf.fit("y ~ x", frame, residual="us(v | g)", reml=False)
    rows_, cols = np.tril_indices(4)

    def R(v: np.ndarray) -> np.ndarray:
        L = np.zeros((4, 4))
        L[rows_, cols] = v
        return L @ L.T

    dense = twin(frame, lambda v: by_group(frame, R(v)), reml=False)
    start = np.linalg.cholesky(ml.residual_cov.to_numpy())[rows_, cols]
    assert dense(start) == pytest.approx(ml.deviance, abs=1e-6)

    def sd(R: np.ndarray, a: int) -> float:
        return np.sqrt(R[a, a])

    read = {
        "sigma": lambda R: sd(R, 0),
        "sd(3)": lambda R: sd(R, 3),
        "sd ratio(1)": lambda R: sd(R, 1) / sd(R, 0),
        "corr(0, 3)": lambda R: R[0, 3] / sd(R, 0) / sd(R, 3),
        "corr(1, 2)": lambda R: R[1, 2] / sd(R, 1) / sd(R, 2),
    }
    for name, of in read.items():
        assert of(R(start)) == pytest.approx(table.loc[name, "estimate"], rel=1e-5)
        for end in ENDS:
            held = {
                "type": "eq",
                "fun": lambda v, o=of, n=name, e=end: 10 * (o(R(v)) - table.loc[n, e]),
            }
            found = minimize(
                dense,
                start,
                method="SLSQP",
                constraints=[held],
                options={"ftol": 1e-11, "maxiter": 500},
            )
            assert found.fun - ml.deviance == pytest.approx(Z2, abs=2e-3), (name, end)


def test_strata_and_continuous_time():
    frame = rows(2).assign(t=lambda d: d["v"] + 0.2 * d["x"])
    fit = mf.fit("y ~ x", frame, residual="strata(arm) * car1(t | g)")
    table = fit.confint(parm="theta_")
    named = fit.residual_params
    brackets = named["parameter"] + "[" + named["stratum"] + "]"
    assert list(table.index) == list(brackets)
    ml = mf.fit("y ~ x", frame, residual="strata(arm) * car1(t | g)", reml=False)
    np.testing.assert_allclose(table["estimate"], ml.residual_params["estimate"], rtol=1e-6)
    ranges = -1.0 / np.log(table.loc["rho[a]", ENDS].to_numpy(float))
    np.testing.assert_allclose(ranges, table.loc["range[a]", ENDS].to_numpy(float), rtol=1e-4)
    assert (table["note"] == "").all()


def test_factor_analytic_effects():
    frame = rows(7)
    fit = mf.fit("y ~ x + fa(1 + x + v | g, 1)", frame)
    us = mf.fit("y ~ x + (1 + x + v | g)", frame)
    parm = ["sd_v|g", "cor_v.(Intercept)|g"]
    table, larger = (one.confint(parm=parm, likelihood="reml") for one in (fit, us))
    larger = larger.loc[table.index]
    # at the estimates one factor holds any G of three columns, away from them it holds fewer
    assert fit.deviance == pytest.approx(us.deviance, abs=1e-5)
    np.testing.assert_allclose(table["upper"].iloc[0], larger["upper"].iloc[0], rtol=1e-3)
    np.testing.assert_allclose(table["lower"].iloc[1], larger["lower"].iloc[1], rtol=1e-3)
    assert (table["lower"] >= larger["lower"] - 1e-4).all()
    assert (table["upper"] <= larger["upper"] + 1e-4).all()


def test_a_singular_slope_has_an_sd_from_zero_and_no_correlation():
    frame = rows(3)
    rng = np.random.default_rng(1)
    frame["z"] = rng.normal(size=len(frame))
    noise = rng.normal(size=len(frame))
    within = frame.assign(noise=noise, nz=noise * frame["z"]).groupby("g")["nz"].transform("mean")
    frame["y"] = frame["x"] + noise - within * frame["z"] + rng.normal(size=24)[frame["g"]]
    fit = mf.fit("y ~ x + (1 + z | g)", frame, reml=False)
    assert fit.singular
    table = fit.confint(parm="theta_")
    slope = table.loc["sd_z|g"]
    assert slope["lower"] == 0.0
    assert 0.0 < slope["upper"] < 1.0
    correlation = table.loc["cor_z.(Intercept)|g"]
    if slope["estimate"] == 0.0:
        assert np.isnan(correlation["lower"])
        assert "estimated as zero" in correlation["note"]
    else:
        assert abs(correlation["estimate"]) == pytest.approx(1.0, abs=1e-6)
        assert max(abs(correlation[ENDS])) == 1.0


def test_which_parameters():
    fit = mf.fit("Reaction ~ Days + (Days | Subject)", data_frame("sleepstudy"))
    assert list(fit.confint(parm="Days").index) == ["Days"]
    assert list(fit.confint(parm=["Days", "sigma"]).index) == ["sigma", "Days"]
    assert list(fit.confint(parm="beta_").index) == ["(Intercept)", "Days"]
    assert list(fit.confint(method="wald", parm=["Days"]).index) == ["Days"]
    with pytest.raises(ConfigError, match="did you mean 'Days'"):
        fit.confint(parm="days")
    with pytest.raises(ConfigError, match="likelihood='REML' is not known"):
        fit.confint(likelihood="REML")
    with pytest.raises(UnsupportedError, match="no profile under REML"):
        fit.confint(parm="Days", likelihood="reml")


def test_zeta_is_the_signed_root_of_what_the_deviance_rises():
    fit = mf.fit("Reaction ~ Days + (Days | Subject)", data_frame("sleep_unb"), reml=False)
    table = fit.profile()
    assert list(table.columns) == ["parameter", "value", "zeta"]
    limits, outer = fit.confint(), fit.confint(0.99)
    for name, points in table.groupby("parameter", sort=False):
        value, zeta = points["value"].to_numpy(), points["zeta"].to_numpy()
        assert (np.diff(value) > 0).all()
        assert (np.diff(zeta) > 0).all()
        np.testing.assert_allclose(
            zeta[[0, -1]], [-np.sqrt(6.6348966), np.sqrt(6.6348966)], rtol=1e-4
        )
        np.testing.assert_allclose(value[[0, -1]], outer.loc[name, ENDS], rtol=1e-4)
        at = np.interp([-np.sqrt(Z2), np.sqrt(Z2)], zeta, value)
        np.testing.assert_allclose(at, limits.loc[name, ENDS], rtol=0.05, atol=0.02)
    assert set(table["parameter"]) == set(limits.index)


def test_a_profile_that_ends_at_zero_ends_there():
    table = mf.fit("Yield ~ 1 + (1 | Batch)", data_frame("Dyestuff2")).profile(
        "sd_(Intercept)|Batch"
    )
    assert table["value"].iloc[0] == 0.0
    assert table["zeta"].iloc[0] == 0.0
    assert (np.diff(table["zeta"]) > 0).all()
    assert len(table) == 8
