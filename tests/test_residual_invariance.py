"""What must not change a fit with a residual structure, and how structures relate to each other."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from residual_figures import residual_figures
from residual_problems import frame

import mixedflow as mf
from mixedflow.crossproducts.types import with_structure
from mixedflow.design.encode import Encoder
from mixedflow.design.residual import ParsedResidual
from mixedflow.errors import DataError
from mixedflow.estimation.fit import estimate
from mixedflow.parallel import open_runner

MODELS = {
    "pairs": ("y ~ x + (1 | clinic)", "us(visit | g)"),
    "gaps": ("y ~ x + (1 | g)", "ar1(t | g)"),
    "times": ("y ~ x", "car1(time | g)"),
    "points": ("y ~ x + (1 | clinic)", "sp_exp(time, east | g)"),
    "sizes": ("y ~ x + (1 | clinic)", "cs(1 | g)"),
    "strata": ("y ~ x + (1 | g) + (1 | h)", "strata(lab)"),
}
every_basis = pytest.mark.parametrize("basis", MODELS)


def fit(basis, data=None, **more):
    formula, residual = MODELS[basis]
    data = frame() if data is None else data
    return mf.fit(formula, data, residual=residual, weights="w", **more)


def same(ours, other, scale=1.0):
    """Hold two fits equal up to rounding; the response of ``other`` is ``scale`` times ours."""
    shift = ours.nobs - (len(ours.fixef) if ours.reml else 0)
    assert other.loglik + shift * np.log(scale) == pytest.approx(ours.loglik, rel=1e-9)
    se = ours.coef_table["se"].to_numpy()
    np.testing.assert_allclose(other.fixef / scale / se, ours.fixef / se, atol=1e-5)
    first, second = residual_figures(ours), residual_figures(other)
    assert sorted(first) == sorted(second)
    for label, found in first.items():
        wanted = found.cov * scale**2
        np.testing.assert_allclose(second[label].cov, wanted, rtol=1e-5, atol=1e-5 * wanted.max())
        assert (second[label].rho or 0) == pytest.approx(found.rho or 0, rel=1e-5)
    for G, H in zip(ours.estimates.G, other.estimates.G, strict=True):
        np.testing.assert_allclose(H, scale**2 * G, rtol=1e-5, atol=1e-6 * scale**2)


@every_basis
def test_order_of_rows(basis):
    """Rows of a group keep no order where a column says their positions."""
    data = frame()
    if basis == "sizes":
        order = np.random.default_rng(1).permutation(len(data))
    else:
        order = np.arange(len(data))[::-1]
    same(fit(basis), fit(basis, data.iloc[order].reset_index(drop=True)))


@every_basis
def test_parts_of_a_file_that_cut_through_groups(basis, tmp_path):
    """Row groups of 7 rows: most groups of rows lie in several partitions."""
    path = tmp_path / "rows.parquet"
    table = pa.Table.from_pandas(frame(), preserve_index=False)
    pq.write_table(table, path, row_group_size=7)
    same(fit(basis), fit(basis, path))
    many = tmp_path / "many"
    many.mkdir()
    for part in range(3):
        pq.write_table(table.take(np.arange(part, len(table), 3)), many / f"{part}.parquet")
    same(fit(basis), fit(basis, str(many / "*.parquet")))


@every_basis
@pytest.mark.parametrize(
    "scheduler", ["synchronous", "threads", pytest.param("processes", marks=pytest.mark.slow)]
)
def test_scheduler_keeps_the_bits(basis, scheduler, tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pandas(frame(), preserve_index=False), path, row_group_size=11)
    once = fit(basis, path)
    with open_runner(scheduler, workers=2) as runner:
        again = fit(basis, path, runner=runner)
    assert again.loglik == once.loglik
    np.testing.assert_array_equal(again.estimates.params.psi, once.estimates.params.psi)
    np.testing.assert_array_equal(again.fixef, once.fixef)


@every_basis
def test_unit_of_the_response(basis):
    data = frame()
    same(fit(basis), fit(basis, data.assign(y=1000.0 * data["y"])), scale=1000.0)


@every_basis
def test_unit_and_origin_of_a_covariate(basis):
    data = frame()
    ours, other = (
        fit(basis, reml=False),
        fit(basis, data.assign(x=5.0 + 1e4 * data["x"]), reml=False),
    )
    assert other.loglik == pytest.approx(ours.loglik, rel=1e-10)
    assert other.fixef["x"] * 1e4 == pytest.approx(ours.fixef["x"], rel=1e-6)
    for label, found in residual_figures(ours).items():
        np.testing.assert_allclose(residual_figures(other)[label].cov, found.cov, rtol=1e-5)


@every_basis
def test_names_of_groups(basis):
    """Other names, in another order: numbers for text, and the last first."""
    data = frame()
    number = data["g"].str.slice(1).astype(int)
    same(fit(basis), fit(basis, data.assign(g=10_000 - 7 * number)))


def test_unit_of_time():
    """Car1 has no unit: rho over an hour is rho over a day to the power of 1/24."""
    data = frame()
    days = fit("times")
    hours = fit("times", data.assign(time=24.0 * data["time"] + 5))
    assert hours.loglik == pytest.approx(days.loglik, abs=1e-8)
    rho, other = (residual_figures(f)[""].rho for f in (days, hours))
    assert other**24 == pytest.approx(rho, rel=1e-5)


def test_first_position_and_first_stratum_are_arbitrary():
    """The reference of the variances changes, the covariances do not."""
    data, arms = frame(), "us(visit | arm/g)"
    ours = mf.fit("y ~ x", data, residual=arms)
    turned = {"v0": "z3", "v1": "z2", "v2": "z1", "v3": "z0"}
    renamed = {"a": "z", "b": "c"}
    data = data.assign(visit=data["visit"].map(turned), arm=data["arm"].map(renamed))
    other = mf.fit("y ~ x", data, residual=arms)
    assert other.loglik == pytest.approx(ours.loglik, abs=1e-8)
    first, second = residual_figures(ours), residual_figures(other)
    for label, other_label in renamed.items():
        turned_back = second[other_label].cov[::-1, ::-1]
        np.testing.assert_allclose(turned_back, first[label].cov, rtol=1e-5, atol=1e-5)


# -- structures beside each other ---------------------------------------------------------


def loglik(residual, formula="y ~ x", **more):
    return mf.fit(formula, frame(), residual=residual, **more).loglik


def test_nested_structures_fit_no_better():
    """Every structure is at most as likely as one that holds it as a special case."""
    names = ("us", "csh", "cs", "ar1h", "ar1", "adh", "ad", "toeph", "toep")
    found = {name: loglik(f"{name}(visit | g)") for name in names}
    for small, large in [
        ("cs", "csh"), ("ar1", "ar1h"), ("ad", "adh"), ("toep", "toeph"), ("ar1", "ad"), ("ar1", "toep"),
        ("ar1h", "adh"), ("ar1h", "toeph"), ("cs", "toep"), ("csh", "toeph"), ("csh", "us"), ("adh", "us"),
        ("toeph", "us"),
    ]:  # fmt: skip
        assert found[small] <= found[large] + 1e-7, (small, large)
    assert loglik("iid", "y ~ x + (1 | g)") <= loglik("ar1(t | g)", "y ~ x + (1 | g)") + 1e-7
    arms = [f"{s}(visit | arm/g)" for s in ("cs", "us")]
    assert found["cs"] <= loglik(arms[0]) + 1e-7
    assert found["us"] <= loglik(arms[1]) + 1e-7
    assert loglik("strata(arm) * ar1(t | g)") <= loglik("ar1(t | arm/g)") + 1e-7


def test_two_bases_of_one_structure():
    """cs on sizes and on pairs; ar1 on gaps, and on pairs as us's sums with another structure."""
    assert loglik("cs(1 | g)") == pytest.approx(loglik("cs(visit | g)"), abs=1e-8)
    assert loglik("ar1(visit | g)") == pytest.approx(loglik_on_pairs("ar1"), abs=1e-8)


def loglik_on_pairs(structure, formula="y ~ x"):
    """Return the log-likelihood of a structure from the sums of us over visits."""
    pairs = mf.condense(formula, frame(), residual="us(visit | g)")
    asked = ParsedResidual(structure, "pairs", "visit", ("g",))
    found = estimate(with_structure(pairs.sums, asked), Encoder(pairs.spec, pairs.schema).terms)
    return -0.5 * found.minus2ll


def test_cs_is_a_random_intercept_where_correlation_is_positive():
    structured = mf.fit("y ~ x", frame(), residual="cs(1 | g)")
    mixed = mf.fit("y ~ x + (1 | g)", frame())
    assert not mixed.singular
    assert structured.loglik == pytest.approx(mixed.loglik, abs=1e-8)
    assert structured.sigma**2 == pytest.approx(
        mixed.sigma**2 + mixed.estimates.G[0][0, 0], rel=1e-5
    )


def test_one_stratum_is_iid():
    data = frame().assign(lab="only")
    for formula in ("y ~ x + (1 | g)", "y ~ x + (1 + x | g) + (1 | h)"):
        one = mf.fit(formula, data, residual="strata(lab)", weights="w")
        iid = mf.fit(formula, data, weights="w")
        assert one.loglik == pytest.approx(iid.loglik, abs=1e-9)
        np.testing.assert_allclose(one.fixef, iid.fixef, rtol=1e-7)
        assert one.df_model == iid.df_model


def test_strata_without_random_effects_are_weights():
    """At the fitted variances a weighted fit finds the same, but for what sigma2 counts."""
    data = frame()
    fitted = mf.fit("y ~ x + (1 | g)", data, residual="strata(lab)", reml=False)
    sd = {label: found.sd for label, found in residual_figures(fitted).items()}
    weighted = mf.fit(
        "y ~ x + (1 | g)",
        data.assign(v=data["lab"].map({k: 1 / s**2 for k, s in sd.items()})),
        weights="v",
        reml=False,
    )
    assert weighted.sigma == pytest.approx(1.0, rel=1e-5)
    assert weighted.loglik == pytest.approx(fitted.loglik, abs=1e-8)


def test_arms_apart():
    """With all effects by arm, a covariance an arm is one fit an arm: log-likelihoods add up."""
    data = frame()
    whole = mf.fit("y ~ arm + arm:x", data, residual="us(visit | arm/g)")
    parts = {a: mf.fit("y ~ x", data[data["arm"] == a], residual="us(visit | g)") for a in "ab"}
    assert whole.loglik == pytest.approx(sum(p.loglik for p in parts.values()), abs=1e-7)
    for arm, part in parts.items():
        cov = residual_figures(part)[""].cov
        np.testing.assert_allclose(residual_figures(whole)[arm].cov, cov, rtol=1e-5, atol=1e-5)


def test_groups_of_one_row_say_nothing_of_correlation():
    """Rows alone in their groups: cs is independence there, and ar1 has nothing to estimate."""
    data = frame()
    data["own"] = np.arange(len(data))
    iid = mf.fit("y ~ x + (1 | clinic)", data)
    strata = mf.fit("y ~ x + (1 | clinic)", data, residual="strata(lab)")
    alone = mf.fit("y ~ x", data, residual="cs(1 | own)", reml=False)
    plain = mf.fit("y ~ x", data.assign(lab="a"), residual="strata(lab)", reml=False)
    assert strata.loglik >= iid.loglik - 1e-8
    assert alone.loglik == pytest.approx(plain.loglik, abs=1e-8)
    with pytest.raises(DataError, match="no group has two rows"):
        mf.fit("y ~ x", data, residual="ar1(visit | own)", reml=False)


@pytest.mark.parametrize("formula", ["y ~ x", "y ~ x + (1 | clinic)"])
@pytest.mark.parametrize("residual", ["us(visit | g)", "cs(1 | g)", "toeph(visit | g)"])
def test_one_position_leaves_a_variance_alone(formula, residual):
    data = frame()
    data = data[data["visit"] == "v0"].assign(lab="a")
    structured = mf.fit(formula, data, residual=residual)
    plain = mf.fit(formula, data, residual="strata(lab)")
    assert structured.loglik == pytest.approx(plain.loglik, abs=1e-9)
    assert structured.df_model == plain.df_model
    assert structured.converged


def test_levels_declared_in_another_order():
    data = frame()
    order = ["v3", "v0", "v2", "v1"]
    declared = mf.fit("y ~ x", data, residual="us(visit | g)", levels={"visit": order})
    plain = mf.fit("y ~ x", data, residual="us(visit | g)")
    assert declared.loglik == pytest.approx(plain.loglik, abs=1e-8)
    at = [order.index(v) for v in ("v0", "v1", "v2", "v3")]
    ours = residual_figures(declared)[""].cov[np.ix_(at, at)]
    np.testing.assert_allclose(ours, residual_figures(plain)[""].cov, rtol=1e-5, atol=1e-5)


def test_missing_rows_are_dropped_before_the_pattern_is_seen():
    """A missing covariate takes its row out: as if the visit had not been."""
    data = frame()
    holes = data.copy()
    holes.loc[[3, 17, 50], "x"] = np.nan
    holes.loc[[20, 21], "y"] = np.nan
    left = data.drop(index=[3, 17, 50, 20, 21])
    for residual in ("us(visit | g)", "ar1(t | g)", "cs(1 | g)", "ar1(1 | g)"):
        with_holes = mf.fit("y ~ x", holes, residual=residual)
        without = mf.fit("y ~ x", left, residual=residual)
        assert with_holes.loglik == pytest.approx(without.loglik, abs=1e-9)
        assert with_holes.nobs == len(left)
