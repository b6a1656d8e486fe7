"""Sums as a thing of their own: every fit of them is the fit of the rows they stand for."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.errors import (
    ConfigError,
    DataError,
    FormulaError,
    OutputError,
    StoredFileError,
    UnknownLevelError,
    UnsupportedError,
)

CLOSE = 1e-10
FULL = "y ~ x1 + x2 + s + x1:x2 + (1 + x1 + x2 | g) + (1 | h)"
NESTED = "y ~ x1 + x2 + (1 + x1 | g) + (1 | g:k)"


def frame(n: int = 900, seed: int = 0) -> pd.DataFrame:
    """Return rows far from zero, with three factors (k within g), a category, weights, an offset."""
    rng = np.random.default_rng(seed)
    g, h, k = rng.integers(0, 24, n), rng.integers(0, 9, n), rng.integers(0, 3, n)
    x1, x2 = rng.normal(50, 4, n), rng.normal(-3, 0.5, n)
    u, v, w = rng.normal(0, 2, (24, 2)), rng.normal(0, 1.5, 9), rng.normal(0, 1, (24, 3))
    s = rng.choice(["f", "m", "x"], n)
    y = 900 + 0.8 * x1 - 2 * x2 + (s == "m") + u[g, 0] + 0.4 * u[g, 1] * (x2 + 3) + v[h] + w[g, k]
    return pd.DataFrame(
        {
            "y": y + rng.normal(0, 1.3, n),
            "x1": x1,
            "x2": x2,
            "s": s,
            "g": [f"g{i:02d}" for i in g],
            "h": h + 100,
            "k": k,
            "site": np.where(g < 12, "A", "B"),
            "w": rng.uniform(0.5, 2.0, n),
            "o": rng.normal(5, 1, n),
        }
    )


ROWS = frame()


def agree(a, b, limit: float = CLOSE) -> None:
    """Check that two fits are one: likelihood, coefficients, components, random effects."""
    assert a.loglik == pytest.approx(b.loglik, rel=limit)
    assert list(a.fixef.index) == list(b.fixef.index)
    # a coefficient is as exact as its standard error is large
    np.testing.assert_allclose(a.fixef, b.fixef, rtol=0, atol=1e-7 * b.coef_table["se"].max())
    assert list(a.varcorr["group"]) == list(b.varcorr["group"])
    np.testing.assert_allclose(a.varcorr["vcov"], b.varcorr["vcov"], rtol=1e-6, atol=1e-7)
    assert set(a.ranef) == set(b.ranef)
    for factor, effects in b.ranef.items():
        ours = a.ranef[factor].loc[effects.index, effects.columns]
        assert len(ours) == len(a.ranef[factor])
        np.testing.assert_allclose(ours, effects, rtol=0, atol=1e-6)


def same_bits(a: mf.Condensed, b: mf.Condensed) -> None:
    from dense_problems import arrays

    left, right = arrays(a.sums), arrays(b.sums)
    assert list(left) == list(right)
    for name, values in left.items():
        np.testing.assert_array_equal(values, right[name], err_msg=name)


def same_sums(a: mf.Condensed, b: mf.Condensed, limit: float = 1e-11) -> None:
    from dense_problems import arrays

    left, right = arrays(a.sums), arrays(b.sums)
    assert list(left) == list(right)
    for name, values in left.items():
        size = max(1.0, float(np.abs(values).max(initial=0.0)))
        np.testing.assert_allclose(values, right[name], rtol=0, atol=limit * size, err_msg=name)
    assert a.sums.n_obs == b.sums.n_obs
    for f in range(len(a.schema.factors)):
        assert a.schema.level_labels(f) == b.schema.level_labels(f)


# --- stored -------------------------------------------------------------------------------------


def test_a_folder_comes_back_and_fits_the_same(tmp_path):
    made = mf.condense(FULL, ROWS, tmp_path / "sums")
    again = mf.load_crossproducts(tmp_path / "sums")
    same_bits(made, again)
    assert again.spec == made.spec
    direct = mf.fit(FULL, ROWS)
    assert mf.fit(FULL, made).loglik == direct.loglik
    assert mf.fit(FULL, again).loglik == direct.loglik
    assert mf.fit(FULL, tmp_path / "sums").loglik == direct.loglik
    assert mf.fit(FULL, str(tmp_path / "sums")).fixef.equals(direct.fixef)
    assert sorted(p.name for p in (tmp_path / "sums").iterdir()) == [
        "crossproducts", "manifest.json", "schema",
    ]  # fmt: skip


def test_a_folder_is_verified(tmp_path):
    place = tmp_path / "sums"
    mf.condense("y ~ x1 + (1 | g)", ROWS, place)
    with pytest.raises(StoredFileError, match="no condensed data at"):
        mf.load_crossproducts(tmp_path / "other")
    manifest = place / "manifest.json"
    good = manifest.read_text()
    content = json.loads(good)
    for change, text in (
        ({"format_version": 9}, "format version 9"),
        ({"rows_used": 5}, "900 rows where its manifest.json says 5"),
        ({"spec": None}, "is damaged"),
        ({"format": "x"}, "does not describe condensed data"),
        ({"data": None}, "does not say where its rows came from"),
        ({"spec": content["spec"] | {"formula": "y ~ x2 + (1 | g)"}}, "another design"),
    ):
        manifest.write_text(json.dumps(content | change))
        with pytest.raises(StoredFileError, match=text):
            mf.load_crossproducts(place)
    manifest.write_text(good)
    arrays = place / "crossproducts" / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:-7] + b"1234567")
    with pytest.raises(StoredFileError, match="damaged"):
        mf.load_crossproducts(place)


def test_a_folder_of_others_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"notes\.txt"):
        mf.condense("y ~ x1 + (1 | g)", ROWS, tmp_path)


def test_folders_of_the_workflow_are_the_same_format(tmp_path):
    """`condense` of the command line writes what Python reads, and `fit` reads what Python wrote."""
    from mixedflow.config import DaskConfig, DataConfig
    from mixedflow.config.models import ControlConfig, ModelConfig
    from mixedflow.steps.models import fit_step
    from mixedflow.steps.rows import condense_step

    ROWS.to_parquet(tmp_path / "rows.parquet", index=False)
    data = DataConfig(path=str(tmp_path / "rows.parquet"))
    condense_step(data, FULL, tmp_path / "design", dask=DaskConfig())
    stored = mf.load_crossproducts(tmp_path / "design")
    assert stored.spec.formula == FULL
    direct = mf.fit(FULL, ROWS)
    agree(mf.fit(FULL, stored), direct)
    agree(mf.fit("y ~ x1 + (1 | g)", tmp_path / "design"), mf.fit("y ~ x1 + (1 | g)", ROWS))
    mf.condense(FULL, ROWS, tmp_path / "ours")
    ours = DataConfig(path=str(tmp_path / "ours"))
    model = ModelConfig(data="d", formula=FULL)
    assert fit_step(ours, model, ControlConfig(), None).loglik == direct.loglik
    smaller = ModelConfig(data="d", formula="y ~ x1 + (1 | g)")
    agree(fit_step(ours, smaller, ControlConfig(), None), mf.fit(smaller.formula, ROWS))


def test_groups_are_stored(tmp_path):
    made = mf.condense("y ~ x1 + (1 | g)", ROWS, tmp_path / "sums", by_group="g")
    again = mf.load_crossproducts(tmp_path / "sums")
    same_bits(made.restrict(["g01", "g05"]), again.restrict(["g01", "g05"]))


# --- added and subtracted -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"weights": "w"}, {"by_group": "g"}], ids=["plain", "weights", "by group"]
)
def test_two_sites_are_the_bits_of_the_joint_sums(tmp_path, options):
    """Two files at two sites, and both files in one place: the same tree of additions."""
    for site, place in (("A", "a"), ("B", "b")):
        (tmp_path / place).mkdir()
        part = ROWS[ROWS["site"] == site]
        part.to_parquet(tmp_path / place / "rows.parquet", index=False)
        (tmp_path / "both").mkdir(exist_ok=True)
        part.to_parquet(tmp_path / "both" / f"{place}.parquet", index=False)
    learn = {k: v for k, v in options.items() if k == "weights"}
    for place in ("a", "b"):
        mf.learn_schema(FULL, tmp_path / place, tmp_path / f"told-{place}", **learn)
    schema = mf.merge_schemas([tmp_path / "told-a", tmp_path / "told-b"], tmp_path / "common")
    a, b, both = (
        mf.condense(FULL, tmp_path / place, schema=tmp_path / "common", **options)
        for place in ("a", "b", "both")
    )
    same_bits(a + b, both)
    joint = mf.fit(FULL, both)
    assert mf.fit(FULL, a + b).loglik == joint.loglik
    assert mf.fit(FULL, a + b).fixef.equals(joint.fixef)
    agree(mf.fit(FULL, a + b), mf.fit(FULL, ROWS, **learn))
    agree(mf.fit(FULL, a), mf.fit(FULL, ROWS[ROWS["site"] == "A"], **learn))
    agree(mf.fit(FULL, a + b - a), mf.fit(FULL, ROWS[ROWS["site"] == "B"], **learn))
    assert schema.schema.rows_used == len(ROWS)


def test_a_withdrawn_site_leaves_the_fit_of_the_others():
    whole = mf.condense(FULL, ROWS)
    gone = ROWS[ROWS["site"] == "B"]
    b = mf.condense(FULL, gone, schema=whole)
    left = whole - b
    agree(mf.fit(FULL, left), mf.fit(FULL, ROWS[ROWS["site"] == "A"]))
    assert left.levels("g") == [f"g{i:02d}" for i in range(12)]
    assert len(whole.levels("g")) == 24
    same_sums(left + b, whole)


def test_a_withdrawn_subject_of_nested_factors():
    whole = mf.condense(NESTED, ROWS)
    one = mf.condense(NESTED, ROWS[ROWS["g"] == "g07"], schema=whole.schema)
    agree(mf.fit(NESTED, whole - one), mf.fit(NESTED, ROWS[ROWS["g"] != "g07"]))
    same_sums((whole - one) + one.compact(), whole)


def test_levels_without_a_constant_are_dropped_too():
    formula = "y ~ x1 + (0 + x1 | g) + (1 | h)"
    whole = mf.condense(formula, ROWS, weights="w")
    one = mf.condense(formula, ROWS[ROWS["g"] < "g03"], schema=whole, weights="w")
    left = whole - one
    assert len(left.levels("g")) == 21
    agree(mf.fit(formula, left), mf.fit(formula, ROWS[ROWS["g"] >= "g03"], weights="w"))


def test_levels_of_both_are_united():
    """Condensed apart, with pilots and levels of their own, brought together afterwards."""
    formula = "y ~ x1 + x2 + (1 + x1 | g) + (1 | g:k) + (1 | h)"
    a, b = (mf.condense(formula, ROWS[ROWS["site"] == site]) for site in "AB")
    with pytest.raises(DataError, match="rebase"):
        a + b
    with pytest.raises(DataError, match="rebase"):
        a - b
    both = a + b.rebase(a)
    agree(mf.fit(formula, both), mf.fit(formula, ROWS))
    agree(mf.fit(formula, a.rebase(b.schema) + b), mf.fit(formula, ROWS))
    assert both.levels("g") == sorted(ROWS["g"].unique())
    assert both.levels("g:k") == mf.condense(formula, ROWS).levels("g:k")
    agree(mf.fit(formula, both - b.rebase(a)), mf.fit(formula, ROWS[ROWS["site"] == "A"]))
    later = b.rebase(a) + a
    agree(mf.fit(formula, later), mf.fit(formula, ROWS))


def test_what_cannot_be_subtracted():
    whole = mf.condense("y ~ x1 + (1 | g)", ROWS)
    part = mf.condense("y ~ x1 + (1 | g)", ROWS[:100], schema=whole)
    with pytest.raises(DataError, match="800 rows fewer than none"):
        part - whole
    with pytest.raises(DataError, match="no rows in the first"):
        mf.condense("y ~ x1 + (1 | g)", ROWS[ROWS["g"] < "g20"], schema=whole) - mf.condense(
            "y ~ x1 + (1 | g)", ROWS[ROWS["g"] >= "g20"], schema=whole
        )
    a, b = whole - part, part.compact()
    same_sums(a + b, whole)
    few = whole - mf.condense("y ~ x1 + (1 | g)", ROWS[ROWS["g"] == "g03"], schema=whole)
    with pytest.raises(DataError, match=r"levels of 'g' that the first do not have: 'g03'"):
        few - part
    shifted = ROWS.assign(y=ROWS["y"] + 1e4)
    with pytest.raises(DataError, match="response would be negative"):
        whole - mf.condense("y ~ x1 + (1 | g)", shifted[:500], schema=whole)
    with pytest.raises(DataError, match="their columns differ"):
        whole - mf.condense("y ~ x2 + (1 | g)", ROWS)
    with pytest.raises(DataError, match="their columns differ"):
        whole + mf.condense("y ~ x1 + (1 | g)", ROWS, weights="w")


def test_categories_are_columns_and_must_be_the_same():
    a = mf.condense("y ~ s + (1 | g)", ROWS[ROWS["s"] != "x"])
    b = mf.condense("y ~ s + (1 | g)", ROWS[ROWS["s"] != "f"])
    with pytest.raises(DataError, match="columns differ"):
        a + b.rebase(a)


def test_transforms_must_have_learned_the_same():
    a, b = (mf.condense("y ~ center(x1) + (1 | g)", ROWS[ROWS["site"] == s]) for s in "AB")
    with pytest.raises(DataError, match="transforms"):
        a + b


def test_missing_rows_add_and_subtract():
    rows = ROWS.copy()
    rows.loc[::11, "x1"] = np.nan
    rows.loc[::17, "y"] = np.nan
    formula = "y ~ x1 + (1 | g)"
    whole = mf.condense(formula, rows)
    part = mf.condense(formula, rows[:300], schema=whole)
    fit = mf.fit(formula, whole - part)
    agree(fit, mf.fit(formula, rows[300:]))
    expected = mf.fit(formula, rows[300:]).data_summary
    assert {**fit.data_summary, "source": ""} == {**expected, "source": ""}
    assert fit.messages == mf.fit(formula, rows[300:]).messages


# --- groups -------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize(
    "formula", ["y ~ x1 + x2 + (1 + x1 | g)", NESTED, "y ~ 0 + s + x1 + (x2 || g)"]
)
def test_some_groups(formula, weights):
    whole = mf.condense(formula, ROWS, weights=weights, by_group="g")
    names = ["g03", "g11", "g00", "g17", "g20", "g21"]
    agree(
        mf.fit(formula, whole.restrict(names)),
        mf.fit(formula, ROWS[ROWS["g"].isin(names)], weights=weights),
    )
    rest = whole.without(names)
    agree(mf.fit(formula, rest), mf.fit(formula, ROWS[~ROWS["g"].isin(names)], weights=weights))
    same_sums(whole.restrict(names) + rest, whole)
    same_sums(whole - rest, whole.restrict(names))


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("formula", ["y ~ x1 + x2 + (1 + x1 | g)", NESTED])
def test_groups_drawn_again(formula, weights):
    whole = mf.condense(formula, ROWS, weights=weights, by_group="g")
    draws = ["g03", "g11", "g03", "g17", "g20", "g03", "g11", "g21", "g09"]
    seen: dict[str, int] = {}
    parts = []
    for name in draws:
        seen[name] = seen.get(name, 0) + 1
        label = name if seen[name] == 1 else f"{name}#{seen[name]}"
        parts.append(ROWS[ROWS["g"] == name].assign(g=label))
    drawn = whole.resample(draws)
    agree(mf.fit(formula, drawn), mf.fit(formula, pd.concat(parts), weights=weights))
    assert drawn.levels("g").count("g03#3") == 1
    same_sums(whole.resample(whole.levels("g")), whole)


def test_copies_of_a_factor_within_groups_that_has_names_of_its_own():
    rows = ROWS.assign(c=ROWS["g"] + "." + ROWS["k"].astype(str))
    formula = "y ~ x1 + (1 | c) + (1 | g)"
    whole = mf.condense(formula, rows, by_group="g")
    part = rows[rows["g"] == "g05"]
    again = pd.concat(
        [rows[rows["g"].isin(["g01", "g05"])], part.assign(g="g05#2", c=part["c"] + "#2")]
    )
    agree(mf.fit(formula, whole.resample(["g05", "g01", "g05"])), mf.fit(formula, again))


def test_groups_within_a_wider_factor():
    """Subjects within schools: a school's sums lose those of the subjects that are left out."""
    number = ROWS["g"].str[1:].astype(int)
    rows = ROWS.assign(school=number % 5, region=number % 5 // 2)
    formula = "y ~ x1 + x2 + (1 + x1 | g) + (1 + x2 | school) + (1 | region)"
    whole = mf.condense(formula, rows, by_group="g")
    names = ["g03", "g11", "g00", "g17", "g20", "g21", "g22", "g23", "g05"]
    agree(mf.fit(formula, whole.restrict(names)), mf.fit(formula, rows[rows["g"].isin(names)]))
    copy = rows[rows["g"] == "g03"].assign(g="g03#2")
    agree(
        mf.fit(formula, whole.resample([*names, "g03"])),
        mf.fit(formula, pd.concat([rows[rows["g"].isin(names)], copy])),
    )


def test_interactions_as_groups():
    whole = mf.condense(NESTED.replace("(1 + x1 | g)", "(1 | g)"), ROWS, by_group="g:k")
    keep = whole.levels("g:k")[::2]
    key = ROWS["g"] + ":" + ROWS["k"].astype(str)
    formula = whole.spec.formula
    agree(mf.fit(formula, whole.restrict(keep)), mf.fit(formula, ROWS[key.isin(keep)]))
    with pytest.raises(UnsupportedError, match="combine columns"):
        whole.resample([keep[0], keep[0], keep[1]])


def test_what_cannot_be_taken():
    plain = mf.condense("y ~ x1 + (1 | g)", ROWS)
    with pytest.raises(UnsupportedError, match="by_group='g'"):
        plain.restrict(["g01"])
    with pytest.raises(UnsupportedError, match="by_group='g'"):
        plain.resample(["g01"], factor="g")
    crossed = mf.condense("y ~ x1 + (1 | g) + (1 | h)", ROWS, by_group="g")
    with pytest.raises(UnsupportedError, match="'h' is crossed with it"):
        crossed.restrict(["g01", "g02"])
    whole = mf.condense("y ~ x1 + (1 | g)", ROWS, by_group="g")
    with pytest.raises(DataError, match="'g1' is not a level of 'g'; did you mean"):
        whole.restrict(["g1"])
    with pytest.raises(DataError, match="no group was named"):
        whole.restrict([])
    with pytest.raises(DataError, match="a list of levels"):
        whole.restrict("g01")
    with pytest.raises(DataError, match="no group would be left"):
        whole.without(whole.levels("g"))
    with pytest.raises(DataError, match="not a grouping factor"):
        whole.restrict(["g01"], factor="h")
    with pytest.raises(DataError, match="has one level, 'g01'"):
        mf.fit("y ~ x1 + (1 | g)", whole.restrict(["g01"]))
    with pytest.raises(FormulaError, match="by_group='q' is no grouping factor"):
        mf.condense("y ~ x1 + (1 | g)", ROWS, by_group="q")
    fixed = mf.condense("y ~ C(g) + (1 | g)", ROWS, by_group="g")
    with pytest.raises(UnsupportedError, match="column of the model too"):
        fixed.resample(["g01", "g01", "g02"])
    assert fixed.restrict(["g01", "g02"]).n_obs == ROWS["g"].isin(["g01", "g02"]).sum()


# --- smaller models -----------------------------------------------------------------------------

SMALLER = [
    "y ~ x1 + (1 | g)",
    "y ~ 1 + (1 | h)",
    "y ~ x2 + s + (1 + x2 | g)",
    "y ~ x1 + x2 + (x1 || g) + (1 | h)",
    "y ~ x1 + x2 + (1 | h) + (0 + x2 | g)",
    "y ~ 0 + x1 + x2 + (1 + x1 | g)",
    "y ~ 0 + x1:x2 + (0 + x1 + x2 | g)",
    "y ~ s + (0 + x1 || g) + (1 | h)",
    "y ~ x2 * x1 + s + (x2 | g)",
]


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("formula", SMALLER)
def test_a_smaller_model(formula, reml, weights):
    whole = mf.condense(FULL, ROWS, weights=weights)
    found = mf.fit(formula, whole, reml=reml)
    rows = mf.fit(formula, ROWS, reml=reml, weights=weights)
    if "0 + x1:x2 + (0" in formula:  # no column near the constant: the response stays far from zero
        assert found.loglik == pytest.approx(rows.loglik, rel=1e-9)
    else:
        agree(found, rows)


def test_a_smaller_model_has_all_its_accessors(tmp_path):
    whole = mf.condense(FULL, ROWS)
    found, rows = (mf.fit("y ~ x2 + s + (1 + x2 | g)", data) for data in (whole, ROWS))
    assert "x2" in found.summary()
    assert found.n_levels == rows.n_levels == {"g": 24}
    np.testing.assert_allclose(found.ranef_se["g"], rows.ranef_se["g"], rtol=1e-6)
    new = frame(40, seed=5).drop(columns="y")
    np.testing.assert_allclose(found.predict(new), rows.predict(new), rtol=1e-9)
    found.save(tmp_path / "fit")
    again = mf.load(tmp_path / "fit")
    assert again.loglik == pytest.approx(found.loglik, rel=1e-12)
    np.testing.assert_allclose(again.predict(new), found.predict(new), rtol=1e-12)
    with pytest.raises(DataError, match=r"predict\(newdata\)"):
        _ = found.resid


def test_a_smaller_model_with_an_offset_and_missing_rows():
    rows = ROWS.copy()
    rows.loc[::13, "x2"] = np.nan
    whole = mf.condense("y ~ x1 + x2 + offset(o) + (1 | g)", rows)
    found = mf.fit("y ~ x1 + offset(o) + (1 | g)", whole)
    agree(found, mf.fit("y ~ x1 + offset(o) + (1 | g)", rows[rows["x2"].notna()]))
    assert any("70 of 900 rows were dropped" in message for message in found.messages)
    with pytest.raises(FormulaError, match="the offset of 'y ~ x1"):
        mf.fit("y ~ x1 + (1 | g)", whole)


def test_a_smaller_model_whose_columns_are_aliased():
    rows = ROWS.assign(twice=2 * ROWS["x1"])
    whole = mf.condense("y ~ x1 + twice + x2 + (1 | g)", rows)
    found = mf.fit("y ~ x1 + twice + (1 | g)", whole)
    agree(found, mf.fit("y ~ x1 + twice + (1 | g)", rows))
    assert any("twice" in message for message in found.messages)


def test_a_smaller_model_of_nested_factors():
    whole = mf.condense("y ~ x1 + (1 + x1 | g/k)", ROWS)
    for formula in ("y ~ x1 + (1 | g)", "y ~ 1 + (1 | k:g)", "y ~ x1 + (1 | k:g) + (x1 | g)"):
        agree(mf.fit(formula, whole), mf.fit(formula, ROWS))


def test_a_smaller_model_with_transforms():
    whole = mf.condense("y ~ poly(x1, 2) + scale(x2) + I(x2^2) + (scale(x2) | g)", ROWS)
    for formula in ("y ~ scale(x2) + (1 | g)", "y ~ poly(x1, 2) + (scale(x2) || g)"):
        agree(mf.fit(formula, whole), mf.fit(formula, ROWS))


def test_the_constant_is_there_for_a_model_without_it():
    whole = mf.condense("y ~ 0 + x1 + x2 + (1 | g)", ROWS)
    found, rows = mf.fit("y ~ x2 + (1 | g)", whole), mf.fit("y ~ x2 + (1 | g)", ROWS)
    agree(found, rows)


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        ("y ~ x3 + (1 | g)", "the column 'x3' was not condensed; condensed were 'y', 'x1', 'x2'"),
        ("y ~ log(x1) + (1 | g)", r"'log\(x1\)' was not condensed"),
        ("y ~ x1 + (1 | s)", "'s' is no grouping factor of these"),
        ("y ~ x1 + (x1 | h)", "'x1' of the random part of 'h' is not among those condensed"),
        ("y ~ x1:s + (1 | g)", "'x1:s.*of the fixed part is not among those condensed"),
        ("y ~ 0 + s + (1 | g)", r"'s\[f\]' of the fixed part is not among"),
        ("x1 ~ x2 + (1 | g)", "the response of 'x1 ~ x2"),
        ("y ~ x1", "no random term"),
    ],
)
def test_what_is_not_there_is_named(formula, text):
    with pytest.raises(FormulaError, match=text):
        mf.fit(formula, mf.condense(FULL, ROWS))


def test_options_that_need_the_rows():
    whole = mf.condense("y ~ x1 + (1 | g)", ROWS, weights="w")
    assert mf.fit("y ~ x1 + (1 | g)", whole, weights="w").converged
    with pytest.raises(UnsupportedError, match="weights cannot be changed"):
        mf.fit("y ~ x1 + (1 | g)", whole, weights="o")
    with pytest.raises(UnsupportedError, match="types cannot be changed"):
        mf.fit("y ~ x1 + (1 | g)", whole, types={"x1": "float"})
    with pytest.raises(UnsupportedError, match="missing cannot be changed"):
        mf.fit("y ~ x1 + (1 | g)", whole, missing="error")
    with pytest.raises(UnsupportedError, match="relationship cannot be changed"):
        mf.fit("y ~ x1 + (1 | g)", whole, relationship={"g": 1})
    declared = mf.condense("y ~ s + (1 | g)", ROWS, levels={"s": ["m", "f", "x"]})
    found = mf.fit("y ~ s + (1 | g)", declared, levels={"s": ["m", "f", "x"]})
    assert list(found.fixef.index) == ["(Intercept)", "s[T.f]", "s[T.x]"]
    with pytest.raises(UnsupportedError, match="levels cannot be changed"):
        mf.fit("y ~ s + (1 | g)", declared, levels={"s": ["f", "m", "x"]})
    with pytest.raises(ConfigError, match="part of the description"):
        mf.condense(whole.spec, ROWS, weights="w")
    same_bits(mf.condense(whole.spec, ROWS), whole)


# --- schemas of several sites -------------------------------------------------------------------


def test_a_shared_schema_holds_no_row(tmp_path):
    secret = ROWS.assign(x1=ROWS["x1"] + np.pi)
    mf.learn_schema(FULL, secret, tmp_path / "told")
    text = "".join(p.read_text() for p in (tmp_path / "told").glob("*.json"))
    inner = np.sort(secret["x1"].to_numpy())[1:-1]
    assert not any(repr(float(value)) in text for value in inner)
    shared = mf.SharedSchema.load(tmp_path / "told")
    assert shared.summary.sample is None
    assert shared.schema.rows_used == 900


def test_one_site_alone_may_be_too_little():
    """A site with one group, and one sex, is judged with the others, not alone."""
    a = mf.learn_schema("y ~ s + (1 | g)", ROWS[(ROWS["g"] == "g01") & (ROWS["s"] == "f")])
    with pytest.raises(DataError, match="one level"):
        mf.merge_schemas([a])
    b = mf.learn_schema("y ~ s + (1 | g)", ROWS[ROWS["g"] != "g01"])
    assert mf.merge_schemas([a, b]).schema.levels["s"].labels() == ["f", "m", "x"]


def test_merged_schemas_with_what_the_sample_told(tmp_path):
    formula = "y ~ x1:x2 + poly(x1, 2) + scale(x2) + s + (1 + x1:x2 | g) + (1 | g:k)"
    told = []
    for site in "AB":
        mf.learn_schema(formula, ROWS[ROWS["site"] == site], tmp_path / site)
        told.append(mf.SharedSchema.load(tmp_path / site))
    common = mf.merge_schemas(told)
    a, b = (mf.condense(formula, ROWS[ROWS["site"] == s], schema=common) for s in "AB")
    agree(mf.fit(formula, a + b), mf.fit(formula, ROWS), limit=1e-9)


def test_schemas_that_cannot_be_shared(tmp_path):
    with pytest.raises(UnsupportedError, match=r"'bs\(x1, df=4\)' places its knots"):
        mf.learn_schema("y ~ bs(x1, df=4) + (1 | g)", ROWS)
    one = mf.learn_schema("y ~ x1 + (1 | g)", ROWS)
    with pytest.raises(DataError, match="cannot be merged"):
        mf.merge_schemas([one, mf.learn_schema("y ~ x2 + (1 | g)", ROWS)])
    with pytest.raises(DataError, match="no schema was given"):
        mf.merge_schemas([])
    with pytest.raises(DataError, match="infinite"):
        mf.learn_schema("y ~ x1 + (1 | g)", ROWS.assign(x1=np.inf))
    with pytest.raises(StoredFileError, match="no shared schema"):
        mf.merge_schemas([tmp_path / "nothing"])
    with pytest.raises(StoredFileError, match="there is no schema at"):
        mf.condense("y ~ x1 + (1 | g)", ROWS, schema=tmp_path)
    with pytest.raises(StoredFileError, match="another design"):
        mf.condense("y ~ x2 + (1 | g)", ROWS, schema=one)
    few = mf.learn_schema("y ~ x1 + (1 | g)", ROWS[ROWS["site"] == "A"])
    with pytest.raises(UnknownLevelError, match="is not a level of 'g'"):
        mf.condense("y ~ x1 + (1 | g)", ROWS, schema=few)
    one.save(tmp_path / "told")
    path = tmp_path / "told" / "summary.json"
    content = json.loads(path.read_text())
    for change, text in (
        ({"format_version": 3}, "format version 3"),
        ({"format": ""}, "does not describe"),
        ({"moments": 5}, "is damaged"),
    ):
        path.write_text(json.dumps(content | change))
        with pytest.raises(StoredFileError, match=text):
            mf.SharedSchema.load(tmp_path / "told")
