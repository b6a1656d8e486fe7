"""Prediction errors and intervals against lme4 and emmeans (``references/predictions.json``)."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from helpers import REFERENCES, data_frame

import mixedflow as mf

R = json.loads((REFERENCES / "predictions.json").read_text())


@pytest.fixture(scope="module")
def slopes():
    return mf.fit("Reaction ~ Days + (Days | Subject)", data_frame("sleep_unb"))


@pytest.fixture(scope="module")
def crossed():
    frame = data_frame("Penicillin")
    frame = frame.drop(index=[row - 1 for row in R["crossed"]["dropped"]])
    return mf.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", frame)


@pytest.mark.parametrize(
    ("model", "group"), [("slopes", "Subject"), ("crossed", "plate"), ("crossed", "sample")]
)
def test_prediction_error_variances(model, group, request):
    fit, wanted = request.getfixturevalue(model), R[model]["pev"][group]
    for kind in ("known_beta", "full"):
        table = fit.ranef_table(group, pev=kind)
        q = len(fit.ranef[group].columns)
        assert list(table["level"].astype(str))[::q] == wanted["levels"]
        np.testing.assert_allclose(table["pev"], np.ravel(wanted[kind]), rtol=1e-4)
    np.testing.assert_allclose(fit.reliability[group], wanted["reliability"], atol=1e-4)


@pytest.mark.parametrize("model", ["slopes", "crossed"])
def test_known_levels(model, request):
    fit, wanted = request.getfixturevalue(model), R[model]["predictions"]
    found = fit.predict(pd.DataFrame(R[model]["new"]), se=True)
    np.testing.assert_allclose(found["estimate"], wanted["fit"], rtol=1e-6)
    np.testing.assert_allclose(found["se"], wanted["se"], rtol=1e-5)


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
def test_the_mean_over_all_groups(slopes, ddf):
    wanted = R["slopes"]["marginal"][ddf]
    rows = pd.DataFrame({"Days": wanted["Days"], "Subject": "308"})
    found = slopes.predict(rows, random=False, interval="confidence", ddf=ddf)
    np.testing.assert_allclose(found["df"], wanted["df"], rtol=1e-3)
    for mine, theirs in (("estimate", "fit"), ("se", "se"), ("lower", "lower"), ("upper", "upper")):
        np.testing.assert_allclose(found[mine], wanted[theirs], rtol=2e-5)
