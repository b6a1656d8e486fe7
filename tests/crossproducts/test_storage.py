"""Sums on disk: the same bits come back, and a file that is not what it was is refused."""

from __future__ import annotations

import json

import helpers
import numpy as np
import pytest
from dense_problems import RECIPES, arrays, problem

from mixedflow.crossproducts.storage import load_crossproducts, save_crossproducts
from mixedflow.errors import OutputError, StoredFileError

recipes = pytest.mark.parametrize("name", list(RECIPES))


@recipes
def test_the_same_bits_come_back(name, tmp_path):
    sums = problem(name).sums
    save_crossproducts(sums, tmp_path / "sums")
    again = load_crossproducts(tmp_path / "sums")
    left, right = arrays(sums), arrays(again)
    assert list(left) == list(right)
    for key, values in left.items():
        np.testing.assert_array_equal(right[key], values)
        assert right[key].dtype == values.dtype
    assert again.rows_in == sums.rows_in
    assert dict(again.missing) == dict(sums.missing)
    assert again.info.x_columns == sums.info.x_columns
    assert again.info.intercept == sums.info.intercept
    assert again.info.z_intercept == sums.info.z_intercept
    assert (again + sums).n_obs == 2 * sums.n_obs  # their designs are the same, pilots to the bit


def test_an_older_folder_is_replaced_as_a_whole(tmp_path):
    save_crossproducts(problem("crossed").sums, tmp_path / "sums")
    save_crossproducts(problem("one").sums, tmp_path / "sums")
    assert load_crossproducts(tmp_path / "sums").info.x_columns == problem("one").info.x_columns
    assert [path.name for path in tmp_path.iterdir()] == ["sums"]


@pytest.fixture
def stored(tmp_path):
    save_crossproducts(problem("crossed slopes").sums, tmp_path / "sums")
    return tmp_path / "sums"


def refused(folder, text):
    with pytest.raises(StoredFileError, match=text) as raised:
        load_crossproducts(folder)
    assert "sums" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_folder(tmp_path):
    refused(tmp_path / "no sums", r"no cross-products at .*manifest.json is missing")


def test_missing_arrays(stored):
    (stored / "arrays.npz").unlink()
    refused(stored, r"no arrays.npz; condense them again")


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_truncated_arrays(stored, length):
    path = stored / "arrays.npz"
    path.write_bytes(path.read_bytes()[:length])
    refused(stored, "damaged: arrays.npz does not match the checksum")


def test_one_changed_bit(stored):
    path = stored / "arrays.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    refused(stored, "does not match the checksum")


def edit(stored, change):
    path = stored / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(helpers.sealed(manifest))


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version(stored, version):
    edit(stored, lambda manifest: manifest.update(format_version=version))
    refused(stored, f"format version {version!r}; this version of mixedflow reads version 1")


def test_another_kind_of_file(stored):
    edit(stored, lambda manifest: manifest.update(format="mixedflow-fit"))
    refused(stored, "does not describe cross-products")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"sums"', "\x00\x01"])
def test_a_manifest_that_is_no_manifest(stored, text):
    (stored / "manifest.json").write_text(text)
    refused(stored, "manifest.json|cross-products")


@pytest.mark.parametrize("key", ["arrays_sha256", "rows_in", "missing", "info", "keys"])
def test_a_manifest_that_lacks_a_key(stored, key):
    edit(stored, lambda manifest: manifest.pop(key))
    refused(stored, key)


def test_a_manifest_that_names_arrays_that_are_not_there(stored):
    edit(stored, lambda manifest: manifest["keys"][0].update(factors=7))
    refused(stored, "cannot be read")


def test_nothing_is_half_written_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        save_crossproducts(problem("one").sums, tmp_path / "file" / "sums")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_is_half_written_when_writing_fails(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OutputError, match="no space left on device"):
        save_crossproducts(problem("one").sums, tmp_path / "sums")
    assert list(tmp_path.iterdir()) == []
