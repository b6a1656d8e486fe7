"""Files: what is read, and the sentence for what cannot be."""

from __future__ import annotations

import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixedflow.data import Source, open_source
from mixedflow.errors import ConfigError, DataError, MixedflowError, SourceError


def rows_of(source: Source, *names: str) -> pa.Table:
    """Return all partitions together."""
    columns = names or tuple(n for n, kind in source.columns().items() if kind != "other")
    return pa.concat_tables([source.read(i, columns) for i in range(source.n_partitions)])


def csv(folder: Path, text: str | bytes, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def spooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every CSV file count as large, and blocks tiny."""
    monkeypatch.setattr("mixedflow.data.csv.SMALL_BYTES", 0)
    monkeypatch.setattr("mixedflow.data.csv.SMALL_GZIP_BYTES", 0)
    monkeypatch.setattr("mixedflow.data.csv_text.BLOCK_BYTES", 200)


TABLE = "y,g,h,n,b,d,e\n1,a,None,1,TRUE,2020-01-01,\n2.5,b,x,2,FALSE,2020-01-02,NA\nNA,,-,3,TRUE,,null\n"


@pytest.mark.parametrize("how", ["small", "spooled"])
def test_csv_values_missing_and_kinds(
    tmp_path: Path, how: str, request: pytest.FixtureRequest
) -> None:
    if how == "spooled":
        request.getfixturevalue("spooled")
    source = open_source(csv(tmp_path, TABLE), partition_rows=2)
    assert source.columns() == {
        "y": "numeric",
        "g": "categorical",
        "h": "categorical",
        "n": "numeric",
        "b": "numeric",
        "d": "other",
        "e": "numeric",
    }
    assert source.n_rows == 3
    assert source.n_partitions == 2
    assert source.row_offset(1) == 2
    table = rows_of(source)
    assert table["y"].to_pylist() == [1.0, 2.5, None]
    assert table["g"].to_pylist() == ["a", "b", None]
    assert table["h"].to_pylist() == ["None", "x", "-"]
    assert table["n"].type == pa.int64()
    assert table["b"].to_pylist() == [1, 0, 1]
    with pytest.raises(DataError, match="'d' holds dates, which a model cannot use"):
        source.read(0, ["d"])
    import hashlib

    assert source.fingerprint() == hashlib.sha256(TABLE.encode()).hexdigest()


@pytest.mark.usefixtures("spooled")
@pytest.mark.parametrize(
    ("last", "kind", "first"),
    [
        ("abc", "categorical", "01"),
        ("2.5", "numeric", 1.0),
        ("7", "numeric", 1),
        ("", "numeric", 1),
    ],
)
def test_types_are_decided_over_the_whole_file(
    tmp_path: Path, last: str, kind: str, first: object
) -> None:
    """The parts written before a column turned out to be text are written again from the text."""
    body = "".join(f"01,{i}\n" for i in range(500))
    source = open_source(csv(tmp_path, f"k,i\n{body}{last},500\n"), partition_rows=100)
    assert source.n_partitions == 6
    table = rows_of(source, "k", "i")
    assert source.columns()["k"] == kind
    values = table["k"].to_pylist()
    assert values[0] == first
    assert type(values[0]) is type(first)
    assert table["i"].to_pylist() == list(range(501))


@pytest.mark.usefixtures("spooled")
def test_truth_values_then_dates_are_text(tmp_path: Path) -> None:
    body = "TRUE\n" * 300 + "2020-01-01\n"
    source = open_source(csv(tmp_path, f"k\n{body}"), partition_rows=100)
    assert source.columns()["k"] == "categorical"
    assert rows_of(source)["k"].to_pylist()[299:] == ["TRUE", "2020-01-01"]


@pytest.mark.usefixtures("spooled")
def test_the_temporary_parts_go_with_the_source(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    source = open_source(csv(tmp_path, "a,b\n" + "1,2\n" * 500), partition_rows=100)
    copy = pickle.loads(pickle.dumps(source))
    assert copy.read(4, ["a"])["a"].to_pylist() == [1] * 100
    del copy
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    del source
    assert list((tmp_path / "temporary").iterdir()) == []


def test_gzip_members_tabs_and_semicolons(tmp_path: Path) -> None:
    two = gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n")
    assert rows_of(open_source(csv(tmp_path, two, "a.csv.gz")), "a")["a"].to_pylist() == [1, 3]
    assert rows_of(open_source(csv(tmp_path, "a\tb\n1\t2,5\n", "a.tsv")), "b")["b"].to_pylist() == [
        "2,5"
    ]
    assert rows_of(open_source(csv(tmp_path, "a;b\n1;2\n")), "b")["b"].to_pylist() == [2]


def test_quoted_line_ends_bom_and_blanks(tmp_path: Path) -> None:
    text = '\ufeff"a","b"\r\n" 1","x\r\ny"\r\n\r\n 2 ,"z, ""w"""\r\n'
    table = rows_of(open_source(csv(tmp_path, text)), "a", "b")
    assert table.to_pylist() == [{"a": 1, "b": "x\r\ny"}, {"a": 2, "b": 'z, "w"'}]


def test_declared_types_of_csv(tmp_path: Path) -> None:
    path = csv(tmp_path, "id,z,f,w\n01,1,1,3.0\n1,2,2,4\n")
    source = open_source(path, types={"id": "category", "z": "string", "f": "float", "w": "int"})
    table = rows_of(source)
    assert table["id"].to_pylist() == ["01", "1"]
    assert pa.types.is_dictionary(table["id"].type)
    assert pa.types.is_dictionary(table["z"].type)
    assert table["f"].type == pa.float64()
    assert table["w"].to_pylist() == [3, 4]
    whole = open_source(path, types={"z": "category"}).read(0, ["z"])["z"]
    assert whole.type == pa.dictionary(pa.int32(), pa.int64())


def test_declared_levels_give_their_order(tmp_path: Path) -> None:
    path = csv(tmp_path, "s,b,k\nM,TRUE,10\nF,FALSE,9\n,TRUE,\n")
    levels = {"s": ["M", "F", "X"], "b": [False, True], "k": [10, 9]}
    source = open_source(path, levels=levels)
    table = rows_of(source)
    assert table["s"].chunk(0).dictionary.to_pylist() == ["M", "F", "X"]
    assert table["s"].to_pylist() == ["M", "F", None]
    assert table["b"].to_pylist() == ["True", "False", "True"]
    assert table["k"].chunk(0).dictionary.to_pylist() == [10, 9]
    assert source.declared_levels(["s", "k"]) == {"s": ("M", "F", "X"), "k": (10, 9)}


BAD_FILES: dict[str, tuple[bytes, type[MixedflowError], str]] = {
    "empty.csv": (b"", SourceError, "is empty: it has neither header nor rows"),
    "head.csv": (b"a,b\n", SourceError, "has a header but no rows"),
    "short.csv": (b"a,b\n1,2\n1\n", SourceError, "line 3 has 1 value where the header has 2"),
    "long.csv": (b'a,b\n1,"x\ny"\n1,2,3\n', SourceError, "line 4 has 3 values"),
    "latin.csv": ("a,b\n1,2\n3,é\n".encode("latin1"), SourceError, "not UTF-8 text in line 3"),
    "latinhead.csv": ("é,b\n1,2\n".encode("latin1"), SourceError, "not UTF-8 text in line 1"),
    "utf16.csv": ("a,b\n1,2\n".encode("utf16"), SourceError, "it looks like UTF-16"),
    "twice.csv": (b"a,a\n1,2\n", DataError, "two columns named 'a'"),
    "plain.csv.gz": (b"a,b\n1,2\n", SourceError, "named .gz but is not a gzip file"),
    "zero.parquet": (b"", SourceError, r"is empty \(0 bytes\), not a Parquet file"),
    "text.parquet": (b"a,b\n1,2\n", SourceError, "is not a Parquet file"),
    "zero.feather": (b"", SourceError, "not an Arrow file"),
    "text.arrow": (b"a,b\n1,2,3,4\n", SourceError, "is not an Arrow IPC"),
    "old.feather": (b"FEA1" + b"0" * 60, SourceError, "is Feather version 1"),
    "cut.feather": (b"ARROW1" + b"0" * 60, SourceError, "cut off or damaged"),
    "book.xlsx": (b"PK", SourceError, "is of a kind that cannot be read"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_one_sentence(tmp_path: Path, name: str) -> None:
    content, kind, message = BAD_FILES[name]
    path = csv(tmp_path, content, name)
    with pytest.raises(kind, match=message) as caught:
        open_source(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cut_files(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(5000.0), "b": ["x"] * 5000})
    frame.to_parquet(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    with pytest.raises(SourceError, match="the end of the Parquet file is missing"):
        open_source(csv(tmp_path, whole[: len(whole) // 2], "b.parquet"))
    numbers = np.random.default_rng(3).integers(0, 10**9, (30_000, 2))
    rows = "\n".join(f"{first},{second}" for first, second in numbers.tolist())
    packed = gzip.compress(f"a,b\n{rows}\n".encode())
    with pytest.raises(SourceError, match="cut off"):
        open_source(csv(tmp_path, b"" + packed[:100_000], "c.csv.gz"))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = csv(tmp_path, "a\n1\n")
    path.chmod(0)
    with pytest.raises(SourceError, match="permission denied"):
        open_source(path)


def test_absent_files_name_the_nearest(tmp_path: Path) -> None:
    csv(tmp_path, "a\n1\n", "sleepstudy.csv")
    with pytest.raises(SourceError, match=r"did you mean 'sleepstudy\.csv'"):
        open_source(tmp_path / "sleepstduy.csv")
    with pytest.raises(SourceError, match="there is no folder"):
        open_source(tmp_path / "no" / "a.csv")
    with pytest.raises(SourceError, match="no file matches"):
        open_source(str(tmp_path / "*.parquet"))
    with pytest.raises(SourceError, match="holds no Parquet files"):
        open_source(tmp_path)


def test_bad_declarations(tmp_path: Path) -> None:
    path = csv(tmp_path, "y,g\n1,a\nabc,b\n3,A\n")
    with pytest.raises(
        DataError, match=r"a\.csv, data row 2 \(line 3\): column 'y' has the value 'abc'"
    ):
        open_source(path, types={"y": "float"})
    with pytest.raises(
        DataError, match=r"row 3 \(line 4\).*'A'.*levels 'a', 'b'; did you mean 'a'"
    ):
        open_source(path, levels={"g": ["a", "b"]}).read(0, ["g"])
    with pytest.raises(DataError, match=r"no column 'gg'.*did you mean 'g'"):
        open_source(path, types={"gg": "category"})
    with pytest.raises(ConfigError, match="did you mean 'float'"):
        open_source(path, types={"y": "flaot"})
    with pytest.raises(ConfigError, match="lists the level 'a' twice"):
        open_source(path, levels={"g": ["a", "a"]})
    with pytest.raises(ConfigError, match="empty list"):
        open_source(path, levels={"g": []})
    with pytest.raises(ConfigError, match="needs a list"):
        open_source(path, levels={"g": "ab"})
    with pytest.raises(ConfigError, match="has levels but is declared as 'float'"):
        open_source(path, types={"g": "float"}, levels={"g": ["a"]})
    with pytest.raises(DataError, match="no column 'Y'; did you mean 'y'"):
        open_source(path).read(0, ["Y"])


@pytest.mark.usefixtures("spooled")
def test_a_declared_number_names_its_row_in_a_large_file(tmp_path: Path) -> None:
    body = "".join(f"{i},a\n" for i in range(900))
    path = csv(tmp_path, f"y,g\n{body}oops,b\n")
    with pytest.raises(
        DataError, match=r"data row 901 \(line 902\): column 'y' has the value 'oops'"
    ):
        open_source(path, types={"y": "float"}, partition_rows=100)


def test_parquet_partitions_are_row_groups(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(1000), "b": [f"g{i % 7}" for i in range(1000)]})
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=100)
    source = open_source(tmp_path / "a.parquet", partition_rows=250)
    assert [source.row_offset(i) for i in range(source.n_partitions)] == [0, 200, 400, 600, 800]
    table = rows_of(source, "b", "a")
    assert table["a"].to_pylist() == list(range(1000))
    assert table["b"].type == pa.string()
    prints = [source.partition_fingerprint(i) for i in range(5)]
    frame.loc[450, "a"] = -1
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=100)
    again = open_source(tmp_path / "a.parquet", partition_rows=250)
    changed = [again.partition_fingerprint(i) != prints[i] for i in range(5)]
    assert changed == [False, False, True, False, False]


def test_folders_and_globs_of_parquet(tmp_path: Path) -> None:
    for k in range(3):
        pd.DataFrame({"a": [k, k], "g": ["x", "y"]}).to_parquet(tmp_path / f"p{k}.parquet")
    for place in (tmp_path, str(tmp_path / "p*.parquet")):
        source = open_source(place)
        assert source.n_partitions == 3
        assert rows_of(source, "a")["a"].to_pylist() == [0, 0, 1, 1, 2, 2]
    pd.DataFrame({"a": [1.5], "g": [None]}).to_parquet(tmp_path / "p3.parquet")
    assert rows_of(open_source(tmp_path), "a")["a"].type == pa.float64()
    pd.DataFrame({"a": ["x"], "g": ["y"]}).to_parquet(tmp_path / "p4.parquet")
    with pytest.raises(DataError, match=r"'a' holds whole numbers in .*p0.* but text in .*p4"):
        open_source(str(tmp_path / "p[04].parquet"))
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "p5.parquet")
    with pytest.raises(
        DataError, match=r"p0\.parquet' has a column 'g' that .*p5\.parquet' has not"
    ):
        open_source(str(tmp_path / "p[05].parquet"))


def test_feather(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"a": np.arange(100.0), "c": pd.Categorical(["u", "t"] * 50, ["u", "t", "s"])}
    )
    frame.to_feather(tmp_path / "a.feather", chunksize=10)
    source = open_source(tmp_path / "a.feather", partition_rows=30)
    assert source.n_partitions == 4
    assert rows_of(source, "a")["a"].to_pylist() == frame["a"].tolist()
    assert source.declared_levels(["c", "a"]) == {"c": ("u", "t")}
    assert source.partition_fingerprint(0) != source.partition_fingerprint(1)


def test_pandas_categories_keep_their_order_through_parquet(tmp_path: Path) -> None:
    values = pd.Categorical(["c", "a", "b"] * 4, categories=["z", "c", "b", "a"])
    pd.DataFrame({"c": values}).to_parquet(tmp_path / "a.parquet", row_group_size=2)
    source = open_source(tmp_path / "a.parquet", partition_rows=4)
    assert source.declared_levels(["c"]) == {"c": ("c", "b", "a")}
    assert rows_of(source, "c")["c"].to_pylist() == list(values)


def test_a_changed_page_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"a": np.random.default_rng(1).normal(size=5000)})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[20_000] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(SourceError, match="is damaged and cannot be read as Parquet"):
        open_source(path).read(0, ["a"])


@pytest.mark.parametrize("how", ["small", "spooled"])
def test_a_quotation_mark_that_is_never_closed_swallows_no_rows(
    tmp_path: Path, how: str, request: pytest.FixtureRequest
) -> None:
    if how == "spooled":
        request.getfixturevalue("spooled")
    open_quote = csv(tmp_path, 'y,g\n1,a\n2,"b\n3,c\n4,d\n')
    with pytest.raises(SourceError, match=r"line 3: a quotation mark is .* never closed"):
        open_source(open_quote)
    several = csv(tmp_path, 'y,g\n1,a\n2,"b\nc"\n')
    assert open_source(several).n_rows == 2
