"""Fits with a fixed category of many levels: the same from its level codes as from its columns."""

from __future__ import annotations

import helpers
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from dense_problems import arrays
from oracle import DenseModel, Term

import mixedflow as mf
from mixedflow.crossproducts.coded import written_out
from mixedflow.data import open_source
from mixedflow.design import coded, make_spec
from mixedflow.errors import UnknownLevelError
from mixedflow.parallel import condense
from mixedflow.parallel.runner import open_runner

L = 20

FORMULAS = {
    "treatment": "y ~ x + f + (1 | g)",
    "sum": "y ~ x + C(f, contr.sum) + (x | g)",
    "helmert": "y ~ C(f, contr.helmert) + (1 | g)",
    "product": "y ~ f * x + (1 | g)",
    "no constant": "y ~ 0 + f + x + (1 | g)",
    "crossed": "y ~ x + f + (1 | g) + (1 | h)",
    "aliased": "y ~ x + f + big + (1 | g)",
}
formulas = pytest.mark.parametrize("name", list(FORMULAS))


def frame(n: int = 420) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    f, g = rng.integers(0, L, size=n), rng.integers(0, 25, size=n)
    x = 100 + rng.normal(size=n)
    data = pd.DataFrame(
        {
            "y": x + rng.normal(size=L)[f] + rng.normal(size=25)[g] + rng.normal(size=n),
            "x": x,
            "f": np.array([f"f{k:02d}" for k in range(L)])[f],
            "big": (f >= L // 2).astype(float),
            "g": g,
            "h": rng.integers(0, 9, size=n),
            "w": rng.uniform(0.5, 2.0, size=n),
        }
    )
    data.loc[::31, "x"] = np.nan
    data.loc[5::47, "f"] = None
    return data


def from_columns(monkeypatch: pytest.MonkeyPatch, *arguments, **more):
    """Fit with every category written out."""
    with monkeypatch.context() as patch:
        patch.setattr(coded, "CODED_FROM", 10**6)
        fit = mf.fit(*arguments, **more)
        return fit, fit.predict(arguments[1].dropna()), fit.resid


@formulas
@pytest.mark.parametrize("weights", [None, "w"])
def test_same_fit_as_from_columns(name, weights, monkeypatch):
    data = frame()
    fit = mf.fit(FORMULAS[name], data, weights=weights)
    plain, predicted, residuals = from_columns(monkeypatch, FORMULAS[name], data, weights=weights)
    assert fit.loglik == pytest.approx(plain.loglik, rel=1e-11)
    assert list(fit.fixef.index) == list(plain.fixef.index)
    assert fit.messages == plain.messages
    np.testing.assert_allclose(fit.fixef, plain.fixef, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(fit.varcorr["vcov"], plain.varcorr["vcov"], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(fit.predict(data.dropna()), predicted, rtol=1e-8)
    np.testing.assert_allclose(fit.resid, residuals, rtol=1e-6, atol=1e-7)


@formulas
def test_against_the_dense_twin(name):
    """At the estimates: log-likelihood and beta of the n x n matrix, X made by formulaic's rules."""
    data = frame().dropna().reset_index(drop=True)
    fit = mf.fit(FORMULAS[name], data)
    columns = written_out(fit.encoder.columns(pa.Table.from_pandas(data)))
    X = np.column_stack(
        [np.prod(np.array(c, dtype=float), axis=0) if c else np.ones(len(data)) for c in columns.x]
    )[:, fit.estimates.kept]
    terms, G = [], []
    matrices = helpers.covariance_matrices(fit.varcorr)
    for design in fit.encoder.terms:
        pieces = [columns.z[design.factor][k] for k in design.columns]
        Z = [np.asarray(c[0], dtype=float) if c else np.ones(len(data)) for c in pieces]
        terms.append(Term(columns.codes[design.factor], np.column_stack(Z)))
        G.append(matrices[design.label].to_numpy(float))
    twin = DenseModel(X, data["y"].to_numpy(), terms)
    point = twin.at(G, fit.sigma**2)
    assert -2 * fit.loglik == pytest.approx(point.minus2ll, rel=1e-9)
    np.testing.assert_allclose(fit.estimates.beta, point.beta, rtol=1e-6, atol=1e-7)


def test_declared_levels_without_rows_are_left_out(monkeypatch):
    data = frame()
    levels = {"f": [f"f{k:02d}" for k in range(L + 3)][::-1]}
    fit = mf.fit(FORMULAS["product"], data, levels=levels)
    plain, _, _ = from_columns(monkeypatch, FORMULAS["product"], data, levels=levels)
    assert list(fit.fixef.index) == list(plain.fixef.index)
    assert fit.messages == plain.messages
    assert fit.loglik == pytest.approx(plain.loglik, rel=1e-11)


def test_a_category_inside_the_groups_is_aliased_as_ever(monkeypatch):
    """Columns that add up to others leave the fit, the same ones."""
    data = frame().dropna()
    data["pair"] = data["f"].str[:2] + (data["f"].str[1:].astype(int) // 2).astype(str)
    data["copy"] = data["f"].str.replace("f", "c")
    formula = "y ~ x + f + copy + pair + (1 | g)"
    fit = mf.fit(formula, data)
    plain, _, _ = from_columns(monkeypatch, formula, data)
    np.testing.assert_array_equal(fit.estimates.aliased, plain.estimates.aliased)
    assert len(fit.estimates.aliased) > L - 2
    assert fit.loglik == pytest.approx(plain.loglik, rel=1e-11)


def test_new_levels_are_refused_by_name():
    fit = mf.fit(FORMULAS["product"], frame())
    new = frame().dropna()[:4].assign(f="f99")
    with pytest.raises(UnknownLevelError, match=r"'f99' in row 1 of .* is not a level of 'f'"):
        fit.predict(new)


def test_partitions_and_threads():
    data = frame(2000)
    spec = make_spec(FORMULAS["product"])
    source = open_source(data, partition_rows=300)
    assert source.n_partitions > 5
    schema, sums = condense(spec, source)
    with open_runner("threads", workers=2) as runner:
        again = condense(spec, source, runner)[1]
    for name, values in arrays(sums).items():
        np.testing.assert_array_equal(arrays(again)[name], values, err_msg=name)
    whole = condense(spec, open_source(data), schema=schema)[1]
    for name, values in arrays(whole).items():
        atol = 1e-12 * np.abs(values).max(initial=0.0)
        np.testing.assert_allclose(arrays(sums)[name], values, rtol=0, atol=atol, err_msg=name)


def test_sharded_sums():
    data = frame()
    fit = mf.fit(FORMULAS["product"], data)
    sharded = mf.fit(FORMULAS["product"], data, sharded=True)
    assert sharded.loglik == pytest.approx(fit.loglik, rel=1e-10)
    np.testing.assert_allclose(sharded.fixef, fit.fixef, rtol=1e-8, atol=1e-8)
