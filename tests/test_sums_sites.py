"""Schemas of sites that may not share rows."""

from __future__ import annotations

import json

import helpers
import numpy as np
import pytest
from sums_of_rows import FULL, ROWS, agree

import mixedflow as mf
from mixedflow.errors import (
    ConfigError,
    DataError,
    StoredFileError,
    UnknownLevelError,
    UnsupportedError,
)


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
    agree(mf.fit(formula, a + b), mf.fit(formula, ROWS))


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
    with pytest.raises(ConfigError, match="schema must be"):
        mf.condense("y ~ x1 + (1 | g)", ROWS, schema=5)
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
        path.write_text(helpers.sealed(content | change))
        with pytest.raises(StoredFileError, match=text):
            mf.SharedSchema.load(tmp_path / "told")
