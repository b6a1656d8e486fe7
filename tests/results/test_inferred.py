"""An inference on disk: what was written comes back, and nothing else."""

from __future__ import annotations

import dataclasses
import json

import helpers
import numpy as np
import pandas as pd
import pytest

from mixedflow.errors import StoredFileError
from mixedflow.results.inferred import Inferred, InferredTable, load_inferred, save_inferred

TABLE = pd.DataFrame(
    {
        "contrast": ['a, "b"\nc', "NA", "", "308"],
        "estimate": [0.1 + 0.2, np.nan, np.inf, -1e-300],
        "num_df": [1, 2, 3, 4],
        "shown": [True, False, True, True],
    }
)


@pytest.fixture
def found():
    first = InferredTable(
        "contrasts", "contrasts", "Contrasts", "by hand", TABLE, details={"by": []}
    )
    none = InferredTable("anova", "anova", "F", "", pd.DataFrame({"reason": []}, dtype=str), "none")
    return Inferred("y ~ x + (1 | g)", {"level": 0.9}, "by hand", 0.9, "", (first, none), "ab", {})


def test_every_bit_comes_back(found, tmp_path):
    save_inferred(found, tmp_path / "inference")
    again = load_inferred(tmp_path / "inference")
    pd.testing.assert_frame_equal(again.tables[0].table, TABLE, check_exact=True)
    assert again.tables[1].note == "none"
    assert again.tables[1].table.empty
    kept = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)} | {"tables": ()}
    assert {f.name: getattr(again, f.name) for f in dataclasses.fields(again)} | {
        "tables": ()
    } == kept
    assert sorted(p.name for p in (tmp_path / "inference").iterdir()) == [
        "anova.csv",
        "contrasts.csv",
        "infer.json",
    ]


def test_tables_of_an_earlier_inference_go(found, tmp_path):
    save_inferred(found, tmp_path / "inference")
    save_inferred(dataclasses.replace(found, tables=found.tables[:1]), tmp_path / "inference")
    assert not (tmp_path / "inference/anova.csv").exists()


def test_equal_inferences_are_equal_files(found, tmp_path):
    for name in ("one", "two"):
        save_inferred(found, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def _edit_table(place):
    text = (place / "contrasts.csv").read_text(encoding="utf-8")
    (place / "contrasts.csv").write_text(text.replace("308", "309"), encoding="utf-8")


def _remove_table(place):
    (place / "contrasts.csv").unlink()


def _edit_manifest(**changes):
    def edit(place):
        content = json.loads((place / "infer.json").read_text(encoding="utf-8"))
        (place / "infer.json").write_text(helpers.sealed({**content, **changes}), encoding="utf-8")

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_edit_table, "'.*contrasts.csv' is not as it was written; `mixedflow infer` writes it"),
        (_remove_table, "contrasts.csv is missing"),
        (_edit_manifest(format_version=99), "format version 99"),
        (_edit_manifest(format="other"), "does not describe tests and intervals"),
        (_edit_manifest(tables=[{"key": "contrasts"}]), "is damaged"),
        (_edit_manifest(more=1), "is damaged"),
    ],
)
def test_what_was_changed_is_refused(found, tmp_path, damage, message):
    save_inferred(found, tmp_path / "inference")
    damage(tmp_path / "inference")
    with pytest.raises(StoredFileError, match=message):
        load_inferred(tmp_path / "inference")


def test_a_folder_without_one_says_how_to_write_it(tmp_path):
    with pytest.raises(
        StoredFileError, match=r"no tests and intervals at .*`mixedflow infer` writes it"
    ):
        load_inferred(tmp_path)
