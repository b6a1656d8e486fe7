"""Degrees of freedom, p and F against lmerTest, pbkrtest, mmrm and nlme: ``references/df.json``.

Tolerances (issue 5): df 1e-3 relative, p 1e-4 absolute, Kenward and Roger's standard errors 1e-5
relative; F, which has none of its own there, 1e-4 relative.
"""

from __future__ import annotations

import json

import helpers
import numpy as np
import pytest
from scipy.special import stdtr

import mixedflow as mf

WANTED = {e["id"]: e for e in json.loads((helpers.REFERENCES / "df.json").read_text())}
RESIDUAL, MADE = (
    {e["id"]: e for e in json.loads((helpers.REFERENCES / name).read_text())}
    for name in ("residual.json", "made_residual.json")
)
POLISHED = {**RESIDUAL, **MADE}
CASES = [
    (name, method)
    for name, entry in WANTED.items()
    for method in ("satterthwaite", "kenward-roger", "between-within", "residual")
    # pbkrtest adds sigma2 I where weights say otherwise: tests/inference/test_kenward_roger.py
    if method in entry and (name, method) != ("sleepstudy_weights_reml", "kenward-roger")
]


@pytest.fixture(scope="module")
def fitted():
    done = {}

    def get(name):
        if name not in done:
            entry = RESIDUAL.get(name) or helpers.entries()[name]
            data = helpers.reference_frame(entry)
            done[name] = mf.fit(entry["formula"], data, **helpers.fit_arguments(entry))
        return done[name]

    return get


@pytest.mark.parametrize(("name", "method"), CASES)
def test_same_as_the_reference(name, method, fitted):
    found = fitted(name).infer(method)
    wanted = WANTED[name][method]
    coefficients = helpers.plain_index(found.coef_table)
    assert len(coefficients) == len(wanted["coef"])
    for term, row in wanted["coef"].items():
        ours = coefficients.loc[helpers.plain_name(term)]
        assert ours["df"] == pytest.approx(row["df"], rel=1e-3), term
        if "p" in row:
            assert ours["p"] == pytest.approx(_p_at_the_optimum(name, term, row), abs=1e-4), term
        if "se" in row:
            assert ours["se"] == pytest.approx(row["se"], rel=1e-5), term
    if wanted["anova"]:
        table = helpers.plain_index(found.anova())
        assert len(table) == len(wanted["anova"])
        for row in wanted["anova"]:
            ours = table.loc[helpers.plain_name(row["term"])]
            assert ours["num_df"] == row["NumDF"]
            assert ours["den_df"] == pytest.approx(row["DenDF"], rel=1e-3)
            assert ours["F"] == pytest.approx(row["F"], rel=1e-4)
            assert ours["p"] == pytest.approx(row["p"], abs=1e-4)


def _p_at_the_optimum(name, term, row):
    """mmrm stopped short of four optima (references/README.md): there t is the polished fit's.

    Its base of SEX is the other one, so that two coefficients are not there to compare.
    """
    if name not in RESIDUAL or POLISHED[name] is RESIDUAL[name] or term == "(Intercept)":
        return row["p"]
    polished = {f["name"]: f for f in POLISHED[name]["fixed"]}
    if term not in polished:
        return row["p"]
    t = polished[term]["est"] / polished[term]["se"]
    return 2.0 * float(stdtr(row["df"], -abs(t)))


def test_machines_with_the_rows_that_lmertest_takes(fitted):
    """lmerTest takes type I rows for a model of one term; Fai and Cornelius' df depend on them."""
    fit = fitted("machines_unb_reml")
    n = helpers.data_frame("machines_unb")["Machine"].value_counts()[["A", "B", "C"]].to_numpy()
    X = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    root = np.linalg.cholesky(X.T @ np.diag(n) @ X).T
    rows = (root / np.diag(root)[:, None])[1:]
    (wanted,) = WANTED["machines_unb_reml"]["satterthwaite"]["anova"]
    found = fit.infer().contrast(rows).iloc[0]
    assert found["den_df"] == pytest.approx(wanted["DenDF"], rel=1e-7)
    assert found["F"] == pytest.approx(wanted["F"], rel=1e-6)
