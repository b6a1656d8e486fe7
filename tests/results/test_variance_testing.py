"""Tests that variances are zero: weights of the mixtures, the exact distribution, RLRsim's figures."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from helpers import REFERENCES, data_frame
from scipy.stats import chi2

import mixedflow as mf
from mixedflow.errors import ConfigError, UnsupportedError
from mixedflow.inference.exact_ratio import exact_p
from mixedflow.inference.mixture import (
    cone_weights,
    orthant_probability,
    orthant_weights,
    projected,
)
from mixedflow.inference.null_information import Entry, null_covariance
from mixedflow.results import variance_testing

R = json.loads((REFERENCES / "profiles.json").read_text())


def spread(d: int, seed: int = 0) -> np.ndarray:
    A = np.random.default_rng(seed).normal(size=(d, d + 2))
    return A @ A.T


def weak() -> pd.DataFrame:
    return data_frame("sleep_unb").assign(y=R["weak_y"])


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_orthant_probabilities_are_those_of_draws(d):
    V = spread(d)
    Z = np.random.default_rng(1).normal(size=(400_000, d)) @ np.linalg.cholesky(V).T
    share = np.mean((Z > 0).all(axis=1))
    assert orthant_probability(V) == pytest.approx(share, abs=4 * np.sqrt(share / 400_000))


def test_orthant_weights_known():
    np.testing.assert_allclose(
        orthant_weights(np.eye(4)), np.array([1, 4, 6, 4, 1]) / 16, atol=1e-12
    )
    for d in (2, 3, 4):
        weights = orthant_weights(spread(d))
        assert weights.sum() == pytest.approx(1.0, abs=1e-8)
        assert weights[::2].sum() == pytest.approx(0.5, abs=1e-8)
    rho = 0.3
    two = orthant_weights(np.array([[1, rho], [rho, 1]]))
    assert two[2] == pytest.approx(0.25 + np.arcsin(rho) / (2 * np.pi), abs=1e-12)


def test_drawn_weights_are_near_exact_ones():
    V = np.eye(5) + 0.3
    weights, sure = cone_weights(V, [1] * 5)
    assert not sure
    assert weights[5] == pytest.approx(_share_inside(V), abs=0.006)
    # intrinsic volumes of 2 x 2 semidefinite matrices (Amelunxen et al. 2014)
    found, _ = cone_weights(np.diag([1.0, 0.5, 1.0]), [2])
    edge = (2 - np.sqrt(2)) / 4
    np.testing.assert_allclose(found, [edge, 0.5 - edge, 0.5 - edge, edge], atol=0.008)


def _share_inside(V: np.ndarray) -> float:
    Z = np.random.default_rng(5).normal(size=(200_000, len(V))) @ np.linalg.cholesky(V).T
    return float(np.mean((Z > 0).all(axis=1)))


@pytest.mark.parametrize("blocks", [[2], [1, 2], [3]])
def test_projections_fulfil_the_conditions_of_the_nearest_point(blocks):
    """x is in the cone, z - x is in its polar and across x, in the metric."""
    d = sum(size * (size + 1) // 2 for size in blocks)
    metric = np.linalg.inv(spread(d, 3))
    Z = np.random.default_rng(2).normal(size=(200, d))
    X = projected(Z, metric, blocks)
    left = (Z - X) @ metric
    assert np.abs(np.einsum("ni,ni->n", left, X)).max() < 1e-4 * np.abs(metric).max()
    first = 0
    for size in blocks:
        rows, cols = np.tril_indices(size)
        for values, sign, share in ((X, 1.0, 1.0), (left, -1.0, 0.5)):
            M = np.zeros((len(Z), size, size))
            own = values[:, first : first + len(rows)] * np.where(rows == cols, 1.0, share)
            M[:, rows, cols] = own
            M[:, cols, rows] = own
            assert (sign * np.linalg.eigvalsh(M)).min() > -1e-3 * np.abs(values).max()
        first += len(rows)


def test_the_null_covariance_is_the_inverse_of_the_dense_information():
    frame = weak()
    fit = mf.fit("y ~ Days + (Days | Subject)", frame)
    entries = [Entry(0, 0, 0), Entry(0, 1, 0), Entry(0, 1, 1)]
    found = null_covariance(fit._problem(), [np.zeros((2, 2))], 1.3, entries)
    days, s = frame["Days"].to_numpy(float), frame["Subject"].to_numpy()
    same = s[:, None] == s
    X = np.column_stack([np.ones(len(days)), days])
    P = (np.eye(len(days)) - X @ np.linalg.solve(X.T @ X, X.T)) / 1.3
    D = [same * 1.0, same * (days[:, None] + days), same * np.outer(days, days), np.eye(len(days))]
    info = np.array([[0.5 * np.trace(P @ a @ P @ b) for b in D] for a in D])
    wanted = np.linalg.inv(info)[:3, :3]
    sd, own = np.sqrt(np.diag(wanted)), np.sqrt(np.diag(found))
    np.testing.assert_allclose(found / np.outer(own, own), wanted / np.outer(sd, sd), atol=2e-3)


def test_crossed_and_diagonal_terms_of_a_fitted_null():
    frame = data_frame("Penicillin").iloc[5:130]
    large = mf.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", frame)
    row = mf.variance_test("diameter ~ 1", large).iloc[0]
    assert row["method"] == "mixture"
    assert row["weights"][1] == pytest.approx(0.5, abs=1e-9)
    assert row["weights"][0] == pytest.approx(0.25, abs=0.03)
    assert row["p"] < row["p_chi2"]
    assert mf.compare(mf.fit("diameter ~ 1 + (1 | plate)", frame), large)["p_mixture"].iloc[1] > 0


def test_one_variance_is_half_and_half_with_its_covariances_free():
    frame = weak()
    fit = mf.fit("y ~ Days + (Days | Subject)", frame)
    table = fit.variance_test()
    row = table.loc["Days in (1 + Days | Subject)"]
    assert row["weights"] == (0.0, 0.5, 0.5)
    assert row["df"] == 2
    x = row["statistic"]
    assert row["p"] == pytest.approx(0.5 * chi2.sf(x, 1) + 0.5 * chi2.sf(x, 2), rel=1e-9)
    assert row["p"] == pytest.approx(fit.drop_random()["p_mixture"].iloc[1], rel=1e-9)


def test_a_whole_covariance_matrix():
    large = mf.fit("y ~ Days + (Days | Subject)", weak())
    row = mf.variance_test("y ~ Days", large).iloc[0]
    assert row["method"] == "mixture, drawn"
    assert sum(row["weights"]) == pytest.approx(1.0)
    assert len(row["weights"]) == 4
    again = mf.variance_test("y ~ Days", large).iloc[0]
    assert again["p"] == row["p"]
    p = sum(w * chi2.sf(row["statistic"], i) for i, w in enumerate(row["weights"]) if i)
    assert row["p"] == pytest.approx(p, rel=1e-9)


def test_exact_tests_are_rlrsims():
    frame = weak()
    se = np.sqrt(0.1 * 0.9 * (1 / 10_000 + 1 / 100_000))
    for name, reml in (("exact_weak", True), ("exact_weak_ml", False)):
        fit = mf.fit("y ~ Days + (1 | Subject)", frame, reml=reml)
        row = fit.variance_test(method="exact").iloc[0]
        assert row["statistic"] == pytest.approx(R[name]["statistic"], abs=1e-4)
        assert row["p"] == pytest.approx(R[name]["p"], abs=4 * se)
    row = (
        mf.fit("Yield ~ 1 + (1 | Batch)", data_frame("Dyestuff"))
        .variance_test(method="exact")
        .iloc[0]
    )
    assert row["p"] == pytest.approx(R["exact_dyestuff"]["p"], abs=0.003)
    nothing = mf.fit("Yield ~ 1 + (1 | Batch)", data_frame("Dyestuff2"))
    assert nothing.variance_test(method="exact")["p"].iloc[0] == 1.0


def test_the_exact_test_is_the_default_where_it_is_cheap(monkeypatch):
    frame = weak()
    fit = mf.fit("y ~ Days + (1 | Subject)", frame)
    row, exact = fit.variance_test().iloc[0], fit.variance_test(method="exact").iloc[0]
    assert row["method"].startswith("exact")
    assert row["p"] == exact["p"]
    monkeypatch.setattr(variance_testing, "QUICK_LEVELS", 5)
    assert fit.variance_test().iloc[0]["method"] == "mixture"
    slopes = mf.fit("y ~ Days + (Days | Subject)", frame)
    assert slopes.variance_test().iloc[0]["method"] == "mixture"


def test_the_tail_of_the_exact_test_goes_on_beyond_its_draws():
    """Continuous where the draws end, falling, never zero, and near the mixture's far out."""
    system = mf.fit("y ~ Days + (1 | Subject)", weak())._problem().system
    at = np.linspace(0.5, 60.0, 400)
    found = [exact_p(system, float(x), reml=True) for x in at]
    p = np.array([one for one, _ in found])
    counted = np.array([sure for _, sure in found])
    assert (np.diff(p) <= 0).all()
    assert (p > 0).all()
    assert np.diff(counted.astype(int)).min() == -1
    assert counted[0]
    assert not counted[-1]
    edge = int(np.argmin(counted))
    assert p[edge] == pytest.approx(0.01, rel=0.1)
    assert np.log(p[-1]) == pytest.approx(np.log(0.5 * chi2.sf(60.0, 1)), rel=0.15)


def test_weighted_rows_have_an_exact_test_too():
    frame = weak().assign(w=lambda d: 1.0 + np.arange(len(d)) % 3)
    fit = mf.fit("y ~ Days + (1 | Subject)", frame, weights="w")
    row = fit.variance_test(method="exact").iloc[0]
    assert 0.0 <= row["p"] <= row["p_chi2"] + 0.02


def test_what_cannot_be_tested_is_refused():
    frame = weak()
    fit = mf.fit("y ~ Days + (1 | Subject)", frame)
    with pytest.raises(ConfigError, match="method='rlrt' is not known"):
        fit.variance_test(method="rlrt")
    with pytest.raises(ConfigError, match="nothing that can be dropped"):
        fit.variance_test("(1 | subject)")
    with pytest.raises(UnsupportedError, match="same fixed part"):
        mf.variance_test(
            mf.fit("y ~ 1 + (1 | Subject)", frame, reml=False),
            mf.fit("y ~ Days + (Days | Subject)", frame, reml=False),
        )
    slopes = mf.fit("y ~ Days + (Days | Subject)", frame)
    with pytest.raises(UnsupportedError, match="one random term of one column"):
        slopes.variance_test(method="exact")
    with pytest.raises(UnsupportedError, match="with fewer variances"):
        mf.variance_test(slopes, slopes)
    with pytest.raises(UnsupportedError, match="with fewer variances"):
        mf.fit("y ~ Days + cs(Days | Subject)", frame).variance_test()
