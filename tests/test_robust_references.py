"""Robust covariances against clubSandwich's and mmrm's figures (tests/references/robust.json)."""

from __future__ import annotations

import json
from functools import cache

import helpers
import numpy as np
import pandas as pd
import pytest

import mixedflow as mf

FIGURES = json.loads((helpers.REFERENCES / "robust.json").read_text())
FEV = "FEV1 ~ RACE + SEX + ARMCD * AVISIT"


def read(name):
    (path,) = (helpers.REFERENCES / "data").glob(f"{name}.csv*")
    return pd.read_csv(path)


@cache
def fitted(name):
    if name.startswith("sleep_unb"):
        data = read("sleep_unb")
        data["w"] = 1 + (np.arange(1, len(data) + 1) % 4) / 2
        weights = "w" if name.endswith("weights") else None
        return mf.fit("Reaction ~ Days + (Days | Subject)", data, weights=weights)
    if name == "dietox":
        return mf.fit("Weight ~ Time * Cu + (Time | Pig)", read("dietox"))
    if name == "egsingle":
        return mf.fit("math ~ year + female + (1 | schoolid/childid)", read("egsingle"))
    return mf.fit(FEV, read("mmrm_fev_data"), residual="us(AVISIT | USUBJID)")


@pytest.mark.parametrize(
    ("name", "form", "kind"),
    [
        (name, form, kind)
        for name, entry in FIGURES.items()
        for form in ("plain", "white")
        for kind in entry.get(form, ())
        if kind != "CR2" or form == "plain" or "plain" not in entry
    ],
)
def test_same_as_clubsandwich(name, form, kind):
    fit, expected = fitted(name), FIGURES[name][form][kind]
    np.testing.assert_allclose(fit.fixef, FIGURES[name]["fixed"], rtol=1e-5)
    found = fit.infer(vcov=kind)
    np.testing.assert_allclose(found.coef_table["se"], expected["se"], rtol=1e-5)
    np.testing.assert_allclose(found.coef_table["df"], expected["df"], rtol=1e-4)
    L = np.eye(len(fit.fixef))[np.array(expected["rows"]) - 1]
    joint = found.contrast(L).iloc[0]
    np.testing.assert_allclose(joint["F"], expected["F"], rtol=1e-4)
    np.testing.assert_allclose(joint["den_df"], expected["den_df"], rtol=1e-4)
    assert abs(joint["p"] - expected["p"]) < 1e-4


def test_same_as_mmrm():
    """Its empirical covariance; its optimum is a little off."""
    expected = FIGURES["fev"]["mmrm"]
    levels = {"SEX": ["Male", "Female"]}
    fit = mf.fit(FEV, read("mmrm_fev_data"), residual="us(AVISIT | USUBJID)", levels=levels)
    found = fit.infer("residual", vcov="CR0").coef_table
    se = np.array(expected["se"])
    np.testing.assert_allclose(found["se"], se, rtol=1e-4)
