"""``tidy``, ``glance`` and ``augment`` against broom.mixed's (``references/tidy.json``)."""

from __future__ import annotations

import json

import helpers
import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.errors import DataError, UnsupportedError

ENTRIES = {e["data"]: e for e in json.loads((helpers.REFERENCES / "tidy.json").read_text())}
NUMBERS = ["estimate", "std.error", "statistic", "df", "p.value", "conf.low", "conf.high"]


@pytest.fixture(scope="module", params=list(ENTRIES))
def both(request):
    entry = ENTRIES[request.param]
    data = helpers.data_frame(entry["data"])
    return mf.fit(helpers.spaced(entry["formula"]), data, reml=entry["reml"]), entry


def test_tidy_is_brooms(both):
    fit, entry = both
    table = fit.tidy()
    assert list(table.columns) == ["effect", "group", "term", *NUMBERS]
    assert len(table) == len(entry["tidy"])
    table["term"] = [name.removeprefix("x[T.") for name in table["term"].map(_plain)]
    for row in entry["tidy"]:
        ours = table[(table["effect"] == row["effect"]) & (table["term"] == _plain(row["term"]))]
        ours = ours[ours["group"] == row["group"]] if row.get("group") else ours
        (ours,) = ours.to_dict("records")
        for name in NUMBERS:
            if row.get(name) is None:
                assert np.isnan(ours[name])
            else:
                assert ours[name] == pytest.approx(row[name], rel=1e-4, abs=1e-9), name


def _plain(term):
    return term if "__" in term else helpers.plain_name(term)


def test_random_effects_are_brooms(both):
    fit, entry = both
    table = fit.tidy("ran_vals")
    assert list(table.columns)[:4] == ["effect", "group", "level", "term"]
    assert len(table) == sum(frame.size for frame in fit.ranef.values())
    for row in entry["ran_vals"]:
        chosen = table[(table["level"] == row["level"]) & (table["term"] == row["term"])]
        (ours,) = chosen.to_dict("records")
        assert ours["estimate"] == pytest.approx(row["estimate"], rel=1e-4)
        assert ours["std.error"] == pytest.approx(row["std.error"], rel=1e-4)


def test_glance_is_brooms(both):
    fit, entry = both
    (wanted,) = entry["glance"]
    found = fit.glance()
    assert list(found.columns) == list(wanted)
    for name, value in wanted.items():
        assert found[name].item() == pytest.approx(value, rel=1e-7), name


def test_augment_is_brooms(both):
    fit, entry = both
    found = fit.augment()
    assert len(found) == fit.nobs
    for name in (".fitted", ".resid", ".fixed"):
        wanted = [row[name] for row in entry["augment"]]
        np.testing.assert_allclose(found[name].head(5), wanted, rtol=1e-4, atol=1e-4)
    response = fit.spec.parsed.response.text
    np.testing.assert_allclose(found[".fitted"] + found[".resid"], found[response], rtol=1e-12)


@pytest.fixture(scope="module")
def sleep():
    return mf.fit("Reaction ~ Days + (Days | Subject)", helpers.data_frame("sleepstudy"))


def test_augment_of_new_rows(sleep, tmp_path):
    data = helpers.data_frame("sleepstudy").drop(columns="Reaction").iloc[3:6]
    found = sleep.augment(data)
    assert list(found.columns) == [*data.columns, ".fitted", ".fixed"]
    assert list(found.index) == [3, 4, 5]
    np.testing.assert_allclose(found[".fitted"], sleep.augment()[".fitted"].iloc[3:6], rtol=1e-12)
    data.to_csv(tmp_path / "new.csv", index=False)
    stored = sleep.augment(str(tmp_path / "new.csv"))
    np.testing.assert_allclose(stored[".fitted"], found[".fitted"], rtol=1e-12)
    unseen = sleep.augment(data.assign(Subject="new"), allow_new_levels=True)
    np.testing.assert_allclose(unseen[".fitted"], unseen[".fixed"], rtol=1e-12)


def test_rows_that_were_dropped_are_not_there():
    data = helpers.data_frame("sleepstudy").copy()
    data.loc[[0, 7], "Reaction"] = np.nan
    data.index = data.index + 100
    found = mf.fit("Reaction ~ Days + (1 | Subject)", data).augment()
    assert list(found.index[:8]) == [101, 102, 103, 104, 105, 106, 108, 109]
    assert list(found["Days"][:8]) == [1, 2, 3, 4, 5, 6, 8, 9]


def test_methods_and_levels(sleep):
    wide, narrow = sleep.tidy("fixed", level=0.99), sleep.tidy("fixed", ddf="asymptotic")
    assert (wide["conf.low"] < narrow["conf.low"]).all()
    assert np.isinf(narrow["df"]).all()
    pd.testing.assert_series_equal(
        sleep.tidy("fixed", ddf="kenward-roger")["df"],
        sleep.infer("kenward-roger").coef_table["df"].reset_index(drop=True),
    )


def test_residuals_with_a_structure_are_named():
    data = helpers.data_frame("sleepstudy")
    fit = mf.fit("Reaction ~ Days", data, residual="ar1(1 | Subject)")
    assert list(fit.tidy("ran_pars")["term"]) == ["sd__Observation", "cor__rho"]
    assert list(fit.tidy()["effect"]) == ["fixed", "fixed", "ran_pars", "ran_pars"]


def test_what_is_not_offered_is_named(sleep):
    with pytest.raises(UnsupportedError, match=r"'ran_val'.*did you mean 'ran_vals'"):
        sleep.tidy("ran_val")
    with pytest.raises(DataError, match="between 0 and 1"):
        sleep.tidy(level=95)
