"""Groups brought together: the source is read once, and the sums are the same bits everywhere."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.crossproducts.storage import load_crossproducts
from mixedflow.crossproducts.types import CrossProducts
from mixedflow.data import open_source
from mixedflow.data.frames import FrameSource
from mixedflow.design import make_spec
from mixedflow.errors import DataError, MissingValuesError, UnsupportedError
from mixedflow.parallel import Runner, condense, learn_schema, open_runner, prepare
from mixedflow.parallel.whole_rows import part_of

FORMULA = "y ~ x + visit + (1 | site)"
RESIDUALS = (
    "us(visit | arm/g)",
    "us(1 | g)",
    "cs(1 | g)",
    "ar1(step | g)",
    "car1(time | arm/g)",
    "sp_exp(time, x | arm/g)",
    "strata(arm)",
)
residuals = pytest.mark.parametrize("residual", RESIDUALS)


def make_frame(n_groups: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"g": np.repeat(rng.permutation(n_groups), 4)})
    frame["step"] = np.tile([1, 2, 4, 5], n_groups)
    frame["time"] = frame["step"] + np.round(rng.uniform(0, 0.5, len(frame)), 1)
    frame["visit"] = "v" + frame["step"].astype(str)
    frame["arm"] = np.array(["A", "B"])[frame["g"] % 2]
    frame["site"] = frame["g"] % 7
    frame["x"] = rng.normal(size=len(frame)) + 5
    frame["y"] = frame["x"] + rng.normal(size=len(frame)) + 100
    frame.loc[rng.choice(len(frame), 60, replace=False), "y"] = np.nan
    return frame.sample(frac=0.9, random_state=2).reset_index(drop=True)


def numbers(sums: CrossProducts) -> dict[Any, np.ndarray]:
    out = {}
    for key, part in sums.keyed.items():
        arrays = {"x": part.XtBX, "y": part.XtBy, "yy": part.ytBy, "n": np.array(part.n_obs)}
        for f, factor in enumerate(part.factors):
            arrays |= {f"l{f}": factor.levels, f"z{f}": factor.ZtBZ, f"zx{f}": factor.ZtBX}
        out |= {(key, name): values for name, values in arrays.items()}
    return out


def same_bits(a: CrossProducts, b: CrossProducts) -> bool:
    left, right = numbers(a), numbers(b)
    return list(left) == list(right) and all(np.array_equal(left[n], right[n]) for n in left)


def close(a: CrossProducts, b: CrossProducts) -> None:
    left, right = numbers(a), numbers(b)
    assert list(left) == list(right)
    for name, values in left.items():
        np.testing.assert_allclose(right[name], values, rtol=1e-10, atol=1e-9)
    assert (a.n_obs, a.rows_in, a.missing) == (b.n_obs, b.rows_in, b.missing)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> collections.Counter[int]:
    """Count how often each partition of a frame is read."""
    counts: collections.Counter[int] = collections.Counter()
    original = FrameSource._read_raw

    def counted(self: Any, index: int, columns: Any) -> Any:
        counts[index] += 1
        return original(self, index, columns)

    monkeypatch.setattr(FrameSource, "_read_raw", counted)
    return counts


@residuals
@pytest.mark.parametrize("partition_rows", [None, 100])
def test_the_source_is_read_once(residual, partition_rows, reads):
    source = open_source(make_frame(), partition_rows=partition_rows)
    reads.clear()
    schema, sums = condense(make_spec(FORMULA, residual=residual), source)
    assert dict(reads) == dict.fromkeys(range(source.n_partitions), 1)
    assert sums.n_obs == schema.rows_used == int(make_frame()["y"].notna().sum())
    assert sums.missing == schema.missing == {"y": int(make_frame()["y"].isna().sum())}


@residuals
def test_any_partitions_give_the_same_sums(residual):
    spec, frame = make_spec(FORMULA, residual=residual), make_frame()
    schema, whole = condense(spec, open_source(frame))
    for rows in (100, 333):
        found, parts = condense(spec, open_source(frame, partition_rows=rows), schema=schema)
        close(whole, parts)
        assert found.residual.design == schema.residual.design
        learned, _ = condense(spec, open_source(frame, partition_rows=rows))
        assert learned.residual.design == schema.residual.design


@residuals
def test_any_runner_gives_the_same_bits(residual, workers: Runner):
    spec = make_spec(FORMULA, residual=residual)
    source = open_source(make_frame(), partition_rows=100)
    seen: list[tuple[int, int]] = []
    _, one = condense(spec, source, on_done=lambda done, total: seen.append((done, total)))
    total = seen[-1][1]
    assert seen == [(i, total) for i in range(1, total + 1)]
    with open_runner("threads", workers=3) as runner:
        assert same_bits(one, condense(spec, source, runner)[1])
    assert same_bits(one, condense(spec, source, workers)[1])


def test_the_order_of_rows_changes_no_bit_of_a_part():
    spec, frame = make_spec(FORMULA, residual="us(visit | arm/g)"), make_frame()
    schema = learn_schema(spec, open_source(frame))
    _, one = condense(spec, open_source(frame, partition_rows=100), schema=schema)
    shuffled = frame.sample(frac=1, random_state=5)
    _, other = condense(spec, open_source(shuffled, partition_rows=100), schema=schema)
    assert same_bits(one, other)


def test_prepared_groups_stay_where_they_are(tmp_path: Path):
    spec, frame = make_spec(FORMULA, residual="us(visit | arm/g)"), make_frame()
    prepare(open_source(frame), tmp_path / "data", group="g", partition_rows=200)
    source = open_source(tmp_path / "data")
    assert source.n_partitions > 3
    schema, whole = condense(spec, open_source(frame))
    _, sums = condense(spec, source, schema=schema)
    close(whole, sums)
    _, pieces = condense(spec, source, path=tmp_path / "pieces")
    stored = [p for p in (tmp_path / "pieces").iterdir() if p.is_dir()]
    assert len(stored) == source.n_partitions
    close(whole, pieces.rebase(whole.info.pilots))
    one = load_crossproducts(stored[0], stored[0].name)
    assert one.info.residual == pieces.info.residual
    _, again = condense(spec, source, path=tmp_path / "pieces")
    assert same_bits(pieces, again)


@residuals
def test_pieces_of_rows_in_any_order_are_right_too(residual, tmp_path: Path):
    spec, frame = make_spec(FORMULA, residual=residual), make_frame()
    _, whole = condense(spec, open_source(frame))
    source = open_source(frame, partition_rows=100)
    _, sums = condense(spec, source, path=tmp_path / "pieces")
    close(whole, sums.rebase(whole.info.pilots))


def test_messages_name_rows_of_the_source():
    frame = make_frame()
    frame = pd.concat([frame, frame.dropna().iloc[[0]]], ignore_index=True)
    spec = make_spec(FORMULA, residual="us(visit | g)")
    first = int(frame.dropna().index[0]) + 1
    with pytest.raises(DataError) as found:
        condense(spec, open_source(frame, partition_rows=100))
    assert f"in row {first} of" in str(found.value)
    assert f"row {len(frame)} of" in str(found.value)
    lacking = make_spec(FORMULA, residual="us(visit | g)", missing="error")
    source = open_source(make_frame(), partition_rows=100)
    with pytest.raises(MissingValuesError, match=r"'y' has .* missing"):
        condense(lacking, source)


def test_machines_without_a_common_folder_are_told():
    source = open_source(make_frame(), partition_rows=100)
    with pytest.raises(UnsupportedError, match=r"prepare the data with group='g'"):
        condense(make_spec(FORMULA, residual="cs(1 | g)"), source, Runner("address"))


def test_the_temporary_folder_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    condense(make_spec(FORMULA, residual="us(1 | g)"), open_source(make_frame(), partition_rows=99))
    assert not list(tmp_path.iterdir())


def test_a_group_has_one_part_however_it_is_stored():
    frame = pd.DataFrame({"g": np.arange(40.0), "y": 1.0})
    whole = part_of(open_source(frame).read(0, ["g"]), ["g"], 5)
    mixed = pd.concat([frame, pd.DataFrame({"g": [0.5], "y": [1.0]})])
    np.testing.assert_array_equal(part_of(open_source(mixed).read(0, ["g"]), ["g"], 5)[:40], whole)
    integers = frame.astype({"g": int})
    np.testing.assert_array_equal(part_of(open_source(integers).read(0, ["g"]), ["g"], 5), whole)
    words = frame.assign(g=frame["g"].astype(str))
    plain = part_of(open_source(words).read(0, ["g"]), ["g"], 5)
    coded = words.astype({"g": "category"})
    np.testing.assert_array_equal(part_of(open_source(coded).read(0, ["g"]), ["g"], 5), plain)
    assert len(set(whole)) == len(set(plain)) == 5


@residuals
def test_categories_and_several_columns(residual):
    frame = make_frame()
    spec = make_spec(FORMULA, residual=residual)
    _, plain = condense(spec, open_source(frame))
    levels = sorted(frame["visit"].unique())
    frame["visit"] = pd.Categorical(frame["visit"], categories=["none", *levels])
    frame["arm"], frame["g"] = frame["arm"].astype("category"), "g" + frame["g"].astype(str)
    _, coded = condense(spec, open_source(frame, partition_rows=150))
    close(plain, coded.rebase(plain.info.pilots))


def test_public_names_take_a_residual_structure():
    frame = make_frame()
    sums = mf.condense(FORMULA, frame, residual="us(visit | arm/g)")
    assert sums.spec.residual == "us(visit | arm/g)"
    shared = mf.learn_schema(FORMULA, frame, residual="cs(1 | g)")
    assert shared.schema.residual.design.largest == 4


def test_shards_are_for_independent_rows():
    with pytest.raises(UnsupportedError, match="shards are offered for residual='iid', not for"):
        mf.fit(FORMULA, make_frame(), residual="cs(1 | g)", sharded=True)
