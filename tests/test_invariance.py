"""What must not matter: how rows are cut, ordered, scheduled, scaled, shifted or labelled.

Tolerances. Same partitions under another scheduler: the same bits. Other partitions or another row
order: sums are rounded in another order, 1e-9 relative. Powers of ten: 1e-8. Shifts by 1e6: adding
1e6 already rounds the data at 1e-10 of their spread, so 1e-7. The convergence and singularity flags
and the messages stay the same everywhere.
"""

from __future__ import annotations

import itertools

import helpers
import numpy as np
import pandas as pd
import pytest
from designs import random_design

FORMULAS = {
    "slope": "y ~ x + z + (x | g)",
    "crossed": "y ~ x + z + (x | g) + (1 | h)",
    "nested": "y ~ x + z + (1 | g/k)",
    "bars": "y ~ x + z + (x || g)",
}
models = pytest.mark.parametrize("model", list(FORMULAS))
both = pytest.mark.parametrize("reml", [True, False])
N = 110
P = 3


def base_frame():
    return random_design("crossed-slope", 1, n=N).data


@pytest.fixture(scope="module")
def plain():
    """Return ``plain(model, reml)``: the untransformed fit, each once."""
    import mixedflow as mf

    done = {}

    def get(model, reml=True):
        if (model, reml) not in done:
            done[model, reml] = mf.fit(FORMULAS[model], base_frame(), reml=reml)
        return done[model, reml]

    return get


def refit(model, data, **more):
    import mixedflow as mf

    return mf.fit(FORMULAS[model], data, **more)


def same_flags(a, b):
    assert a.converged == b.converged
    assert a.singular == b.singular
    assert len(a.messages) == len(b.messages)


def column_factors(names, factors):
    return np.array([factors.get(name, 1.0) for name in names])


def check_same(fit, base, rtol, *, y=1.0, columns=None, shift=0.0):
    """Compare two fits after undoing y' = y * `y` and x' = x * columns[x].

    An estimate of a column's effect scales as y / columns[name]; `shift` is the log-likelihood's.
    """
    columns = columns or {}
    same_flags(fit, base)
    assert fit.loglik + shift == pytest.approx(base.loglik, rel=rtol)
    back = column_factors(base.fixef.index, columns) / y
    se = base.coef_table["se"].to_numpy()
    assert list(fit.fixef.index) == list(base.fixef.index)
    gap = (fit.fixef.to_numpy() * back - base.fixef.to_numpy()) / se
    np.testing.assert_allclose(gap, 0, atol=rtol)
    np.testing.assert_allclose(fit.coef_table["se"].to_numpy() * back, se, rtol=rtol)
    assert fit.sigma / y == pytest.approx(base.sigma, rel=rtol)
    ours = helpers.covariance_matrices(fit.varcorr)
    for group, wanted in helpers.covariance_matrices(base.varcorr).items():
        back = column_factors(wanted.index, columns) / y
        sd = np.sqrt(np.diag(wanted)) + 1e-12 * base.sigma
        got = ours[group].to_numpy() * np.outer(back, back)
        np.testing.assert_allclose(
            got / np.outer(sd, sd), wanted / np.outer(sd, sd), atol=2 * rtol, err_msg=group
        )
    for factor, wanted in base.ranef.items():
        back = column_factors(wanted.columns, columns) / y
        got, kept = helpers.level_table(fit.ranef[factor]), helpers.level_table(wanted)
        assert sorted(got.index) == sorted(kept.index)
        scale = np.std(kept.to_numpy(), axis=0) + 1e-9 * base.sigma
        gap = (got.loc[kept.index].to_numpy() * back - kept.to_numpy()) / scale
        np.testing.assert_allclose(gap, 0, atol=100 * rtol, err_msg=factor)


# -- how rows are cut, ordered and scheduled --------------------------------------------


@models
@pytest.mark.parametrize("rows", [1, 7, 64, N])
def test_number_of_partitions(model, rows, plain):
    from mixedflow.data import open_source

    fit = refit(model, open_source(base_frame(), partition_rows=rows))
    check_same(fit, plain(model), 1e-9)


@models
@both
def test_order_of_rows(model, reml, plain):
    shuffled = base_frame().sample(frac=1, random_state=5)
    check_same(refit(model, shuffled, reml=reml), plain(model, reml), 1e-9)


@models
def test_order_of_columns(model, plain):
    data = base_frame()
    check_same(refit(model, data[data.columns[::-1]]), plain(model), 1e-12)


def test_parts_of_a_parquet_folder_in_any_order(tmp_path, plain):
    data = base_frame()
    for name, pieces in {"few": (0, 50, 110), "many": (0, 3, 40, 41, 90, 110)}.items():
        folder = tmp_path / name
        folder.mkdir()
        cuts = list(itertools.pairwise(pieces))
        for i, (start, stop) in enumerate(reversed(cuts)):
            data.iloc[start:stop].to_parquet(folder / f"part-{i}.parquet")
        check_same(refit("crossed", folder), plain("crossed"), 1e-9)


def test_dask_frame(plain):
    dd = pytest.importorskip("dask.dataframe")
    frame = dd.from_pandas(base_frame(), npartitions=4)
    check_same(refit("slope", frame), plain("slope"), 1e-9)


@pytest.mark.parametrize("kind", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_any_scheduler_gives_the_same_bits(kind):
    """The tree of additions is fixed by the partitions, so timing cannot change a rounding."""
    from mixedflow.data import open_source
    from mixedflow.design import make_spec
    from mixedflow.parallel import SYNCHRONOUS, condense, open_runner

    spec = make_spec(FORMULAS["crossed"])
    source = open_source(base_frame(), partition_rows=9)
    _, alone = condense(spec, source, SYNCHRONOUS)
    with open_runner(kind, workers=2) as runner:
        _, together = condense(spec, source, runner)
    arrays, others = flat_arrays(alone), flat_arrays(together)
    assert arrays.keys() == others.keys()
    assert len(arrays) > 10
    for name, array in arrays.items():
        np.testing.assert_array_equal(others[name], array, err_msg=name)


def flat_arrays(value, name="sums"):
    """Return every array inside nested dataclasses, mappings and tuples, by its path."""
    if isinstance(value, np.ndarray):
        return {name: value}
    if isinstance(value, dict):
        items = [(f"{name}[{key}]", item) for key, item in value.items()]
    elif isinstance(value, tuple | list):
        items = [(f"{name}[{i}]", item) for i, item in enumerate(value)]
    elif hasattr(value, "__dataclass_fields__"):
        items = [(f"{name}.{f}", getattr(value, f)) for f in value.__dataclass_fields__]
    else:
        return {}
    return {key: array for path, item in items for key, array in flat_arrays(item, path).items()}


# -- units ------------------------------------------------------------------------------


@models
@both
@pytest.mark.parametrize("power", [-6, -3, 3, 6])
def test_units_of_the_response(model, reml, power, plain):
    """y' = c y: -2 log L gains 2 (n - p) log c (REML) or 2 n log c (ML)."""
    c = 10.0**power
    data = base_frame().assign(y=lambda d: d["y"] * c)
    shift = (N - P if reml else N) * np.log(c)
    check_same(refit(model, data, reml=reml), plain(model, reml), 1e-8, y=c, shift=shift)


@models
@both
@pytest.mark.parametrize("power", [-6, -3, 3, 6])
def test_units_of_a_covariate(model, reml, power, plain):
    """x' = c x: only log|X'V^-1 X| moves, by 2 log c."""
    c = 10.0**power
    data = base_frame().assign(x=lambda d: d["x"] * c)
    shift = np.log(c) if reml else 0.0
    fit = refit(model, data, reml=reml)
    check_same(fit, plain(model, reml), 1e-8, columns={"x": c}, shift=shift)


@pytest.mark.parametrize("power", [-6, 0, 6])
def test_a_zero_variance_is_zero_in_any_unit(power, fit_reference):
    """Dyestuff2 is singular whatever its unit: no verdict rests on an absolute threshold."""
    import mixedflow as mf

    base = fit_reference("dyestuff2_reml")
    data = helpers.data_frame("Dyestuff2")
    fit = mf.fit("Yield ~ 1 + (1 | Batch)", data.assign(Yield=data["Yield"] * 10.0**power))
    same_flags(fit, base)
    assert fit.singular
    assert fit.loglik + 29 * power * np.log(10) == pytest.approx(base.loglik, abs=1e-6)


@both
@pytest.mark.parametrize("power", [-6, 6])
def test_units_of_the_weights(reml, power):
    """Weights c w: sigma2 is c times as large, nothing else moves."""
    design = random_design("us2", 2, weights=True)
    base = refit_design(design, reml, 1.0)
    fit = refit_design(design, reml, 10.0**power)
    same_flags(fit, base)
    assert fit.loglik == pytest.approx(base.loglik, rel=1e-9)
    assert fit.sigma**2 / 10.0**power == pytest.approx(base.sigma**2, rel=1e-7)
    pd.testing.assert_series_equal(fit.fixef, base.fixef, rtol=1e-7)


def refit_design(design, reml, factor):
    import mixedflow as mf

    data = design.data.assign(wt=design.data["wt"] * factor)
    return mf.fit(design.formula, data, reml=reml, weights="wt")


# -- origins ----------------------------------------------------------------------------


@models
@both
@pytest.mark.parametrize("shift", [-1e6, 1e6])
def test_origin_of_the_response(model, reml, shift, plain):
    """y' = y + a: the intercept moves by a and nothing else."""
    base = plain(model, reml)
    fit = refit(model, base_frame().assign(y=lambda d: d["y"] + shift), reml=reml)
    same_flags(fit, base)
    assert fit.loglik == pytest.approx(base.loglik, rel=1e-8)
    moved = fit.fixef - pd.Series({"(Intercept)": shift}).reindex(fit.fixef.index, fill_value=0)
    np.testing.assert_allclose((moved - base.fixef) / base.coef_table["se"], 0, atol=1e-7, rtol=0)
    assert fit.sigma == pytest.approx(base.sigma, rel=1e-7)
    ours = helpers.covariance_matrices(fit.varcorr)
    for group, wanted in helpers.covariance_matrices(base.varcorr).items():
        np.testing.assert_allclose(
            ours[group], wanted, rtol=0, atol=1e-6 * np.max(np.diag(wanted)), err_msg=group
        )


@both
@pytest.mark.parametrize("shift", [-1e6, 1e6])
def test_origin_of_a_fixed_covariate(reml, shift, plain):
    base = plain("nested", reml)
    fit = refit("nested", base_frame().assign(x=lambda d: d["x"] + shift), reml=reml)
    same_flags(fit, base)
    assert fit.loglik == pytest.approx(base.loglik, rel=1e-8)
    for name in ("x", "z"):
        assert fit.fixef[name] == pytest.approx(base.fixef[name], rel=1e-7)
        se = base.coef_table.loc[name, "se"]
        assert fit.coef_table.loc[name, "se"] == pytest.approx(se, rel=1e-7)
    assert fit.fixef["(Intercept)"] == pytest.approx(
        base.fixef["(Intercept)"] - shift * base.fixef["x"], rel=1e-7
    )


@both
@pytest.mark.parametrize("shift", [-1e6, 10.0, 1e6])
def test_origin_of_a_covariate_with_random_slopes(reml, shift, plain):
    """(x + a | g) is the same family as (x | g): same likelihood, slopes and their variance."""
    base = plain("slope", reml)
    fit = refit("slope", base_frame().assign(x=lambda d: d["x"] + shift), reml=reml)
    same_flags(fit, base)
    assert fit.loglik == pytest.approx(base.loglik, rel=1e-8)
    assert fit.fixef["x"] == pytest.approx(base.fixef["x"], rel=1e-6)
    assert fit.sigma == pytest.approx(base.sigma, rel=1e-6)
    ours, wanted = (helpers.covariance_matrices(f.varcorr)["g"] for f in (fit, base))
    assert ours.loc["x", "x"] == pytest.approx(wanted.loc["x", "x"], rel=1e-6)


# -- names ------------------------------------------------------------------------------


@models
def test_names_of_the_groups(model, plain):
    """Another labelling sorts the levels otherwise; every group keeps its own effect."""
    data = base_frame()
    names = {g: f"{(i * 5) % 14:02d}-{g}" for i, g in enumerate(sorted(data["g"].unique()))}
    fit = refit(model, data.assign(g=data["g"].map(names), h=200 - data["h"]))
    base = plain(model)
    same_flags(fit, base)
    assert fit.loglik == pytest.approx(base.loglik, rel=1e-11)
    np.testing.assert_allclose(fit.fixef, base.fixef, rtol=1e-8)
    ours, wanted = helpers.level_table(fit.ranef["g"]), helpers.level_table(base.ranef["g"])
    scale = np.std(wanted.to_numpy(), axis=0)
    for old, new in names.items():
        np.testing.assert_allclose(ours.loc[new] / scale, wanted.loc[old] / scale, atol=1e-7)


def test_groups_may_be_numbers_text_or_categories(plain):
    data = base_frame()
    number = data["g"].str[1:].astype(int)
    for g in (number, number.astype(float), number.astype(str), number.astype("category")):
        fit = refit("slope", data.assign(g=g))
        assert fit.loglik == pytest.approx(plain("slope").loglik, rel=1e-11)


def test_an_unused_category_is_no_level(plain):
    data = base_frame()
    g = pd.Categorical(data["g"], categories=["never", *sorted(data["g"].unique()), "nor this"])
    fit = refit("slope", data.assign(g=g))
    check_same(fit, plain("slope"), 1e-11)
    assert fit.n_levels["g"] == data["g"].nunique()
