"""A wide file stays open between readings, and is opened again when it was written anew."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from mixedflow.data import open_source
from mixedflow.data import parquet as module


def _write(path, first, rows):
    columns = {f"c{k}": [float(first + k + i) for i in range(rows)] for k in range(5)}
    pq.write_table(pa.table(columns), path, row_group_size=2)


def test_a_file_that_stays_open_gives_the_same_rows(tmp_path, monkeypatch):
    path = tmp_path / "wide.parquet"
    _write(path, 0, 4)
    monkeypatch.setattr(module, "WIDE", 5)
    opened = []
    held = module.open_parquet

    def counted(path, texts=()):
        opened.append(path)
        return held(path, texts)

    monkeypatch.setattr(module, "open_parquet", counted)
    source = open_source(path)
    assert source.read(0, ["c3"])["c3"].to_pylist() == [3.0, 4.0, 5.0, 6.0]
    assert source.read(0, ["c1", "c2"])["c2"].to_pylist() == [2.0, 3.0, 4.0, 5.0]
    assert len(opened) == 2  # once for the columns' types, once for both readings
    other = pickle.loads(pickle.dumps(source))
    assert other.read(0, ["c3"]).equals(source.read(0, ["c3"]))


def test_a_file_that_was_written_anew_is_read_anew(tmp_path, monkeypatch):
    path = tmp_path / "wide.parquet"
    _write(path, 0, 4)
    monkeypatch.setattr(module, "WIDE", 5)
    source = open_source(path)
    source.read(0, ["c0"])
    columns = {f"c{k}": [0.5, 7.0, 7.0, 7.25] for k in range(6)}
    pq.write_table(pa.table(columns), path, row_group_size=2)
    assert source.read(0, ["c0"])["c0"].to_pylist()[0] == 0.5


def test_threads_do_not_share_a_file(tmp_path, monkeypatch):
    path = tmp_path / "wide.parquet"
    _write(path, 0, 2000)
    monkeypatch.setattr(module, "WIDE", 5)
    source = open_source(path)
    wanted = source.read(0, ["c4"])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: source.read(0, ["c4"]), range(40)))
    assert all(one.equals(wanted) for one in found)
