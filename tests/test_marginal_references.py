"""Marginal means, slopes and contrasts against R's emmeans: ``references/emmeans.json``.

Tolerances (issue 5): df 1e-3 relative, p 1e-4 absolute. Estimates and standard errors 1e-6 relative, to
the size of the standard error where an estimate is nearly zero.
"""

from __future__ import annotations

import json

import helpers
import numpy as np
import pandas as pd
import pytest

import mixedflow as mf

WANTED = {e["name"]: e for e in json.loads((helpers.REFERENCES / "emmeans.json").read_text())}
FILES = {
    "machines": "machines_unb",
    "oats": "Oats",
    "orthodont": "Orthodont",
    "dietox": "dietox",
    "gap": "dietox",
    "fev": "mmrm_fev_data",
}
INFINITE = 1e300
TOLERANCES = {
    "estimate": {"rtol": 1e-6, "atol": 1e-7},
    "se": {"rtol": 1e-6},
    "df": {"rtol": 1e-3},
    "statistic": {"rtol": 2e-6, "atol": 1e-7},
    "p": {"atol": 1e-4, "rtol": 0.0},
    "lower": {"rtol": 1e-5, "atol": 1e-4},
    "upper": {"rtol": 1e-5, "atol": 1e-4},
}


def rows_of(name):
    """Return the rows that R was given."""
    frame = helpers.data_frame(FILES[name])
    if name in ("oats", "orthodont"):
        frame = frame[(7 * np.arange(1, len(frame) + 1) + 3) % 11 > 1]
    if name == "gap":
        frame = frame[~((frame["Evit"] == "Evit100") & (frame["Cu"] == "Cu035"))]
    return frame


@pytest.fixture(scope="module")
def fitted():
    done = {}

    def get(data, formula, residual="iid"):
        key = (data, formula, residual)
        if key not in done:
            done[key] = mf.fit(formula, rows_of(data), residual=residual)
        return done[key]

    return get


@pytest.fixture(scope="module")
def asked(fitted):
    done = {}

    def get(name):
        if name not in done:
            entry = WANTED[name]
            fit = fitted(entry["data"], entry["formula"], entry.get("residual", "iid"))
            found = fit.infer(entry["ddf"])
            options = {n: entry[n] for n in ("at", "weights") if n in entry}
            if "var" in entry:
                done[name] = found.emtrends(entry["specs"], entry["var"], **options)
            else:
                done[name] = found.emmeans(entry["specs"], **options)
        return done[name]

    return get


def same(found: pd.DataFrame, wanted: dict, p_within: float = 1e-4) -> None:
    """Compare the columns that R has."""
    for column, values in wanted.items():
        own = np.asarray(values if isinstance(values, list) else [values], dtype=float)
        own = np.where(own == INFINITE, np.inf, own)
        limits = dict(TOLERANCES[column])
        if column == "p":
            limits["atol"] = p_within
        np.testing.assert_allclose(found[column], own, err_msg=column, **limits)


@pytest.mark.parametrize("name", WANTED)
def test_the_means_are_those_of_emmeans(name, asked):
    same(asked(name).table, WANTED[name]["table"])


@pytest.mark.parametrize("name", WANTED)
def test_the_contrasts_are_those_of_emmeans(name, asked):
    for wanted in WANTED[name]["contrasts"]:
        found = asked(name).contrast(wanted["method"], adjust=wanted["adjust"])
        same(found, wanted["table"])


@pytest.mark.parametrize("name", [name for name, e in WANTED.items() if "joint" in e])
def test_the_joint_tests_are_those_of_emmeans(name, asked):
    found, wanted = asked(name).joint(), WANTED[name]["joint"]
    limits = {"num_df": 0.0, "den_df": 1e-3, "F": 1e-4}
    for column, rtol in limits.items():
        own = np.atleast_1d(np.asarray(wanted[column], dtype=float))
        np.testing.assert_allclose(found[column], np.where(own == INFINITE, np.inf, own), rtol=rtol)
    np.testing.assert_allclose(found["p"], np.atleast_1d(wanted["p"]), atol=1e-4)
