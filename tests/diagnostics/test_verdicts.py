"""Verdicts, random effects, comparison, and the stored summary."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace

import fake_fit
import helpers
import numpy as np
import pandas as pd
import pytest

from mixedflow.diagnostics import (
    check_rows,
    compare_models,
    diagnose,
    load_diagnostics,
    random_columns,
    wald_table,
)
from mixedflow.diagnostics.ranef import MAX_LEVELS, kept_ranks
from mixedflow.diagnostics.store import smooth_bins
from mixedflow.errors import StoredFileError


@pytest.fixture(scope="module")
def data():
    return helpers.data_frame("sleepstudy")


@pytest.fixture(scope="module")
def fit(data):
    return fake_fit.sleepstudy_fit(data)


@pytest.fixture(scope="module")
def result(data, fit):
    source = fake_fit.FrameSource(data, (0, 60, 180))
    return diagnose(fit, source, fake_fit.sleepstudy_encoder(data))


def verdicts(checks):
    return {check.name: check.verdict for check in checks}


def test_good_fit_has_no_warning(result):
    found = verdicts(result.checks)
    assert found["Converged"] == found["Boundary, Subject"] == found["Scaled score"] == "ok"
    assert "warning" not in found.values()
    assert all(check.sentence for check in result.checks)


def test_unusual_residual_is_named_by_its_row(result):
    check = next(c for c in result.checks if c.name == "Largest standardised residual")
    assert check.verdict == "note"
    assert "row 57" in check.value
    assert result.extremes["row"][0] == 57
    assert result.extremes["Subject"][0] == "332"


def test_non_convergence_and_boundary_show(fit):
    bad = dataclasses.replace(
        fit,
        converged=False,
        singular=True,
        certificate=fake_fit.some_certificate(singular=True),
        conditions={"information": 1e14},
    )
    found = verdicts(check_rows(bad))
    assert found["Converged"] == "warning"
    assert found["Boundary, Subject"] == "note"
    assert found["Condition number, information"] == "warning"


def test_wald_intervals(fit):
    table = wald_table(fit)
    half = 1.959963984540054 * table["se"]
    np.testing.assert_allclose(table["lower"], table["estimate"] - half)
    np.testing.assert_allclose(table["upper"], table["estimate"] + half)


def test_caterpillar_is_sorted_with_intervals(fit):
    intercept, days = random_columns(fit)
    assert (intercept.column, days.column) == ("(Intercept)", "Days")
    blup = np.array(days.caterpillar["blup"])
    assert (np.diff(blup) >= 0).all()
    se = fit.ranef_se["Subject"]["Days"].loc[days.caterpillar["level"]]
    np.testing.assert_allclose(days.caterpillar["upper"], blup + 1.959963984540054 * se)
    assert days.sd == pytest.approx(math.sqrt(35.0716574667473))
    # Balanced data: standardised by sqrt(G - PEV), the BLUPs have unit mean square.
    z = np.array(days.qq["standardised"])
    assert 0.7 < np.mean(z**2) < 1.4
    assert (np.diff(z) >= 0).all()


def test_zero_variance_gives_no_qq(fit):
    varcorr = fit.varcorr.copy()
    varcorr.loc[varcorr["term1"] == "Days", "vcov"] = 0.0
    _, days = random_columns(dataclasses.replace(fit, varcorr=varcorr))
    assert days.qq["level"] == []
    assert len(days.caterpillar["level"]) == 18


def test_many_levels_are_thinned_but_both_ends_stay():
    assert kept_ranks(MAX_LEVELS).tolist() == list(range(MAX_LEVELS))
    kept = kept_ranks(1_000_000)
    assert len(kept) <= MAX_LEVELS
    assert kept[:50].tolist() == list(range(50))
    assert kept[-50:].tolist() == list(range(999_950, 1_000_000))


def test_terms_of_one_factor_share_a_column(fit):
    varcorr = fit.varcorr.copy()
    varcorr.loc[varcorr["term1"] == "Days", "group"] = "Subject.1"
    days = random_columns(dataclasses.replace(fit, varcorr=varcorr))[1]
    assert days.sd == pytest.approx(math.sqrt(35.0716574667473))


def test_smooth_line_rests_on_enough_rows():
    count = np.array([1, 2, 0, 30, 400, 400, 3, 1])
    place = smooth_bins(count)
    sizes = np.bincount(place, weights=count)
    assert sizes.sum() == count.sum()
    assert (sizes >= count.sum() / 24).all()
    assert (np.diff(place) >= 0).all()


def test_summary_is_the_same_for_any_partition(data, fit, result):
    encoder = fake_fit.sleepstudy_encoder(data)
    other = diagnose(fit, fake_fit.FrameSource(data, (0, 11, 100, 101, 180)), encoder)
    assert other == result


def test_round_trip(data, fit, tmp_path: Path):
    source = fake_fit.FrameSource(data, (0, 180))
    made = diagnose(fit, source, fake_fit.sleepstudy_encoder(data), tmp_path)
    assert load_diagnostics(tmp_path) == made
    document = json.loads((tmp_path / "summary.json").read_text())
    assert document["format_version"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "missing"),
        ("{", "damaged"),
        ("[]", "does not describe diagnostics"),
        ('{"format_version": 99}', "format version 99"),
        ('{"format_version": 1}', "damaged"),
    ],
)
def test_bad_summary_is_one_sentence(text, message, tmp_path: Path):
    if text is not None:
        (tmp_path / "summary.json").write_text(text)
    with pytest.raises(StoredFileError, match=message):
        load_diagnostics(tmp_path)


def test_large_data_keep_no_points():
    rng = np.random.default_rng(3)
    n = 12_000
    frame = pd.DataFrame({"x": rng.normal(size=n), "g": rng.integers(0, 5, n).astype(str)})
    frame["y"] = 1.0 + frame["x"] + rng.normal(size=n)
    labels = tuple(sorted(set(frame["g"])))
    zero = pd.DataFrame({"(Intercept)": np.zeros(5)}, index=labels)
    names = ["(Intercept)", "x"]
    fit = fake_fit.FakeFit(
        spec=SimpleNamespace(formula="y ~ x + (1 | g)", weights=None, variables=("y", "x", "g")),
        schema=SimpleNamespace(level_labels=lambda index: list(labels)),
        fixef=pd.Series([1.0, 1.0], index=names),
        vcov=pd.DataFrame(np.eye(2), index=names, columns=names),
        varcorr=fake_fit.varcorr_table("g", ["(Intercept)"], np.zeros((1, 1)), 1.0),
        ranef={"g": zero},
        ranef_se={"g": zero},
        sigma=1.0,
        loglik=-1.0,
        nobs=n,
        df_model=4,
        trace=fake_fit.some_trace(2.0),
        data_summary={},
    )
    encoder = fake_fit.FrameEncoder("y", tuple(names), "g", ("(Intercept)",), labels)
    result = diagnose(fit, fake_fit.FrameSource(frame, (0, 7_000, n)), encoder)
    assert result.points["row"] == []
    assert sum(result.cells["count"]) == n
    assert len(result.qq["standardised"]) <= 201
    gap = np.array(result.qq["standardised"]) - np.array(result.qq["theoretical"])
    assert np.abs(gap[10:-10]).max() < 0.12


def test_comparison_by_aic(data, fit):
    other = dataclasses.replace(fit, loglik=fit.loglik - 10, df_model=4)
    table = compare_models([("full", fit), ("small", other)])
    assert table.notes == ()
    assert table.rows[0].delta_aic == 0
    assert table.rows[1].delta_aic == pytest.approx(16)


def test_what_cannot_be_compared_is_said(data, fit):
    ml = dataclasses.replace(fit, reml=False)
    fewer = dataclasses.replace(fit, nobs=170)
    fixed = dataclasses.replace(fit, fixef=fit.fixef.iloc[:1])
    failed = dataclasses.replace(fit, converged=False)
    notes = {
        "ml": compare_models([("a", fit), ("b", ml)]),
        "rows": compare_models([("a", fit), ("b", fewer)]),
        "fixed": compare_models([("a", fit), ("b", fixed)]),
        "failed": compare_models([("a", fit), ("b", failed)]),
    }
    assert "REML and ML" in notes["ml"].notes[0]
    assert "180" in notes["rows"].notes[0]
    assert "different fixed parts" in notes["fixed"].notes[0]
    assert "Not converged" in notes["failed"].notes[0]
    for table in notes.values():
        assert all(math.isnan(row.delta_aic) for row in table.rows)
