"""Scans: covariates one at a time against dense least squares and against fits of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.errors import ConfigError, DataError, FitError, StoredFileError, UnsupportedError
from mixedflow.parallel import Runner, open_runner
from mixedflow.scanning import blocked
from mixedflow.sweeps.null_rows import null_rows
from mixedflow.sweeps.scan import TILE, products, tile_of

NUMBERS = ["estimate", "se", "df", "statistic", "p"]


def families(seed: int = 1, n: int = 240, L: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g, h = rng.integers(0, L, n), rng.integers(0, 6, n)
    x = rng.normal(size=n) + 20
    y = 5 + 0.3 * x + rng.normal(size=L)[g] + rng.normal(size=6)[h] + rng.normal(size=n)
    y += rng.normal(size=L)[g] * (x - 20)
    sex = np.where(rng.random(n) < 0.5, "f", "m")
    w = rng.uniform(0.5, 2.0, n)
    return pd.DataFrame({"g": g, "h": h, "x": x, "sex": sex, "y": y, "w": w})


def covariates(data: pd.DataFrame, m: int = 7, seed: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(data.g.max() + 1, m))[data.g]
    return 3.0 + own + rng.normal(size=(len(data), m))


MODELS = {
    "intercept": ("y ~ x + (1 | g)", None, ["1", "x"], [("g", ["1"])]),
    "full": ("y ~ x + (1 | g)", "w", ["1", "x"], [("g", ["1"])]),
    "slope": ("y ~ x + (x | g)", None, ["1", "x"], [("g", ["1", "x"])]),
    "slopes apart": ("y ~ sex + (1 + x || g)", None, ["1", "m"], [("g", ["1"]), ("g", ["x"])]),
    "crossed": ("y ~ x + (x | g) + (1 | h)", "w", ["1", "x"], [("g", ["1", "x"]), ("h", ["1"])]),
    "no constant": ("y ~ 0 + x + (1 | g)", None, ["x"], [("g", ["1"])]),
    "spanned": ("y ~ 0 + sex + x + (1 | g)", "w", ["f", "m", "x"], [("g", ["1"])]),
}
"""Formula, weights, columns of X, columns of Z of every term."""


def column(data: pd.DataFrame, name: str) -> np.ndarray:
    if name == "1":
        return np.ones(len(data))
    return (data.sex == name).to_numpy(float) if name in "fm" else data[name].to_numpy(float)


def gls(model: str, null: mf.FitResult, data: pd.DataFrame, c: np.ndarray) -> tuple[float, ...]:
    """Estimate and standard error of c by dense least squares, variances relative to sigma2 given."""
    _, weights, fixed, random = MODELS[model]
    V = np.diag(1.0 / data[weights].to_numpy() if weights else np.ones(len(data)))
    for (name, own), G in zip(random, null.estimates.G, strict=True):
        Z = np.column_stack([column(data, one) for one in own])
        same = data[name].to_numpy()[:, None] == data[name].to_numpy()[None, :]
        V += same * (Z @ G @ Z.T) / null.estimates.sigma2
    A = np.column_stack([*(column(data, one) for one in fixed), c, data["y"]])
    A = np.linalg.solve(np.linalg.cholesky(V), A)
    y, A = A[:, -1], A[:, :-1]
    Q, R = np.linalg.qr(A)
    b = np.linalg.solve(R, Q.T @ y)
    sigma2 = np.sum((y - A @ b) ** 2) / (len(y) - A.shape[1])
    return b[-1], float(np.sqrt(sigma2) / abs(R[-1, -1]))


@pytest.mark.parametrize("model", MODELS)
def test_estimates_are_those_of_dense_least_squares(model):
    data = families()
    C = covariates(data)
    formula, weights, fixed, _ = MODELS[model]
    found = mf.scan(formula, data, C, weights=weights)
    dense = np.array([gls(model, found.null, data, c) for c in C.T])
    np.testing.assert_allclose(found.table[["estimate", "se"]], dense, rtol=1e-9)
    assert (found.table["df"] == len(data) - len(fixed) - 1).all()
    assert (found.table["error"] == "").all()


@pytest.mark.parametrize("model", ["intercept", "slope", "full"])
def test_compiled_sums_are_those_of_numpy(model):
    data = families()
    formula, weights, _, _ = MODELS[model]
    fit = mf.fit(formula, data, weights=weights)
    null = null_rows(fit, fit.source)
    for kind in ("f8", "f4", "i1", ">f8", "?", "f2"):
        C = covariates(data).astype(kind)
        tile = tile_of(C, null, "error")
        one, other = (products(tile, null, compiled=fast) for fast in (True, False))
        for a, b in ((one.CtW, other.CtW), (one.CtBC, other.CtBC), (one.spent, other.spent)):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11 * np.abs(b).max())


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("model", ["intercept", "full", "slope", "no constant"])
def test_variances_again_are_those_of_a_fit_with_the_covariate(model, reml):
    data = families()
    C = covariates(data, 3)
    formula, weights, _, _ = MODELS[model]
    found = mf.scan(formula, data, C, weights=weights, reml=reml, variances="reestimate")
    assert (found.table["variances"] == "reestimate").all()
    for row, c in zip(found.table.itertuples(), C.T, strict=True):
        fit = mf.fit(f"{formula} + cov", data.assign(cov=c), weights=weights, reml=reml)
        own = fit.infer().coef_table.loc["cov"]
        assert row.estimate == pytest.approx(own["estimate"], rel=1e-8)
        assert row.se == pytest.approx(own["se"], rel=1e-8)
        assert row.df == pytest.approx(own["df"], rel=1e-6)
        assert row.p == pytest.approx(own["p"], rel=1e-7)


def test_many_variances_again_at_once():
    data = families(n=600, L=150)
    C = covariates(data, 40)
    found = mf.scan("y ~ x + (1 | g)", data, C, variances="reestimate").table
    for k in (0, 17, 39):
        fit = mf.fit("y ~ x + cov + (1 | g)", data.assign(cov=C[:, k]))
        own = fit.infer().coef_table.loc["cov"]
        np.testing.assert_allclose(
            found.loc[k, ["estimate", "se"]].to_numpy(float), own[["estimate", "se"]], rtol=1e-8
        )


def test_variances_again_only_where_p_is_small():
    data = families()
    C = covariates(data, 20)
    plain = mf.scan("y ~ x + (1 | g)", data, C).table
    limit = plain["p"].sort_values().iloc[4]
    some = mf.scan(
        "y ~ x + (1 | g)", data, C, variances="reestimate", reestimate_below=float(limit)
    ).table
    again = some["variances"] == "reestimate"
    assert (again == (plain["p"] <= limit)).all()
    pd.testing.assert_frame_equal(some.loc[~again, NUMBERS], plain.loc[~again, NUMBERS])


def test_shift_and_scale_of_covariates_and_response_cost_no_digits():
    data = families()
    C = covariates(data)
    plain = mf.scan("y ~ x + (1 | g)", data, C).table
    far = mf.scan("y ~ x + (1 | g)", data.assign(y=data.y * 8 + 1e6), C * 1e-3 + 1e6).table
    np.testing.assert_allclose(far["estimate"], plain["estimate"] * 8e3, rtol=1e-5)
    for size in (1e-160, 1e160, 1e-308):
        tiny = mf.scan("y ~ x + (1 | g)", data, C * size).table
        np.testing.assert_allclose(tiny["statistic"], plain["statistic"], rtol=1e-9)


def test_sigma_of_the_null_model():
    data = families()
    each = mf.scan("y ~ x + (1 | g)", data, covariates(data))
    known = mf.scan("y ~ x + (1 | g)", data, covariates(data), sigma="null")
    np.testing.assert_allclose(known.table["estimate"], each.table["estimate"])
    assert np.isinf(known.table["df"]).all()
    n, p = len(data), 2
    left = each.table["se"] ** 2 * (n - p - 1) * (1 + each.table["statistic"] ** 2 / (n - p - 1))
    np.testing.assert_allclose(known.table["se"] ** 2 * (n - p), left, rtol=1e-6)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["i1", "u1", ">i4", "f4", "f8", "f2", ">f8", "?"])
def test_matrices_on_disk_of_any_number_type(tmp_path, order, kind):
    data = families()
    C = np.random.default_rng(3).integers(0, 2, (len(data), 5)).astype(kind)
    np.save(tmp_path / "c.npy", np.asarray(C, order=order))
    names = [f"snp{k}" for k in range(5)]
    found = mf.scan("y ~ x + (1 | g)", data, (tmp_path / "c.npy", names)).table
    wanted = mf.scan("y ~ x + (1 | g)", data, C.astype(float)).table
    assert found["covariate"].tolist() == names
    np.testing.assert_allclose(found[NUMBERS], wanted[NUMBERS], rtol=1e-10)
    table = pd.DataFrame(C, columns=names)
    pd.testing.assert_frame_equal(found, mf.scan("y ~ x + (1 | g)", data, table).table)
    (tmp_path / "names.txt").write_text("\n".join(names))
    listed = mf.scan("y ~ x + (1 | g)", data, (str(tmp_path / "c.npy"), tmp_path / "names.txt"))
    pd.testing.assert_frame_equal(found, listed.table)
    bare = mf.scan("y ~ x + (1 | g)", data, str(tmp_path / "c.npy")).table
    assert bare["covariate"].tolist() == ["1", "2", "3", "4", "5"]
    pd.testing.assert_frame_equal(found[NUMBERS], bare[NUMBERS])


def test_columns_of_the_data_by_pattern():
    data = families()
    C = covariates(data, 4)
    wide = data.assign(**{f"snp{k}": C[:, k] for k in range(4)})
    for wanted in ("snp*", "re:^snp", ["snp0", "snp1", "snp2", "snp3"]):
        found = mf.scan("y ~ x + (1 | g)", wide, wanted).table
        assert found["covariate"].tolist() == ["snp0", "snp1", "snp2", "snp3"]
        np.testing.assert_allclose(
            found[NUMBERS], mf.scan("y ~ x + (1 | g)", data, C).table[NUMBERS], rtol=1e-10
        )
    every = mf.scan("y ~ x + (1 | g)", wide, "*").table
    assert every["covariate"].tolist() == ["h", "w", "snp0", "snp1", "snp2", "snp3"]


def test_rows_that_lack_a_predictor_are_left_out_of_the_covariates():
    data = families()
    C = covariates(data)
    data.loc[[3, 50], "x"] = np.nan
    data.loc[7, "y"] = np.nan
    keep = data[["x", "y"]].notna().all(axis=1).to_numpy()
    found = mf.scan("y ~ x + (1 | g)", data, C).table
    wanted = mf.scan("y ~ x + (1 | g)", data[keep], C[keep]).table
    np.testing.assert_allclose(found[NUMBERS], wanted[NUMBERS], rtol=1e-8)
    assert (found["n"] == len(data) - 3).all()


def test_missing_values_are_errors_or_means():
    data = families()
    C = covariates(data)
    C[[1, 5, 9], 2] = np.nan
    C[:, 4] = np.nan
    found = mf.scan("y ~ x + (1 | g)", data, C).table
    assert found["missing"].tolist() == [0, 0, 3, 0, 240, 0, 0]
    assert found["error"][2].startswith("3 of 240 values are missing; missing='mean'")
    assert found["error"][4] == "no value"
    assert found.loc[[2, 4], NUMBERS].isna().all(axis=None)
    filled = C.copy()
    filled[[1, 5, 9], 2] = np.nanmean(C[:, 2])
    meant = mf.scan("y ~ x + (1 | g)", data, C, missing="mean").table
    wanted = mf.scan("y ~ x + (1 | g)", data, filled[:, [2]]).table
    np.testing.assert_allclose(meant.loc[[2], NUMBERS], wanted[NUMBERS], rtol=1e-10)
    assert meant["missing"][2] == 3
    assert meant["error"].tolist() == ["", "", "", "", "no value", "", ""]


def test_a_number_may_stand_for_missing_values():
    data = families()
    C = np.random.default_rng(6).integers(0, 3, (len(data), 4)).astype(np.int8)
    C[[2, 30], 1] = -9
    coded = mf.scan("y ~ x + (1 | g)", data, C, missing="mean", missing_value=-9).table
    known = np.where(C == -9, np.nan, C.astype(float))
    wanted = mf.scan("y ~ x + (1 | g)", data, known, missing="mean").table
    np.testing.assert_allclose(coded[NUMBERS], wanted[NUMBERS], rtol=1e-10)
    assert coded["missing"].tolist() == [0, 2, 0, 0]
    error = mf.scan("y ~ x + (1 | g)", data, C, missing_value=-9).table["error"]
    assert (error != "").tolist() == [False, True, False, False]


def test_rows_in_several_partitions(tmp_path):
    data = families()
    C = covariates(data)
    data.loc[3, "x"] = np.nan
    wide = data.assign(**{f"snp{k}": C[:, k] for k in range(7)})
    for k, rows in enumerate((slice(0, 100), slice(100, 110), slice(110, None))):
        wide[rows].to_parquet(tmp_path / f"part{k}.parquet")
    whole = mf.scan("y ~ x + (1 | g)", data, C).table
    for wanted in (C, "snp*"):
        parts = mf.scan("y ~ x + (1 | g)", str(tmp_path / "*.parquet"), wanted).table
        np.testing.assert_allclose(parts[NUMBERS], whole[NUMBERS], rtol=1e-9)


@pytest.mark.slow
def test_the_same_bits_on_worker_processes():
    data = families()
    C = covariates(data, 700)
    here = mf.scan("y ~ x + (1 | g)", data, C).table
    with open_runner("processes", workers=2) as runner:
        there = mf.scan("y ~ x + (1 | g)", data, C, runner=runner).table
    pd.testing.assert_frame_equal(here, there, check_exact=True)


def test_covariates_that_say_nothing_are_rows_with_their_reason():
    data = families()
    C = covariates(data, 6)
    C[:, 0], C[:, 1], C[:, 2], C[7, 3] = 0.1, 3 * data.x - 2, 0.0, np.inf
    C[:, 4] = np.where(np.arange(len(data)) == 8, np.nan, 0.1)
    found = mf.scan("y ~ x + (1 | g)", data, C, missing="mean").table
    assert found["error"].tolist() == [
        "constant", "a sum of the model's columns", "constant", "a value is infinite", "constant", "",
    ]  # fmt: skip
    assert found.loc[:4, [*NUMBERS, "q"]].isna().all(axis=None)
    whole = mf.scan("y ~ x + (1 | g)", data, np.ones((len(data), 2), dtype=np.int8)).table
    assert whole["error"].tolist() == ["constant", "constant"]
    for way in ("null", "reestimate"):
        same = mf.scan("y ~ x + (1 | g)", data, data[["y"]].to_numpy() * 2, variances=way).table
        assert same["error"].tolist() == ["fixed effects reproduce the response exactly"]
    again = mf.scan("y ~ x + (1 | g)", data, C, variances="reestimate").table
    assert (again["error"] != "").tolist() == [True] * 5 + [False]
    assert mf.scan("y ~ 0 + x + (1 | g)", data, C[:, [0]]).table["error"].tolist() == [""]


def test_the_same_bits_on_any_number_of_threads():
    data = families(n=1200, L=100)
    C = np.random.default_rng(4).integers(0, 3, (1200, 3 * TILE + 11)).astype(np.int8)
    assert len(blocked(C.shape[1], C.shape[0])) > 3
    tables = [
        mf.scan("y ~ x + (1 | g)", data, C, runner=runner).table
        for runner in (Runner(), Runner("threads", 2), Runner("threads", 5))
    ]
    for other in tables[1:]:
        pd.testing.assert_frame_equal(tables[0], other, check_exact=True)


def test_blocks_cover_all_covariates_once():
    for count, size in (
        (1, 10),
        (255, 10),
        (5000, 10_000),
        (10**6, 10_000),
        (99, 8 * 10**6),
        (9, 10**9),
    ):
        blocks = blocked(count, size)
        assert blocks[0][0] == 0
        assert blocks[-1][1] == count
        assert max(b - a for a, b in blocks) * size <= max(2**28, size)
        assert all(a[1] == b[0] for a, b in pairwise(blocks))


def test_progress_is_told():
    data, seen = families(), []
    mf.scan("y ~ x + (1 | g)", data, covariates(data, 600), on_done=lambda *two: seen.append(two))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_null_covariates_have_uniform_p_and_planted_ones_are_found():
    rng = np.random.default_rng(5)
    data = families(n=1600, L=400)
    C = rng.integers(0, 3, (400, 2000))[data.g].astype(np.int8)
    data["y"] += 0.6 * C[:, 17]
    found = mf.scan("y ~ x + (1 | g)", data, C)
    assert 0.85 < found.lambda_gc < 1.15
    assert found.table["p"].idxmin() == 17
    assert found.table["q"][17] < 1e-3
    assert found.table["q"].drop(17).min() > 0.01


def test_a_scan_is_written_whole_and_read_back(tmp_path):
    data = families()
    C = covariates(data)
    C[:, 1] = 2.0
    found = mf.scan("y ~ x + (1 | g)", data, C, path=tmp_path / "scan")
    read = mf.load_scan(tmp_path / "scan")
    pd.testing.assert_frame_equal(found.table, read.table, check_dtype=False)
    assert read.null.deviance == pytest.approx(found.null.deviance, rel=1e-12)
    assert read.lambda_gc == found.lambda_gc
    assert read.spec["formula"] == "y ~ x + (1 | g)"
    assert read.failures["error"].tolist() == ["constant"]
    assert "7 covariates, 1 without an estimate" in repr(read)
    replace(read).save(tmp_path / "scan")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan"]


def test_a_damaged_scan_is_said(tmp_path):
    data = families()
    mf.scan("y ~ x + (1 | g)", data, covariates(data), path=tmp_path / "scan")
    table = tmp_path / "scan/scan.parquet"
    content = table.read_bytes()
    pd.read_parquet(table).head(3).to_parquet(table)
    with pytest.raises(StoredFileError, match="not the table"):
        mf.load_scan(tmp_path / "scan")
    table.write_bytes(content[:100])
    with pytest.raises(StoredFileError, match="cannot be read"):
        mf.load_scan(tmp_path / "scan")


@pytest.mark.parametrize(
    ("error", "says", "asked"),
    [
        (ConfigError, "did you mean 'reestimate'", {"variances": "restimate"}),
        (ConfigError, "allowed: 'error', 'mean'", {"missing": "drop"}),
        (ConfigError, "sigma='known'", {"sigma": "known"}),
        (ConfigError, "missing_value must be a number", {"missing_value": "NA"}),
        (ConfigError, "needs variances='reestimate'", {"reestimate_below": 0.1}),
        (ConfigError, "at most 1", {"reestimate_below": 2.0, "variances": "reestimate"}),
        (DataError, "a row for each of the 240 rows", {"covariates": np.zeros((7, 2))}),
        (DataError, "a matrix of numbers", {"covariates": np.zeros(240)}),
        (DataError, "a matrix of numbers", {"covariates": np.zeros((240, 1), dtype=complex)}),
        (DataError, "a name for each of 2 columns", {"covariates": (np.zeros((240, 2)), ["a"])}),
        (DataError, "found 'a' twice", {"covariates": (np.zeros((240, 2)), ["a", "a"])}),
        (DataError, "at least one column", {"covariates": np.zeros((240, 0))}),
        (DataError, "'snp' or fits it (there are 'h', 'w')", {"covariates": "snp"}),
        (DataError, "'re:[' is no regular expression", {"covariates": ["h", "re:["]}),
        (DataError, "'x' cannot be a covariate", {"covariates": ["h", "x"]}),
        (DataError, "at least one covariate", {"covariates": []}),
        (ConfigError, "not int", {"covariates": 7}),
        (UnsupportedError, "not for 'y ~ x + (1 | g) + (1 | h)'",
         {"formula": "y ~ x + (1 | g) + (1 | h)", "variances": "reestimate"}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_the_work(error, says, asked):
    data = families()
    formula = asked.pop("formula", "y ~ x + (1 | g)")
    wanted = asked.pop("covariates", covariates(data, 2))
    with pytest.raises(error, match=re.escape(says)):
        mf.scan(formula, data, wanted, **asked)


def test_condensed_data_have_no_rows_to_scan():
    data = families()
    with pytest.raises(UnsupportedError, match="reads the rows again"):
        mf.scan("y ~ x + (1 | g)", mf.condense("y ~ x + (1 | g)", data), covariates(data))


def test_too_many_crossed_effects_are_refused(monkeypatch):
    monkeypatch.setattr("mixedflow.sweeps.null_rows.MOST_CROSSED", 20)
    data = families()
    with pytest.raises(UnsupportedError, match="up to 20 random effects; here are 36"):
        mf.scan("y ~ x + (1 | g) + (1 | h)", data, covariates(data))


def test_too_few_rows():
    data = pd.DataFrame({"g": [0, 0, 1], "x": [1.0, 2, 4], "y": [1.0, 3, 2]})
    with pytest.raises(FitError, match="3 rows are too few"):
        mf.scan("y ~ x + (1 | g)", data, np.array([[1.0], [0], [3]]))


def test_a_small_scan_loads_no_compiler():
    code = (
        "import sys, numpy as np, mixedflow as mf; r = np.random.default_rng(0);"
        "d = {'y': r.normal(size=60), 'g': np.arange(60) % 9};"
        "mf.scan('y ~ 1 + (1 | g)', d, r.normal(size=(60, 20)), variances='reestimate');"
        "assert 'numba' not in sys.modules and 'dask' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_null_model_without_variance_between_groups_is_least_squares():
    rng = np.random.default_rng(8)
    g = np.arange(120) % 12
    noise = rng.normal(size=120)
    noise -= (pd.Series(noise).groupby(g).transform("mean")).to_numpy()
    data = pd.DataFrame({"g": g, "x": rng.normal(size=120), "y": noise})
    C = rng.normal(size=(120, 4))
    found = mf.scan("y ~ x + (1 | g)", data, C)
    assert found.null.singular
    for row, c in zip(found.table.itertuples(), C.T, strict=True):
        A = np.column_stack([np.ones(120), data.x, c])
        b, left, *_ = np.linalg.lstsq(A, noise)
        cov = np.linalg.inv(A.T @ A) * left[0] / 117
        assert (row.estimate, row.se) == pytest.approx((b[2], np.sqrt(cov[2, 2])), rel=1e-9)
