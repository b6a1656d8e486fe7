"""The footer of a wide file is kept, and read again when the file was written anew."""

import pickle

import pyarrow as pa
import pyarrow.parquet as pq

from mixedflow.data import open_source
from mixedflow.data import parquet as module


def _write(path, first, rows):
    columns = {f"c{k}": [float(first + k + i) for i in range(rows)] for k in range(5)}
    pq.write_table(pa.table(columns), path, row_group_size=2)


def test_a_kept_footer_gives_the_same_rows(tmp_path, monkeypatch):
    path = tmp_path / "wide.parquet"
    _write(path, 0, 4)
    monkeypatch.setattr(module, "WIDE", 5)
    opened = []
    held = module.open_parquet

    def counted(path, texts=(), footer=None):
        opened.append(footer is not None)
        return held(path, texts, footer)

    monkeypatch.setattr(module, "open_parquet", counted)
    source = open_source(path)
    assert source.read(0, ["c3"])["c3"].to_pylist() == [3.0, 4.0, 5.0, 6.0]
    assert source.read(0, ["c1", "c2"])["c2"].to_pylist() == [2.0, 3.0, 4.0, 5.0]
    assert opened == [False, False, True]
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
