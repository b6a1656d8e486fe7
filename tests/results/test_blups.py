"""Prediction error variances and reliabilities against the dense twin, and by every solver."""

from __future__ import annotations

import helpers
import numpy as np
import pandas as pd
import pytest
from designs import random_design

import mixedflow as mf
from mixedflow.errors import DataError, UnsupportedError
from mixedflow.estimation.control import FitControl

CASES = [
    ("us2", 1, True, False),
    ("us3", 2, False, False),
    ("bars", 4, True, True),
    ("two-terms", 2, True, False),
    ("nested-slope", 1, True, False),
    ("crossed-slope", 3, True, False),
    ("crossed", 4, False, True),
]


def fitted(kind, seed, reml, weights, **control):
    """Return design, fit, G a term of the twin."""
    design = random_design(kind, seed, weights=weights)
    settings = FitControl(**control) if control else None
    fit = mf.fit(design.formula, design.data, reml=reml, control=settings, **design.arguments)
    matrices = helpers.covariance_matrices(fit.varcorr)
    G = []
    for label, _, columns, _ in design.terms:
        names = [named(c) for c in columns]
        G.append(matrices[label].loc[names, names].to_numpy(float))
    return design, fit, G


def named(column):
    return "(Intercept)" if column == "1" else column


@pytest.mark.parametrize(("kind", "seed", "reml", "weights"), CASES)
def test_both_kinds_as_the_dense_twin_has_them(kind, seed, reml, weights):
    design, fit, G = fitted(kind, seed, reml, weights)
    twin, sigma2 = design.dense(), fit.sigma**2
    known, full = twin.cond_var(G, sigma2), twin.pev(G, sigma2)
    for j, (_, factor, columns, _) in enumerate(design.terms):
        names = [named(c) for c in columns]
        size = np.sqrt(np.outer(*[np.maximum(np.diag(G[j]), 1e-300)] * 2))
        for kind_of, wanted in (("known_beta", known[j]), ("full", full[j])):
            cov = fit.ranef_cov(factor, pev=kind_of)
            for i, level in enumerate(design.levels(j)):
                at = [str(name) == level for name in cov.index.get_level_values(0)]
                mine = cov[at].droplevel(0).loc[names, names].to_numpy()
                np.testing.assert_allclose(mine / size, wanted[i] / size, atol=1e-8)
        reliabilities = fit.reliability[factor].loc[:, names].to_numpy()
        labels = [str(label) for label in fit.ranef[factor].index]
        order = [design.levels(j).index(label) for label in labels]
        pev = np.einsum("laa->la", full[j])[order]
        if (np.diag(G[j]) > 0).all():
            np.testing.assert_allclose(reliabilities, 1 - pev / np.diag(G[j]), atol=1e-8)


@pytest.mark.parametrize("solver", ["dense", "schur", "sparse"])
def test_every_exact_solver_says_the_same(solver):
    _, fit, _ = fitted("crossed-slope", 3, True, False)
    _, other, _ = fitted("crossed-slope", 3, True, False, solver=solver)
    assert other.estimates.solver == solver
    for factor in ("g", "h"):
        np.testing.assert_allclose(other.pev[factor], fit.pev[factor], rtol=1e-5)


def test_conjugate_gradients_answer_for_chosen_levels():
    _, fit, _ = fitted("crossed-slope", 3, True, False, solver="pcg")
    with pytest.raises(UnsupportedError, match="levels="):
        _ = fit.pev
    from dataclasses import replace

    estimates = replace(fit.estimates, solver="sparse", monte_carlo=None)
    exact = replace(fit, estimates=estimates)
    chosen = list(fit.ranef["h"].index[[0, 3]])
    mine = fit.ranef_table("h", levels=chosen)
    wanted = exact.ranef_table("h", levels=chosen)
    pd.testing.assert_frame_equal(mine, wanted, rtol=1e-7)


def test_the_table_adds_up():
    _, fit, _ = fitted("crossed-slope", 3, True, False)
    table = fit.ranef_table()
    assert len(table) == sum(frame.size for frame in fit.ranef.values())
    np.testing.assert_allclose(table["se"] ** 2, table["pev"], rtol=1e-12)
    np.testing.assert_allclose(table["accuracy"] ** 2, table["reliability"], rtol=1e-12)
    mine = table[(table["group"] == "g") & (table["column"] == "x")].set_index("level")
    np.testing.assert_array_equal(mine["estimate"], fit.ranef["g"]["x"])
    np.testing.assert_array_equal(mine["pev"], fit.pev["g"]["x"])
    np.testing.assert_array_equal(mine["reliability"], fit.reliability["g"]["x"])
    known = fit.ranef_table("g", pev="known_beta")
    wanted = fit.ranef_se["g"].to_numpy().ravel()
    np.testing.assert_allclose(known["se"], wanted, rtol=1e-12)
    assert (known["pev"] <= fit.ranef_table("g")["pev"]).all()
    half = known["upper"] - known["estimate"]
    np.testing.assert_allclose(half, 1.959963984540054 * known["se"], rtol=1e-12)


def test_some_levels_are_rows_of_all():
    _, fit, _ = fitted("us2", 1, True, False)
    whole = fit.ranef_table("g")
    chosen = list(fit.ranef["g"].index[[5, 2]])
    rows = [list(whole["level"]).index(level) for level in chosen]
    wanted = whole.iloc[[r + k for r in rows for k in (0, 1)]].reset_index(drop=True)
    pd.testing.assert_frame_equal(fit.ranef_table("g", levels=chosen), wanted, rtol=1e-10)


def test_a_variance_of_zero_has_no_reliability():
    frame = helpers.data_frame("Dyestuff2")
    fit = mf.fit("Yield ~ 1 + (1 | Batch)", frame)
    assert (fit.pev["Batch"] == 0).all().all()
    assert fit.reliability["Batch"].isna().all().all()


def test_wrong_words_are_refused():
    _, fit, _ = fitted("us2", 1, True, False)
    with pytest.raises(UnsupportedError, match="did you mean 'full'"):
        fit.ranef_table(pev="ful")
    with pytest.raises(DataError, match="name it"):
        fit.ranef_table(levels=["a"])
    with pytest.raises(DataError, match="not a grouping factor"):
        fit.ranef_table("k")
