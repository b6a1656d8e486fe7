"""Standard errors and intervals of predictions against the dense twin, by every solver."""

from __future__ import annotations

from dataclasses import replace

import helpers
import numpy as np
import pandas as pd
import pytest
from designs import random_design
from scipy import linalg

import mixedflow as mf
from mixedflow.errors import DataError, UnknownLevelError, UnsupportedError
from mixedflow.estimation.control import FitControl

CASES = [
    ("us2", 1, True, False),
    ("us3", 2, False, False),
    ("bars+", 4, True, False),
    ("two-terms", 2, True, False),
    ("nested-slope", 1, True, False),
    ("crossed-slope", 3, True, False),
    ("crossed", 4, False, True),
    ("three", 2, True, False),
]


def fitted(kind, seed, reml=True, weights=False, **control):
    design = random_design(kind, seed, weights=weights)
    settings = FitControl(**control) if control else None
    fit = mf.fit(design.formula, design.data, reml=reml, control=settings, **design.arguments)
    return design, fit


def named(column):
    return "(Intercept)" if column == "1" else column


class Twin:
    """C of the whole of Henderson's equations over dense V, and rows of [X Z] for new data."""

    def __init__(self, design, fit):
        self.design = design
        matrices = helpers.covariance_matrices(fit.varcorr)
        self.G = []
        for label, _, columns, _ in design.terms:
            names = [named(c) for c in columns]
            self.G.append(matrices[label].loc[names, names].to_numpy(float))
        self.sigma2 = fit.sigma**2
        model = design.dense()
        point = model.at(self.G, self.sigma2)
        Z = np.hstack(model.Z)
        D = linalg.block_diag(*[t.spread(g) for t, g in zip(model.terms, self.G, strict=True)])
        cross = -point.vcov @ model.X.T @ point.Vinv @ Z @ D
        self.C = np.block([[point.vcov, cross], [cross.T, D - D @ Z.T @ point.P @ Z @ D]])
        self.terms = model.terms

    def rows(self, data):
        """Return [X Z], and the variance z'Gz of levels that are not in the data."""
        fixed = self.design.formula.split("(")[0].split("~")[1].replace("+", " ").split()
        column = {"1": np.ones(len(data))} | {
            c: data[c].to_numpy(float) for c in ("x", "z", "w") if c in data
        }
        parts, new = [np.column_stack([column[c] for c in ("1", *fixed)])], np.zeros(len(data))
        for j, (term, G) in enumerate(zip(self.terms, self.G, strict=True)):
            _, factor, columns, _ = self.design.terms[j]
            values = np.column_stack([column[c] for c in columns])
            labels = [
                ":".join(str(row[v]) for v in factor.split(":")) for _, row in data.iterrows()
            ]
            Z = np.zeros((len(data), term.n_levels, term.q))
            for i, label in enumerate(labels):
                levels = self.design.levels(j)
                if label in levels:
                    Z[i, levels.index(label)] = values[i]
                else:
                    new[i] += values[i] @ G @ values[i]
            parts.append(Z.reshape(len(data), -1))
        return np.hstack(parts), new

    def variance(self, data):
        W, new = self.rows(data)
        return np.einsum("ni,ij,nj->n", W, self.C, W) + new


def combined(design):
    """Return rows of every pair of levels, most of which the fit has not seen together."""
    data = design.data.dropna()
    rng = np.random.default_rng(8)
    mixed = {name: rng.permutation(data[name].to_numpy()) for name in ("h", "k") if name in data}
    return pd.concat([data.iloc[:25], data.assign(**mixed).iloc[:40]], ignore_index=True)


@pytest.mark.parametrize(("kind", "seed", "reml", "weights"), CASES)
def test_the_mean_of_a_row_as_by_the_dense_twin(kind, seed, reml, weights):
    design, fit = fitted(kind, seed, reml, weights)
    rows = combined(design) if "nested" not in kind else design.data.dropna().iloc[:40]
    found = fit.predict(rows, interval="confidence")
    assert list(found.columns) == ["estimate", "se", "df", "lower", "upper"]
    np.testing.assert_allclose(found["se"] ** 2, Twin(design, fit).variance(rows), rtol=1e-7)
    np.testing.assert_array_equal(found["estimate"], fit.predict(rows))
    half = 1.959963984540054 * found["se"]
    np.testing.assert_allclose(found["upper"] - found["estimate"], half, rtol=1e-9)
    np.testing.assert_allclose(found["estimate"] - found["lower"], half, rtol=1e-9)
    assert np.isinf(found["df"]).all()


@pytest.mark.parametrize("solver", ["dense", "schur", "sparse", "pcg"])
def test_every_solver_has_levels_that_never_met(solver):
    design, fit = fitted("crossed-slope", 3, solver=solver)
    assert fit.estimates.solver == solver
    rows = combined(design)
    found = fit.predict(rows, se=True)
    assert list(found.columns) == ["estimate", "se", "df"]
    np.testing.assert_allclose(found["se"] ** 2, Twin(design, fit).variance(rows), rtol=1e-7)


def test_batches_of_levels_and_slices_of_rows_change_nothing(monkeypatch):
    design, fit = fitted("crossed-slope", 3)
    rows = combined(design)
    whole = fit.predict(rows, se=True)
    monkeypatch.setattr("mixedflow.inference.prediction_variance.NUMBERS", 100)
    pd.testing.assert_frame_equal(fit.predict(rows, se=True), whole, rtol=1e-12)


def test_new_levels_vary_as_their_covariance():
    design, fit = fitted("crossed-slope", 3)
    rows = combined(design).iloc[:12].copy()
    rows["g"] = rows["g"].astype(object)
    rows.loc[[0, 3, 5], "g"] = "never seen"
    with pytest.raises(UnknownLevelError, match="never seen"):
        fit.predict(rows, se=True)
    found = fit.predict(rows, se=True, allow_new_levels=True)
    np.testing.assert_allclose(found["se"] ** 2, Twin(design, fit).variance(rows), rtol=1e-7)


def test_an_observation_adds_its_residual():
    design, fit = fitted("crossed", 4, True, True)
    rows = combined(design)
    mean, new = (fit.predict(rows, interval=kind) for kind in ("confidence", "prediction"))
    added = fit.sigma**2 / rows[design.weights]
    np.testing.assert_allclose(new["se"] ** 2, mean["se"] ** 2 + added, rtol=1e-10)
    with pytest.raises(DataError, match="no column 'wt'"):
        fit.predict(rows.drop(columns=design.weights), interval="prediction")
    fit.predict(rows.drop(columns=design.weights), interval="confidence")
    rows.loc[2, design.weights] = -1.0
    with pytest.raises(DataError, match=r"holds -1 in .*row 3"):
        fit.predict(rows, interval="prediction")


def test_a_group_that_is_not_seen():
    design, fit = fitted("us2", 1)
    rows = design.data.dropna().iloc[:9]
    mean = fit.predict(rows, random=False, se=True)
    new = fit.predict(rows, random=False, interval="prediction")
    Z = np.column_stack([np.ones(9), rows["x"]])
    added = np.einsum("na,ab,nb->n", Z, fit.estimates.G[0], Z) + fit.sigma**2
    np.testing.assert_allclose(new["se"] ** 2, mean["se"] ** 2 + added, rtol=1e-10)


@pytest.mark.parametrize("ddf", [None, "satterthwaite", "kenward-roger", "residual", "asymptotic"])
def test_fixed_effects_alone_are_contrasts(ddf):
    design, fit = fitted("us2", 1)
    rows = design.data.dropna().iloc[:9]
    found = fit.predict(rows, random=False, interval="confidence", ddf=ddf, level=0.9)
    inference = fit.infer(ddf or "satterthwaite", level=0.9)
    for i, (_, row) in enumerate(rows.iterrows()):
        wanted = inference.contrast([1.0, row["x"], row["z"]]).iloc[0]
        mine = found.iloc[i]
        names = ["estimate", "se", "df", "lower", "upper"]
        np.testing.assert_allclose(
            mine[names].to_numpy(float), wanted[names].to_numpy(float), rtol=1e-9
        )


def test_satterthwaite_of_random_effects_agrees_with_contrasts_where_there_are_none():
    """Rows of new levels less their G: x'Var(beta)x alone must have the contrast's df."""
    design, fit = fitted("us2", 1)
    rows = design.data.dropna().iloc[:4]
    assert (fit.estimates.G[0] != 0).any()
    fixed = fit.predict(rows, random=False, interval="confidence")
    joint = fit.predict(rows, interval="confidence", ddf="satterthwaite")
    assert np.isfinite(joint["df"]).all()
    assert (joint["df"] > 1).all()
    assert not np.allclose(joint["df"], fixed["df"], rtol=1e-3)
    new = fit.predict(rows, random=False, interval="prediction", ddf="satterthwaite")
    assert np.isfinite(new["df"]).all()


def test_satterthwaite_against_differences_of_the_dense_twin():
    design, fit = fitted("us1", 1)
    rows = design.data.dropna().iloc[:5]
    model, twin = design.dense(), Twin(design, fit)
    W, _ = twin.rows(rows)
    Z = np.hstack(model.Z)

    def variance(theta):
        G, sigma2 = model.unpack(theta)
        point = model.at(G, sigma2)
        D = linalg.block_diag(*[t.spread(g) for t, g in zip(model.terms, G, strict=True)])
        cross = -point.vcov @ model.X.T @ point.Vinv @ Z @ D
        C = np.block([[point.vcov, cross], [cross.T, D - D @ Z.T @ point.P @ Z @ D]])
        return np.einsum("ni,ij,nj->n", W, C, W)

    theta = model.pack(twin.G, twin.sigma2)
    steps = 1e-4 * theta
    slopes, hessian = [], np.zeros((2, 2))
    for i in range(2):
        up, down = theta.copy(), theta.copy()
        up[i], down[i] = up[i] + steps[i], down[i] - steps[i]
        slopes.append((variance(up) - variance(down)) / (2 * steps[i]))
        scores = [model.score(*model.unpack(t), reml=True) for t in (up, down)]
        hessian[i] = -(scores[0] - scores[1]) / (2 * steps[i])
    A = np.linalg.inv(0.5 * (hessian + hessian.T))
    wanted = 2 * variance(theta) ** 2 / np.einsum("in,ij,jn->n", slopes, A, slopes)
    found = fit.predict(rows, se=True, ddf="satterthwaite")["df"]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_positions_and_strata_have_their_own_residual_variance():
    frame = helpers.data_frame("mmrm_fev_data").dropna(subset=["FEV1"])
    fit = mf.fit("FEV1 ~ ARMCD * AVISIT", frame, residual="us(AVISIT | USUBJID)")
    rows = frame.iloc[:8]
    mean = fit.predict(rows, random=False, interval="confidence", ddf="asymptotic")
    new = fit.predict(rows, random=False, interval="prediction")
    own = np.diag(fit.residual_cov)
    added = [own[list(fit.residual_cov.index).index(v)] for v in rows["AVISIT"]]
    np.testing.assert_allclose(new["se"] ** 2 - mean["se"] ** 2, added, rtol=1e-9)


def test_variances_by_stratum_and_random_effects():
    frame = helpers.data_frame("Orthodont")
    fit = mf.fit("distance ~ age + Sex + (1 | Subject)", frame, residual="strata(Sex)")
    rows = frame.iloc[::13]
    mean, new = (fit.predict(rows, interval=kind) for kind in ("confidence", "prediction"))
    sds = fit.residual_params.set_index("stratum")
    sigma = {
        s: fit.varcorr.query("group == 'Residual' and term1 == @s")["vcov"].iloc[0]
        for s in sds.index.unique()
    }
    added = [sigma[s] for s in rows["Sex"]]
    np.testing.assert_allclose(new["se"] ** 2 - mean["se"] ** 2, added, rtol=1e-9)


def test_incomplete_rows_and_the_index_are_kept():
    design, fit = fitted("us2", 1)
    rows = design.data.dropna().iloc[:6].copy()
    rows.index = list("abcdef")
    rows.loc["c", "x"] = np.nan
    found = fit.predict(rows, interval="prediction")
    assert list(found.index) == list("abcdef")
    assert found.loc["c"].isna().all()
    assert found.drop(index="c").notna().all().all()


def test_categories_of_many_levels_are_written_out_in_pieces(monkeypatch):
    rng = np.random.default_rng(2)
    many = [f"m{k:02d}" for k in range(20)]
    frame = pd.DataFrame(
        {"g": rng.integers(0, 9, 200).astype(str), "m": many * 10, "x": rng.normal(size=200)}
    )
    frame["y"] = frame["x"] + rng.normal(size=200) + rng.normal(size=9)[frame["g"].astype(int)]
    fit = mf.fit("y ~ m * x + (1 | g)", frame)
    assert fit.encoder.coded_columns
    found = fit.predict(frame, random=False, se=True, ddf="asymptotic")["se"]
    names = fit.coefficient_names
    X = np.zeros((200, len(names)))
    for k, name in enumerate(names):
        level = name.split("[T.")[1].split("]")[0] if "[" in name else None
        own = np.ones(200) if level is None else (frame["m"] == level).to_numpy(float)
        X[:, k] = own * (frame["x"].to_numpy() if name.endswith("x") else 1.0)
    wanted = np.sqrt(np.einsum("ni,ij,nj->n", X, fit.vcov.to_numpy(), X))
    np.testing.assert_allclose(found, wanted, rtol=1e-8)
    joint = fit.predict(frame, se=True)
    monkeypatch.setattr("mixedflow.inference.prediction_variance.NUMBERS", 1000)
    pd.testing.assert_frame_equal(fit.predict(frame, se=True), joint, rtol=1e-12)


def test_conjugate_gradients_have_no_degrees_of_freedom():
    design, fit = fitted("crossed-slope", 3, solver="pcg")
    with pytest.raises(UnsupportedError, match="'asymptotic'"):
        fit.predict(design.data.iloc[:2], se=True, ddf="satterthwaite")


def test_a_loaded_fit_says_the_same(tmp_path):
    design, fit = fitted("crossed-slope", 3)
    fit.save(tmp_path / "fit")
    rows = combined(design)
    again = mf.load(tmp_path / "fit").predict(rows, interval="prediction")
    pd.testing.assert_frame_equal(again, fit.predict(rows, interval="prediction"), rtol=1e-7)
    assert replace(fit).predict(rows).name == "prediction"
