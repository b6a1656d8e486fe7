"""Standardised residuals where rows have standard deviations of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import mixedflow as mf
from mixedflow.data import open_source
from mixedflow.diagnostics import diagnose
from mixedflow.diagnostics.residuals import FOLDER, residual_pass
from mixedflow.errors import UnsupportedError


def rows() -> pd.DataFrame:
    """Return three visits of 20 subjects, their spread by visit and arm, weights by row."""
    rng = np.random.default_rng(8)
    frame = pd.DataFrame([(g, v) for g in range(20) for v in "abc"], columns=["g", "visit"])
    frame["arm"] = np.where(frame["g"] < 9, "P", "T")
    spread = frame["visit"].map({"a": 1.0, "b": 2.0, "c": 4.0}) * (1 + (frame["arm"] == "T"))
    frame["w"] = rng.uniform(0.5, 2.0, 60)
    frame["y"] = 5 + rng.normal(size=60) * spread + np.repeat(rng.normal(size=20), 3)
    return frame


@pytest.mark.parametrize("cuts", [60, 17])
@pytest.mark.parametrize(
    "residual", ["us(visit | arm/g)", "csh(visit | g)", "strata(arm)", "ar1(1 | g)"]
)
def test_each_row_is_divided_by_its_own_standard_deviation(
    tmp_path: Path, residual: str, cuts: int
) -> None:
    fit = mf.fit("y ~ arm", rows(), residual=residual, weights="w")
    source = open_source(rows(), partition_rows=cuts)
    residual_pass(fit, source, fit.encoder, tmp_path)
    table = pq.read_table(tmp_path / FOLDER).to_pandas().sort_values("row")
    np.testing.assert_allclose(table["residual"], fit.resid, atol=1e-12)
    np.testing.assert_allclose(table["residual_standardised"], fit.residuals("pearson"), atol=1e-12)


def test_places_in_the_order_of_rows_need_whole_groups() -> None:
    frame = rows()
    fit = mf.fit("y ~ arm", frame, residual="us(1 | g)")
    whole = residual_pass(fit, open_source(frame), fit.encoder, None)
    assert whole.n == 60
    with pytest.raises(UnsupportedError, match=r"us\(visit \| g\), or give data prepared by"):
        residual_pass(fit, open_source(frame, partition_rows=17), fit.encoder, None)


def test_a_model_without_random_effects_is_judged() -> None:
    frame = rows()
    fit = mf.fit("y ~ arm", frame, residual="us(visit | g)")
    found = diagnose(fit, open_source(frame), fit.encoder)
    assert found.random == ()
    assert found.n == 60
    assert found.moments["sd"] == pytest.approx(1.0, abs=0.1)
    assert all(check.verdict != "warning" for check in found.checks)
