"""A fit on disk: every accessor comes back the same; one that was tampered with is refused."""

from __future__ import annotations

import json

import helpers
import numpy as np
import pandas as pd
import pytest
from designs import random_design

import mixedflow as mf
from mixedflow.errors import DataError, OutputError, StoredFileError
from mixedflow.estimation.control import FitControl

MODELS = {
    "slopes": ("y ~ x + z + (x | g)", {}),
    "crossed": ("y ~ x + (x | g) + (1 | h)", {"reml": False}),
    "separate": ("y ~ x + z + (x || g)", {"weights": "wt"}),
    "nested": ("y ~ x + (1 | g/k)", {"method": "px-em"}),
    "aliased": ("y ~ x + I(2 * x) + (1 | h)", {"levels": {"k": list("dcba")}}),
    "no constant": ("y ~ 0 + k + x + (0 + x | g)", {}),
}


def fit_of(name):
    formula, more = MODELS[name]
    return mf.fit(formula, random_design("crossed-slope", 4).data, **more)


@pytest.mark.parametrize("name", list(MODELS))
def test_every_accessor_comes_back(name, tmp_path):
    fit = fit_of(name)
    fit.save(tmp_path / "fit")
    again = mf.load(tmp_path / "fit")
    for field in ("loglik", "deviance", "aic", "bic", "sigma"):
        assert getattr(again, field) == pytest.approx(getattr(fit, field), rel=1e-13)
    for field in (
        "nobs", "df_model", "converged", "singular", "n_iter", "n_levels", "reml", "method",
        "messages", "conditions", "timings", "versions", "data_summary", "coefficient_names",
    ):  # fmt: skip
        assert getattr(again, field) == getattr(fit, field), field
    assert again.certificate == fit.certificate
    assert again.spec == fit.spec
    pd.testing.assert_series_equal(again.fixef, fit.fixef, rtol=1e-12)
    for field in ("vcov", "coef_table", "varcorr", "trace"):
        pd.testing.assert_frame_equal(getattr(again, field), getattr(fit, field), rtol=1e-10)
    for field in ("ranef", "ranef_se"):
        assert list(getattr(again, field)) == list(getattr(fit, field))
        for factor, table in getattr(fit, field).items():
            pd.testing.assert_frame_equal(getattr(again, field)[factor], table, rtol=1e-9)
    rows = random_design("crossed-slope", 4).data
    pd.testing.assert_series_equal(again.predict(rows), fit.predict(rows), rtol=1e-10)
    assert again.summary() == fit.summary()


def test_a_fit_that_did_not_converge_and_one_that_is_singular_come_back(tmp_path):
    data = random_design("us2", 4).data
    short = mf.fit("y ~ x + (x | g)", data, control=FitControl(max_iter=1))
    flat = data.assign(y=data["y"] - data.groupby("g")["y"].transform("mean"))
    singular = mf.fit("y ~ 1 + (1 | g)", flat)
    for i, fit in enumerate((short, singular)):
        fit.save(tmp_path / str(i))
        again = mf.load(tmp_path / str(i))
        assert again.converged == fit.converged
        assert again.singular == fit.singular
        assert again.messages == fit.messages
    assert singular.singular
    assert not short.converged


def test_no_pickle_and_the_files_that_are_promised(tmp_path):
    fit_of("crossed").save(tmp_path / "fit")
    names = {path.name for path in (tmp_path / "fit").iterdir()}
    assert names == {"fit.json", "ranef.parquet", "trace.parquet", "crossproducts", "schema"}
    for path in (tmp_path / "fit").rglob("*"):
        assert path.suffix not in {".pkl", ".pickle", ".joblib"}
    ranef = pd.read_parquet(tmp_path / "fit" / "ranef.parquet")
    assert list(ranef.columns) == ["factor", "level", "column", "blup", "sd"]
    assert len(ranef) == 14 * 2 + 6
    content = json.loads((tmp_path / "fit" / "fit.json").read_text())
    assert content["format_version"] == 1


def test_a_loaded_fit_has_no_rows_and_says_so(tmp_path):
    fit_of("slopes").save(tmp_path / "fit")
    again = mf.load(tmp_path / "fit")
    for field in ("fitted", "resid"):
        with pytest.raises(DataError, match=r"use predict\(newdata\)"):
            getattr(again, field)


def test_a_loaded_fit_can_be_saved_again(tmp_path):
    fit_of("slopes").save(tmp_path / "one")
    mf.load(tmp_path / "one").save(tmp_path / "two")
    one, two = ((tmp_path / name / "fit.json").read_text() for name in ("one", "two"))
    left, right = json.loads(one), json.loads(two)
    assert left["parameters"] == right["parameters"]
    assert left["loglik"] == pytest.approx(right["loglik"], rel=1e-13)


def test_saving_over_an_older_fit_replaces_all_of_it(tmp_path):
    fit_of("crossed").save(tmp_path / "fit")
    fit_of("slopes").save(tmp_path / "fit")
    assert mf.load(tmp_path / "fit").spec.formula == MODELS["slopes"][0]
    assert [path.name for path in tmp_path.iterdir()] == ["fit"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original") / "fit"
    fit_of("crossed").save(folder)
    return folder


@pytest.fixture
def stored(original, tmp_path):
    import shutil

    return shutil.copytree(original, tmp_path / "fit")


def edit(stored, change):
    path = stored / "fit.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(helpers.sealed(content))


def refused(stored, text=None):
    with pytest.raises(StoredFileError, match=text) as raised:
        mf.load(stored)
    assert "fit" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_untouched_it_is_read(stored):
    assert mf.load(stored).converged


def nudge(content, *path, by=1e-4):
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] = content[path[-1]] * (1.0 + by) + by


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("loglik",), "stored log-likelihood"),
        (("parameters", "phi"), "fails verification"),
        (("parameters", "theta", 0, 0), "fails verification"),
        (("parameters", "theta", 0, 1), "fails verification"),
        (("parameters", "theta", 1, 0), "fails verification"),
        (("fixef", "x"), r"stored coefficient 'x'"),
        (("fixef", "(Intercept)"), r"stored coefficient '\(Intercept\)'"),
    ],
)
@pytest.mark.parametrize("by", [1e-3, 0.5])
def test_a_number_that_was_changed(stored, path, text, by):
    edit(stored, lambda content: nudge(content, *path, by=by))
    refused(stored, text)


@pytest.mark.parametrize("value", [None, "x", [], float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["loglik", "parameters", "fixef", "spec", "certificate", "solver"])
def test_a_value_of_the_wrong_kind(stored, key, value):
    edit(stored, lambda content: content.update({key: value}))
    refused(stored)


def test_reml_and_ml_are_not_confused(stored):
    edit(stored, lambda content: content.update(reml=not content["reml"]))
    refused(stored, "stored log-likelihood")


@pytest.mark.parametrize("theta", [[], [[1.0]], [[1.0], [1.0]], [["a", "b", "c"], [1.0]]])
def test_parameters_that_do_not_fit_the_model(stored, theta):
    edit(stored, lambda content: content["parameters"].update(theta=theta))
    refused(stored)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version(stored, version):
    edit(stored, lambda content: content.update(format_version=version))
    refused(stored, f"format version {version!r}; this version of mixedflow reads version 1")


def test_every_key_that_is_read_is_missed(stored):
    whole = json.loads((stored / "fit.json").read_text())
    shown = {
        "deviance", "aic", "bic", "nobs", "sigma", "singular", "n_iter", "se", "vcov", "varcorr",
        "n_levels", "checksum",
    }  # for readers of the JSON; had again from the equations  # fmt: skip
    for key in set(whole) - shown:
        (stored / "fit.json").write_text(
            helpers.sealed({k: v for k, v in whole.items() if k != key})
        )
        refused(stored)
    for key in shown:
        (stored / "fit.json").write_text(
            helpers.sealed({k: v for k, v in whole.items() if k != key})
        )
        mf.load(stored)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "\x00"])
def test_a_file_that_is_no_fit(stored, text):
    (stored / "fit.json").write_text(text)
    refused(stored)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("name", ["fit.json", "trace.parquet", "crossproducts/arrays.npz"])
def test_truncated_files(stored, name, share):
    path = stored / name
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(stored)


@pytest.mark.parametrize(
    "name", ["fit.json", "trace.parquet", "crossproducts/manifest.json", "crossproducts/arrays.npz"]
)
def test_missing_files(stored, name):
    (stored / name).unlink()
    refused(stored)


def test_nothing_there(tmp_path):
    refused(tmp_path / "no fit", "no fit at")


def test_sums_of_other_rows_are_refused(stored, tmp_path):
    """Each file is whole by itself, but they do not belong together."""
    import shutil

    formula, more = MODELS["crossed"]
    mf.fit(formula, random_design("crossed-slope", 5).data, **more).save(tmp_path / "other")
    shutil.rmtree(stored / "crossproducts")
    shutil.copytree(tmp_path / "other" / "crossproducts", stored / "crossproducts")
    refused(stored)


class TestUnwritable:
    def test_a_file_stands_where_the_folder_should_be(self, tmp_path):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(OutputError, match="cannot be written"):
            fit_of("slopes").save(tmp_path / "file" / "fit")
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    @pytest.mark.parametrize("step", ["write_table", "write_text"])
    def test_a_full_disk(self, tmp_path, monkeypatch, step):
        import pathlib

        import pyarrow.parquet as pq

        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")

        fit = fit_of("slopes")
        fit.save(tmp_path / "fit")
        before = (tmp_path / "fit" / "fit.json").read_bytes()
        monkeypatch.setattr(*((pq, step) if step == "write_table" else (pathlib.Path, step)), full)
        with pytest.raises(OutputError, match=r"(?i)no space left on device"):
            fit.save(tmp_path / "fit")
        monkeypatch.undo()
        assert [path.name for path in tmp_path.iterdir()] == ["fit"]
        assert (tmp_path / "fit" / "fit.json").read_bytes() == before
        assert np.isfinite(mf.load(tmp_path / "fit").loglik)
