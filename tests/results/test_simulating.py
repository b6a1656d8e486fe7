"""Simulated responses: their moments, whom they depend on, and fits to other responses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import data_frame

import mixedflow as mf
from mixedflow.errors import ConfigError, DataError
from mixedflow.inference.counted import counted_normals
from mixedflow.inference.residual import strata_of


def written(frame: pd.DataFrame, folder, rows: list[int]) -> str:
    """Write a frame as Parquet in parts of these sizes."""
    for k, (a, b) in enumerate(zip([0, *rows], [*rows, len(frame)], strict=True)):
        frame.iloc[a:b].to_parquet(folder / f"part{k}.parquet")
    return str(folder / "part*.parquet")


def covariance(fit: mf.FitResult, frame: pd.DataFrame, group: str, Z: np.ndarray) -> np.ndarray:
    """Return Z G Z' within groups, dense."""
    same = np.equal.outer(frame[group].to_numpy(), frame[group].to_numpy())
    return same * (Z @ fit.estimates.G[0] @ Z.T)


def standardised(y: np.ndarray, mean: np.ndarray, V: np.ndarray) -> np.ndarray:
    return np.linalg.solve(np.linalg.cholesky(V), y - mean[:, None])


def assert_standard(z: np.ndarray) -> None:
    """Mean 0, variance 1 and no correlation, within five Monte-Carlo errors."""
    n, m = z.shape
    assert abs(z.mean()) < 5 / np.sqrt(n * m)
    assert abs(z.var() - 1.0) < 5 * np.sqrt(2 / (n * m))
    assert np.abs(z.mean(axis=1)).max() < 5 / np.sqrt(m)
    assert np.abs(z @ z.T / m - np.eye(n)).max() < 6 / np.sqrt(m)


def test_normals_are_known_by_their_place():
    whole = counted_normals((3, 1), 0, 1000)
    for start, count in ((0, 3), (1, 5), (7, 993), (998, 2), (4, 0)):
        np.testing.assert_array_equal(
            counted_normals((3, 1), start, count), whole[start : start + count]
        )
    assert not np.isin(counted_normals((3, 2), 0, 1000), whole).any()
    assert abs(whole.mean()) < 0.15
    assert abs(whole.std() - 1) < 0.1


def test_moments_with_slopes_weights_and_offset():
    frame = data_frame("sleepstudy").iloc[:60].assign(w=np.tile([1.0, 4.0, 0.5], 20))
    frame["known"] = 3.0 * frame["Days"]
    formula = "Reaction ~ Days + offset(known) + (Days | Subject)"
    fit = mf.fit(formula, frame, weights="w")
    X = np.column_stack([np.ones(60), frame["Days"]])
    mean = X @ fit.fixef.to_numpy() + frame["known"].to_numpy()
    R = fit.sigma**2 / frame["w"].to_numpy()
    new = fit.simulate(4000, seed=5).to_numpy()
    V = covariance(fit, frame, "Subject", X) + np.diag(R)
    assert_standard(standardised(new, mean, V))
    fitted = fit.simulate(4000, seed=5, random="fitted").to_numpy()
    assert_standard(standardised(fitted, fit.fitted.to_numpy(), np.diag(R)))


@pytest.mark.parametrize(
    "residual",
    ["ar1(1 | g)", "cs(1 | g)", "us(t | g)", "car1(time | g)", "sp_exp(time, east | g)"],
)
def test_moments_of_correlated_residuals(residual: str):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"g": np.repeat(np.arange(8), 4), "t": np.tile(list("abcd"), 8)})
    frame["time"] = np.tile([0.0, 1.0, 3.0, 4.0], 8)
    frame["east"] = np.arange(32) % 5 / 2
    frame["y"] = rng.standard_normal(32) + np.repeat(rng.standard_normal(8), 4)
    frame = frame.drop(index=[2, 9]).sample(frac=1, random_state=1) if "(t" in residual else frame
    fit = mf.fit("y ~ 1", frame, residual=residual)
    y = fit.simulate(6000, seed=2).to_numpy()
    design = fit.crossproducts.info.residual
    found = strata_of(design, fit.estimates.params.psi, fit.estimates.sigma2)[0]
    rho = found.rho
    same = np.equal.outer(frame["g"].to_numpy(), frame["g"].to_numpy())
    at = frame["t"].map(dict(zip("abcd", range(4), strict=True))).to_numpy()
    far = np.abs(np.subtract.outer(at, at))
    if residual.startswith("us"):
        R = found.R[np.ix_(at, at)]
    elif residual.startswith("cs"):
        R = found.R[0, 0] * np.where(far > 0, rho, 1.0)
    elif residual.startswith("car1"):
        far = np.abs(np.subtract.outer(frame["time"].to_numpy(), frame["time"].to_numpy()))
        R = found.R[0, 0] * rho**far
    elif residual.startswith("sp_exp"):
        points = frame[["time", "east"]].to_numpy()
        R = found.R[0, 0] * rho ** np.linalg.norm(points[:, None] - points, axis=2)
    else:
        R = found.R[0, 0] * rho**far
    mean = np.full(len(frame), fit.fixef.iloc[0])
    assert_standard(standardised(y, mean, same * R))


@pytest.mark.parametrize("options", [{}, {"residual": "ar1(1 | Subject)"}])
def test_partitions_make_no_difference(tmp_path, options):
    frame = data_frame("sleepstudy").astype({"Subject": str})
    frame.loc[[4, 60], "Days"] = np.nan
    found = []
    for name, rows in (("one", []), ("three", [30, 110])):
        folder = tmp_path / name
        folder.mkdir()
        fit = mf.fit("Reaction ~ Days + (1 | Subject)", written(frame, folder, rows), **options)
        found.append(fit.simulate(2, seed=9).to_numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)
    assert np.isnan(found[0][[4, 60]]).all()
    assert np.isfinite(np.delete(found[0], [4, 60], axis=0)).all()


def test_draws_depend_on_seed_and_number_alone():
    frame = data_frame("sleepstudy")
    fit = mf.fit("Reaction ~ Days + (1 | Subject)", frame.set_index("Days", drop=False))
    three, two = fit.simulate(3, seed=4), fit.simulate(2, seed=4)
    pd.testing.assert_frame_equal(three[["sim_1", "sim_2"]], two)
    assert list(three.index) == list(frame["Days"])
    assert not np.isclose(three["sim_1"], fit.simulate(1, seed=5)["sim_1"]).any()


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("Reaction ~ Days + (Days | Subject)", {}),
        ("Reaction ~ 0 + Days + (1 | Subject)", {"weights": "w"}),
        ("Reaction ~ Days + offset(w) + (1 | Subject) + (1 | half)", {"reml": False}),
        ("Reaction ~ Days + (1 | Subject)", {"residual": "cs(1 | Subject:half)"}),
        ("Reaction ~ Days", {"residual": "us(Days | Subject)"}),
    ],
)
def test_refit_is_a_fit_of_the_new_response(formula: str, options: dict):
    rng = np.random.default_rng(8)
    frame = data_frame("sleepstudy").assign(w=rng.uniform(0.5, 2.0, 180))
    frame["half"] = np.where(frame["Days"] < 5, "a", "b")
    frame.loc[11, "w"] = np.nan
    fit = mf.fit(formula, frame, **options)
    y = fit.simulate(1, seed=6)["sim_1"] + 1e4
    again, anew = fit.refit(y), mf.fit(formula, frame.assign(Reaction=y), **options)
    assert again.loglik == pytest.approx(anew.loglik, abs=1e-7)
    np.testing.assert_allclose(again.fixef, anew.fixef, rtol=1e-8)
    np.testing.assert_allclose(again.vcov, anew.vcov, rtol=1e-6)
    same = fit.refit(frame["Reaction"].to_numpy())
    assert same.loglik == pytest.approx(fit.loglik, abs=1e-8)
    assert same.reml == fit.reml


def test_refit_takes_a_series_by_its_index():
    frame = data_frame("sleepstudy")
    fit = mf.fit("Reaction ~ Days + (1 | Subject)", frame)
    mixed = frame["Reaction"].sample(frac=1, random_state=1)
    assert fit.refit(mixed).loglik == pytest.approx(fit.loglik, abs=1e-9)


def test_what_cannot_be_simulated_or_refitted():
    frame = data_frame("sleepstudy")
    fit = mf.fit("Reaction ~ Days + (1 | Subject)", frame)
    with pytest.raises(DataError, match=r"180 values.*shape \(3,\)"):
        fit.refit([1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="lacks a finite value in 1 of the 180"):
        fit.refit(frame["Reaction"].where(frame.index != 3))
    with pytest.raises(DataError, match="index"):
        fit.refit(frame["Reaction"].iloc[:100])
    with pytest.raises(DataError, match="must be numbers"):
        fit.refit(["a"] * 180)
    with pytest.raises(ConfigError, match="nsim must be a whole number of 1"):
        fit.simulate(0)
    with pytest.raises(ConfigError, match="did you mean 'fitted'"):
        fit.simulate(random="fited")
    sums = mf.condense("Reaction ~ Days + (1 | Subject)", frame)
    with pytest.raises(DataError, match="no rows at hand"):
        mf.fit("Reaction ~ Days + (1 | Subject)", sums).simulate()
