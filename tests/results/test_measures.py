"""R2 and intraclass correlations against the rows."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from helpers import REFERENCES, data_frame

import mixedflow as mf
from mixedflow.errors import UnsupportedError

LME4 = json.loads((REFERENCES / "measures.json").read_text())


def dense(fit: mf.FitResult, X: np.ndarray, Z: dict[str, np.ndarray]) -> tuple[float, float]:
    """Return R2 row by row, as MuMIn: var(X beta) and the mean of z'Gz."""
    fixed = np.var(X @ fit.fixef.to_numpy(), ddof=1)
    random = 0.0
    for (name, columns), G in zip(Z.items(), fit.estimates.G, strict=True):
        assert name in fit.n_levels
        random += np.mean(np.einsum("ia,ab,ib->i", columns, G, columns))
    total = fixed + random + fit.sigma**2
    return fixed / total, (fixed + random) / total


def ones(frame: pd.DataFrame) -> np.ndarray:
    return np.ones((len(frame), 1))


def test_random_slopes_as_row_by_row_and_by_lme4():
    frame = data_frame("sleepstudy")
    fit = mf.fit("Reaction ~ Days + (Days | Subject)", frame)
    X = np.column_stack([np.ones(len(frame)), frame["Days"]])
    np.testing.assert_allclose(fit.r2, dense(fit, X, {"Subject": X}), rtol=1e-10)
    np.testing.assert_allclose(fit.r2, [LME4["r2"][name] for name in fit.r2.index], rtol=1e-6)


def test_missing_rows_and_categories():
    frame = data_frame("Machines").iloc[[*range(5), *range(9, 40), 44, 50]]
    fit = mf.fit("score ~ Machine + (0 + Machine | Worker)", frame)
    Z = pd.get_dummies(frame["Machine"]).to_numpy(float)
    X = np.column_stack([np.ones(len(frame)), Z[:, 1:]])
    np.testing.assert_allclose(fit.r2, dense(fit, X, {"Worker": Z}), rtol=1e-9)


def test_diagonal_terms_far_from_zero():
    frame = data_frame("sleepstudy").assign(Days=lambda d: d["Days"] + 1e4)
    fit = mf.fit("Reaction ~ Days + diag(1 + Days | Subject)", frame)
    X = np.column_stack([np.ones(len(frame)), frame["Days"]])
    np.testing.assert_allclose(fit.r2, dense(fit, X, {"Subject": X}), rtol=1e-6)


def test_no_intercept():
    frame = data_frame("sleepstudy")
    fit = mf.fit("Reaction ~ 0 + Days + (1 | Subject)", frame)
    X = frame[["Days"]].to_numpy(float)
    np.testing.assert_allclose(fit.r2, dense(fit, X, {"Subject": ones(frame)}), rtol=1e-10)


def test_an_aliased_column_changes_nothing():
    frame = data_frame("sleepstudy")
    plain = mf.fit("Reaction ~ Days + (1 | Subject)", frame)
    more = mf.fit("Reaction ~ Days + I(2 * Days + 3) + (1 | Subject)", frame)
    np.testing.assert_allclose(more.r2, plain.r2, rtol=1e-8)


def test_icc_of_crossed_factors_is_their_share():
    fit = mf.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", data_frame("Penicillin"))
    np.testing.assert_allclose(fit.icc, LME4["penicillin_icc"], rtol=1e-6)
    assert list(fit.icc.index) == ["plate", "sample"]
    assert fit.r2["marginal"] == 0.0
    np.testing.assert_allclose(fit.r2["conditional"], fit.icc.sum(), rtol=1e-12)


def test_what_has_no_single_share_is_refused():
    frame = data_frame("sleepstudy").assign(w=1.5)
    with pytest.raises(UnsupportedError, match="has slopes"):
        _ = mf.fit("Reaction ~ Days + (Days | Subject)", frame).icc
    weighted = mf.fit("Reaction ~ Days + (1 | Subject)", frame, weights="w")
    with pytest.raises(UnsupportedError, match="with weights"):
        _ = weighted.r2
    ar1 = mf.fit("Reaction ~ Days + (1 | Subject)", frame, residual="ar1(Days | Subject)")
    with pytest.raises(UnsupportedError, match=r"residual='ar1\(Days \| Subject\)'"):
        _ = ar1.icc


def test_aicc_counts_all_parameters():
    fit = mf.fit("Reaction ~ Days + (Days | Subject)", data_frame("sleepstudy"))
    assert fit.aicc == pytest.approx(fit.aic + 2 * 6 * 7 / (180 - 7))
