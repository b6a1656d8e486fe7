"""What a fit with a residual structure shows: parameters, covariances, residuals, text, files."""

from __future__ import annotations

import json
from pathlib import Path

import helpers
import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.data import open_source
from mixedflow.errors import StoredFileError, UnsupportedError

TIMES = np.array([0.0, 1.0, 3.5, 4.0])


def rows(seed: int = 2) -> pd.DataFrame:
    """Return four visits of 30 subjects in two arms, some missing, in a shuffled order."""
    rng = np.random.default_rng(seed)
    C = 0.6 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    sd = np.array([1.0, 1.3, 1.6, 2.0])
    noise = rng.normal(size=(30, 4)) @ np.linalg.cholesky(C * np.outer(sd, sd)).T
    frame = pd.DataFrame(
        [(g, v) for g in range(30) for v in range(4)], columns=["g", "number"]
    ).assign(y=10.0 + noise.ravel())
    frame["visit"] = "V" + (frame["number"] + 1).astype(str)
    frame["t"] = TIMES[frame["number"]]
    frame["arm"] = np.where(frame["g"] % 3 == 0, "P", "A")
    frame["y"] *= np.where(frame["arm"] == "P", 1.5, 1.0)
    frame["w"] = rng.uniform(0.5, 2.0, len(frame))
    kept = frame.drop(index=[3, 17, 40, 41, 90])
    return kept.sample(frac=1.0, random_state=1)


def correlation(fit: mf.FitResult, frame: pd.DataFrame) -> np.ndarray:
    """Return the correlation of all rows by the printed parameters, (n, n)."""
    found = fit.residual_params.set_index(["stratum", "parameter"])["estimate"]
    arm = frame["arm"].to_numpy() if fit.spec.parsed_residual.strata else np.full(len(frame), "")
    rho = np.array([found[label, "rho"] for label in arm])[:, None]
    g = frame["g"].to_numpy()
    at = frame["t" if fit.spec.parsed_residual.structure == "car1" else "number"].to_numpy()
    lag = np.abs(at[:, None] - at)
    if fit.spec.parsed_residual.structure == "cs":
        lag = (lag > 0).astype(float)
    return np.where(g[:, None] == g, rho**lag, 0.0)


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize(
    "residual",
    ["ar1(number | g)", "ar1(visit | arm/g)", "car1(t | g)", "cs(1 | g)", "cs(1 | arm/g)"],
)
def test_normalized_residuals_undo_the_correlation(residual: str, weights: str | None) -> None:
    frame = rows()
    fit = mf.fit("y ~ arm", frame, residual=residual, weights=weights)
    order = np.lexsort((frame["number"], frame["g"]))
    if "1 |" in residual.split("(")[1]:
        order = np.argsort(frame["g"], kind="stable")
    C = correlation(fit, frame)[np.ix_(order, order)]
    pearson = fit.residuals("pearson").to_numpy()[order]
    wanted = np.linalg.solve(np.linalg.cholesky(C), pearson)
    found = fit.residuals("normalized")
    pd.testing.assert_index_equal(found.index, frame.index)
    np.testing.assert_allclose(found.to_numpy()[order], wanted, atol=1e-12)


def test_normalized_residuals_over_positions_and_strata() -> None:
    frame = rows()
    fit = mf.fit("y ~ arm", frame, residual="us(visit | arm/g)")
    covariances = fit.residual_cov
    assert isinstance(covariances, dict)
    found = fit.residuals("normalized")
    for (_, arm), group in frame.sort_values("visit").groupby(["g", "arm"]):
        R = covariances[arm].loc[group["visit"], group["visit"]].to_numpy()
        sd = np.sqrt(np.diag(R))
        e = fit.resid[group.index] / sd
        np.testing.assert_allclose(fit.residuals("pearson")[group.index], e, rtol=1e-12)
        wanted = np.linalg.solve(np.linalg.cholesky(R / np.outer(sd, sd)), e)
        np.testing.assert_allclose(found[group.index], wanted, atol=1e-12)


def test_partitions_may_divide_groups_for_residuals() -> None:
    frame = rows().reset_index(drop=True)
    whole = mf.fit("y ~ arm", frame, residual="adh(visit | g)")
    parts = mf.fit("y ~ arm", open_source(frame, partition_rows=17), residual="adh(visit | g)")
    for kind in ("response", "pearson", "normalized"):
        np.testing.assert_allclose(parts.residuals(kind), whole.residuals(kind), atol=1e-7)


def test_without_a_structure_pearson_is_over_sigma() -> None:
    frame = rows()
    fit = mf.fit("y ~ arm + (1 | g)", frame, weights="w")
    wanted = fit.resid * np.sqrt(frame["w"]) / fit.sigma
    np.testing.assert_allclose(fit.residuals("pearson"), wanted, rtol=1e-12)
    np.testing.assert_allclose(fit.residuals("normalized"), wanted, rtol=1e-12)
    with pytest.raises(UnsupportedError, match="did you mean 'pearson'"):
        fit.residuals("person")  # type: ignore[arg-type]


def test_strata_have_the_sigma_of_their_own() -> None:
    frame = rows()
    fit = mf.fit("y ~ arm", frame, residual="strata(arm)")
    sds = fit.varcorr.set_index("term1")["sdcor"]
    for arm, group in fit.resid.groupby(frame["arm"]):
        np.testing.assert_allclose(sds[arm], group.std(ddof=1), rtol=1e-9)
    assert fit.sigma == sds["A"]
    assert fit.residual_params["parameter"].tolist() == ["sigma", "sigma", "sd ratio"]
    np.testing.assert_allclose(fit.residual_params["estimate"][2], sds["P"] / sds["A"])


def test_covariance_over_positions_agrees_with_varcorr() -> None:
    fit = mf.fit("y ~ arm", rows(), residual="us(visit | g)")
    R, table = fit.residual_cov, fit.varcorr
    assert isinstance(R, pd.DataFrame)
    assert list(R.index) == ["V1", "V2", "V3", "V4"]
    assert fit.df_model == 2 + 10
    for row in table.itertuples():
        assert row.vcov == pytest.approx(R.loc[row.term1, row.term2 or row.term1])
    assert fit.sigma**2 == pytest.approx(R.loc["V1", "V1"])


@pytest.mark.parametrize(
    ("residual", "terms"),
    [
        ("toep(visit | g)", ["", "rho(1)", "rho(2)", "rho(3)"]),
        ("csh(visit | g)", ["", "", "", "", "rho"]),
        ("ad(visit | g)", ["", "V2", "V3", "V4"]),
        ("car1(t | g)", ["", "rho"]),
        ("strata(arm) * ar1(number | g)", ["", "rho", ""]),
        ("ar1(number | arm/g)", ["", "rho", "", "rho"]),
    ],
)
def test_each_correlation_is_listed_once(residual: str, terms: list[str]) -> None:
    fit = mf.fit("y ~ arm", rows(), residual=residual)
    assert fit.varcorr["term2"].tolist() == terms
    assert len(fit.varcorr_se) == len(terms)
    assert fit.varcorr_se["se_sdcor"].gt(0).all()


def test_range_and_rho_are_the_same_correlation() -> None:
    fit = mf.fit("y ~ arm", rows(), residual="car1(t | g)")
    found = fit.residual_params.set_index("parameter")["estimate"]
    assert found["rho"] == pytest.approx(np.exp(-1.0 / found["range"]))


def test_a_structure_without_positions_names_where_its_parameters_are() -> None:
    fit = mf.fit("y ~ arm", rows(), residual="cs(1 | g)")
    with pytest.raises(UnsupportedError, match="residual_params has its parameters"):
        _ = fit.residual_cov


@pytest.mark.parametrize(
    ("formula", "residual"),
    [("y ~ arm", "us(visit | arm/g)"), ("y ~ arm + (1 | g)", "ar1(number | g)")],
)
def test_a_stored_fit_is_verified_and_the_same(tmp_path: Path, formula: str, residual: str) -> None:
    fit = mf.fit(formula, rows(), residual=residual)
    fit.save(tmp_path / "fit")
    again = mf.load(tmp_path / "fit")
    for name in ("varcorr", "varcorr_se", "residual_params", "vcov"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(fit, name))
    assert again.summary() == fit.summary()
    place = tmp_path / "fit" / "fit.json"
    content = json.loads(place.read_text())
    content["parameters"]["psi"][0] += 0.01
    place.write_text(helpers.sealed(content))
    with pytest.raises(StoredFileError, match="fails verification"):
        mf.load(tmp_path / "fit")


def test_a_stored_fit_without_psi_is_one_of_independent_residuals(tmp_path: Path) -> None:
    fit = mf.fit("y ~ arm + (1 | g)", rows())
    fit.save(tmp_path / "fit")
    place = tmp_path / "fit" / "fit.json"
    content = json.loads(place.read_text())
    del content["parameters"]["psi"]
    place.write_text(helpers.sealed(content))
    assert mf.load(tmp_path / "fit").loglik == fit.loglik


def test_the_summary_says_what_stands_in_r() -> None:
    text = mf.fit("y ~ arm", rows(), residual="ar1h(visit | g)").summary()
    for part in (
        "Linear model with correlated residuals fit by REML",
        "R:       ar1h(visit | g)",
        "sd ratio(V2)",
        "Covariance of residuals:",
    ):
        assert part in text
    assert "Random effects" not in text
    mixed = mf.fit("y ~ arm + (1 | g)", rows(), residual="strata(arm)").summary()
    assert "Random effects:" in mixed
    assert "sd ratio" in mixed
