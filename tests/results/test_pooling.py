"""Rubin's rules against mice and mitml, and at their ends."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from helpers import REFERENCES, data_frame

import mixedflow as mf
from mixedflow.errors import ConfigError, DataError, UnsupportedError
from mixedflow.inference.rubin import Imputed, barnard_rubin_df, joint_df, pooled_joint, pooled_rows

MICE = json.loads((REFERENCES / "pooling.json").read_text())


def imputed() -> list[pd.DataFrame]:
    """Return sleepstudy with 30 cells imputed five times, as ``make_pooling_references.R`` does."""
    frame = data_frame("sleepstudy").astype({"Subject": str})
    gaps = np.arange(2, 180, 6)
    seen = np.setdiff1d(np.arange(180), gaps)
    X = np.column_stack([frame["Days"], pd.get_dummies(frame["Subject"]).to_numpy(float)])
    b = np.linalg.lstsq(X[seen], frame["Reaction"].to_numpy()[seen], rcond=None)[0]
    out = []
    for k in range(1, 6):
        y = frame["Reaction"].to_numpy(copy=True)
        y[gaps] = X[gaps] @ b + 150.0 * np.sin(7 * k + gaps + 1)
        out.append(frame.assign(Reaction=y))
    return out


@pytest.fixture(scope="module")
def fits() -> list[mf.FitResult]:
    return [mf.fit("Reaction ~ Days + (1 | Subject)", one) for one in imputed()]


def test_fits_are_those_that_were_pooled(fits):
    np.testing.assert_allclose([fit.fixef for fit in fits], np.array(MICE["qhat"]).T, rtol=1e-8)
    np.testing.assert_allclose([fit.vcov for fit in fits], MICE["uhat"], rtol=1e-5)


@pytest.mark.parametrize(("ddf", "which"), [("residual", "finite"), ("asymptotic", "infinite")])
def test_tables_as_mice(fits, ddf, which):
    found = mf.pool(fits, ddf=ddf)
    assert found.m == 5
    for (_, row), wanted in zip(found.table.iterrows(), MICE[which], strict=True):
        for name, value in wanted.items():
            assert row[name] == pytest.approx(value, rel=1e-5), name
    assert (found.table["lower"] < found.table["estimate"]).all()
    joint = found.contrast([[1.0, -25.0], [0.0, 1.0]])
    F, k, df, _, _ = MICE[f"D1_{which}"]
    assert joint["F"].iloc[0] == pytest.approx(F, rel=1e-5)
    assert joint["num_df"].iloc[0] == k
    assert joint["den_df"].iloc[0] == pytest.approx(df, rel=1e-5)


def test_one_row_contrasts(fits):
    found = mf.pool(fits)
    row = found.contrast({"Days": 1.0}).iloc[0]
    np.testing.assert_allclose(row, found.table.loc["Days"], rtol=1e-12)
    both = found.contrast([1.0, 5.0]).iloc[0]
    L = np.array([1.0, 5.0])
    assert both["se"] == pytest.approx(np.sqrt(L @ found.vcov.to_numpy() @ L))
    assert repr(found) == "<Pooled: 5 fits, 2 coefficients, satterthwaite>"


def test_without_missing_information_nothing_is_lost(fits):
    same = mf.pool([fits[0]] * 4)
    table = fits[0].infer().coef_table
    np.testing.assert_allclose(same.table["se"], table["se"])
    nu = table["df"]
    np.testing.assert_allclose(same.table["df"], (nu + 1) / (nu + 3) * nu)
    assert (same.table["lambda"] == 0).all()
    assert np.isinf(mf.pool([fits[0]] * 4, ddf="asymptotic").table["df"]).all()
    assert np.isinf(joint_df(2, 5, 0.0, np.inf))


def test_degrees_of_freedom_lie_below_those_of_complete_data():
    share = np.array([0.0, 0.1, 0.5, 0.9, 0.99])
    df = barnard_rubin_df(5, share, np.full(5, 30.0))
    assert (np.diff(df) < 0).all()
    assert (df < 30).all()
    assert joint_df(2, 2, 0.3, 20.0) <= 20.0
    assert joint_df(3, 10, 0.3, 4.0) <= 4.0
    assert joint_df(3, 10, 0.3, 1e9) == pytest.approx(joint_df(3, 10, 0.3, np.inf), rel=0.05)


def test_one_row_of_d1_is_its_square():
    rng = np.random.default_rng(1)
    data = Imputed(rng.standard_normal((4, 2)) + 3, np.tile(np.eye(2), (4, 1, 1)))
    L = np.array([[1.0, 0.5]])
    row = pooled_rows(data, L, np.array([np.inf]))
    joint = pooled_joint(data, L, np.inf)
    t = float((row.estimate / row.se)[0])
    assert abs(joint.F - t**2) < 1e-12 * t**2


def test_what_cannot_be_pooled(fits):
    frame = imputed()[0]
    other = mf.fit("Reaction ~ 1 + (1 | Subject)", frame)
    with pytest.raises(DataError, match=r"fit 2 and of the first differ in 'Days'"):
        mf.pool([fits[0], other])
    with pytest.raises(ConfigError, match="two or more fits"):
        mf.pool([fits[0]])
    with pytest.raises(ConfigError, match="two or more fits"):
        mf.pool(fits[0])
    ml = mf.fit("Reaction ~ Days + (1 | Subject)", frame, reml=False)
    with pytest.raises(UnsupportedError, match="fit 2 is by ML and the first by REML"):
        mf.pool([fits[0], ml])
    with pytest.raises(DataError, match="names 'Day'"):
        mf.pool(fits).contrast({"Day": 1.0})
