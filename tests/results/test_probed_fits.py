"""A fit by conjugate gradients through the public door: what it tells, saves and refuses."""

from __future__ import annotations

import json

import helpers
import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.errors import DataError, StoredFileError, UnsupportedError
from mixedflow.estimation.control import FitControl

FORMULA = "y ~ x + (1 | u) + (1 | i)"


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    u, i = rng.integers(0, 300, 2500), rng.integers(0, 120, 2500)
    x = rng.normal(size=2500)
    y = 1 + x + 0.6 * rng.normal(size=300)[u] + 0.4 * rng.normal(size=120)[i]
    frame = pd.DataFrame({"y": y + rng.normal(size=2500), "x": x, "u": u, "i": i})
    return frame.astype({"u": str, "i": str})


@pytest.fixture(scope="module")
def exact(data):
    return mf.fit(FORMULA, data)


@pytest.fixture(scope="module")
def fit(data):
    return mf.fit(FORMULA, data, control=FitControl(solver="pcg"))


def test_errors_stand_beside_the_components(fit, exact):
    assert len(fit.monte_carlo_se) == len(fit.varcorr)
    gap = fit.varcorr["vcov"] - exact.varcorr["vcov"]
    assert (gap.abs() <= 4 * fit.monte_carlo_se).all()
    assert exact.monte_carlo is None
    assert exact.monte_carlo_se.empty


def test_messages(fit, exact):
    text = " ".join(fit.messages)
    assert "16 random vectors (seed 1)" in text
    assert "too noisy for likelihood-ratio tests" in text
    assert "Monte-Carlo" in fit.summary()
    assert not any("Monte-Carlo" in message for message in exact.messages)


def test_a_target_that_is_missed_is_told(data, monkeypatch):
    from mixedflow.estimation import probing_driver

    monkeypatch.setattr(probing_driver, "MOST_PROBES", 4)
    control = FitControl(solver="pcg", mc_probes=4, mc_target=1e-9)
    fit = mf.fit(FORMULA, data, control=control)
    assert any("larger than the 0.00% wanted" in message for message in fit.messages)


def test_conditional_sds_of_chosen_levels(fit, exact):
    for group in ("u", "i"):
        levels = fit.ranef[group].index[[7, 3]]
        found = fit.ranef_se_at(group, levels)
        assert found.index.tolist() == levels.tolist()
        wanted = exact.ranef_se[group].loc[levels]
        np.testing.assert_allclose(found, wanted, rtol=1e-3)
        np.testing.assert_allclose(exact.ranef_se_at(group, levels), wanted, rtol=1e-12)


def test_all_conditional_sds_are_refused(fit):
    with pytest.raises(UnsupportedError, match="ask for chosen levels"):
        fit.ranef_se  # noqa: B018


def test_unknown_levels(fit):
    with pytest.raises(DataError, match="'v' is not a grouping factor of this fit"):
        fit.ranef_se_at("v", ["1"])
    with pytest.raises(DataError, match="'nobody' is not a level of 'u', which has 300 levels"):
        fit.ranef_se_at("u", ["1", "nobody"])


def test_saved_and_verified(fit, tmp_path):
    fit.save(tmp_path / "fit")
    again = mf.load(tmp_path / "fit")
    assert again.loglik == fit.loglik
    assert again.monte_carlo == fit.monte_carlo
    assert again.messages == fit.messages
    stored = pd.read_parquet(tmp_path / "fit" / "ranef.parquet")
    assert stored["sd"].isna().all()
    record = tmp_path / "fit" / "fit.json"
    content = json.loads(record.read_text())
    content["monte_carlo"]["seed"] = 77
    record.write_text(helpers.sealed(content))
    with pytest.raises(StoredFileError, match="log-likelihood"):
        mf.load(tmp_path / "fit")
