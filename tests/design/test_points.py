"""Points of several coordinates: how they are named, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import mixedflow as mf
from mixedflow.design import positions
from mixedflow.design.positions import with_points
from mixedflow.design.residual import parse_residual
from mixedflow.errors import DataError, FormulaError, UnsupportedError

RESIDUAL = "sp_exp(east, north | field)"


def plots(fields: int = 30, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [(f, e, n) for f in range(fields) for e in range(3) for n in range(3)]
    frame = pd.DataFrame(rows, columns=["field", "east", "north"])
    frame["x"] = rng.normal(size=len(frame))
    frame["y"] = frame["x"] + rng.normal(size=len(frame)) + rng.normal(size=fields)[frame["field"]]
    return frame


def test_labels_do_not_depend_on_how_numbers_are_stored():
    parsed = parse_residual(RESIDUAL)
    whole = pa.table({"east": pa.array([1, 2]), "north": pa.array([0.5, -0.0])})
    decimal = pa.table({"east": pa.array([1.0, 2.0]), "north": pa.array([0.5, 0.0])})
    for table in (whole, decimal):
        found = with_points(table, parsed).column("east, north").to_pylist()
        assert found == ["1, 0.5", "2, 0"]


def test_groups_on_one_grid_are_one_pattern():
    fit = mf.fit("y ~ x", plots(), residual=RESIDUAL)
    assert len({key[0] for key in fit.crossproducts.keyed}) == 1
    assert len(fit.crossproducts.info.residual.positions) == 9


@pytest.mark.parametrize("turn", [0.0, 0.7])
def test_only_distances_matter(turn: float):
    """Turned, moved and stretched coordinates are the same model, its range stretched."""
    data = plots()
    R = 3.0 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = data.copy()
    moved[["east", "north"]] = data[["east", "north"]].to_numpy() @ R.T + [100.0, -7.0]
    one, other = (mf.fit("y ~ x", frame, residual=RESIDUAL) for frame in (data, moved))
    assert other.loglik == pytest.approx(one.loglik, rel=1e-10)
    ranges = [f.residual_params.set_index("parameter")["estimate"]["range"] for f in (one, other)]
    assert ranges[1] == pytest.approx(3.0 * ranges[0], rel=1e-5)


def test_one_coordinate_that_is_the_same_everywhere_is_none():
    data = plots().query("north == 1")
    plane = mf.fit("y ~ x", data, residual=RESIDUAL)
    line = mf.fit("y ~ x", data, residual="sp_exp(east | field)")
    assert plane.loglik == pytest.approx(line.loglik, rel=1e-10)
    for ddf in ("satterthwaite", "kenward-roger"):
        tables = [fit.infer(ddf).coef_table.to_numpy() for fit in (plane, line)]
        np.testing.assert_allclose(*tables, rtol=2e-5)


def test_three_coordinates():
    data = plots().assign(height=lambda d: (d["east"] * d["north"]) / 2)
    fit = mf.fit("y ~ x", data, residual="sp_exp(east, north, height | field)")
    assert fit.converged
    assert "1, 1, 0.5" in fit.crossproducts.info.residual.positions


def test_a_missing_coordinate_drops_the_row():
    data = plots()
    data.loc[4, "north"] = np.nan
    assert mf.fit("y ~ x", data, residual=RESIDUAL).nobs == len(data) - 1


def test_saved_and_loaded(tmp_path):
    data = plots().assign(east=lambda d: d["east"] + d["field"] / 7)
    fit = mf.fit("y ~ x", data, residual=RESIDUAL)
    fit.save(tmp_path / "fit")
    again = mf.load(tmp_path / "fit")
    assert again.loglik == fit.loglik
    condensed = mf.condense("y ~ x", data, residual=RESIDUAL)
    condensed.save(tmp_path / "sums")
    assert mf.fit("y ~ x", mf.load_crossproducts(tmp_path / "sums")).loglik == fit.loglik


def test_too_many_points(monkeypatch):
    monkeypatch.setattr(positions, "MAX_POINTS", 8)
    with pytest.raises(UnsupportedError, match=r"at most 8 different points, but the data have 9"):
        mf.fit("y ~ x", plots(), residual=RESIDUAL)


def test_a_column_by_the_name_of_the_points():
    data = plots().assign(**{"east, north": "a"})
    with pytest.raises(FormulaError, match="rename the column"):
        mf.fit("y ~ x + `east, north`", data, residual=RESIDUAL)


def test_no_group_has_two_points():
    data = plots().query("east == 1 and north == 1")
    with pytest.raises(DataError, match=r"sp_exp\(east, north \| field\): no group has two rows"):
        mf.fit("y ~ x", data, residual=RESIDUAL)


def test_new_points_of_new_rows_are_of_no_account():
    data = plots()
    fit = mf.fit("y ~ x", data, residual=RESIDUAL)
    new = pd.DataFrame({"x": [0.3]})
    found = fit.predict(new, interval="prediction")
    assert np.isfinite(found[["estimate", "lower", "upper"]].to_numpy()).all()


def test_the_covariance_over_the_points_is_laid_out_when_asked_for():
    fit = mf.fit("y ~ x", plots(), residual=RESIDUAL)
    found = fit.residual_params.set_index("parameter")["estimate"]
    R = fit.residual_cov
    assert R.loc["0, 0", "1, 1"] == pytest.approx(
        found["sigma"] ** 2 * np.exp(-np.sqrt(2.0) / found["range"])
    )
    assert R.index.name == "east, north"
    assert "Covariance of residuals" not in fit.summary()
