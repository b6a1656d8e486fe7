"""Fits with a residual structure against nlme, mmrm and SAS: ``references/residual.json``.

Tolerances (issue 4): log-likelihood 1e-5 absolute; everything else 1e-4 relative, covariances
relative to the product of their SDs. Seven references stand too far from their own optimum for that;
polished figures (``references/made_residual.json``) take their place, and a test says how far.
"""

from __future__ import annotations

import json

import helpers
import numpy as np
import pytest
from residual_figures import residual_figures

import mixedflow as mf
from mixedflow.errors import UnsupportedError

ENTRIES = helpers.residual_entries()
LARGE = ("gls_bcva_us", "gls_bcva_csh", "gls_bcva_ar1")
NAMES = [pytest.param(n, marks=pytest.mark.slow if n in LARGE else ()) for n in ENTRIES]


@pytest.fixture(scope="module")
def fitted():
    done = {}

    def get(name, method="auto"):
        if (name, method) not in done:
            entry = ENTRIES[name]
            data = helpers.reference_frame(entry)
            done[name, method] = mf.fit(
                entry["formula"], data, method=method, **helpers.fit_arguments(entry)
            )
        return done[name, method]

    return get


def check_loglik(entry, fit):
    assert fit.loglik == pytest.approx(entry["logLik"], abs=1e-5, rel=0)
    if "logLik_mmrm" in entry:
        assert fit.loglik == pytest.approx(entry["logLik_mmrm"], abs=1e-5, rel=0)


def check_fixed(entry, fit):
    estimates = helpers.plain_index(fit.fixef)
    errors = helpers.plain_index(fit.coef_table["se"])
    wanted = {helpers.plain_name(row["name"]): row for row in entry["fixed"]}
    assert sorted(estimates.index) == sorted(wanted)
    for name, row in wanted.items():
        near_zero = 1e-4 * errors[name]  # an estimate beside its standard error
        assert estimates[name] == pytest.approx(row["est"], rel=1e-4, abs=near_zero), name
        if "se" in row:
            assert errors[name] == pytest.approx(row["se"], rel=1e-4, abs=0), name


def check_vcov(entry, fit):
    if "vcov" not in entry:
        return
    names = [helpers.plain_name(row["name"]) for row in entry["fixed"]]
    ours = helpers.plain_index(helpers.plain_index(fit.vcov).T).loc[names, names].to_numpy()
    theirs = np.array(entry["vcov"], dtype=float)
    se = np.sqrt(np.diag(theirs))
    np.testing.assert_allclose(ours / np.outer(se, se), theirs / np.outer(se, se), atol=2e-4)


def check_residual(entry, fit):
    found = residual_figures(fit)
    first = next(iter(found.values()))
    by_stratum = entry.get("residual_cov_by") or {}
    if "residual_cov" in entry:
        by_stratum = {next(iter(found)): entry["residual_cov"]}
    for label, wanted in by_stratum.items():
        theirs = np.array(wanted, dtype=float)
        sd = np.sqrt(np.diag(theirs))
        gap = np.abs(found[label].over(len(theirs)) - theirs) / np.outer(sd, sd)
        assert gap.max() <= 1e-4, label
    for label, sd in entry.get("residual_sd", {}).items():
        assert found[label].sd == pytest.approx(sd, rel=1e-4), label
    if "sigma" in entry and "residual_sd" not in entry:
        assert first.sd == pytest.approx(entry["sigma"], rel=1e-4)
    if "rho" in entry:
        assert first.rho == pytest.approx(entry["rho"], rel=1e-4)
    if "range" in entry:
        assert -1 / np.log(first.rho) == pytest.approx(entry["range"], rel=1e-4)


def check_components(entry, fit):
    for component in entry.get("varcomp", []):
        ours = helpers.covariance_matrices(fit.varcorr)[component["group"]]
        names = [helpers.plain_name(term) for term in component["terms"]]
        theirs = np.array(component["cov"], dtype=float)
        sd = np.sqrt(np.diag(theirs))
        gap = np.abs(ours.loc[names, names].to_numpy() - theirs) / np.outer(sd, sd)
        assert gap.max() <= 1e-4, component["group"]


def check_ranef(entry, fit):
    """Compare BLUPs to 1e-4 of the SD of the column's effects."""
    for block, component in zip(entry.get("ranef", []), entry.get("varcomp", []), strict=False):
        columns = [helpers.plain_name(term) for term in block["terms"]]
        ours = helpers.level_table(fit.ranef[block["group"]]).loc[block["levels"], columns]
        sd = np.sqrt(np.diag(np.array(component["cov"], dtype=float)))
        assert np.all(np.abs(ours.to_numpy() - np.array(block["blup"])) <= 1e-4 * sd)


def check_counts(entry, fit):
    """nlme counts all parameters, under REML too: AIC = -2 logLik + 2 npar."""
    if "npar" in entry:
        assert fit.df_model == entry["npar"]
        assert fit.aic == pytest.approx(-2 * entry["logLik"] + 2 * entry["npar"], abs=2e-5, rel=0)
    if "AIC" in entry:
        assert fit.aic == pytest.approx(entry["AIC"], abs=2e-5, rel=0)


@pytest.mark.parametrize("name", NAMES)
def test_same_as_the_reference(name, fitted):
    entry, fit = ENTRIES[name], fitted(name)
    check_loglik(entry, fit)
    check_fixed(entry, fit)
    check_vcov(entry, fit)
    check_residual(entry, fit)
    check_components(entry, fit)
    check_ranef(entry, fit)
    assert fit.nobs == entry["nobs"]
    check_counts(entry, fit)
    assert fit.converged


QUICK_METHODS = ("nlme_ovary_int_ar1", "nlme_orthodont_int_varident_ml", "gls_orthodont_un")


@pytest.mark.parametrize("method", ["em", "px-em", "ai"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK_METHODS else pytest.mark.slow)
        for name in ENTRIES
        if name not in LARGE and name != "nlme_sleepstudy_ar1"
    ],
)
def test_every_method_reaches_the_same_optimum(name, method, fitted):
    """The residual sleepstudy is left out: its G is singular, where EM creeps."""
    entry, fit = ENTRIES[name], fitted(name, method)
    check_loglik(entry, fit)
    check_fixed(entry, fit)
    check_residual(entry, fit)
    check_components(entry, fit)
    assert fit.converged


def test_polished_figures_lie_above_those_that_they_replace():
    raw = {e["id"]: e for e in json.loads((helpers.REFERENCES / "residual.json").read_text())}
    both = [name for name in raw if raw[name] is not ENTRIES[name] and "model" in ENTRIES[name]]
    assert len(both) == 7
    for name in both:
        assert 0 < ENTRIES[name]["logLik"] - raw[name]["logLik"] < 2e-5, name


def test_ar1_beside_a_random_slope_makes_G_singular(fitted):
    """On sleepstudy nlme, which cannot leave the interior, ends 1.7e-5 below."""
    fit = fitted("nlme_sleepstudy_ar1")
    assert fit.singular
    assert fit.loglik >= ENTRIES["nlme_sleepstudy_ar1"]["logLik"] - 1e-7


def test_pdblocked_is_three_terms_of_one_factor():
    """nlme's pdBlocked of identities on Assay, and the crossed factors that stand for it."""
    data = helpers.data_frame("Assay")
    levels = {"dilut": ["1", "2", "3", "4", "5"]}
    blocked = mf.fit(
        "logDens ~ sample * dilut + (1 | Block) + id(0 + sample | Block) + id(0 + dilut | Block)",
        data,
        levels=levels,
    )
    entry = helpers.entries()["nlme_assay_pdblocked"]
    assert blocked.loglik == pytest.approx(entry["logLik"], abs=1e-6)
    assert blocked.sigma == pytest.approx(entry["sigma"], rel=1e-5)
    crossed = mf.fit(entry["formula"], data, levels=levels)
    assert blocked.loglik == pytest.approx(crossed.loglik, abs=1e-9)
    wanted = [m.iloc[0, 0] for m in helpers.covariance_matrices(crossed.varcorr).values()]
    ours = [G[0, 0] for G in blocked.estimates.G]
    np.testing.assert_allclose(sorted(ours), sorted(wanted), rtol=1e-5)


@pytest.mark.parametrize(
    ("data", "formula", "residual"),
    [
        ("BodyWeight", "weight ~ Time * Diet + (Time | Rat)", "varPower()"),
        ("Dialyzer", "rate ~ pressure * QB + (pressure | Subject)", "varPower(pressure)"),
        ("Dialyzer", "rate ~ pressure * QB + (pressure | Subject)", "power(pressure)"),
        ("mmrm_fev_data", "FEV1 ~ 1", "sp_gau(VISITN | USUBJID)"),
    ],
)
def test_what_no_finite_basis_holds_is_refused_by_name(data, formula, residual):
    with pytest.raises(UnsupportedError, match=r"not offered.*'strata'.*'us'.*'car1'"):
        mf.fit(formula, helpers.data_frame(data), residual=residual)
