"""Standard errors of variances against the curvature of a dense likelihood in those very variances."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.errors import UnsupportedError

Matrices = Callable[[np.ndarray], np.ndarray]


def rows(seed: int = 4, slopes: float = 0.6) -> pd.DataFrame:
    """Return three unbalanced visits of 24 subjects in two arms, deterministic."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        [(g, t, "AB"[g % 2]) for g in range(24) for t in range(3)], columns=["g", "t", "arm"]
    )
    L = np.linalg.cholesky(np.array([[1.0, 0.5, 0.3], [0.5, 2.0, 0.8], [0.3, 0.8, 1.5]]))
    noise = (rng.normal(size=(24, 3)) @ L.T).ravel()
    level = np.repeat(rng.normal(scale=1.2, size=24), 3)
    slope = np.repeat(rng.normal(scale=slopes, size=24), 3) * frame["t"]
    frame["y"] = 100.0 * (3.0 + 0.5 * frame["t"] + level + slope + noise)
    frame["x"] = frame["t"] - 1.0
    return frame.drop(index=[4, 11, 33]).reset_index(drop=True)


def minus2ll(frame: pd.DataFrame, V: np.ndarray, *, reml: bool) -> float:
    """Return -2l of y ~ t, by one dense V."""
    X = np.column_stack([np.ones(len(frame)), frame["t"]])
    y = frame["y"].to_numpy()
    inverse = np.linalg.inv(V)
    S = X.T @ inverse @ X
    e = y - X @ np.linalg.solve(S, X.T @ inverse @ y)
    out = np.linalg.slogdet(V)[1] + e @ inverse @ e
    return float(out + (np.linalg.slogdet(S)[1] if reml else 0.0))


def errors(
    frame: pd.DataFrame, V: Matrices, at: np.ndarray, *, reml: bool, alike: bool = True
) -> np.ndarray:
    """Return sqrt(diag((H / 2)^-1)), H of -2l by central differences with Richardson's weights.

    Parameters that are ``alike`` in unit have steps of at least a fifth of the largest's.
    """
    size_of = np.maximum(np.abs(at), 0.2 * np.abs(at).max() * alike)

    def along(i: int, j: int, h: float) -> float:
        def value(a: float, b: float) -> float:
            x = at.copy()
            x[i] += a * h * size_of[i]
            x[j] += b * h * size_of[j]
            return minus2ll(frame, V(x), reml=reml)

        total = value(1, 1) - value(1, -1) - value(-1, 1) + value(-1, -1)
        return total / (4.0 * h * h * size_of[i] * size_of[j])

    size = len(at)
    H = np.array(
        [
            [(4 * along(i, j, 2e-3) - along(i, j, 4e-3)) / 3 for j in range(size)]
            for i in range(size)
        ]
    )
    return np.sqrt(np.diag(np.linalg.inv(H / 2.0)))


def same(frame: pd.DataFrame) -> np.ndarray:
    """Return which rows are of one group, (n, n)."""
    g = frame["g"].to_numpy()
    return (g[:, None] == g).astype(float)


def symmetric(values: np.ndarray, m: int) -> np.ndarray:
    """Return a matrix from variances and then pairs, row by row, as varcorr lists them."""
    out = np.diag(values[:m])
    a, b = np.triu_indices(m, 1)
    out[a, b] = out[b, a] = values[m:]
    return out


def random_slopes(frame: pd.DataFrame) -> Matrices:
    """Return V of (x | g)."""
    Z = np.column_stack([np.ones(len(frame)), frame["x"]])
    return lambda v: (Z @ symmetric(v[:3], 2) @ Z.T) * same(frame) + v[3] * np.eye(len(frame))


def over_visits(frame: pd.DataFrame) -> Matrices:
    """Return V of us(t | g)."""
    t = frame["t"].to_numpy()
    return lambda v: symmetric(v, 3)[np.ix_(t, t)] * same(frame)


def along_visits(frame: pd.DataFrame) -> Matrices:
    """Return V of (1 | g) with ar1(t | g); the last parameter is sigma2 rho."""
    t = frame["t"].to_numpy()
    lag = np.abs(t[:, None] - t)
    return lambda v: (v[0] + v[1] * (v[2] / v[1]) ** lag) * same(frame)


def by_arm(frame: pd.DataFrame) -> Matrices:
    """Return V of (1 | g) with strata(arm)."""
    second = (frame["arm"] == "B").to_numpy()
    return lambda v: v[0] * same(frame) + np.diag(np.where(second, v[2], v[1]))


CASES = {
    "random slopes": ("y ~ t + (x | g)", "iid", random_slopes),
    "unstructured": ("y ~ t", "us(t | g)", over_visits),
    "ar1": ("y ~ t + (1 | g)", "ar1(t | g)", along_visits),
    "strata": ("y ~ t + (1 | g)", "strata(arm)", by_arm),
}


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_standard_errors_are_those_of_the_dense_likelihood(case: str, reml: bool) -> None:
    formula, residual, model = CASES[case]
    frame = rows(slopes=1.5 if "x" in formula else 0.6)
    table = mf.fit(formula, frame, residual=residual, reml=reml).varcorr_se
    wanted = errors(frame, model(frame), table["vcov"].to_numpy(), reml=reml)
    np.testing.assert_allclose(table["se"], wanted, rtol=1e-5)
    assert list(table["note"]) == [""] * len(table)


def test_standard_errors_of_sds_and_correlations_follow_by_the_delta_method() -> None:
    frame = rows()
    table = mf.fit("y ~ t", frame, residual="us(t | g)").varcorr_se
    single, pair = table[table["term2"] == ""], table[table["term2"] != ""]
    np.testing.assert_allclose(single["se_sdcor"], single["se"] / (2 * single["sdcor"]), rtol=1e-7)
    sd = single["sdcor"].to_numpy()

    def V(v: np.ndarray) -> np.ndarray:
        R = symmetric(np.r_[1.0, 1.0, 1.0, v[3:]], 3) * np.outer(v[:3], v[:3])
        t = frame["t"].to_numpy()
        return R[np.ix_(t, t)] * same(frame)

    wanted = errors(frame, V, np.r_[sd, pair["sdcor"]], reml=True, alike=False)
    np.testing.assert_allclose(table["se_sdcor"], wanted, rtol=1e-5)


def test_standard_errors_do_not_depend_on_the_unit_of_the_response() -> None:
    frame = rows(slopes=1.5)
    plain = mf.fit("y ~ t + (x | g)", frame).varcorr_se
    scaled = mf.fit("y ~ t + (x | g)", frame.assign(y=frame["y"] * 1e-6)).varcorr_se
    np.testing.assert_allclose(scaled["se"], 1e-12 * plain["se"], rtol=1e-6)


def test_what_stands_on_its_boundary_has_no_standard_error_and_says_so() -> None:
    rng = np.random.default_rng(0)
    within = np.tile([-1.0, 1.0, -0.5, 0.5], 10) + rng.normal(scale=1e-3, size=40)
    frame = pd.DataFrame({"g": np.repeat(np.arange(10), 4), "y": within})
    table = mf.fit("y ~ 1 + (1 | g)", frame).varcorr_se
    assert table["vcov"][0] == 0
    assert np.isnan(table.loc[0, ["se", "se_sdcor"]].astype(float)).all()
    assert list(table["note"]) == ["on the boundary", ""]
    assert table["se"][1] == pytest.approx(table["vcov"][1] * np.sqrt(2 / 39), rel=1e-6)


def test_a_fit_by_conjugate_gradients_refuses() -> None:
    control = mf.FitControl(solver="pcg")
    fit = mf.fit("y ~ t + (1 | g) + (1 | t)", rows(), control=control)
    with pytest.raises(UnsupportedError, match="use a solver that factorises"):
        _ = fit.varcorr_se
