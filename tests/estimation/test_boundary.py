"""Fits on the boundary end there, flagged, with the right likelihood and without a NaN."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.estimation.control import FitControl

both = pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])


def frame(n_groups=12, size=5, seed=0):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_groups), size)
    data = pd.DataFrame({"g": [f"g{i:02d}" for i in g], "x": rng.normal(size=len(g))})
    data["z"], data["e"] = rng.normal(size=len(g)), rng.normal(size=len(g))
    return data, g, rng.normal(size=n_groups)


def finite(fit):
    for table in (fit.fixef, fit.vcov, fit.coef_table, *fit.ranef.values(), *fit.ranef_se.values()):
        assert np.isfinite(table.to_numpy()).all()
    assert np.isfinite(fit.varcorr["vcov"]).all()
    assert np.isfinite(fit.loglik)
    return True


@both
@pytest.mark.parametrize("method", ["auto", "ai", "px-em"])
def test_no_variance_between_groups_is_least_squares(reml, method):
    """Groups whose means differ less than chance allows: the fit is that of lm."""
    data, g, _ = frame()
    within = data["e"] - data["e"].groupby(g).transform("mean")
    data["y"] = 3.0 + within
    fit = mf.fit("y ~ 1 + (1 | g)", data, reml=reml, method=method)
    assert fit.converged
    assert fit.singular
    assert finite(fit)
    assert fit.varcorr["vcov"].iloc[0] == 0.0
    n = len(data)
    rss = float(((data["y"] - data["y"].mean()) ** 2).sum())
    m = n - 1 if reml else n
    wanted = m * np.log(2 * np.pi * rss / m) + m + (np.log(n) if reml else 0.0)
    assert fit.deviance == pytest.approx(wanted, rel=1e-11)
    assert fit.fixef.iloc[0] == pytest.approx(data["y"].mean(), rel=1e-12)
    np.testing.assert_array_equal(fit.ranef["g"].to_numpy(), 0.0)
    np.testing.assert_array_equal(fit.ranef_se["g"].to_numpy(), 0.0)
    assert ("boundary: g", "G is singular", "note") in fit.certificate.as_rows()


@both
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_correlation_of_one(reml, sign, seed):
    data, g, u = frame(seed=seed)
    data["y"] = 1.0 + 0.3 * data["e"] + u[g] + sign * u[g] * data["x"]
    fit = mf.fit("y ~ x + (x | g)", data, reml=reml)
    assert fit.converged
    assert finite(fit)
    if fit.singular:
        r = fit.varcorr.loc[fit.varcorr["term2"] == "x", "sdcor"].iloc[0]
        assert r == pytest.approx(sign, abs=1e-6)
    one = data.assign(w=1.0 + sign * data["x"])  # the model with that correlation built in
    less = mf.fit("y ~ x + (0 + w | g)", one, reml=reml)
    assert fit.loglik >= less.loglik - 1e-7


def test_correlation_of_one_is_met_at_all():
    """Otherwise the test above is worth nothing."""
    met = 0
    for seed in range(1, 7):
        data, g, u = frame(seed=seed)
        data["y"] = 1.0 + 0.3 * data["e"] + u[g] - u[g] * data["x"]
        met += mf.fit("y ~ x + (x | g)", data).singular
    assert met >= 2


@both
def test_rank_one_of_three(reml):
    data, g, u = frame(n_groups=15, seed=4)
    data["y"] = 0.5 * data["e"] + u[g] * (1.0 + data["x"] - data["z"])
    fit = mf.fit("y ~ x + z + (x + z | g)", data, reml=reml)
    assert fit.converged
    assert fit.singular
    assert finite(fit)
    G = np.zeros((3, 3))
    names = ["(Intercept)", "x", "z"]
    for row in fit.varcorr.itertuples():
        if row.group == "g":
            i, j = names.index(row.term1), names.index(row.term2 or row.term1)
            G[i, j] = G[j, i] = row.vcov
    values = np.linalg.eigvalsh(G)
    assert values[0] >= -1e-12 * values[-1]
    assert values[0] <= 1e-7 * values[-1]


@both
def test_one_of_several_variances_is_zero(reml):
    data, g, u = frame(n_groups=20, seed=5)
    h = np.arange(len(data)) % 7
    data["h"] = [f"h{i}" for i in h]
    noise = data["e"] - data["e"].groupby(h).transform("mean")
    data["y"] = 2.0 + u[g] + 0.7 * noise
    fit = mf.fit("y ~ 1 + (1 | g) + (1 | h)", data, reml=reml)
    assert fit.converged
    assert fit.singular
    assert dict(fit.certificate.boundary) == {"g": False, "h": True}
    alone = mf.fit("y ~ 1 + (1 | g)", data, reml=reml)
    assert fit.loglik == pytest.approx(alone.loglik, abs=1e-7)


@both
@pytest.mark.parametrize(("mean", "sd"), [(2000.0, 10.0), (1e6, 10.0), (1e6, 0.125), (-3e8, 2.0)])
def test_a_covariate_far_from_zero_is_as_good_as_a_centred_one(reml, mean, sd):
    """(x | g) is the same model in both; only REML's log|X'V^-1X| knows the unit of x.

    x is rounded to 2^-20, which mean and spread allow, so that centring loses nothing.
    """
    for seed in range(3):
        data, g, _ = frame(seed=seed)
        u = np.random.default_rng(seed + 50).normal(size=(12, 2))
        data["y"] = 5.0 + data["e"] + u[g, 0] + u[g, 1] * data["x"]
        data["x"] = np.round((mean + sd * data["x"]) * 2.0**20) / 2.0**20
        data["c"] = (data["x"] - mean) / sd
        far = mf.fit("y ~ x + (x | g)", data, reml=reml)
        near = mf.fit("y ~ c + (c | g)", data, reml=reml)
        assert far.converged
        assert finite(far)
        assert far.singular == near.singular
        unit = np.log(sd) if reml else 0.0
        assert far.loglik == pytest.approx(near.loglik - unit, abs=1e-6)
        assert far.sigma == pytest.approx(near.sigma, rel=1e-6)
        assert far.fixef["x"] * sd == pytest.approx(near.fixef["c"], rel=1e-6)
        np.testing.assert_allclose(far.ranef["g"]["x"] * sd, near.ranef["g"]["c"], atol=1e-6)
        assert far.n_iter <= near.n_iter + 5
        sd_slope = far.varcorr.loc[1, "sdcor"] * sd
        assert sd_slope == pytest.approx(near.varcorr.loc[1, "sdcor"], rel=1e-5, abs=1e-6)


@both
@pytest.mark.parametrize("seed", range(6))
def test_separate_terms_of_a_year(reml, seed):
    """Variances of intercept (at year 0) and slope apart: an odd model that must still end well."""
    data, g, _ = frame(seed=seed)
    u = np.random.default_rng(seed + 50).normal(size=(12, 2))
    data["y"] = 5.0 + data["e"] + u[g, 0] + u[g, 1] * data["x"]
    data["year"] = 2000.0 + np.round(10.0 * data["x"])
    fit = mf.fit("y ~ year + (year || g)", data, reml=reml)
    assert fit.converged
    assert finite(fit)
    for part in ("(1 | g)", "(0 + year | g)"):
        assert fit.loglik >= mf.fit(f"y ~ year + {part}", data, reml=reml).loglik - 1e-6


def test_extreme_separate_terms_are_never_nan():
    data, g, u = frame(seed=1)
    data["y"] = data["e"] + u[g]
    data["x"] = 1e6 + data["x"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = mf.fit("y ~ x + (x || g)", data, control=FitControl(max_iter=60))
    assert finite(fit)
    assert fit.loglik >= mf.fit("y ~ x + (1 | g)", data).loglik - 1e-3


@both
def test_units_do_not_decide_what_is_singular(reml):
    """Variances of 1e-12 or 1e12 beside their columns are as interior as any other."""
    data, g, u = frame(n_groups=20, seed=9)
    v = np.random.default_rng(1).normal(size=20)
    data["y"] = data["e"] + u[g] + v[g] * data["x"]
    plain = mf.fit("y ~ x + (x || g)", data, reml=reml)
    assert not plain.singular
    for power in (-6, 6):
        scaled = data.assign(x=data["x"] * 10.0**power, y=data["y"] * 10.0 ** (-power))
        fit = mf.fit("y ~ x + (x || g)", scaled, reml=reml)
        assert not fit.singular
        assert fit.converged
        ratio = fit.varcorr["vcov"].to_numpy() / plain.varcorr["vcov"].to_numpy()
        wanted = 10.0 ** (-2.0 * power) * np.array([1.0, 10.0 ** (-2.0 * power), 1.0])
        np.testing.assert_allclose(ratio, wanted, rtol=1e-7)
