"""Prepared data: the same rows, wherever and however they were prepared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import helpers
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mixedflow.data import PreparedData, Source, open_source
from mixedflow.data.source import default_partition_rows
from mixedflow.errors import DataError, MissingValuesError, OutputError, StoredFileError
from mixedflow.parallel import SYNCHRONOUS, Runner, fitting_workers, open_runner, prepare
from mixedflow.parallel.preparing import COPIES_IN_MEMORY

N = 20_000
KEPT = 4
"""Columns of the frame that a model can use."""


def everything(source: Source, *names: str) -> pd.DataFrame:
    parts = [source.read(i, names).to_pandas() for i in range(source.n_partitions)]
    plain = [p.astype({c: object for c in p if str(p[c].dtype) == "category"}) for p in parts]
    return pd.concat(plain, ignore_index=True)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    data = pd.DataFrame(
        {
            "g": rng.integers(0, 700, N).astype(str),
            "i": rng.integers(0, 300, N),
            "t": pd.Categorical(rng.choice(["late", "early", "mid"], N), ["early", "mid", "late"]),
            "y": rng.normal(size=N),
            "when": pd.Timestamp("2020-01-01"),
        }
    )
    data.loc[::100, "y"] = np.nan
    data.loc[5::200, "g"] = None
    return data


@pytest.fixture(scope="module")
def source(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Source:
    path = tmp_path_factory.mktemp("raw") / "a.parquet"
    frame.to_parquet(path, row_group_size=1000)
    return open_source(path, types={"i": "category"}, partition_rows=1000)


def test_order_of_the_source(tmp_path: Path, source: Source, frame: pd.DataFrame) -> None:
    manifest = prepare(source, tmp_path / "out", partition_rows=3500)
    assert [part.rows for part in manifest.parts] == [3000] * 6 + [2000]
    ready = open_source(tmp_path / "out")
    assert isinstance(ready, PreparedData)
    assert ready.columns() == source.columns()
    assert ready.declared_levels(["t"]) == {"t": ("early", "mid", "late")}
    assert ready.read(0, ["i"])["i"].type == pa.dictionary(pa.int32(), pa.int64())
    assert ready.read(0, ["g"])["g"].type == pa.string()
    got = everything(ready, "g", "t", "y", "i")
    for name in got:
        expected = frame[name].astype(object)
        assert got[name].isna().tolist() == expected.isna().tolist()
        assert got[name].dropna().tolist() == expected.dropna().tolist()
    with pytest.raises(DataError, match="'when' holds dates"):
        ready.read(0, ["when"])
    ready.verify()
    stored = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert stored["source_sha256"] == source.fingerprint()
    assert stored["rows_in"] == stored["rows_kept"] == N


@pytest.mark.parametrize("group", ["g", "i"])
def test_groups_are_whole_and_sorted(
    tmp_path: Path, source: Source, frame: pd.DataFrame, group: str
) -> None:
    seen: list[tuple[int, int]] = []
    manifest = prepare(
        source,
        tmp_path / "out",
        group=group,
        order="t",
        drop_missing_in=["y"],
        partition_rows=3000,
        on_done=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1][0] == seen[-1][1] == len(seen)
    kept = frame[frame["y"].notna() & frame[group].notna()]
    assert manifest.dropped["y"] == 200
    assert manifest.rows_kept == len(kept)
    assert manifest.rows_in == N
    ready = open_source(tmp_path / "out")
    groups = [set(ready.read(i, [group])[group].to_pylist()) for i in range(ready.n_partitions)]
    assert sum(map(len, groups)) == len(set().union(*groups)) == kept[group].nunique()
    for part, values in zip(manifest.parts, groups, strict=True):
        assert (part.first_group, part.last_group) == (min(values), max(values))
        assert part.rows < 4000
    expected = kept.sort_values([group, "t"], kind="stable").reset_index(drop=True)
    got = everything(ready, group, "t", "y")
    assert got[group].tolist() == expected[group].tolist()
    assert got["t"].tolist() == expected["t"].astype(object).tolist()
    assert np.array_equal(got["y"], expected["y"])
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "manifest.json",
        *(part.file for part in manifest.parts),
    }


def test_threads_and_workers_write_the_same_files(
    tmp_path: Path, source: Source, workers: Runner
) -> None:
    made = []
    with open_runner("threads", workers=2) as threads:
        for runner in (SYNCHRONOUS, threads, workers):
            place = tmp_path / runner.kind
            prepare(source, place, group="g", partition_rows=3000, runner=runner)
            made.append((place / "manifest.json").read_text())
    assert made[0] == made[1] == made[2]


def test_a_group_larger_than_a_part_stays_whole(tmp_path: Path) -> None:
    data = {"g": ["a"] * 10 + ["b"] * 500 + ["c"] * 10, "y": np.arange(520.0)}
    manifest = prepare(
        open_source(data, partition_rows=50), tmp_path / "o", group="g", partition_rows=100
    )
    assert [(p.first_group, p.last_group, p.rows) for p in manifest.parts] == [
        ("a", "b", 510),
        ("c", "c", 10),
    ]


def test_declared_order_beats_the_alphabet(tmp_path: Path) -> None:
    levels = {"t": ["w0", "w4", "w12"]}
    data = open_source({"g": [1, 1, 1], "t": ["w12", "w0", "w4"]}, levels=levels)
    prepare(data, tmp_path / "o", group="g", order="t")
    assert everything(open_source(tmp_path / "o"), "t")["t"].tolist() == ["w0", "w4", "w12"]


def test_labels_whose_groups_are_in_few_of_the_partitions(tmp_path: Path) -> None:
    """Rows that come sorted: most partitions have no row for most parts, and labels of their own."""
    labels = [f"s{k // 6:02d}" for k in range(120)]
    frame = pd.DataFrame({"g": labels, "y": np.arange(120.0)})
    frame.to_csv(tmp_path / "a.csv", index=False)
    source = open_source(tmp_path / "a.csv", types={"g": "category"}, partition_rows=20)
    prepare(source, tmp_path / "out", group="g", partition_rows=20)
    read = everything(open_source(tmp_path / "out"), "g", "y")
    assert list(read["g"]) == labels
    assert list(read["y"]) == list(frame["y"])


def test_missing_values(tmp_path: Path, source: Source) -> None:
    with pytest.raises(MissingValuesError, match=r"data row 1: column 'y' is missing"):
        prepare(source, tmp_path / "o", drop_missing_in=["y"], missing="error")
    empty = open_source({"y": [None, np.nan], "x": [1.0, 2.0]})
    with pytest.raises(MissingValuesError, match=r"no row is left.*'y' in 2"):
        prepare(empty, tmp_path / "o", drop_missing_in=["y"])
    with pytest.raises(DataError, match="did you mean 'when'"):
        prepare(source, tmp_path / "o", group="whenn")
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place(tmp_path: Path, source: Source) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        prepare(source, tmp_path / "file" / "out")


def damage(folder: Path, what: str) -> None:
    part, manifest = folder / "part-00001.parquet", folder / "manifest.json"
    if what == "part missing":
        part.unlink()
    elif what == "part cut":
        os.truncate(part, 1000)
    elif what == "manifest missing":
        manifest.unlink()
    elif what == "manifest cut":
        os.truncate(manifest, 100)
    elif what == "other version":
        manifest.write_text(
            manifest.read_text().replace('"format_version": 1', '"format_version": 9')
        )
    elif what == "other manifest":
        manifest.write_text(helpers.sealed({"format_version": 1, "parts": []}))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("part missing", r"part-00001\.parquet' is missing, which .* lists"),
        ("part cut", r"part-00001\.parquet' has 1,000 bytes where"),
        ("manifest cut", "is damaged"),
        ("other version", "has format version 9"),
        ("other manifest", "is not a manifest of prepared data"),
    ],
)
def test_damage_is_noticed(tmp_path: Path, source: Source, what: str, message: str) -> None:
    prepare(source, tmp_path / "o", partition_rows=9000)
    damage(tmp_path / "o", what)
    with pytest.raises(StoredFileError, match=message):
        open_source(tmp_path / "o")


def test_a_changed_byte_is_noticed(tmp_path: Path, source: Source) -> None:
    prepare(source, tmp_path / "o", partition_rows=9000)
    part = tmp_path / "o" / "part-00001.parquet"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(bytes(content))
    ready = open_source(tmp_path / "o")
    with pytest.raises(StoredFileError, match="is damaged"):
        ready.read(1, ["g", "i", "t", "y"])
    with pytest.raises(StoredFileError, match="its checksum is that of other"):
        PreparedData(tmp_path / "o").verify()


LIMITED = """
import resource, sys
from mixedflow.data import open_source
from mixedflow.parallel import prepare
limit = int(sys.argv[3])
source = open_source(sys.argv[1])
source.read(0, ["g"])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
prepare(source, sys.argv[2], group="g", order="t", memory_limit=limit)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((peak - before) * 1024)
"""


@pytest.mark.slow
def test_data_several_times_the_memory_pass(tmp_path: Path) -> None:
    """480 MB of rows are regrouped under a limit of 160 MB."""
    n, limit = 100_000, 160_000_000
    rng = np.random.default_rng(2)
    for k in range(50):
        columns = {f"x{j}": rng.normal(size=n) for j in range(10)}
        table = {**columns, "g": rng.integers(0, 30_000, n), "t": np.arange(n)}
        pd.DataFrame(table).to_parquet(tmp_path / f"p{k:02d}.parquet")
    (tmp_path / "raw").mkdir()
    for path in tmp_path.glob("*.parquet"):
        path.rename(tmp_path / "raw" / path.name)
    call = [sys.executable, "-c", LIMITED, tmp_path / "raw", tmp_path / "out", str(limit)]
    env = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}
    done = subprocess.run(call, capture_output=True, text=True, check=True, env=env)
    assert int(done.stdout) < limit
    assert open_source(tmp_path / "out").n_rows == 50 * n


@pytest.mark.parametrize("memory", [10**6, 10**7, None])
def test_memory_takes_workers_and_not_rows(
    tmp_path: Path, source: Source, memory: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A part is what the columns say, unless a single worker could not hold it: that is said."""
    rows = default_partition_rows(KEPT)
    one = COPIES_IN_MEMORY * 8 * KEPT * min(rows, source.n_rows)
    limit = None if memory is None else memory * one // 10**7
    with open_runner("threads", workers=3, memory_limit=limit) as runner:
        made = prepare(source, tmp_path / "o", runner=runner)
    if memory == 10**6:
        assert len(made.parts) > 1
        assert "partition_rows" in caplog.text
    else:
        assert len(made.parts) == -(-source.n_rows // rows)
        assert not caplog.text


@pytest.mark.parametrize(("parts", "workers"), [(0.5, 1), (1, 1), (2.5, 2), (9, 4), (None, 4)])
def test_as_many_workers_as_memory_holds_parts_for(
    source: Source, parts: float | None, workers: int
) -> None:
    one = COPIES_IN_MEMORY * 8 * KEPT * source.n_rows
    limit = None if parts is None else int(parts * one)
    assert fitting_workers(source, 4, limit, None) == workers
