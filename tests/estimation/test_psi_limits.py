"""Residual parameters at the limit of double precision are said so; those without data are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.errors import DataError

SINGULAR = "the residual covariance is nearly singular"
INDEPENDENT = "neighbouring rows are as good as independent"


def frame() -> pd.DataFrame:
    """Return ten groups of three rows; ``same`` has one value in a group, ``odd`` is for one row."""
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"g": np.repeat(np.arange(10), 3), "t": np.tile([0, 1, 2], 10)})
    data["y"] = rng.normal(size=30)
    data["same"] = np.repeat(rng.normal(size=10), 3) + 1e-9 * rng.normal(size=30)
    data["turning"] = data["y"] - data.groupby("g")["y"].transform("mean")
    data["s"] = np.where(np.arange(30) == 29, "b", "a")
    data["odd"] = 1.0 * (data["s"] == "b")
    return data


@pytest.mark.parametrize(
    ("formula", "residual", "reml", "name", "meaning"),
    [
        ("y ~ odd", "strata(s)", False, "log sd ratio[b]", SINGULAR),
        ("same ~ 1", "ar1(t | g)", True, "rho", SINGULAR),
        ("same ~ 1", "cs(1 | g)", True, "rho", SINGULAR),
        ("same ~ 1", "car1(t | g)", True, "log rate", SINGULAR),
        ("turning ~ 1", "car1(t | g)", True, "log rate", INDEPENDENT),
    ],
)
def test_a_parameter_at_its_limit_is_said_so(formula, residual, reml, name, meaning, tmp_path):
    fit = mf.fit(formula, frame(), residual=residual, reml=reml)
    (limit,) = fit.certificate.limits
    assert (limit[0].split("(")[0].strip(), limit[1]) == (name, meaning)
    assert (f"limit: {limit[0]}", meaning, "note") in fit.certificate.as_rows()
    (message,) = fit.messages
    assert f"'{limit[0]}' is at the limit of what double precision can tell: {meaning}" in message
    fit.save(tmp_path / "fit")
    again = mf.load(tmp_path / "fit")
    assert again.certificate == fit.certificate
    assert again.messages == fit.messages


def test_nothing_is_said_of_parameters_inside():
    fit = mf.fit("y ~ 1", frame(), residual="ar1(t | g)")
    assert fit.certificate.limits == ()
    assert fit.messages == ()


@pytest.mark.parametrize(
    "residual", ["ar1(1 | g)", "ar1(t | g)", "car1(t | g)", "strata(s) * ar1(t | g)"]
)
def test_a_correlation_without_pairs_of_rows_is_refused(residual):
    alone = frame().drop_duplicates("g", keep="last")
    with pytest.raises(DataError, match=r"no group has two rows, so .* write residual='iid'"):
        mf.fit("y ~ 1", alone, residual=residual)


@pytest.mark.parametrize("structure", ["ar1", "cs"])
def test_a_stratum_without_pairs_of_rows_is_refused(structure):
    data = frame().iloc[:28].assign(s=lambda d: np.where(d["g"] == 9, "b", "a"))
    with pytest.raises(DataError, match=r"two rows in the stratum 'b'.*'strata\(s\) \* "):
        mf.fit("y ~ 1", data, residual=f"{structure}(1 | s/g)")
    assert mf.fit("y ~ 1", data, residual=f"strata(s) * {structure}(1 | g)").converged
