"""A sweep with a path: broken off and resumed, with more traits, with damaged parts."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

import mixedflow as mf
from mixedflow import sweeping
from mixedflow.errors import OutputError, StoredFileError
from mixedflow.parallel import Runner
from mixedflow.sweeps import chunk
from tests.sweeps.tables import wide_table

MODELS = {
    "null": "~ z + (1 | g)",
    "full": "~ x + z + (1 | g)",
    "crossed": "~ x + (1 | g) + (1 | h)",
}
TESTS = {"x": ("null", "full")}
HERE = Runner()


class Counted:
    """Counts the traits that are fitted, model by model."""

    def __init__(self, monkeypatch, stop_after: int | None = None):
        self.fits = []
        fast, slow = chunk.fitted_at_once, chunk.fit_one_by_one

        def at_once(model, total, names, infinite):
            self.note(model, names, stop_after)
            return fast(model, total, names, infinite)

        def one_by_one(model, traits, names):
            self.note(model, names, stop_after)
            return slow(model, traits, names)

        monkeypatch.setattr(chunk, "fitted_at_once", at_once)
        monkeypatch.setattr(chunk, "fit_one_by_one", one_by_one)

    def note(self, model, names, stop_after):
        if stop_after is not None and len(self.fits) >= stop_after:
            raise KeyboardInterrupt
        self.fits += [(model.name, model.reml, name) for name in names]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(sweeping, "LARGEST_SLOW_CHUNK", 2)
    monkeypatch.setattr(sweeping, "SMALLEST_CHUNK", 2)


def swept(table, path, traits="y*", **options):
    options = {"tests": TESTS, "runner": HERE, **options}
    return mf.sweep(options.pop("models", MODELS), table, traits, path=path, **options)


def assert_same(a, b, *, exact=True):
    how = {"check_exact": True} if exact else {"rtol": 1e-6, "atol": 1e-7}
    pd.testing.assert_frame_equal(
        a.table.drop(columns="seconds"), b.table.drop(columns="seconds"), **how
    )
    pd.testing.assert_frame_equal(a.tests, b.tests, **how)


def test_a_sweep_that_was_broken_off_fits_what_is_missing_and_nothing_twice(tmp_path, monkeypatch):
    table = wide_table(T=6, missing=0.05)
    whole = swept(table, None)
    with monkeypatch.context() as patch:
        first = Counted(patch, stop_after=24)
        with pytest.raises(KeyboardInterrupt):
            swept(table, tmp_path / "s")
    assert first.fits
    assert not (tmp_path / "s" / "sweep.json").exists()
    kept = sum(pq.read_table(p).num_rows for p in (tmp_path / "s" / "parts").iterdir())
    second = Counted(monkeypatch)
    again = swept(table, tmp_path / "s")
    assert len(second.fits) + kept == 6 * 5
    assert kept > 0
    assert_same(again, whole)
    third = Counted(monkeypatch)
    assert_same(swept(table, tmp_path / "s"), whole)
    assert not third.fits


def test_a_trait_more_is_one_trait_fitted(tmp_path, monkeypatch):
    table = wide_table(T=5)
    swept(table.drop(columns="y3"), tmp_path)
    count = Counted(monkeypatch)
    found = swept(table, tmp_path)
    assert {name for *_, name in count.fits} == {"y3"}
    assert_same(found, swept(table, None), exact=False)


def test_a_trait_that_changed_is_fitted_again_and_a_model_more_fits_that_model(
    tmp_path, monkeypatch
):
    table = wide_table(T=3)
    swept(table, tmp_path)
    table.loc[5, "y1"] += 1.0
    count = Counted(monkeypatch)
    swept(table, tmp_path)
    assert {name for *_, name in count.fits} == {"y1"}
    count.fits.clear()
    found = swept(table, tmp_path, models={**MODELS, "slope": "~ x + z + (x | g)"})
    assert {name for name, *_ in count.fits} == {"slope"}
    assert len(found.table) == 3 * 4
    count.fits.clear()
    swept(table.assign(x=table["x"] * 2.0), tmp_path)
    assert {name for name, *_ in count.fits} == {"full", "crossed"}


def test_other_options_are_other_fits_and_another_name_is_not(tmp_path, monkeypatch):
    table = wide_table(T=2)
    swept(table, tmp_path, models="~ x + (1 | g)", tests=None)
    count = Counted(monkeypatch)
    found = swept(table, tmp_path, models={"other": "~ x + (1 | g)"}, tests=None)
    assert not count.fits
    assert set(found.table["model"]) == {"other"}
    swept(table, tmp_path, models="~ x + (1 | g)", tests=None, ddf="residual")
    assert len(count.fits) == 2


@pytest.mark.parametrize("damage", ["cut", "other", "flip"])
def test_a_damaged_part_is_fitted_again(tmp_path, monkeypatch, damage):
    table = wide_table(T=4)
    whole = swept(table, tmp_path)
    part = sorted((tmp_path / "parts").iterdir())[0]
    rows = pq.read_table(part).num_rows
    content = bytearray(part.read_bytes())
    if damage == "flip":
        content[200] ^= 0xFF
    new = {"cut": content[: len(content) // 2], "other": b"x", "flip": content}[damage]
    part.write_bytes(bytes(new))
    count = Counted(monkeypatch)
    assert_same(swept(table, tmp_path), whole)
    assert len(count.fits) == rows


def test_partitions_and_threads_do_not_make_a_trait_another_one(tmp_path, monkeypatch):
    from mixedflow.data import open_source

    table = wide_table(T=3)
    swept(table, tmp_path)
    count = Counted(monkeypatch)
    swept(open_source(table, partition_rows=50), tmp_path, runner=Runner("threads", workers=2))
    assert not count.fits


def test_what_was_saved_is_what_is_loaded(tmp_path):
    table = wide_table(T=3)
    table["y2"] = 1.0
    found = swept(table, tmp_path / "kept")
    for again in (mf.load_sweep(tmp_path / "kept"), found):
        again.save(tmp_path / "copy")
        loaded = mf.load_sweep(tmp_path / "copy")
        pd.testing.assert_frame_equal(found.table, loaded.table)
        pd.testing.assert_frame_equal(found.tests, loaded.tests)
        assert loaded.spec == found.spec
        assert loaded.failures["error"].tolist() == ["constant"] * 3
    assert "3 rows without a fit" in repr(found)


def test_a_folder_that_was_tampered_with_is_refused(tmp_path):
    swept(wide_table(T=2), tmp_path / "s")
    path = tmp_path / "s" / "sweep.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(StoredFileError, match="is not the table that the sweep was written with"):
        mf.load_sweep(tmp_path / "s")
    path.unlink()
    with pytest.raises(StoredFileError, match="is missing from the sweep"):
        mf.load_sweep(tmp_path / "s")
    with pytest.raises(StoredFileError, match="no sweep at"):
        mf.load_sweep(tmp_path)


def test_a_folder_of_something_else_is_not_written_to(tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        swept(wide_table(T=2), tmp_path)
