"""Profile intervals against lme4's, and against a dense likelihood maximised at their ends."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from helpers import REFERENCES, data_frame
from scipy.optimize import minimize

import mixedflow as mf
from mixedflow.errors import ConfigError, FitError, UnsupportedError
from mixedflow.estimation.fit import term_covariances
from mixedflow.estimation.problems import exact_problem
from mixedflow.inference.held import held_component
from mixedflow.inference.profile import Search, VarianceProfile, profile_interval

LME4 = json.loads((REFERENCES / "measures.json").read_text())
Z2 = 1.959963984540054**2
SLOPES = "Reaction ~ Days + (Days | Subject)"

LME4_FITS = {
    "sleepstudy": (SLOPES, "sleepstudy"),
    "sleep_unb": (SLOPES, "sleep_unb"),
    "two_terms": ("Reaction ~ Days + (Days || Subject)", "sleepstudy"),
    "dyestuff": ("Yield ~ 1 + (1 | Batch)", "Dyestuff"),
    "penicillin": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin"),
}


@pytest.mark.parametrize("name", LME4_FITS)
def test_profiles_are_lme4s(name):
    formula, data = LME4_FITS[name]
    table = mf.fit(formula, data_frame(data)).confint()
    wanted = np.array(list(LME4[f"profile_{name}"].values()))
    # lme4 interpolates between points of the profile
    np.testing.assert_allclose(table[["lower", "upper"]], wanted, rtol=1e-3)
    assert (table["note"] == "").all()
    assert (table["lower"] < table["estimate"]).all()
    assert (table["estimate"] < table["upper"]).all()


def test_names_and_level():
    fit = mf.fit(SLOPES, data_frame("sleepstudy"), reml=False)
    table, narrow = fit.confint(), fit.confint(0.5)
    assert list(table.index) == [
        "sd_(Intercept)|Subject",
        "cor_Days.(Intercept)|Subject",
        "sd_Days|Subject",
        "sigma",
        "(Intercept)",
        "Days",
    ]
    assert (narrow["lower"] > table["lower"]).all()
    assert (narrow["upper"] < table["upper"]).all()
    np.testing.assert_allclose(table["estimate"].iloc[4:], fit.fixef, rtol=1e-12)
    np.testing.assert_allclose(table["estimate"].iloc[[0, 1, 2, 3]], narrow["estimate"].iloc[:4])


def rows(seed: int = 3, level: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"g": rng.integers(0, 8, 60), "x": rng.normal(50.0, 2.0, 60)})
    u = level * rng.normal(size=8)
    frame["y"] = 900.0 + 3.0 * frame["x"] + u[frame["g"]] + rng.normal(size=60)
    return frame


def dense_deviance(y: np.ndarray, X: np.ndarray, like: tuple, sd: float, sigma: float) -> float:
    g, w = like
    V = sd**2 * (g[:, None] == g) + sigma**2 * np.diag(1.0 / w)
    inverse = np.linalg.inv(V)
    e = y - X @ np.linalg.solve(X.T @ inverse @ X, X.T @ inverse @ y) if X.size else y
    return len(y) * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + e @ inverse @ e


@pytest.mark.parametrize("columns", [(0,), (1,), (2,), (0, 1), (1, 0), (2, 0), (1, 2)])
@pytest.mark.parametrize("structure", ["us", "diag"])
def test_what_is_held_has_its_value_wherever_the_others_are(columns, structure):
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(rng.normal(50.0, 3.0, size=(200, 2)), columns=["a", "b"])
    frame["g"] = np.arange(200) % 20
    frame["y"] = 100.0 * (rng.normal(size=(20, 1)) @ [[1.0]])[frame["g"], 0] + frame["a"]
    frame["y"] += rng.normal(size=20)[frame["g"]] * frame["b"] + 40.0 * rng.normal(size=200)
    if structure == "diag" and len(columns) == 2:
        return
    fit = mf.fit(f"y ~ 1 + {structure}(1 + a + b | g)", frame)
    problem = exact_problem(fit.crossproducts, fit.encoder.terms, reml=False)
    params = fit.estimates.params
    held = held_component(problem.system, params, 0, columns)
    value = 12.0 if len(columns) == 1 else -0.6
    for _ in range(4):
        free = held.start + rng.normal(size=len(held.start))
        changed = params.with_vector(held.vector(value, free))
        at = problem.evaluate_at(changed)
        G = term_covariances(at)[0]
        i, j = columns[0], columns[-1]
        size = np.sqrt(G[i, i]) if i == j else G[i, j] / np.sqrt(G[i, i] * G[j, j])
        np.testing.assert_allclose(size, value, rtol=1e-6)


@pytest.mark.parametrize("weights", [None, "w"])
def test_the_dense_likelihood_has_fallen_by_the_quantile_at_the_ends(weights):
    frame = rows().assign(w=lambda d: 1.0 + np.arange(len(d)) % 3)
    y, x = frame["y"].to_numpy(), frame["x"].to_numpy()
    g = (frame["g"].to_numpy(), frame[weights].to_numpy() if weights else np.ones(60))
    X = np.column_stack([np.ones(60), x])
    fit = mf.fit("y ~ x + (1 | g)", frame, reml=False, weights=weights)
    table = fit.confint()

    def least(deviance, start):
        options = {"xatol": 1e-9, "fatol": 1e-10, "maxiter": 4000}
        return minimize(deviance, start, method="Nelder-Mead", options=options).fun

    start = np.log(table["estimate"].iloc[:2].to_numpy())
    for end in ("lower", "upper"):
        sd, sigma, b0, b1 = table[end]
        found = [
            least(lambda v, s=sd: dense_deviance(y, X, g, s, np.exp(v[0])), start[1:]),
            least(lambda v, s=sigma: dense_deviance(y, X, g, np.exp(v[0]), s), start[:1]),
            least(lambda v, b=b0: dense_deviance(y - b, X[:, 1:], g, *np.exp(v)), start),
            least(lambda v, b=b1: dense_deviance(y - b * x, X[:, :1], g, *np.exp(v)), start),
        ]
        np.testing.assert_allclose(np.array(found) - fit.deviance, Z2, atol=2e-4)


def test_a_profile_that_never_falls_enough_goes_to_the_end():
    table = mf.fit("y ~ x + (1 | g)", rows(seed=2, level=0.4), reml=False).confint()
    lower, upper = table.loc["sd_(Intercept)|g", ["lower", "upper"]]
    assert lower == 0.0
    assert 0.2 < upper < 2.0


def test_the_order_of_the_columns_does_not_matter():
    rng = np.random.default_rng(11)
    frame = pd.DataFrame(rng.normal(size=(400, 2)), columns=["a", "b"])
    frame["g"] = np.arange(400) % 40
    L = np.array([[1.0, 0, 0], [0.4, 0.9, 0], [-0.3, 0.2, 0.8]])
    u = (rng.normal(size=(40, 3)) @ L.T)[frame["g"]]
    frame["y"] = 1 + u[:, 0] + u[:, 1] * frame["a"] + u[:, 2] * frame["b"] + rng.normal(size=400)
    one = mf.fit("y ~ a + b + (a + b | g)", frame).confint()
    two = mf.fit("y ~ b + a + (b + a | g)", frame).confint()
    two = two.rename(index={"cor_a.b|g": "cor_b.a|g"}).loc[one.index]
    ends = ["lower", "upper"]
    np.testing.assert_allclose(one[ends], two[ends], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("shift", [-4.5, 20.0, 1000.0])
def test_a_shift_of_a_covariate_changes_only_what_it_must(shift):
    frame = data_frame("sleepstudy")
    one = mf.fit(SLOPES, frame).confint()
    two = mf.fit(SLOPES, frame.assign(Days=frame["Days"] + shift)).confint()
    same, ends = ["sd_Days|Subject", "sigma", "Days"], ["lower", "upper"]
    np.testing.assert_allclose(one.loc[same, ends], two.loc[same, ends], rtol=1e-5)


def test_wald_is_estimate_and_quantile():
    fit = mf.fit(SLOPES, data_frame("sleepstudy"))
    table = fit.confint(method="wald")
    se = np.sqrt(np.diag(fit.vcov))
    np.testing.assert_allclose(table["upper"] - table["estimate"], np.sqrt(Z2) * se)
    assert list(table.index) == list(fit.fixef.index)


def test_what_cannot_be_profiled_is_refused():
    frame = data_frame("sleepstudy")
    fit = mf.fit(SLOPES, frame)
    with pytest.raises(ConfigError, match="method='boot' is not known"):
        fit.confint(method="boot")
    with pytest.raises(ConfigError, match="between 0 and 1"):
        fit.confint(95)
    few = mf.fit(SLOPES, frame, reml=False, control=mf.FitControl(max_iter=1))
    with pytest.raises(UnsupportedError, match="did not converge"):
        few.confint()


def test_a_profile_that_is_lost_is_said_so(monkeypatch):
    def lost(*_: object) -> float:
        raise FitError("lost")

    monkeypatch.setattr(VarianceProfile, "__call__", lost)
    table = mf.fit(SLOPES, data_frame("sleepstudy"), reml=False).confint()
    assert table["note"].tolist() == ["lost"] * 4 + ["", ""]
    assert table["lower"].isna().tolist() == [True] * 4 + [False] * 2


def test_a_likelihood_without_end_has_no_interval():
    with pytest.raises(FitError, match="does not fall off"):
        profile_interval(lambda _: 1.0, Search(0.0, 1.0), 1.0, 1.96)
    ends = profile_interval(lambda v: v * v, Search(0.0, 1.0, lowest=-1.0), 0.0, 1.96)
    assert ends[0] == -np.inf
    assert ends[1] == pytest.approx(1.96, abs=1e-5)


@pytest.mark.parametrize(
    ("formula", "data"),
    [
        ("MathAch ~ SES * MEANSES + (SES | School)", "MathAchieve"),
        ("distance ~ age + (age | Subject)", "Orthodont"),
    ],
)
def test_profiles_of_a_weak_slope_are_of_the_highest_maximum(formula, data):
    """Searched without slopes, from many starts: an SD that can vanish makes a second maximum."""
    fit = mf.fit(formula, data_frame(data), reml=False)
    problem = exact_problem(fit.crossproducts, fit.encoder.terms, reml=False)
    table = fit.confint().iloc[[1, 2]]
    options = {"maxiter": 4000, "maxfev": 4000, "xatol": 1e-7, "fatol": 1e-8}
    for columns, (_, row) in zip([(0, 1), (1,)], table.iterrows(), strict=True):
        held = held_component(problem.system, fit.estimates.params, 0, columns)
        profile = VarianceProfile(problem, fit.estimates.params, held)
        for end in ("lower", "upper"):
            value = float(np.clip(row[end], -0.999, 0.999)) if len(columns) == 2 else row[end]
            starts = [held.start, *held.vanishing, held.start + 0.7, held.start - 0.7]
            found = min(
                minimize(
                    lambda x, v=value, p=profile: p._at(v, x)[0],
                    x,
                    method="Nelder-Mead",
                    options=options,
                ).fun
                for x in starts
            )
            rise = found - fit.deviance
            if value == row[end]:
                assert rise == pytest.approx(Z2, abs=1e-3)
            else:
                assert rise < Z2
