"""Sums as a thing of their own: stored, added and subtracted, each fit the fit of the rows."""

from __future__ import annotations

import json

import helpers
import numpy as np
import pandas as pd
import pytest
from sums_of_rows import FULL, NESTED, ROWS, agree, same_bits, same_sums

import mixedflow as mf
from mixedflow.errors import DataError, OutputError, StoredFileError


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
        manifest.write_text(helpers.sealed(content | change))
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


def test_a_declared_order_of_levels_stays():
    formula, order = "y ~ x1 + (1 | g)", sorted(ROWS["g"].unique())[::-1]
    rows = ROWS.assign(g=pd.Categorical(ROWS["g"], categories=order))
    whole = mf.condense(formula, rows, by_group="g")
    assert whole.levels("g") == order
    assert whole.restrict(["g03", "g20", "g11"]).levels("g") == ["g20", "g11", "g03"]
    a, b = (mf.condense(formula, part, schema=whole) for part in (rows[:450], rows[450:]))
    assert (a + b).levels("g") == order
    apart = [mf.condense(formula, rows[rows["site"] == site]) for site in "AB"]
    both = apart[0] + apart[1].rebase(apart[0])
    assert sorted(both.levels("g")) == order[::-1]
    agree(mf.fit(formula, both), mf.fit(formula, ROWS))
    agree(
        mf.fit(formula, whole - apart[0].rebase(whole)), mf.fit(formula, ROWS[ROWS["site"] == "B"])
    )
