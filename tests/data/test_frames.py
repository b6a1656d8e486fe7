"""Frames in memory: every layout gives the same rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mixedflow.data import open_source
from mixedflow.errors import DataError

VALUES = [0.5, 1.5, -2.0, 7.25]


def read(data: object, *names: str, **options: object) -> pa.Table:
    source = open_source(data, **options)
    return pa.concat_tables([source.read(i, names) for i in range(source.n_partitions)])


WIDE = np.arange(16.0).reshape(4, 4)


@pytest.mark.parametrize(
    "column",
    [
        np.array(VALUES),
        np.array(VALUES, dtype=">f8"),
        np.array(VALUES, dtype=np.longdouble),
        np.repeat(VALUES, 3)[::3],
        np.array(VALUES, dtype=np.float32),
        np.array(VALUES, dtype=np.float16),
        VALUES,
        pd.Series(VALUES),
        pd.Series(np.array(VALUES, dtype=">f8")),
        pl.Series(VALUES),
        pa.chunked_array([VALUES[:1], VALUES[1:]]),
        np.ma.MaskedArray(VALUES, mask=[False] * 4),
    ],
)
def test_numbers_of_any_layout(column: object) -> None:
    table = read({"x": column}, "x")
    assert table["x"].type in (pa.float64(), pa.float32())
    assert table["x"].to_pylist() == VALUES


def test_strided_pandas_columns() -> None:
    frame = pd.DataFrame(WIDE[::-1, ::2], columns=["a", "b"])
    assert read(frame, "b", "a").to_pylist() == frame[["b", "a"]].to_dict("records")


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table, dict])
def test_frames_of_all_libraries(make: type) -> None:
    data = make(
        {"y": [1.0, 2.0, 3.0], "g": ["a", "b", "a"], "k": [1, 2, 3], "b": [True, False, True]}
    )
    source = open_source(data)
    assert source.name == "the data frame"
    assert source.columns() == {"y": "numeric", "g": "categorical", "k": "numeric", "b": "numeric"}
    table = source.read(0, ["g", "b", "y"])
    assert table["g"].type == pa.string()
    assert table.to_pylist()[1] == {"g": "b", "b": 0, "y": 2.0}
    assert source.fingerprint() == open_source(data, partition_rows=1).fingerprint()


def test_slices_and_their_fingerprints() -> None:
    frame = pd.DataFrame({"a": np.arange(10.0), "g": list("abcdefghij")})
    source = open_source(frame, partition_rows=4)
    assert [source.row_offset(i) for i in range(source.n_partitions)] == [0, 4, 8]
    frame.loc[5, "g"] = "x"
    other = open_source(frame, partition_rows=4)
    same = [source.partition_fingerprint(i) == other.partition_fingerprint(i) for i in range(3)]
    assert same == [True, False, True]
    assert source.fingerprint() != other.fingerprint()


def test_pandas_missing_and_mixed() -> None:
    frame = pd.DataFrame(
        {
            "x": [1.0, np.nan, 3.0],
            "i": pd.array([1, None, 3], dtype="Int64"),
            "s": ["a", None, ""],
            "m": [1, "abc", None],
        }
    )
    table = read(frame, "x", "i", "s", "m")
    assert table["x"].null_count == 1
    assert table["i"].to_pylist() == [1, None, 3]
    assert table["s"].to_pylist() == ["a", None, ""]
    assert table["m"].to_pylist() == ["1", "abc", None]


def test_level_orders() -> None:
    values = pd.Categorical(["c", "a", "c"], categories=["z", "c", "b", "a"])
    source = open_source(pd.DataFrame({"c": values}))
    assert source.declared_levels(["c"]) == {"c": ("c", "a")}
    assert source.read(0, ["c"])["c"].to_pylist() == ["c", "a", "c"]
    enum = pl.DataFrame({"c": pl.Series(["b", "a"], dtype=pl.Enum(["b", "a"]))})
    assert open_source(enum).declared_levels(["c"]) == {"c": ("b", "a")}
    plain = pl.DataFrame({"c": pl.Series(["b", "a"], dtype=pl.Categorical)})
    assert open_source(plain).declared_levels(["c"]) == {}
    declared = open_source(pd.DataFrame({"c": values}), levels={"c": ["a", "c"]})
    assert declared.declared_levels(["c"]) == {"c": ("a", "c")}
    dose = open_source({"d": [0.5, 10, 2, None]}, types={"d": "category"}, partition_rows=2)
    assert dose.declared_levels(["d"]) == {"d": ("0.5", "2", "10")}
    assert dose.read(0, ["d"])["d"].to_pylist() == ["0.5", "10"]
    whole = open_source(pd.DataFrame({"c": pd.Categorical([3, 1, 3], categories=[3, 2, 1])}))
    assert whole.declared_levels(["c"]) == {"c": (3, 1)}


def test_arrow_types_are_normalised() -> None:
    data = {
        "dec": pa.array([1, 2], pa.decimal128(5, 2)),
        "u8": pa.array([1, 2], pa.uint8()),
        "u64": pa.array([1, 2], pa.uint64()),
        "f16": pa.array(np.array([1, 2], np.float16)),
        "ls": pa.array(["a", "b"], pa.large_string()),
        "sv": pa.array(["a", "b"], pa.string_view()),
        "dls": pa.array(["a", "b"], pa.large_string()).dictionary_encode(),
        "none": pa.nulls(2),
        "when": pa.array([1, 2], pa.timestamp("s")),
        "list": pa.array([[1], [2]]),
        "bytes": pa.array([b"a", b"b"]),
    }
    source = open_source(pa.table(data))
    kinds = source.columns()
    other = [name for name, kind in kinds.items() if kind == "other"]
    assert other == ["when", "list", "bytes"]
    table = source.read(0, [name for name in data if name not in other])
    found = {f.name: str(f.type) for f in table.schema}
    text = "dictionary<values=string, indices=int32, ordered=0>"
    assert found == {
        "dec": "double",
        "u8": "int64",
        "u64": "int64",
        "f16": "float",
        "ls": "string",
        "sv": "string",
        "dls": text,
        "none": "double",
    }
    for name in other:
        with pytest.raises(DataError, match="which a model cannot use"):
            source.read(0, [name])
    dates = open_source(pa.table(data), types={"when": "category"})
    assert dates.read(0, ["when"])["when"].to_pylist() == [
        "1970-01-01 00:00:01",
        "1970-01-01 00:00:02",
    ]


def test_numbers_that_do_not_fit() -> None:
    with pytest.raises(
        DataError, match=r"data row 2: column 'k' has the value '18446744073709551615'"
    ):
        read({"k": np.array([1, 2**64 - 1], dtype=np.uint64)}, "k")
    assert read({"k": np.array([1, 2**64 - 1], dtype=np.uint64)}, "k", types={"k": "string"})[
        "k"
    ].to_pylist() == ["1", "18446744073709551615"]
    with pytest.raises(
        DataError, match=r"row 2: column 'k' has the value '1\.5', which is not a whole"
    ):
        read({"k": [1.0, 1.5]}, "k", types={"k": "int"})
    assert read({"k": [1.0, np.nan]}, "k", types={"k": "int"})["k"].to_pylist() == [1, None]
    with pytest.raises(DataError, match="'k' holds dates, which cannot be read as numbers"):
        read({"k": np.array(["2020-01-01"], dtype="M8[s]")}, "k", types={"k": "float"})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "data of type 'int' cannot be read"),
        (pl.LazyFrame({"a": [1]}), r"call \.collect\(\) first"),
        (pd.DataFrame(), "has no columns"),
        (pd.DataFrame({"a": []}), "has no rows"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns named 'a'"),
        ({"a": [1, 2], "b": [1]}, "differ in length: 'a' has 2 values, 'b' has 1"),
        ({"a": WIDE}, "column 'a' has 2 dimensions"),
    ],
)
def test_bad_frames_are_one_sentence(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(data)


@pytest.mark.filterwarnings("ignore")
def test_dask_frames() -> None:
    import dask
    import dask.dataframe as dd

    frame = pd.DataFrame({"y": np.arange(10.0), "g": list("aabbccddee")})
    with dask.config.set(scheduler="synchronous"):
        source = open_source(dd.from_pandas(frame, npartitions=3))
    assert source.n_rows == 10
    assert source.n_partitions == 3
    parts = [source.read(i, ["g", "y"]) for i in range(3)]
    assert pa.concat_tables(parts)["y"].to_pylist() == frame["y"].tolist()
    assert len({source.partition_fingerprint(i) for i in range(3)}) == 3
