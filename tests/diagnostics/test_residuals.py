"""The second pass against the dense oracle, and what it leaves on disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import fake_fit
import helpers
import numpy as np
import pyarrow.parquet as pq
import pytest

from mixedflow.diagnostics.residuals import (
    FOLDER,
    effects_of,
    partition_residuals,
    random_part,
    residual_pass,
)
from mixedflow.errors import FitError, OutputError


@pytest.fixture(scope="module")
def data():
    return helpers.data_frame("sleepstudy")


@pytest.fixture(scope="module")
def fit(data):
    return fake_fit.sleepstudy_fit(data)


@pytest.fixture(scope="module")
def encoder(data):
    return fake_fit.sleepstudy_encoder(data)


def direct(data, fit):
    """Return marginal and conditional fitted values by plain pandas."""
    u = fit.ranef["Subject"].loc[data["Subject"].astype(str)]
    marginal = fit.fixef["(Intercept)"] + fit.fixef["Days"] * data["Days"].to_numpy()
    inner = u["(Intercept)"].to_numpy() + u["Days"].to_numpy() * data["Days"].to_numpy()
    return marginal, marginal + inner


@pytest.mark.parametrize("cuts", [(0, 180), (0, 1, 77, 180), tuple(range(0, 181, 20))])
def test_pass_writes_the_directly_computed_numbers(data, fit, encoder, cuts, tmp_path: Path):
    sums = residual_pass(fit, fake_fit.FrameSource(data, cuts), encoder, tmp_path)
    table = pq.read_table(tmp_path / FOLDER).to_pandas()
    marginal, conditional = direct(data, fit)
    y = data["Reaction"].to_numpy()
    np.testing.assert_array_equal(table["row"], np.arange(1, 181))
    np.testing.assert_allclose(table["fitted"], conditional, rtol=1e-12)
    np.testing.assert_allclose(table["fitted_marginal"], marginal, rtol=1e-12)
    np.testing.assert_allclose(table["residual"], y - conditional, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(table["residual_marginal"], y - marginal, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(table["residual_standardised"], table["residual"] / fit.sigma)
    assert sums.n == 180
    assert sorted(p.name for p in tmp_path.iterdir()) == [FOLDER]
    assert len(list((tmp_path / FOLDER).iterdir())) == len(cuts) - 1


def test_lme4_residuals_of_sleepstudy(data, fit, encoder):
    block = encoder.encode(fake_fit.FrameSource(data, (0, 180)).read(0, fit.spec.variables))
    scaled = partition_residuals(block, effects_of(fit, encoder.info)).standardised
    # Scaled residuals as summary(lmer(...)) prints them: Min 1Q Median 3Q Max.
    found = np.quantile(scaled, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found, [-3.9536, -0.4634, 0.0231, 0.4634, 5.1793], atol=5e-5)


def test_weights_offset_and_unknown_levels(data, fit, encoder):
    block = encoder.encode(fake_fit.FrameSource(data, (0, 180)).read(0, fit.spec.variables))
    effects = effects_of(fit, encoder.info)
    plain = partition_residuals(block, effects)
    weights, offset = np.linspace(0.5, 2, 180), np.linspace(-5, 5, 180)
    shifted = dataclasses.replace(
        block, weights=weights, offset=offset, y=block.y - offset[:, None]
    )
    values = partition_residuals(shifted, effects, row_offset=1000)
    np.testing.assert_allclose(values.fitted, plain.fitted + offset)
    np.testing.assert_allclose(values.residual, plain.residual - offset, atol=1e-10)
    np.testing.assert_allclose(values.standardised, values.residual * np.sqrt(weights) / fit.sigma)
    assert values.row[0] == 1001
    unknown = dataclasses.replace(block, codes=(np.full(180, -1),))
    np.testing.assert_array_equal(random_part(unknown, effects), 0.0)


def test_row_numbers_skip_dropped_rows(data, fit, encoder):
    holed = data.copy()
    holed.loc[[2, 100], "Reaction"] = np.nan
    source = fake_fit.FrameSource(holed, (0, 90, 180))
    sums = residual_pass(fit, source, encoder, None)
    assert sums.n == 178
    assert set(range(1, 181)) - set(sums.points.row.tolist()) == {3, 101}


def test_aliased_columns_count_as_zero(data, fit, encoder):
    info = dataclasses.replace(encoder.info, x_columns=("(Intercept)", "Days", "twice"))
    np.testing.assert_array_equal(effects_of(fit, info).beta, [*fit.fixef, 0.0])


def test_estimates_that_are_not_finite_are_an_error(data, fit, encoder):
    broken = dataclasses.replace(fit, sigma=float("nan"))
    with pytest.raises(FitError, match="sigma = nan"):
        effects_of(broken, encoder.info)


def test_unwritable_folder_leaves_nothing(data, fit, encoder, tmp_path: Path):
    place = tmp_path / "file"
    place.write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        residual_pass(fit, fake_fit.FrameSource(data, (0, 180)), encoder, place)
    assert place.read_text() == "in the way"


def test_failure_in_the_pass_keeps_the_old_residuals(data, fit, encoder, tmp_path: Path):
    source = fake_fit.FrameSource(data, (0, 180))
    residual_pass(fit, source, encoder, tmp_path)

    def stop(fn, n_items, combine):
        fn(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        residual_pass(fit, source, encoder, tmp_path, stop)
    assert [p.name for p in tmp_path.iterdir()] == [FOLDER]
    assert pq.read_table(tmp_path / FOLDER).num_rows == 180
