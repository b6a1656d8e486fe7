"""The rows are read once, whatever is fitted; another structure from the same sums reads nothing."""

from __future__ import annotations

import collections

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from residual_figures import residual_figures
from residual_problems import frame

import mixedflow as mf
from mixedflow.data.frames import FrameSource
from mixedflow.data.parquet import ParquetSource
from mixedflow.errors import UnsupportedError
from mixedflow.estimation.control import FitControl

MODELS = [
    ("y ~ x + (1 | g)", "ar1(t | g)"),
    ("y ~ x + (1 | clinic)", "us(visit | g)"),
    ("y ~ x + (1 | g) + (1 | h)", "strata(lab)"),
    ("y ~ x", "car1(time | arm/g)"),
    ("y ~ x", "cs(1 | g)"),
    ("y ~ x + (1 | clinic)", "sp_exp(time, east | g)"),
]


@pytest.fixture
def reads(monkeypatch):
    """Count how often each part of the rows is read."""
    counts: collections.Counter[int] = collections.Counter()
    for source in (FrameSource, ParquetSource):
        monkeypatch.setattr(source, "_read_raw", counting(source._read_raw, counts))
    return counts


def counting(original, counts):
    def counted(self, index, columns):
        counts[index] += 1
        return original(self, index, columns)

    return counted


@pytest.fixture
def parquet(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pandas(frame(), preserve_index=False), path, row_group_size=13)
    return path


@pytest.mark.parametrize(("formula", "residual"), MODELS)
@pytest.mark.parametrize("method", ["auto", "em"])
def test_a_fit_reads_the_rows_once(formula, residual, method, reads, parquet):
    fit = mf.fit(formula, parquet, residual=residual, method=method)
    assert fit.n_iter > 3
    assert reads
    assert set(reads.values()) == {1}
    assert fit.nobs == len(frame())


def test_more_iterations_read_no_more(reads):
    counts = []
    for most in (4, 200):
        reads.clear()
        fit = mf.fit(
            "y ~ x + (1 | clinic)",
            frame(),
            residual="ar1(t | g)",
            method="em",
            control=FitControl(max_iter=most),
        )
        counts.append((fit.n_iter, dict(reads)))
    assert counts[1][0] > counts[0][0] == 4
    assert counts[0][1] == counts[1][1] == {0: 1}


ON_ONE_BASIS = {
    "us(visit | g)": ("cs", "csh", "ad", "adh", "ar1", "ar1h", "toep", "toeph", "us"),
    "toep(1 | g)": ("cs", "ar1"),
    "us(visit | arm/g)": ("csh", "toeph"),
    "ar1(t | arm/g)": ("ar1",),
}


@pytest.mark.parametrize(
    "condensed_for",
    [
        pytest.param(r, marks=pytest.mark.slow if "arm/g" in r and "us" in r else ())
        for r in ON_ONE_BASIS
    ],
)
def test_structures_of_R_that_share_their_sums(condensed_for, reads):
    """Condensed once for the first; every other is fitted from these sums, as from the rows."""
    within = condensed_for[condensed_for.index("(") :]
    sums = mf.condense("y ~ x + (1 | clinic)", frame(), residual=condensed_for)
    for structure in ON_ONE_BASIS[condensed_for]:
        reads.clear()
        found = mf.fit("y ~ x + (1 | clinic)", sums, residual=structure + within)
        assert not reads
        direct = mf.fit("y ~ x + (1 | clinic)", frame(), residual=structure + within)
        agree(found, direct)


def test_strata_with_variances_alone_share_the_sums_of_strata_with_all(reads):
    sums = mf.condense("y ~ x", frame(), residual="ar1(t | arm/g)")
    reads.clear()
    found = mf.fit("y ~ x", sums, residual="strata(arm) * ar1(t | g)")
    assert not reads
    direct = mf.fit("y ~ x", frame(), residual="strata(arm) * ar1(t | g)")
    agree(found, direct)
    assert direct.df_model == mf.fit("y ~ x", frame(), residual="ar1(t | arm/g)").df_model - 1


STRUCTURES_OF_G = ("(1 + x | g)", "diag(1 + x | g)", "id(1 + x | g)", "cs(1 + x | g)", "(1 | g)")


@pytest.mark.parametrize("residual", ["ar1(t | g)", "strata(lab)"])
def test_structures_of_G(residual, reads):
    sums = mf.condense("y ~ x + (1 + x | g)", frame(), residual=residual)
    for term in STRUCTURES_OF_G:
        reads.clear()
        found = mf.fit(f"y ~ x + {term}", sums)
        assert not reads
        agree(found, mf.fit(f"y ~ x + {term}", frame(), residual=residual))


def test_a_structure_on_the_sums_of_another_is_stored_with_them(reads, tmp_path):
    """ar1 counts gaps by itself, and takes sums over pairs where these are there."""
    sums = mf.condense("y ~ x + (1 | clinic)", frame(), residual="us(visit | g)")
    smaller = mf.fit("y ~ (1 | clinic)", sums, residual="ar1(visit | g)")
    agree(smaller, mf.fit("y ~ (1 | clinic)", frame(), residual="ar1(visit | g)"))
    smaller.save(tmp_path / "fit")
    again = mf.load(tmp_path / "fit")
    assert again.spec == smaller.spec
    assert again.spec.residual == "ar1(visit | g)"
    assert again.residual_params.equals(smaller.residual_params)
    assert again.residual_cov.equals(smaller.residual_cov)


def test_steps_of_numbers_are_not_places_of_levels():
    """t is 7, 8, 10, 11: two rows apart by 2 are neighbours for sums over pairs."""
    apart = mf.condense("y ~ x", frame(), residual="us(t | g)")
    with pytest.raises(UnsupportedError, match=r"ar1\(t \| g\).*condense them again"):
        mf.fit("y ~ x", apart, residual="ar1(t | g)")
    even = frame().assign(t=lambda d: d["visit"].str[1:].astype(int))
    sums = mf.condense("y ~ x", even, residual="us(t | g)")
    agree(
        mf.fit("y ~ x", sums, residual="ar1(t | g)"), mf.fit("y ~ x", even, residual="ar1(t | g)")
    )


def test_sums_of_another_basis_are_refused_by_name():
    sums = mf.condense("y ~ x", frame(), residual="ar1(t | g)")
    with pytest.raises(UnsupportedError, match=r"us\(visit \| g\).*condensed with.*ar1\(t \| g\)"):
        mf.fit("y ~ x", sums, residual="us(visit | g)")


def agree(found, direct):
    """Hold two fits of the same model equal, from sums and from rows."""
    assert found.loglik == pytest.approx(direct.loglik, abs=1e-8)
    assert found.df_model == direct.df_model
    se = direct.coef_table["se"].to_numpy()
    np.testing.assert_allclose(found.fixef / se, direct.fixef / se, atol=1e-5)
    for label, figures in residual_figures(direct).items():
        cov, wanted = residual_figures(found)[label].cov, figures.cov
        if wanted.shape != cov.shape:  # of rows one step apart, where the fit has no positions
            cov, wanted = cov[:2, :2], figures.over(2)
        np.testing.assert_allclose(cov, wanted, rtol=2e-5, atol=2e-5 * wanted.max())
